"""A client with a store: what it serves before a source has delivered, and without sources."""

from __future__ import annotations

import json
from typing import Literal

import anyio
import pytest

from aioflags import Client, Config, ConfigError, DataSystem, SourceState, Status, StoreStatus
from aioflags.migration import Operation, Origin
from aioflags.model.event import MigrationEvent
from aioflags.stores import StoredItem
from tests.support.feed import Feed, change, changes, flag_json, full
from tests.support.memory_store import MemoryStore
from tests.support.store_clients import A_MOMENT, FLAG, SEGMENT, USER, beside, daemon, holding, put, started

# -- without sources


@pytest.mark.holds("DS-132", "CS-C3")
async def test_a_client_without_sources_is_ready_at_once_and_needs_no_marker() -> None:
    began = anyio.current_time()
    async with Client("", daemon(MemoryStore())) as client:
        assert anyio.current_time() == began
        assert client.is_initialized
        assert client.status is Status.READY
        assert (await client.variation_detail("a", USER, "")).reason.error_kind == "FLAG_NOT_FOUND"
    async with Client("", daemon(holding(marker=False, a="stored"))) as client:
        assert await client.variation("a", USER, "") == "stored"
        assert client.variation_nowait("a", USER, "") == "stored"
        assert (await client.flags(USER)).variation("a", "") == "stored"
        assert (await client.all_flags_state(USER)).to_values_map() == {"a": "stored"}
        assert (await client.explain("a", USER)).detail.value == "stored"


@pytest.mark.parametrize(
    ("cache", "unchanged", "changed"),
    [
        pytest.param("off", None, 0.0, id="DS-132 cache off: at once"),
        pytest.param("ttl", 0.9, 1.1, id="cache ttl: after its time"),
        pytest.param("infinite", 3600, None, id="cache infinite: never"),
    ],
)
async def test_a_change_in_the_store_is_served(cache: str, unchanged: float | None, changed: float | None) -> None:
    store = holding(marker=False, a="old")
    async with Client("", daemon(store, cache=cache, cache_ttl=1)) as client:
        assert await client.variation("a", USER, "") == "old"
        put(store, "a", "new", 2)
        put(store, "b", "new")
        if unchanged is not None:
            await anyio.sleep(unchanged)
            assert await client.variation("a", USER, "") == "old"
            assert await client.variation("b", USER, "") == ""
        if changed is not None:
            await anyio.sleep(changed - (unchanged or 0))
            assert await client.variation("a", USER, "") == "new"
            assert await client.variation("b", USER, "") == "new"
            assert (await client.flags(USER)).all() == {"a": "new", "b": "new"}


@pytest.mark.parametrize("cache", ["ttl", "infinite"])
async def test_a_store_that_was_empty_is_read_again_by_the_first_call(cache: str) -> None:
    store = holding(marker=False)
    async with Client("", daemon(store, cache=cache, cache_ttl=3600)) as client:
        await anyio.sleep(1)
        assert client.variation_nowait("a", USER, "") == ""
        put(store, "a", "first")
        values: list[str] = []

        async def ask() -> None:
            values.append(await client.variation("a", USER, ""))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            tasks.start_soon(ask)
        assert values == ["first", "first"]
        put(store, "a", "second", 2)
        assert await client.variation("a", USER, "") == "first"
        assert store.calls.count("load") <= 3


@pytest.mark.parametrize("cache", ["ttl", "infinite"])
async def test_an_empty_store_is_cached_after_the_first_call(cache: str) -> None:
    store = holding(marker=False)
    async with Client("", daemon(store, cache=cache, cache_ttl=3600)) as client:
        assert await client.variation("a", USER, "") == ""
        put(store, "a", "late")
        assert await client.variation("a", USER, "") == ""
        assert store.calls.count("load") == 2


async def test_changes_in_the_store_reach_followers() -> None:
    store = holding(a="old")
    async with Client("", daemon(store, cache_ttl=1)) as client:
        with client.changes("a", USER) as seen:
            put(store, "a", "new", 2)
            flag_change = await anext(seen)
            assert (flag_change.old_value, flag_change.new_value) == ("old", "new")


async def test_unchanged_data_are_not_published_again() -> None:
    async with Client("", daemon(holding(a=1), cache_ttl=1)) as client:
        before = client._core.holder.snapshot
        await anyio.sleep(10)
        assert client._core.holder.snapshot is before


async def test_a_store_that_fails_at_the_start_is_read_later() -> None:
    store = holding(a="stored")
    store.fails = OSError("refused")
    async with Client("", daemon(store)) as client:
        assert client.status is Status.ERROR
        assert client.report.last_error is not None
        assert client.report.last_error.kind == "STORE_ERROR"
        assert "refused" in client.report.last_error.message
        assert (await client.variation_detail("a", USER, "default")).reason.error_kind == "CLIENT_NOT_READY"
        assert client.store_status == StoreStatus(available=False, stale=True)
        store.fails = None
        await client.wait_ready(timeout=1)
        assert await client.variation("a", USER, "default") == "stored"
        assert client.store_status == StoreStatus(available=True, stale=False)


async def test_after_a_start_that_does_not_wait_the_first_call_waits() -> None:
    async with Client("", Config(start_wait=0, data_system=DataSystem.daemon(holding(a="stored")))) as client:
        assert client.variation_nowait("a", USER, "") == ""
        assert await client.variation("a", USER, "") == "stored"


async def test_an_offline_client_does_not_call_the_store() -> None:
    store = holding(a="stored")
    async with Client("", Config(offline=True, data_system=DataSystem.daemon(store))) as client:
        assert await client.variation("a", USER, "default") == "default"
        assert client.store_status is None
        assert [status async for status in client.store_statuses()] == []
    assert store.calls == []


# -- a store that is emptied while it is read


@pytest.mark.parametrize("cache", ["ttl", "off"])
@pytest.mark.parametrize("rest", [pytest.param({}, id="empty"), pytest.param({"a": "half"}, id="half-filled")])
@pytest.mark.parametrize("has_sources", [pytest.param(False, id="without sources"), pytest.param(True, id="before a source")])
@pytest.mark.holds("DS-131", "DS-132")
async def test_a_store_that_loses_its_marker_is_not_read_until_it_is_back(
    cache: str, rest: dict[str, str], has_sources: bool, caplog: pytest.LogCaptureFixture
) -> None:
    store = holding(a="old", b="old")
    config = beside(Feed(), store, cache=cache, cache_ttl=1) if has_sources else daemon(store, cache=cache, cache_ttl=1)
    async with started(config) as client:
        assert await client.variation("a", USER, "") == "old"
        store.empty()
        for key, value in rest.items():
            put(store, key, value, 2)
        for _ in range(3):
            # Without the cache a flag that is stored is read: it has all that it depends on.
            assert await client.variation("b", USER, "") == "old"
            assert client.variation_nowait("a", USER, "") == "old"
            assert (await client.flags(USER)).all() == {"a": "old", "b": "old"}
            await anyio.sleep(10)
        assert client.store_status is not None
        assert client.store_status.stale
        assert client.status is (Status.STALE if has_sources else Status.READY)
        assert caplog.text.count("lost the marker") == 1
        put(store, "a", "new", 3)
        put(store, "b", "new", 3)
        store.marker = True
        await anyio.sleep(5)
        assert (await client.flags(USER)).all() == {"a": "new", "b": "new"}
        assert client.store_status == StoreStatus(available=True, stale=False)


@pytest.mark.parametrize("cache", ["ttl", "off"])
async def test_a_store_with_its_marker_may_become_empty(cache: str) -> None:
    store = holding(a="old")
    async with Client("", daemon(store, cache=cache, cache_ttl=1)) as client:
        store.items[FLAG].clear()
        await anyio.sleep(1 + A_MOMENT)
        assert await client.variation("a", USER, "none") == "none"
        assert (await client.flags(USER)).all() == {}
        assert client.store_status == StoreStatus(available=True, stale=False)


async def test_without_a_cache_the_marker_is_read_only_if_an_item_is_missing() -> None:
    store = holding(a="stored")
    async with Client("", daemon(store, cache="off")) as client:
        store.calls.clear()
        assert await client.variation("a", USER, "") == "stored"
        assert store.calls == ["get"]
        assert await client.variation("b", USER, "none") == "none"
        assert store.calls == ["get", "get", "initialized"]


# -- with the cache off


async def test_without_a_cache_a_call_reads_the_flag_and_its_dependencies() -> None:
    store = MemoryStore()
    clause = {"attribute": "", "op": "segmentMatch", "values": ["s"]}
    put(store, "top", "top", prerequisites=[{"key": "below", "variation": 0}])
    put(store, "below", "below", rules=[{"clauses": [clause], "variation": 0}])
    put(store, "other", "other")
    store.items[SEGMENT]["s"] = StoredItem(SEGMENT, "s", 1, b'{"key":"s","version":1,"included":["user-123"]}')
    async with Client("", daemon(store, cache="off")) as client:
        store.calls.clear()
        detail = await client.variation_detail("top", USER, "")
        assert (detail.value, store.calls) == ("top", ["get", "get", "get"])
        assert (await client.variation_detail("below", USER, "")).reason.kind == "RULE_MATCH"
        store.items[SEGMENT].clear()
        assert (await client.variation_detail("below", USER, "")).reason.kind == "FALLTHROUGH"


async def test_without_a_cache_a_migration_reads_its_stage_from_the_store() -> None:
    store = holding(move="off")
    async with Client("", daemon(store, cache="off")) as client:
        put(store, "move", "live", 2)
        stage, tracker = await client.migration_variation("move", USER, "off")
        tracker.operation(Operation.WRITE)
        tracker.invoked(Origin.NEW)
        event = tracker.event()
        assert stage == await client.variation("move", USER, "") == "live"
    assert isinstance(event, MigrationEvent)
    assert event.version == 2


async def test_without_a_cache_calls_that_do_not_wait_use_the_last_read() -> None:
    store = holding(a="old")
    async with Client("", daemon(store, cache="off", cache_ttl=15)) as client:
        put(store, "a", "new", 2)
        assert client.variation_nowait("a", USER, "") == "old"
        assert await client.variation("a", USER, "") == "new"
        await anyio.sleep(15 + A_MOMENT)
        assert client.variation_nowait("a", USER, "") == "new"


async def test_concurrent_calls_for_all_flags_share_a_read() -> None:
    store = holding(a="old")
    async with Client("", daemon(store, cache="off")) as client:
        store.calls.clear()
        put(store, "a", "new", 2)
        async with anyio.create_task_group() as callers:
            for _ in range(100):
                callers.start_soon(client.flags, USER)
        assert store.calls.count("load") <= 2
        assert (await client.flags(USER)).all() == {"a": "new"}


@pytest.mark.parametrize("key", ["\ud800", "", "no-such-flag"])
async def test_a_key_that_cannot_be_stored_is_an_unknown_flag(key: str) -> None:
    async with Client("", daemon(holding(a=1), cache="off")) as client:
        assert (await client.variation_detail(key, USER, 0)).reason.error_kind == "FLAG_NOT_FOUND"
        assert client.store_status == StoreStatus(available=True, stale=False)


async def test_a_key_that_is_not_a_string_raises_without_a_cache() -> None:
    async with Client("", daemon(holding(a=1), cache="off")) as client:
        with pytest.raises(ConfigError, match="key: expected a string"):
            await client.variation(5, USER, 0)  # type: ignore[call-overload]  # a program that no type checker has seen


async def test_the_last_data_are_served_when_the_store_fails() -> None:
    store = holding(a="stored")
    async with Client("", daemon(store, cache="off")) as client:
        store.hangs = True
        began = anyio.current_time()
        assert await client.variation("a", USER, "") == "stored"
        assert anyio.current_time() - began == pytest.approx(2)
        assert await client.variation("a", USER, "") == "stored"
        assert anyio.current_time() - began == pytest.approx(2)
        assert client.status is Status.READY
        store.hangs = False
        put(store, "a", "new", 2)
        await anyio.sleep(3)
        assert await client.variation("a", USER, "") == "new"
        assert client.variation_nowait("a", USER, "") == "new"


# -- before a source has delivered


@pytest.mark.parametrize("mode", ["read_only", "read_write"])
@pytest.mark.parametrize("cache", ["ttl", "off", "infinite"])
@pytest.mark.holds("DS-130")
async def test_the_store_serves_until_a_source_has_delivered(
    mode: Literal["read_only", "read_write"], cache: Literal["ttl", "off", "infinite"]
) -> None:
    feed, store = Feed(), holding(a="stored", b="stored")
    async with started(beside(feed, store, mode=mode, cache=cache, cache_ttl=1)) as client:
        assert client.is_initialized
        assert (client.status, client.report.source_state) == (Status.STALE, SourceState.INITIALIZING)
        assert await client.variation("a", USER, "") == "stored"
        feed.say(full(a="streamed"))
        await anyio.sleep(A_MOMENT)
        assert (client.status, client.report.source_state) == (Status.READY, SourceState.VALID)
        store.calls.clear()
        put(store, "a", "edited", 100)
        put(store, "c", "edited", 100)
        await anyio.sleep(60)
        assert await client.variation("a", USER, "") == "streamed"
        assert await client.variation("b", USER, "none") == "none"
        assert await client.variation("c", USER, "none") == "none"
        store.empty()
        await anyio.sleep(60)
        assert (await client.flags(USER)).all() == {"a": "streamed"}
        # A store that is written is asked for its marker, and written again if it has none. Its flags are not read.
        assert set(store.calls) == ({"initialized", "replace"} if mode == "read_write" else set())


@pytest.mark.parametrize(
    ("cache", "unseen", "seen"),
    [
        pytest.param("off", None, 0.0, id="without a cache"),
        pytest.param("ttl", 0.5, 1.25, id="with one that lasts a second"),
        pytest.param("infinite", 3600, None, id="with one for ever"),
    ],
)
@pytest.mark.holds("DS-131")
async def test_without_its_marker_the_store_is_not_there(cache: str, unseen: float | None, seen: float | None) -> None:
    store = holding(marker=False, a="stored")
    async with started(beside(Feed(), store, cache=cache, cache_ttl=1)) as client:
        assert not client.is_initialized
        assert (await client.variation_detail("a", USER, "default")).reason.error_kind == "CLIENT_NOT_READY"
        store.marker = True
        if unseen is not None:
            await anyio.sleep(unseen - 0.05)
            assert await client.variation("a", USER, "default") == "default"
        if seen is not None:
            await anyio.sleep(seen - (unseen or 0))
            assert await client.variation("a", USER, "default") == "stored"


async def test_the_store_serves_although_every_source_was_refused_before_it_was_read() -> None:
    feed, store = Feed(), holding(a="stored")
    feed.say(state=SourceState.OFF)
    async with started(beside(feed, store)) as client:
        assert client.report.source_state is SourceState.OFF
        assert client.status is Status.ERROR
        assert await client.variation("a", USER, "") == "stored"


async def test_a_partial_change_set_does_not_replace_the_store() -> None:
    feed, store = Feed(), holding(a="stored")
    async with started(beside(feed, store, mode="read_only", cache_ttl=1)) as client:
        feed.say(changes(change("b", "streamed")))
        await anyio.sleep(2)
        assert await client.variation("a", USER, "") == "stored"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b'{"version":2,"deleted":true}', id="bare"),
        pytest.param(b'{"key":"gone","version":2,"deleted":true}', id="with its key"),
        pytest.param(flag_json("$deleted", "value", 2, deleted=True), id="a whole flag"),
        pytest.param(b'{"version":2,"on":"yes"}', id="a flag that cannot be read"),
    ],
)
@pytest.mark.holds("DS-134")
async def test_a_tombstone_of_any_shape_is_an_unknown_flag(text: bytes, caplog: pytest.LogCaptureFixture) -> None:
    store = holding(a="stored")
    store.items[FLAG]["gone"] = StoredItem(FLAG, "gone", 2, text)
    for cache in ("ttl", "off"):
        async with Client("", daemon(store, cache=cache)) as client:
            assert (await client.variation_detail("gone", USER, "")).reason.error_kind == "FLAG_NOT_FOUND"
            assert (await client.all_flags_state(USER)).to_values_map() == {"a": "stored"}
    assert ("is left out" in caplog.text) == (b"yes" in text)


@pytest.mark.parametrize("key", ["s", "$deleted"])
@pytest.mark.holds("DS-134")
async def test_a_deleted_segment_matches_nothing(key: str) -> None:
    store = MemoryStore()
    rule = {"clauses": [{"attribute": "", "op": "segmentMatch", "values": ["s"]}], "variation": 0}
    put(store, "a", 1, rules=[rule])
    text = {"key": key, "version": 2, "deleted": True, "included": ["user-123"]}
    store.items[SEGMENT]["s"] = StoredItem(SEGMENT, "s", 2, json.dumps(text).encode())
    async with Client("", daemon(store)) as client:
        assert (await client.variation_detail("a", USER, 0)).reason.kind == "FALLTHROUGH"
