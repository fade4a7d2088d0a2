"""BigSegmentLookup in a client: the values of flags, the queries of the store, and the status of the store."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from aioflags import BigSegments, BigSegmentsStatus, Client, Config, Context, DataSystem, Flag, StoreStatus, use_context
from aioflags.big_segments.lookup import BigSegmentLookup
from aioflags.model.membership import Membership
from aioflags.runtime.clock import now_ms
from aioflags.sources import MemorySource
from aioflags.testing import overrides
from tests.evaluation.data import snapshot_of
from tests.support.canaries import secretive
from tests.support.scripted_memberships import ScriptedMemberships

USER = secretive("user-key")
BOTH = Context.multi(Context("user-key"), Context("org-key", "org"))
ALWAYS: dict[str, Any] = {"clauses": []}
HEALTHY = StoreStatus(available=True, stale=False)


def segment(**properties: Any) -> dict[str, Any]:
    return {"unbounded": True, "generation": 2, "rules": [ALWAYS], **properties}


def flag(*segments: str, variation: int = 0, **properties: Any) -> dict[str, Any]:
    """A flag that is true for the members of the segments."""
    rules = [{"clauses": [{"op": "segmentMatch", "values": list(segments)}], "variation": variation}]
    return {"on": True, "variations": [True, False], "fallthrough": {"variation": 1}, "rules": rules, **properties}


def fresh(memberships: Mapping[str, Any] | None = None, **more: Any) -> ScriptedMemberships:
    """A store that was just updated."""
    return ScriptedMemberships(memberships, updated=now_ms(), **more)


@asynccontextmanager
async def running(
    store: ScriptedMemberships, segments: Mapping[str, Any], flags: Mapping[str, Any] | None = None, **options: Any
) -> AsyncGenerator[Client, None]:
    document = {"flags": flags or {"flag": flag("s")}, "segments": dict(segments)}
    async with Client.local(document, Config(big_segments=BigSegments(store=store, **options))) as client:
        yield client


IN, BY_RULE = {"s.g2": True}, {"kind": "RULE_MATCH", "ruleIndex": 0}
OUT, NO_RULE = {"s.g2": False}, {"kind": "FALLTHROUGH"}


@pytest.mark.parametrize("method", ["variation_detail", "flags"])
@pytest.mark.parametrize(
    ("definition", "answer", "value", "reason", "queries"),
    [
        pytest.param(segment(generation=None), IN, False, {**NO_RULE, "status": "NOT_CONFIGURED"}, [], id="EV-E131 no generation"),
        pytest.param(segment(rules=[]), IN, True, {**BY_RULE, "status": "HEALTHY"}, ["user-key"], id="EV-E132 included"),
        pytest.param(segment(), OUT, False, {**NO_RULE, "status": "HEALTHY"}, ["user-key"], id="EV-E132 excluded"),
        pytest.param(segment(rules=[]), {}, False, {**NO_RULE, "status": "HEALTHY"}, ["user-key"], id="EV-E133 an empty mapping"),
        pytest.param(segment(rules=[]), None, False, {**NO_RULE, "status": "HEALTHY"}, ["user-key"], id="EV-E133 null"),
        pytest.param(
            segment(rules=[]),
            {"s.g1": True},
            False,
            {**NO_RULE, "status": "HEALTHY"},
            ["user-key"],
            id="EV-E133 another generation",
        ),
        pytest.param(segment(), {}, True, {**BY_RULE, "status": "HEALTHY"}, ["user-key"], id="EV-E133 the rules decide"),
        pytest.param(
            segment(), OSError("gone"), True, {**BY_RULE, "status": "STORE_ERROR"}, ["user-key"], id="EV-E135 the query fails"
        ),
        pytest.param(
            segment(rules=[], included=["user-key"]),
            {},
            False,
            {**NO_RULE, "status": "HEALTHY"},
            ["user-key"],
            id="EV-E136 lists of the segment are ignored",
        ),
        pytest.param(segment(unboundedContextKind="org"), IN, False, NO_RULE, [], id="EV-E137 an absent kind"),
        pytest.param(
            segment(generation=0, rules=[]),
            {"s.g0": True},
            True,
            {**BY_RULE, "status": "HEALTHY"},
            ["user-key"],
            id="EV-E138 generation 0",
        ),
        pytest.param(
            segment(), ["s.g2"], True, {**BY_RULE, "status": "STORE_ERROR"}, ["user-key"], id="a list instead of a mapping"
        ),
        pytest.param(
            segment(), {"s.g2": 1}, True, {**BY_RULE, "status": "STORE_ERROR"}, ["user-key"], id="a number instead of a boolean"
        ),
        pytest.param(
            segment(), {2: True}, True, {**BY_RULE, "status": "STORE_ERROR"}, ["user-key"], id="a number instead of a name"
        ),
    ],
)
async def test_a_big_segment_has_the_members_of_the_store(
    method: str, definition: Any, answer: Any, value: bool, reason: dict[str, Any], queries: list[str]
) -> None:
    store = fresh({"user-key": answer})
    async with running(store, {"s": definition}) as client:
        if method == "flags":
            detail = (await client.flags(USER)).variation_detail("flag", None)
        else:
            detail = await client.variation_detail("flag", USER, None)
    expected = {("bigSegmentsStatus" if name == "status" else name): value for name, value in reason.items()}
    assert (detail.value, detail.reason.to_dict()) == (value, expected)
    assert store.asked == queries


@pytest.mark.parametrize(
    ("updated", "status"),
    [
        pytest.param(None, "STALE", id="EV-E134 never updated"),
        pytest.param(1, "STALE", id="EV-E134 long ago"),
        pytest.param(OSError("gone"), "STORE_ERROR", id="CS-C22 the poll fails, and memberships still count"),
        pytest.param("yesterday", "STORE_ERROR", id="text instead of a time"),
        pytest.param(True, "STORE_ERROR", id="a boolean instead of a time"),
    ],
)
async def test_the_reason_has_the_status_of_a_store_that_fails_or_is_stale(updated: Any, status: str) -> None:
    store = ScriptedMemberships({"user-key": {"s.g2": True}}, updated=updated)
    async with running(store, {"s": segment(rules=[])}) as client:
        detail = await client.variation_detail("flag", USER, False)
        assert (detail.value, detail.reason.big_segments_status) == (True, BigSegmentsStatus(status))


@pytest.mark.holds("CS-C22")
async def test_a_store_whose_poll_fails_is_not_available_and_not_stale() -> None:
    async with running(ScriptedMemberships(updated=OSError("gone")), {"s": segment()}) as client:
        assert await client.big_segments_status() == StoreStatus(available=False, stale=False)
        assert (await client.variation_detail("flag", USER, False)).reason.big_segments_status is BigSegmentsStatus.STORE_ERROR


@pytest.mark.holds("EV-E139")
async def test_an_error_reason_has_the_status_of_the_store() -> None:
    async with running(fresh({"user-key": IN}), {"s": segment()}, {"flag": flag("s", variation=99)}) as client:
        reason = (await client.variation_detail("flag", USER, None)).reason
    assert reason.to_dict() == {"kind": "ERROR", "errorKind": "MALFORMED_FLAG", "bigSegmentsStatus": "HEALTHY"}


async def test_without_a_store_the_rules_decide_and_the_reason_says_so() -> None:
    async with Client.local({"flags": {"flag": flag("s")}, "segments": {"s": segment()}}) as client:
        detail = await client.variation_detail("flag", USER, False)
        assert await client.big_segments_status() == StoreStatus(available=False, stale=False)
        assert [status async for status in client.big_segments_statuses()] == []
    assert (detail.value, detail.reason.big_segments_status) == (True, BigSegmentsStatus.NOT_CONFIGURED)


# -- queries


SEGMENTS = {
    "s": segment(rules=[]),
    "t": segment(rules=[]),
    "o": segment(rules=[], unboundedContextKind="org"),
    "u": segment(rules=[], unboundedContextKind="user"),
}


@pytest.mark.parametrize(
    ("segments", "memberships", "queries"),
    [
        pytest.param(["s", "t"], {}, ["user-key"], id="one query for each key"),
        pytest.param(["s", "o"], {}, ["user-key", "org-key"], id="one query for each kind"),
        pytest.param(["o", "s"], {}, ["org-key", "user-key"], id="in the order of the flag"),
        pytest.param(["s", "o"], {"user-key": {"s.g2": True}}, ["user-key"], id="no query that is not needed"),
    ],
)
async def test_an_evaluation_queries_the_keys_that_it_needs(
    segments: list[str], memberships: Mapping[str, Any], queries: list[str]
) -> None:
    store = fresh(memberships)
    async with running(store, SEGMENTS, {"flag": flag(*segments)}) as client:
        await client.variation("flag", BOTH, False)
        await client.variation("flag", BOTH, False)
    assert store.asked == queries


async def test_two_kinds_with_the_same_key_are_one_query() -> None:
    store = fresh()
    both = Context.multi(Context("a"), Context("a", "org"))
    async with running(store, SEGMENTS, {"flag": flag("s", "o")}) as client:
        await client.variation("flag", both, False)
    assert store.asked == ["a"]


async def test_a_prerequisite_shares_the_query_of_its_flag() -> None:
    store = fresh({"user-key": {"s.g2": True, "t.g2": True}})
    flags = {"flag": flag("s", prerequisites=[{"key": "first", "variation": 0}]), "first": flag("t")}
    async with running(store, SEGMENTS, flags) as client:
        assert await client.variation("flag", USER, False) is True
    assert store.asked == ["user-key"]


async def test_a_flag_without_big_segments_makes_no_query() -> None:
    store = fresh()
    flags = {"flag": flag("s"), "plain": flag(), "off": {**flag("s"), "on": False, "offVariation": 1}}
    async with running(store, SEGMENTS, flags) as client:
        for key in ("plain", "off", "missing"):
            await client.variation(key, USER, 3)
        with overrides({"flag": True}):
            assert await client.variation("flag", USER, False) is True
    assert store.asked == []


async def test_memberships_expire_from_the_cache() -> None:
    store = fresh({"user-key": {"s.g2": True}})
    async with running(store, SEGMENTS, context_cache_time=0.01) as client:
        assert await client.variation("flag", USER, False) is True
        store.known["user-key"] = {}
        await asyncio.sleep(0.009)
        assert await client.variation("flag", USER, False) is True
        await asyncio.sleep(0.002)
        assert await client.variation("flag", USER, False) is False
    assert store.asked == ["user-key", "user-key"]


async def test_the_cache_drops_the_least_recently_used_context() -> None:
    store = fresh()
    async with running(store, SEGMENTS, context_cache_size=2) as client:
        for key in ("a", "b", "a", "c", "a", "b"):
            await client.variation("flag", Context(key), False)
    assert store.asked == ["a", "b", "c", "b"]


async def test_an_empty_answer_is_cached_and_a_failure_is_not() -> None:
    store = fresh({"a": None, "b": OSError("gone")})
    async with running(store, SEGMENTS) as client:
        for key in ("a", "a", "b", "b"):
            await client.variation("flag", Context(key), False)
    assert store.asked == ["a", "b", "b"]


async def test_concurrent_evaluations_share_one_query() -> None:
    store = fresh({"user-key": {"s.g2": True}}, delay=0.5)
    async with running(store, SEGMENTS) as client:
        answers = await asyncio.gather(*(client.variation("flag", USER, False) for _ in range(100)))
    assert answers == [True] * 100
    assert store.asked == ["user-key"]


async def test_concurrent_evaluations_share_a_failure() -> None:
    store = fresh({"user-key": OSError("gone")}, delay=0.5)
    async with running(store, SEGMENTS) as client:
        began = asyncio.get_running_loop().time()
        details = await asyncio.gather(*(client.variation_detail("flag", USER, False) for _ in range(100)))
        assert asyncio.get_running_loop().time() - began == pytest.approx(0.5)
    assert {detail.reason.big_segments_status for detail in details} == {BigSegmentsStatus.STORE_ERROR}
    assert store.asked == ["user-key"]


async def test_a_cancelled_evaluation_does_not_cancel_the_query_of_others() -> None:
    store = fresh({"user-key": {"s.g2": True}}, delay=0.5)
    async with running(store, SEGMENTS) as client:
        await client.big_segments_status()
        first, second = (asyncio.ensure_future(client.variation("flag", USER, False)) for _ in range(2))
        await asyncio.sleep(0.25)
        first.cancel()
        assert await second is True
        assert first.cancelled()
    assert store.asked == ["user-key", "user-key"]


async def test_after_a_timeout_the_store_is_not_queried_for_a_while(caplog: pytest.LogCaptureFixture) -> None:
    store = fresh({"user-key": {"s.g2": True}})
    loop = asyncio.get_running_loop()
    async with running(store, SEGMENTS, status_poll_interval=3600) as client:
        await client.big_segments_status()
        store.delay = 3600
        waits: list[float] = []
        for _ in range(3):
            began = loop.time()
            detail = await client.variation_detail("flag", USER, False)
            assert (detail.value, detail.reason.big_segments_status) == (False, BigSegmentsStatus.STORE_ERROR)
            waits.append(loop.time() - began)
        store.delay = 0
        await asyncio.sleep(5)
        assert await client.variation("flag", USER, False) is True
    assert waits == [pytest.approx(2), 0, 0]
    assert caplog.text.count("store of big segments failed") == 1


DEVICE = Context("device-key", "device")
THREE = Context.multi(Context("user-key"), Context("org-key", "org"), DEVICE)


@pytest.mark.parametrize("method", ["variation_detail", "flags"])
async def test_an_evaluation_waits_two_seconds_for_all_its_queries(method: str, caplog: pytest.LogCaptureFixture) -> None:
    kinds = ["user", "org", "device"]
    segments = {kind: segment(unboundedContextKind=kind, rules=[]) for kind in kinds}
    store = fresh({f"{kind}-key": {f"{kind}.g2": False} for kind in kinds})
    loop = asyncio.get_running_loop()
    async with running(store, segments, {"flag": flag(*kinds)}, status_poll_interval=3600) as client:
        await client.big_segments_status()
        store.delay, began = 1.9 if method == "variation_detail" else 2.5, loop.time()
        if method == "flags":
            detail = (await client.flags(THREE)).variation_detail("flag", True)
        else:
            detail = await client.variation_detail("flag", THREE, True)
        assert loop.time() - began == pytest.approx(2)
        assert (detail.value, detail.reason.big_segments_status) == (False, BigSegmentsStatus.STORE_ERROR)
        await client.variation("flag", THREE, True)
        assert loop.time() - began == pytest.approx(2)
    assert caplog.text.count("store of big segments failed") == 1


async def test_a_cancelled_query_is_not_a_failure_of_the_store() -> None:
    store = fresh({"user-key": {"s.g2": True}})
    async with running(store, SEGMENTS, status_poll_interval=3600) as client:
        await client.big_segments_status()
        store.delay = 1
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.variation("flag", USER, False), 0.5)
        assert await client.variation("flag", USER, False) is True


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


# -- the status of the store


async def test_the_store_is_polled_at_once_and_then_every_interval() -> None:
    store = fresh()
    async with running(store, SEGMENTS, status_poll_interval=0.01) as client:
        await asyncio.sleep(0.035)
        assert store.polls == 4
        await client.variation("flag", USER, False)
        assert store.polls == 4
    await asyncio.sleep(1)
    assert store.polls == 4


async def test_concurrent_calls_share_the_first_poll() -> None:
    store = fresh(delay=0.2)
    async with running(store, SEGMENTS, status_poll_interval=3600) as client:
        first, second, detail = await asyncio.gather(
            client.big_segments_status(), client.big_segments_status(), client.variation_detail("flag", USER, False)
        )
        assert (first, second) == (HEALTHY, HEALTHY)
        assert detail.reason.big_segments_status is BigSegmentsStatus.HEALTHY
        assert store.polls == 1


async def test_each_change_of_the_status_is_reported_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    store = fresh()
    seen: list[StoreStatus] = []

    async def follow(client: Client) -> None:
        seen.extend([status async for status in client.big_segments_statuses()])

    with caplog.at_level(logging.INFO, logger="aioflags"):
        async with running(store, SEGMENTS) as client:
            following = asyncio.ensure_future(follow(client))
            for failure, updated in ((None, now_ms()), (OSError("gone"), 0), (None, now_ms()), (None, 1), (None, now_ms())):
                store.failure, store.updated = failure, updated
                await asyncio.sleep(10)
        await following
    gone, old = StoreStatus(available=False, stale=False), StoreStatus(available=True, stale=True)
    assert seen == [HEALTHY, gone, HEALTHY, old, HEALTHY]
    lines = [record.getMessage() for record in caplog.records if "big segments" in record.getMessage()]
    assert lines == [
        "the store of big segments does not answer: OSError: gone",
        "the store of big segments is available and up to date again",
        "the store of big segments is stale: it was not updated for 120 s",
        "the store of big segments is available and up to date again",
    ]


@pytest.mark.parametrize(
    ("age", "stale"), [pytest.param(119, False, id="less than stale_after"), pytest.param(121, True, id="more than stale_after")]
)
async def test_a_store_is_stale_after_stale_after(age: int, stale: bool) -> None:
    async with running(ScriptedMemberships(updated=now_ms() - age * 1000), SEGMENTS) as client:
        assert await client.big_segments_status() == StoreStatus(available=True, stale=stale)


# -- life cycle


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
    memberships: Any = client._big_segments
    memberships._wall_ms = None
    async with client:
        await asyncio.sleep(60)
        source.set("f", 2)
        await asyncio.sleep(1)
        assert (await client.variation("f", USER, 0), client.status.status) == (2, "READY")
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
