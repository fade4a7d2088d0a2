"""BigSegmentLookup from the start of a client to its close, in a fork, and in calls that do not wait."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import Any

import pytest

from aioflags import BigSegments, BigSegmentsStatus, Client, Config, Context, DataSystem, Flag, StoreStatus, use_context
from aioflags.model.detail import Membership
from aioflags.persistence.big_segments import BigSegmentLookup
from aioflags.runtime.clock import now_ms
from aioflags.sources import MemorySource
from tests.evaluation.data import snapshot_of
from tests.persistence.segment_clients import BOTH, BY_RULE, SEGMENTS, USER, flag, fresh, running, segment
from tests.support.scripted_memberships import ScriptedMemberships


async def test_the_store_is_called_from_the_start_to_the_close_of_the_client() -> None:
    store = fresh({"user-key": {"s.g2": True}, "a": {"s.g2": True}})
    document = {"flags": {"flag": flag("s")}, "segments": SEGMENTS}
    client = Client.local(document, Config(big_segments=BigSegments(store=store)))
    assert await client.variation("flag", USER, False) is False
    assert await client.big_segments_status() == StoreStatus(available=False, stale=False)
    assert (store.asked, store.polls) == ([], 0)
    await client.start(0)
    assert await client.variation("flag", USER, False) is True
    await client.aclose()
    assert store.closed == 1
    assert await client.variation("flag", USER, False) is True
    assert await client.variation("flag", Context("a"), False) is False
    assert store.asked == ["user-key"]


async def test_an_offline_client_does_not_call_the_store() -> None:
    store = fresh()
    async with Client("", Config(offline=True, big_segments=BigSegments(store=store))) as client:
        assert await client.variation("flag", USER, 7) == 7
        assert await client.big_segments_status() == StoreStatus(available=False, stale=False)
    assert (store.asked, store.polls, store.closed) == ([], 0, 0)


class Stubborn(ScriptedMemberships):
    async def aclose(self) -> None:
        await super().aclose()
        await self._answered(None)


@pytest.mark.parametrize(
    ("failure", "delay", "warning"),
    [
        pytest.param(OSError("gone"), 0, "could not be closed: OSError: gone", id="a store that raises"),
        pytest.param(None, 3600, "did not close within", id="a store that hangs"),
    ],
)
async def test_a_store_that_does_not_close_is_abandoned(
    failure: Exception | None, delay: float, warning: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = Stubborn(updated=now_ms())
    async with running(store, SEGMENTS):
        await asyncio.sleep(1)
        store.failure, store.delay = failure, delay
        began = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - began <= 2
    assert store.closed == 1
    assert warning in caplog.text


async def test_two_clients_may_share_a_configuration() -> None:
    store = fresh({"user-key": {"s.g2": True}})
    config = Config(big_segments=BigSegments(store=store))
    document = {"flags": {"flag": flag("s")}, "segments": SEGMENTS}
    async with Client.local(document, config) as one, Client.local(document, replace(config)) as other:
        assert await one.variation("flag", USER, False) is True
        assert await other.variation("flag", USER, False) is True
    assert store.asked == ["user-key", "user-key"]


async def test_the_child_of_a_fork_builds_a_store_when_it_starts() -> None:
    store = fresh({"user-key": {"s.g2": True}, "a": {"s.g2": True}})
    builder = Builder(store)
    memberships = BigSegmentLookup(BigSegments(store=builder), logging.getLogger("aioflags"))
    memberships.open()
    await memberships.status()
    snapshot = snapshot_of(segments=[{"key": "s", "version": 1, **segment()}])
    pinned = await memberships.fetch_for(snapshot, USER, lambda find: () if find("user-key") else ("user-key",))
    assert (pinned("user-key"), builder.built) == (Membership({"s.g2": True}, BigSegmentsStatus.HEALTHY), 1)
    memberships.after_fork()
    assert builder.built == 1
    assert memberships.cached("user-key").status is BigSegmentsStatus.HEALTHY
    for opened, status in ((False, BigSegmentsStatus.STORE_ERROR), (True, BigSegmentsStatus.HEALTHY)):
        if opened:
            memberships.open()
        pinned = await memberships.fetch_for(snapshot, Context("a"), lambda find: () if find("a") else ("a",))
        assert (membership := pinned("a")) is not None
        assert membership.status is status
    assert builder.built == 2


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")


async def test_an_error_whose_text_cannot_be_read_fails_the_store_alone(caplog: pytest.LogCaptureFixture) -> None:
    store = fresh()
    store.failure = UnprintableError()
    async with running(
        store, SEGMENTS, {"flag": flag("s"), "plain": {"on": False, "variations": [1], "offVariation": 0}}
    ) as client:
        await asyncio.sleep(60)
        assert await client.variation("flag", USER, None) is False
        assert await client.variation("plain", USER, 0) == 1
        assert (await client.big_segments_status()).available is False
        store.failure = None
        await asyncio.sleep(60)
        assert (await client.big_segments_status()).available
    assert "does not answer: UnprintableError" in caplog.text
    assert "bug" not in caplog.text


async def test_an_internal_error_in_the_lookup_does_not_stop_the_flags(caplog: pytest.LogCaptureFixture) -> None:
    store, source = fresh(), MemorySource({"f": 1})
    config = Config(data_system=DataSystem.custom(synchronizers=[source]), big_segments=BigSegments(store=store))
    client = Client("", config)
    memberships: Any = client._core.big_segments
    memberships._wall_ms = None
    async with client:
        await asyncio.sleep(60)
        source.set("f", 2)
        await asyncio.sleep(1)
        assert (await client.variation("f", USER, 0), client.status) == (2, "READY")
    assert "internal error" in caplog.text
    assert store.closed == 1


async def test_a_store_that_cannot_be_built_is_unavailable_and_built_later(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken(Builder):
        def build_memberships(self) -> ScriptedMemberships:
            store = super().build_memberships()
            if self.built == 1:
                raise OSError("no socket")
            return store

    builder = Broken(fresh({"user-key": {"s.g2": True}}))
    document = {"flags": {"flag": flag("s")}, "segments": SEGMENTS}
    async with Client.local(document, Config(big_segments=BigSegments(store=builder))) as client:
        await asyncio.sleep(1)
        assert not (await client.big_segments_status()).available
        await asyncio.sleep(5)
        assert (await client.big_segments_status()).available
        assert await client.variation("flag", USER, False) is True
    assert "does not answer: OSError: no socket" in caplog.text


class Builder:
    """Builds the same store each time, and counts."""

    def __init__(self, store: ScriptedMemberships) -> None:
        self.store, self.built = store, 0

    def build_memberships(self) -> ScriptedMemberships:
        self.built += 1
        return self.store


# -- calls that do not wait


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
