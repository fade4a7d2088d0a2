"""A client with a store: what it serves, what it writes, and how it handles a store that fails."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Literal

import anyio
import pytest
import redis

from aioflags import Client, Config, ConfigError, DataSystem, Events, Persistence, SourceState, Status, StoreError, StoreStatus
from aioflags.migration import Operation, Origin
from aioflags.model.change import ObjectKind
from aioflags.model.event import MigrationEvent
from aioflags.sources import Fdv1FallbackOptions, FileSource, MemorySource, Polling, Streaming
from aioflags.stores import RedisStore, StoreBuilder, StoreContext, StoredItem
from tests.support.canaries import KEY, secretive
from tests.support.feed import Feed, change, changes, flag_json, full
from tests.support.memory_store import MemoryStore
from tests.support.scripted_http import Answer, Service, payload, poll_of

USER = secretive("user-123")
FLAG, SEGMENT = ObjectKind.FLAG, ObjectKind.SEGMENT
A_MOMENT = 0.01


def put(store: MemoryStore, key: str, value: object, version: int = 1, **rest: object) -> None:
    """Write a flag as another program does."""
    store.items[FLAG][key] = StoredItem(FLAG, key, version, flag_json(key, value, version, **rest))


def holding(*, marker: bool = True, **values: object) -> MemoryStore:
    """A store to which another program has written flags at version 1."""
    store = MemoryStore()
    store.marker = marker
    for key, value in values.items():
        put(store, key, value)
    return store


def kept(store: MemoryStore) -> dict[str, object]:
    """The values of the flags in a store; ``None`` for a deleted flag."""
    flags = {key: json.loads(item.text) for key, item in store.items[FLAG].items()}
    return {key: None if text.get("deleted") else text["variations"][0] for key, text in flags.items()}


def daemon(store: MemoryStore, **options: Any) -> Config:
    return Config(data_system=DataSystem.daemon(store, **options))


def beside(feed: Feed, store: MemoryStore | StoreBuilder, **options: Any) -> Config:
    chosen: dict[str, Any] = {"mode": "read_write", **options}
    persistence = Persistence(store=store, **chosen)
    return Config(start_wait=A_MOMENT, data_system=DataSystem.custom(synchronizers=[feed], persistence=persistence))


@asynccontextmanager
async def started(config: Config) -> AsyncGenerator[Client]:
    async with Client(KEY, config) as client:
        await anyio.sleep(A_MOMENT)
        yield client


# -- without sources


@pytest.mark.holds("DS-132", "CS-C3")
async def test_a_client_without_sources_is_ready_at_once_and_needs_no_marker() -> None:
    began = anyio.current_time()
    async with Client("", daemon(MemoryStore())) as client:
        assert anyio.current_time() == began
        assert client.is_initialized
        assert client.status.status is Status.READY
        assert (await client.variation_detail("a", USER, "")).reason.error_kind == "FLAG_NOT_FOUND"
    async with Client("", daemon(holding(marker=False, a="stored"))) as client:
        assert await client.variation("a", USER, "") == "stored"
        assert client.variation_nowait("a", USER, "") == "stored"
        assert (await client.flags(USER)).variation("a", "") == "stored"
        assert (await client.all_flags_state(USER)).to_values_map() == {"a": "stored"}
        assert (await client.explain("a", USER)).detail.value == "stored"


# -- beside sources whose flags are not persisted


NEVER_WRITTEN = "persistence: nothing will be written to the store"


@pytest.mark.parametrize(
    ("sources", "mode", "warned"),
    [
        pytest.param([MemorySource()], "read_write", True, id="a memory source"),
        pytest.param([FileSource("flags.json"), MemorySource()], "read_write", True, id="a file and a memory source"),
        pytest.param([MemorySource(), Polling()], "read_write", False, id="a memory source and the service"),
        pytest.param([Feed()], "read_write", False, id="a custom source"),
        pytest.param([MemorySource()], "read_only", False, id="a read-only store"),
    ],
)
def test_a_store_that_will_never_be_written_is_logged(
    sources: list[Any], mode: Literal["read_only", "read_write"], warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    persistence = Persistence(store=MemoryStore(), mode=mode)
    Client(KEY, Config(data_system=DataSystem.custom(synchronizers=sources, persistence=persistence)))
    assert (NEVER_WRITTEN in caplog.text) is warned


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
        before = client._holder.snapshot
        await anyio.sleep(10)
        assert client._holder.snapshot is before


async def test_a_store_that_fails_at_the_start_is_read_later() -> None:
    store = holding(a="stored")
    store.fails = OSError("refused")
    async with Client("", daemon(store)) as client:
        assert client.status.status is Status.ERROR
        assert client.status.last_error is not None
        assert client.status.last_error.kind == "STORE_ERROR"
        assert "refused" in client.status.last_error.message
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
        assert client.status.status is Status.READY
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
        assert (client.status.status, client.status.source_state) == (Status.STALE, SourceState.INITIALIZING)
        assert await client.variation("a", USER, "") == "stored"
        feed.say(full(a="streamed"))
        await anyio.sleep(A_MOMENT)
        assert (client.status.status, client.status.source_state) == (Status.READY, SourceState.VALID)
        store.calls.clear()
        put(store, "a", "edited", 100)
        put(store, "c", "edited", 100)
        await anyio.sleep(60)
        assert await client.variation("a", USER, "") == "streamed"
        assert await client.variation("b", USER, "none") == "none"
        assert await client.variation("c", USER, "none") == "none"
        store.items[FLAG].clear()
        store.marker = False
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
        assert client.status.source_state is SourceState.OFF
        assert client.status.status is Status.ERROR
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


# -- writes


@pytest.mark.holds("DS-125")
async def test_a_basis_replaces_what_is_stored_and_sets_the_marker() -> None:
    feed, store = Feed(), holding(marker=False, old="stored")
    feed.say(full(a=1, b=2))
    async with started(beside(feed, store)):
        assert kept(store) == {"a": 1, "b": 2}
        assert store.marker


@pytest.mark.parametrize(
    ("stored", "offered", "remains"),
    [
        pytest.param(1, change("a", "new", 2), "new", id="DS-126 a newer version is written"),
        pytest.param(100, change("a", "new", 2), "edited", id="DS-127 an older version is not"),
        pytest.param(100, change("a", "new", 100), "edited", id="DS-127 the same version is not"),
        pytest.param(100, change("a", "new", 200), "new", id="DS-127 a much newer version is"),
        pytest.param(100, change("a", None, 2), "edited", id="DS-128 an older delete is not"),
        pytest.param(100, change("a", None, 200), None, id="DS-128 a newer delete is"),
    ],
)
async def test_a_change_is_written_by_its_version_and_served_in_any_case(stored: int, offered: Any, remains: object) -> None:
    feed, store = Feed(), MemoryStore()
    feed.say(full(a="old", b="other"))
    async with started(beside(feed, store)) as client:
        put(store, "a", "edited", stored)
        feed.say(changes(offered))
        await anyio.sleep(A_MOMENT)
        assert kept(store) == {"a": remains, "b": "other"}
        assert await client.variation("a", USER, "none") == ("none" if offered.definition is None else "new")


@pytest.mark.holds("DS-129")
async def test_a_store_that_is_only_read_is_not_written() -> None:
    feed, store = Feed(), holding(a="stored")
    async with started(beside(feed, store, mode="read_only")) as client:
        feed.say(full(a="streamed"))
        feed.say(changes(change("a", "changed", 2)))
        await anyio.sleep(60)
        assert await client.variation("a", USER, "") == "changed"
    assert kept(store) == {"a": "stored"}
    assert {"replace", "upsert"} & set(store.calls) == set()


@pytest.mark.holds("DS-138")
async def test_data_of_a_memory_source_are_not_written() -> None:
    store = MemoryStore()
    source = MemorySource({"a": 1})
    config = Config(data_system=DataSystem.custom(synchronizers=[source], persistence=Persistence(store=store, mode="read_write")))
    async with started(config) as client:
        assert await client.variation("a", USER, 0) == 1
        source.update(source.flag("a").value_for_all(2))
        await anyio.sleep(1)
    assert kept(store) == {}
    assert not store.marker


@pytest.mark.holds("DS-136")
async def test_dependencies_are_written_first() -> None:
    feed, store = Feed(), MemoryStore()
    chain = [
        change("a", 1, prerequisites=[{"key": "b", "variation": 0}, {"key": "c", "variation": 0}]),
        change("b", 1, prerequisites=[{"key": "d", "variation": 0}, {"key": "nowhere", "variation": 0}]),
        change("c", 1, prerequisites=[{"key": "d", "variation": 0}]),
        change("d", 1),
        change("s", {}, kind=SEGMENT),
    ]
    feed.say(full(*chain))
    async with started(beside(feed, store)):
        assert store.written == [[(SEGMENT, "s"), (FLAG, "d"), (FLAG, "b"), (FLAG, "c"), (FLAG, "a")]]
        newer = [change(item.key, {}, 2, kind=item.kind) for item in chain[4:]]
        newer += [change("a", 2, 2, prerequisites=[{"key": "b", "variation": 0}]), change("b", 2, 2), change("c", None, 2)]
        feed.say(changes(*newer))
        await anyio.sleep(A_MOMENT)
        assert store.written[1] == [(SEGMENT, "s"), (FLAG, "b"), (FLAG, "a"), (FLAG, "c")]


async def test_flags_with_circular_prerequisites_are_written() -> None:
    feed, store = Feed(), MemoryStore()
    feed.say(full(*(change(key, 1, prerequisites=[{"key": below, "variation": 0}]) for key, below in ("ab", "bc", "ca", "dd"))))
    async with started(beside(feed, store)):
        assert kept(store) == {"a": 1, "b": 1, "c": 1, "d": 1}


async def test_many_changes_while_the_store_is_slow_become_one_write() -> None:
    feed, store = Feed(), MemoryStore()
    feed.say(full(a=0))
    async with started(beside(feed, store)) as client:
        store.delay = 1
        for version in range(2, 502):
            feed.say(changes(change("a", version, version)))
        await anyio.sleep(0.5)
        assert await client.variation("a", USER, 0) == 501
        await anyio.sleep(5)
        assert kept(store) == {"a": 501}
        assert store.calls.count("upsert") <= 3


async def test_too_many_changes_become_one_write_of_everything() -> None:
    feed, store = Feed(), MemoryStore()
    feed.say(full(a=0))
    async with started(beside(feed, store)):
        store.delay = 1
        feed.say(changes(change("a", 1, 2)))
        await anyio.sleep(A_MOMENT)
        for n in range(1500):
            feed.say(changes(change(f"flag-{n}", n)))
        await anyio.sleep(5)
        assert len(kept(store)) == 1501
        assert store.calls[-2:] == ["upsert", "replace"]


# -- FDv1


@pytest.mark.holds("DS-119", "FB-28")
async def test_fdv1_data_are_written() -> None:
    service = Service(poll_of(*payload("f", state="s1")).directed(), _latest_all(f="from fdv1"))
    store = MemoryStore()
    system = DataSystem.custom(
        initializers=[Polling()],
        synchronizers=[Streaming()],
        fdv1_fallback=Fdv1FallbackOptions(),
        persistence=Persistence(store=store, mode="read_write"),
    )
    async with started(Config(http=service.http(), data_system=system)) as client:
        await anyio.sleep(1)
        assert kept(store) == {"f": "from fdv1"}
        assert not client._holder.snapshot.selector.is_defined


@pytest.mark.real_time
@pytest.mark.holds("DS-119", "FB-28")
async def test_fdv1_data_replace_the_data_in_redis(redis_url: str) -> None:
    service = Service(poll_of(*payload("f", "gone", state="s1")).directed(), _latest_all(f="from fdv1", new=1))
    system = DataSystem.custom(
        initializers=[Polling()],
        synchronizers=[Streaming()],
        fdv1_fallback=Fdv1FallbackOptions(),
        persistence=Persistence(store=RedisStore(redis_url), mode="read_write"),
    )
    with redis.Redis.from_url(redis_url) as database:
        database.hset("launchdarkly:features", "left over", flag_json("left over", 1, 99))
        async with Client(KEY, Config(http=service.http(), data_system=system)) as client:
            while not database.hexists("launchdarkly:features", "new"):
                await anyio.sleep(0.01)
            assert not client._holder.snapshot.selector.is_defined
        stored: Any = database.hgetall("launchdarkly:features")
        assert {key: json.loads(text)["variations"][0] for key, text in stored.items()} == {b"f": "from fdv1", b"new": 1}
        assert json.loads(stored[b"f"])["version"] == 9
        assert database.exists("launchdarkly:$inited") == 1
    async with Client("", Config(data_system=DataSystem.daemon(RedisStore(redis_url)))) as restarted:
        assert await restarted.variation("f", USER, "") == "from fdv1"


@pytest.mark.parametrize("trouble", ["fails", "hangs"])
@pytest.mark.holds("DS-120", "FB-33")
async def test_a_store_that_is_no_use_does_not_hinder_the_switch(trouble: str) -> None:
    service = Service(Answer(500).directed(), _latest_all(f="from fdv1"))
    store = MemoryStore()
    store.fails, store.hangs = (OSError("refused"), False) if trouble == "fails" else (None, True)
    persistence = Persistence(store=store, mode="read_write")
    system = DataSystem.custom(synchronizers=[Streaming()], fdv1_fallback=Fdv1FallbackOptions(), persistence=persistence)
    began = anyio.current_time()
    async with Client(KEY, Config(http=service.http(), data_system=system)) as client:
        assert anyio.current_time() - began < 1
        assert await client.variation("f", USER, "") == "from fdv1"
        assert client.status.status is Status.READY


# -- outages


@pytest.mark.holds("DS-135")
async def test_a_store_that_recovers_gets_everything_again() -> None:
    feed, store = Feed(), MemoryStore()
    feed.say(full(a=1, b=1))
    async with started(beside(feed, store)) as client:
        statuses = client.store_statuses()
        assert await anext(statuses) == StoreStatus(available=True, stale=False)
        store.fails = OSError("refused")
        feed.say(changes(change("a", 2, 2)))
        assert await anext(statuses) == StoreStatus(available=False, stale=True)
        assert await client.variation("a", USER, 0) == 2
        assert client.status.status is Status.READY
        feed.say(changes(change("b", None, 2), change("c", 3)))
        store.items[FLAG].clear()
        store.marker = False
        await anyio.sleep(60)
        assert {*store.calls[4:]} == {"is_available"}
        store.fails = None
        assert await anext(statuses) == StoreStatus(available=True, stale=True)
        assert await anext(statuses) == StoreStatus(available=True, stale=False)
        assert kept(store) == {"a": 2, "b": None, "c": 3}
        assert store.marker


async def test_a_store_is_written_half_a_second_after_it_works_again() -> None:
    feed, store = Feed(), MemoryStore()
    feed.say(full(a=1))
    async with started(beside(feed, store)) as client:
        store.fails = OSError("refused")
        feed.say(changes(change("a", 2, 2)))
        await anyio.sleep(30)
        store.fails = None
        came_back = anyio.current_time()
        async for status in client.store_statuses():
            if status == StoreStatus(available=True, stale=False):
                break
        assert anyio.current_time() - came_back <= 0.5
        assert kept(store) == {"a": 2}


async def test_an_outage_and_its_end_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    feed, store = Feed(), MemoryStore()
    async with started(beside(feed, store)):
        feed.say(full(a=1))
        store.fails = OSError("refused\nagain")
        for version in range(2, 20):
            feed.say(changes(change("a", version, version)))
            await anyio.sleep(1)
        store.fails = None
        await anyio.sleep(1)
    assert [record.getMessage() for record in caplog.records if "store" in record.getMessage()] == [
        "the store of flag data failed and is not called until it is available again: OSError: refused\\nagain",
        "the store of flag data is available again",
    ]


async def test_a_store_that_only_claims_to_be_available_is_called_less_often() -> None:
    feed, store = Feed(), MemoryStore()
    feed.say(full(a=1))
    store.fails, store.pretends = OSError("full"), True
    async with started(beside(feed, store)):
        await anyio.sleep(3600)
        assert store.calls.count("replace") <= 3600 / 4 + 3
        store.fails = None
        await anyio.sleep(4 + A_MOMENT)
        assert kept(store) == {"a": 1}


async def test_a_store_that_is_not_needed_any_more_is_not_stale_after_an_outage() -> None:
    feed, store = Feed(), holding(a="stored")
    store.fails = OSError("refused")
    async with started(beside(feed, store, mode="read_only")) as client:
        assert client.store_status == StoreStatus(available=False, stale=True)
        feed.say(full(a="streamed"))
        store.fails = None
        await anyio.sleep(2)
        assert client.store_status == StoreStatus(available=True, stale=False)


async def test_a_store_that_works_again_is_read_before_a_source_has_delivered() -> None:
    store = holding(a="stored")
    store.fails = OSError("refused")
    async with started(beside(Feed(), store, cache_ttl=3600)) as client:
        assert not client.is_initialized
        store.fails = None
        await anyio.sleep(0.6)
        assert await client.variation("a", USER, "") == "stored"


@pytest.mark.parametrize("times", [1, 3, 10])
async def test_after_a_rejected_change_everything_is_written(times: int, caplog: pytest.LogCaptureFixture) -> None:
    """As a Redis store that other clients write to all the time: it is available, but rejects changes."""

    class Contested(MemoryStore):
        left = times

        async def upsert(self, items: Sequence[StoredItem]) -> None:
            self.left -= 1
            if self.left >= 0:
                raise StoreError("it changed 32 times while this client wanted to write")
            await super().upsert(items)

    feed, store = Feed(), Contested()
    feed.say(full(a=1, b=1))
    async with started(beside(feed, store)) as client:
        for version in range(2, 2 + times):
            feed.say(changes(change("a", version, version), change("b", None, version)))
            await anyio.sleep(A_MOMENT)
            assert client.store_status == StoreStatus(available=False, stale=True)
            await anyio.sleep(5)
            assert kept(store) == {"a": version, "b": None}
            assert client.store_status == StoreStatus(available=True, stale=False)
        feed.say(changes(change("c", 1)))
        await anyio.sleep(A_MOMENT)
        assert kept(store)["c"] == 1
        assert client.store_status == StoreStatus(available=True, stale=False)
    assert caplog.text.count("it changed 32 times") == times


# -- life cycle


async def test_closing_writes_pending_changes_and_closes_the_store() -> None:
    feed, store = Feed(), MemoryStore()
    client = Client(KEY, beside(feed, store))
    feed.say(full(a=1))
    await client.start()
    await anyio.sleep(A_MOMENT)
    store.delay = 0.2
    feed.say(changes(change("a", 2, 2)))
    await anyio.sleep(A_MOMENT)
    feed.say(changes(change("a", 3, 3)))
    await anyio.sleep(A_MOMENT)
    await client.aclose()
    assert kept(store) == {"a": 3}
    assert store.is_closed
    assert [status async for status in client.store_statuses()] == [StoreStatus(available=True, stale=False)]
    assert client.variation_nowait("a", USER, 0) == 3


@pytest.mark.parametrize("when", ["reading", "writing", "away"])
async def test_a_store_that_hangs_does_not_delay_closing(when: str) -> None:
    feed, store = Feed(), MemoryStore()
    client = Client(KEY, replace(beside(feed, store), events=Events(send_events=False)))
    if when != "reading":
        feed.say(full(a=1))
        await client.start()
        await anyio.sleep(A_MOMENT)
    store.hangs = True
    feed.say(changes(change("a", 2, 2)))
    await client.start()
    await anyio.sleep(30 if when == "away" else A_MOMENT)
    began = anyio.current_time()
    await client.aclose()
    assert anyio.current_time() - began <= 1


@pytest.mark.parametrize(
    ("closes_after", "warning"),
    [
        pytest.param(0.1, "before everything was written", id="closing takes 0.1 s"),
        pytest.param(3600, "did not close within", id="closing hangs as well"),
    ],
)
async def test_closing_a_store_that_hangs_in_the_last_write(
    closes_after: float, warning: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Slow(MemoryStore):
        async def aclose(self) -> None:
            await anyio.sleep(closes_after)
            await super().aclose()

    feed, store = Feed(), Slow()
    client = Client(KEY, replace(beside(feed, store), events=Events(send_events=False)))
    feed.say(full(a=1))
    await client.start()
    await anyio.sleep(A_MOMENT)
    store.hangs = True
    feed.say(changes(change("a", 2, 2)))
    began = anyio.current_time()
    await anyio.sleep(A_MOMENT)
    await client.aclose()
    assert store.is_closed is (closes_after < 1)
    assert anyio.current_time() - began <= 2
    assert caplog.text.count(warning) == 1
    assert "closing took longer" not in caplog.text


async def test_an_error_of_closing_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    class Sticky(MemoryStore):
        async def aclose(self) -> None:
            raise OSError("stuck")

    async with Client("", daemon(Sticky())):
        pass
    assert "the store of flag data could not be closed: OSError: stuck" in caplog.text


@pytest.mark.parametrize("cache", ["ttl", "off"])
@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(["rubbish"], id="a list"),
        pytest.param({FLAG: ["rubbish"]}, id="lists by kind"),
        pytest.param({FLAG: {"a": b"{}"}}, id="text instead of items"),
        pytest.param({FLAG: {"a": StoredItem(FLAG, "a", 1, 5)}}, id="an item without text"),  # type: ignore[arg-type]  # so it is
    ],
)
async def test_an_answer_of_a_wrong_type_is_a_failure_of_the_store(
    answer: Any, cache: Literal["ttl", "off"], caplog: pytest.LogCaptureFixture
) -> None:
    class WrongAnswers(MemoryStore):
        async def load(self) -> Any:
            return answer

        async def get(self, kind: ObjectKind, key: str) -> Any:
            return answer if isinstance(answer, list) else answer[FLAG]

    feed, store = Feed(), WrongAnswers()
    store.marker = True
    async with started(beside(feed, store, cache=cache, mode="read_only")) as client:
        assert await client.variation("a", USER, "default") == "default"
        feed.say(full(a="streamed"))
        await anyio.sleep(A_MOMENT)
        assert await client.variation("a", USER, "default") == "streamed"
    assert "bug" not in caplog.text
    assert "expected StoredItem" in caplog.text or "is left out" in caplog.text


async def test_the_child_of_a_fork_does_not_call_the_store_of_the_parent() -> None:
    store = holding(a="stored")
    async with Client("", daemon(store, cache="off")) as client:
        assert await client.variation("a", USER, "") == "stored"
        session = client._keeper
        assert session is not None
        store.calls.clear()
        session.after_fork()
        assert await client.variation("a", USER, "") == "stored"
        assert store.calls == []


# -- options


async def test_a_builder_builds_a_store_for_each_client_and_names_its_environment() -> None:
    class Builder:
        def __init__(self) -> None:
            self.environments: list[str] = []
            self.stores: list[MemoryStore] = []

        def build(self, context: StoreContext, /) -> MemoryStore:
            self.environments.append(context.environment)
            self.stores.append(holding(a=1))
            return self.stores[-1]

    builder = Builder()
    config = Config(data_system=DataSystem.daemon(builder))
    for key in ("sdk-one", "sdk-one", "sdk-two"):
        async with Client(key, config) as client:
            assert await client.variation("a", USER, 0) == 1
    first, same, other = builder.environments
    assert first == same != other
    assert "sdk-one" not in first
    assert [store.is_closed for store in builder.stores] == [True, True, True]


class FailingBuilder:
    """A builder that raises, or builds something else than a store, until ``problem`` is ``None``."""

    def __init__(self, problem: object) -> None:
        self.problem = problem
        self.store = holding(a="stored")

    def build(self, context: StoreContext, /) -> Any:
        if isinstance(self.problem, BaseException):
            raise self.problem
        return self.store if self.problem is None else self.problem


failing_builds = pytest.mark.parametrize(
    ("problem", "reason"),
    [
        pytest.param(OSError("no secret mounted"), "could not build it: OSError: no secret mounted", id="raises"),
        pytest.param(KeyError(), "could not build it: KeyError", id="raises without a text"),
        pytest.param("redis", "FailingBuilder.build: str is no store (it has no method initialized)", id="builds something else"),
        pytest.param(asyncio.CancelledError(), "something that it waited for was cancelled", id="raises CancelledError"),
    ],
)


@failing_builds
async def test_a_store_that_cannot_be_built_is_unavailable(problem: object, reason: str, caplog: pytest.LogCaptureFixture) -> None:
    """Flags come from the network, and the store is used as soon as it can be built."""
    feed, builder = Feed(), FailingBuilder(problem)
    async with started(beside(feed, builder)) as client:
        assert client.store_status == StoreStatus(available=False, stale=True)
        feed.say(full(a="streamed"))
        await anyio.sleep(A_MOMENT)
        assert await client.variation("a", USER, "") == "streamed"
        assert client.status.status is Status.READY
        feed.say(changes(change("a", "newer", 2)))
        await anyio.sleep(30)
        assert await client.variation("a", USER, "") == "newer"
        builder.problem = None
        await anyio.sleep(1)
        assert kept(builder.store) == {"a": "newer"}
        assert client.store_status == StoreStatus(available=True, stale=False)
    assert builder.store.is_closed
    assert caplog.text.count("the store of flag data failed") == 1
    assert reason in caplog.text
    assert "bug" not in caplog.text


@failing_builds
async def test_a_client_without_sources_is_ready_when_its_store_can_be_built(problem: object, reason: str) -> None:
    builder = FailingBuilder(problem)
    async with Client("", Config(start_wait=1, data_system=DataSystem.daemon(builder))) as client:
        before = client.status
        assert before.status is Status.ERROR
        assert before.last_error is not None
        assert reason in before.last_error.message
        builder.problem = None
        await anyio.sleep(1)
        assert await client.variation("a", USER, "") == "stored"
        assert client.status.status is Status.READY


async def test_a_store_that_was_never_built_is_not_closed(caplog: pytest.LogCaptureFixture) -> None:
    builder = FailingBuilder(OSError("no secret mounted"))
    async with started(beside(Feed(), builder)):
        pass
    assert not builder.store.is_closed
    assert "could not be closed" not in caplog.text


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        pytest.param({"store": None}, "store: NoneType is no store (it has no method initialized)", id="no store"),
        pytest.param({"store": RedisStore}, "store: RedisStore is a class", id="a class"),
        pytest.param({"mode": "write"}, "mode: expected 'read_only' or 'read_write', got 'write'", id="an unknown mode"),
        pytest.param({"cache": 15}, "cache: expected 'ttl' or 'off' or 'infinite', got 15", id="a cache that is a number"),
        pytest.param({"cache_ttl": "15"}, "cache_ttl: expected int or float, got str", id="a time that is text"),
    ],
)
def test_an_invalid_option_raises(options: dict[str, Any], problem: str) -> None:
    chosen: dict[str, Any] = {"store": MemoryStore(), **options}
    with pytest.raises(ConfigError) as raised:
        Persistence(**chosen)
    assert str(raised.value).startswith(problem)


def test_an_invalid_time_becomes_the_default() -> None:
    assert Persistence(store=MemoryStore(), cache_ttl=0).cache_ttl == 15


def test_the_named_configurations() -> None:
    store = MemoryStore()
    assert DataSystem.daemon(store) == DataSystem(persistence=Persistence(store=store, mode="read_only"))
    kept_up = DataSystem.persistent_store(store)
    assert kept_up.persistence == Persistence(store=store, mode="read_write")
    assert (kept_up.initializers, kept_up.synchronizers) == (DataSystem.default().initializers, DataSystem.default().synchronizers)


def _latest_all(**values: object) -> Answer:
    flags = {key: json.loads(flag_json(key, value, 9)) for key, value in values.items()}
    return Answer(200, {}, [json.dumps({"flags": flags}).encode()])
