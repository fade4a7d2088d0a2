"""BigSegmentLookup: which queries an evaluation makes, how they are shared and cached, and their time limits."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from aioflags import BigSegmentsStatus, Context
from aioflags.testing import overrides
from tests.persistence.segment_clients import BOTH, SEGMENTS, USER, flag, fresh, running, segment


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
