"""Memberships in calls that do not wait, in pinned flags, in the state of all flags and in explanations."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from aioflags import BigSegments, BigSegmentsStatus, Client, Config, Context, Flag, use_context
from tests.persistence.segment_clients import BOTH, BY_RULE, SEGMENTS, USER, flag, fresh, running
from tests.support.scripted_memberships import ScriptedMemberships

# -- calls that do not wait


async def test_a_call_that_does_not_wait_uses_cached_memberships() -> None:
    store = fresh({"user-key": {"s.g2": True}})
    async with running(store, SEGMENTS) as client:
        before = client.variation_detail_nowait("flag", USER, False)
        pinned = client.flags_nowait(USER)
        assert await client.variation("flag", USER, False) is True
        after = client.variation_detail_nowait("flag", USER, False)
        assert (before.value, before.reason.big_segments_status) == (False, BigSegmentsStatus.STORE_ERROR)
        assert (after.value, after.reason.big_segments_status) == (True, BigSegmentsStatus.HEALTHY)
        assert (pinned.variation("flag", False), pinned.all()) == (False, {"flag": False})
        assert client.flags_nowait(USER).variation("flag", False) is True
        assert await asyncio.to_thread(client.variation_nowait, "flag", USER, False) is True
    assert store.asked == ["user-key"]


@pytest.mark.parametrize("is_pinned", [False, True], ids=["variation_nowait", "flags_nowait"])
async def test_a_call_that_cannot_wait_logs_once_that_the_store_was_not_asked(
    *, is_pinned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def evaluate(client: Client) -> bool:
        return client.flags_nowait(USER).variation("flag", False) if is_pinned else client.variation_nowait("flag", USER, False)

    async with running(fresh({"user-key": {"s.g2": True}}), SEGMENTS) as client:
        assert [evaluate(client), evaluate(client)] == [False, False]
        assert caplog.messages == [
            "flag: a big segment counts as unknown: a call that does not wait cannot ask its store; await client.variation(…)"
        ]
        assert await client.variation("flag", USER, False) is True
        assert evaluate(client) is True
    assert len(caplog.messages) == 1


async def test_flags_keep_the_memberships_that_were_fetched_for_them() -> None:
    store = fresh({"user-key": {"s.g2": True}, "org-key": {"o.g2": True}}, delay=0.5)
    loop = asyncio.get_running_loop()
    async with running(store, SEGMENTS, {"flag": flag("s"), "org": flag("o")}) as client:
        await client.big_segments_status()
        began = loop.time()
        flags = await client.flags(BOTH)
        assert loop.time() - began == pytest.approx(0.5)
        store.known.clear()
        await asyncio.sleep(10)
        assert flags.all() == {"flag": True, "org": True}
        assert flags.variation_detail("org", False).reason.big_segments_status is BigSegmentsStatus.HEALTHY
        assert sorted(store.asked) == ["org-key", "user-key"]
        again = await client.flags(BOTH)
        assert again.all() == {"flag": False, "org": False}


async def test_the_state_of_all_flags_uses_memberships() -> None:
    store = fresh({"user-key": {"s.g2": True}})
    async with running(store, SEGMENTS) as client:
        state = (await client.all_flags_state(USER, with_reasons=True)).to_json_dict()
    assert state["flag"] is True
    assert state["$flagsState"]["flag"]["reason"] == {**BY_RULE, "bigSegmentsStatus": "HEALTHY"}


async def test_an_explanation_shows_memberships() -> None:
    async with running(fresh({"user-key": {"s.g2": True}}), SEGMENTS) as client:
        assert 'the memberships of "user-key" include it' in str(await client.explain("flag", USER))
    async with running(ScriptedMemberships({"user-key": {}}, updated=1), SEGMENTS) as client:
        assert "do not name it, and they are stale" in str(await client.explain("flag", USER))
    async with running(fresh({"user-key": OSError("gone")}), SEGMENTS) as client:
        assert "and their store fails" in str(await client.explain("flag", USER))


@pytest.mark.parametrize(
    "key",
    [pytest.param("flag", id="the ambient context"), pytest.param(Flag("flag", default=False), id="a declared flag")],
)
async def test_variation_fetches_memberships_for_every_kind_of_call(key: Any) -> None:
    store = fresh({"user-key": {"s.g2": True}})
    async with running(store, SEGMENTS) as client:
        with use_context(USER):
            assert await client.variation(key, default=False if key.__class__ is str else None) is True


@pytest.mark.parametrize("subject", [Context(""), None])
async def test_an_invalid_context_makes_no_query(subject: Context | None) -> None:
    store = fresh()
    async with running(store, SEGMENTS) as client:
        assert (await client.variation_detail("flag", subject, True)).reason.to_dict()["errorKind"] == "USER_NOT_SPECIFIED"
        assert (await client.flags(subject)).all() == {}
        assert client.flags_nowait(subject).all() == {}
        assert (await client.all_flags_state(subject)).valid is False
    assert store.asked == []


# -- life cycle


@pytest.mark.real_time
def test_a_call_on_another_event_loop_uses_cached_memberships() -> None:
    store = fresh({"user-key": {"s.g2": True}})
    document = {"flags": {"flag": flag("s")}, "segments": SEGMENTS}

    async def main() -> None:
        async with Client.local(document, Config(big_segments=BigSegments(store=store))) as client:
            detail = await asyncio.to_thread(lambda: asyncio.run(client.variation_detail("flag", USER, False)))
            assert detail.reason.big_segments_status is BigSegmentsStatus.STORE_ERROR

    asyncio.run(main())
    assert store.asked == []
