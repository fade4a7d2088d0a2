"""BigSegmentLookup: members of a segment, reasons of evaluations, the queries that they make, and the status of the store."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

import pytest

from aioflags import BigSegmentsStatus, Client, Context, StoreStatus
from aioflags.runtime.clock import now_ms
from aioflags.testing import overrides
from tests.persistence.segment_clients import BOTH, BY_RULE, IN, SEGMENTS, USER, flag, fresh, running, segment
from tests.support.scripted_memberships import ScriptedMemberships

HEALTHY = StoreStatus(available=True, stale=False)
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


# -- queries


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
