"""A client with a store: what it serves, what it writes, and what becomes of it when the store fails."""

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
    """Somebody else writes a flag."""
    store.items[FLAG][key] = StoredItem(FLAG, key, version, flag_json(key, value, version, **rest))


def holding(*, marker: bool = True, **values: object) -> MemoryStore:
    """A store to which somebody else has written flags at version 1."""
    store = MemoryStore()
    store.marker = marker
    for key, value in values.items():
        put(store, key, value)
    return store


def kept(store: MemoryStore) -> dict[str, object]:
    """What the flags in a store serve; ``None`` for one that was deleted."""
    found = {key: json.loads(item.text) for key, item in store.items[FLAG].items()}
    return {key: None if text.get("deleted") else text["variations"][0] for key, text in found.items()}


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
        pytest.param([MemorySource(), Polling()], "read_write", False, id="one of two that is the service"),
        pytest.param([Feed()], "read_write", False, id="a source of a program's own"),
        pytest.param([MemorySource()], "read_only", False, id="a store that is only read"),
    ],
)
def test_a_store_that_nothing_will_be_written_to_is_warned_of(
    sources: list[Any], mode: Literal["read_only", "read_write"], warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    persistence = Persistence(store=MemoryStore(), mode=mode)
    Client(KEY, Config(data_system=DataSystem.custom(synchronizers=sources, persistence=persistence)))
    assert (NEVER_WRITTEN in caplog.text) is warned


@pytest.mark.parametrize(
    ("cache", "unchanged", "changed"),
    [
        pytest.param("off", None, 0.0, id="DS-132 without a cache at once"),
        pytest.param("ttl", 0.9, 1.1, id="with one when its time is over"),
        pytest.param("infinite", 3600, None, id="with one for ever never"),
    ],
)
async def test_a_change_in_the_store_shows(cache: str, unchanged: float | None, changed: float | None) -> None:
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
async def test_a_store_that_was_empty_before_anybody_asked_is_read_again_for_the_first_who_do(cache: str) -> None:
    store = holding(marker=False)
    async with Client("", daemon(store, cache=cache, cache_ttl=3600)) as client:
        await anyio.sleep(1)
        assert client.variation_nowait("a", USER, "") == ""
        put(store, "a", "first")
        found: list[str] = []

        async def ask() -> None:
            found.append(await client.variation("a", USER, ""))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            tasks.start_soon(ask)
        assert found == ["first", "first"]
        put(store, "a", "second", 2)
        assert await client.variation("a", USER, "") == "first"
        assert store.calls.count("load") <= 3


@pytest.mark.parametrize("cache", ["ttl", "infinite"])
async def test_that_it_was_empty_is_kept_once_somebody_has_asked(cache: str) -> None:
    store = holding(marker=False)
    async with Client("", daemon(store, cache=cache, cache_ttl=3600)) as client:
        assert await client.variation("a", USER, "") == ""
        put(store, "a", "late")
        assert await client.variation("a", USER, "") == ""
        assert store.calls.count("load") == 2


async def test_who_follows_changes_hears_of_those_in_the_store() -> None:
    store = holding(a="old")
    async with Client("", daemon(store, cache_ttl=1)) as client:
        with client.changes("a", USER) as seen:
            put(store, "a", "new", 2)
            found = await anext(seen)
            assert (found.old_value, found.new_value) == ("old", "new")


async def test_data_that_are_the_same_are_published_once() -> None:
    async with Client("", daemon(holding(a=1), cache_ttl=1)) as client:
        before = client._holder.snapshot
        await anyio.sleep(10)
        assert client._holder.snapshot is before


async def test_a_store_that_is_away_at_the_start_is_waited_for_and_comes_later() -> None:
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


async def test_a_start_that_does_not_wait_lets_the_first_call_wait() -> None:
    async with Client("", Config(start_wait=0, data_system=DataSystem.daemon(holding(a="stored")))) as client:
        assert client.variation_nowait("a", USER, "") == ""
        assert await client.variation("a", USER, "") == "stored"


async def test_an_offline_client_leaves_the_store_alone() -> None:
    store = holding(a="stored")
    async with Client("", Config(offline=True, data_system=DataSystem.daemon(store))) as client:
        assert await client.variation("a", USER, "default") == "default"
        assert client.store_status is None
        assert [status async for status in client.store_statuses()] == []
    assert store.calls == []


# -- with the cache off


async def test_without_a_cache_a_call_reads_the_flag_and_what_it_stands_on() -> None:
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


async def test_without_a_cache_a_migration_goes_by_the_stage_that_the_store_has_now() -> None:
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


async def test_without_a_cache_calls_that_do_not_wait_answer_from_the_last_reading() -> None:
    store = holding(a="old")
    async with Client("", daemon(store, cache="off", cache_ttl=15)) as client:
        put(store, "a", "new", 2)
        assert client.variation_nowait("a", USER, "") == "old"
        assert await client.variation("a", USER, "") == "new"
        await anyio.sleep(15 + A_MOMENT)
        assert client.variation_nowait("a", USER, "") == "new"


async def test_calls_for_all_flags_at_the_same_time_share_a_reading() -> None:
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
async def test_a_key_that_no_store_can_have_is_an_unknown_flag(key: str) -> None:
    async with Client("", daemon(holding(a=1), cache="off")) as client:
        assert (await client.variation_detail(key, USER, 0)).reason.error_kind == "FLAG_NOT_FOUND"
        assert client.store_status == StoreStatus(available=True, stale=False)


async def test_what_is_no_key_is_a_mistake_whatever_the_cache() -> None:
    async with Client("", daemon(holding(a=1), cache="off")) as client:
        with pytest.raises(ConfigError, match="key: expected a string"):
            await client.variation(5, USER, 0)  # type: ignore[call-overload]  # a program that no type checker has seen


async def test_a_store_that_goes_away_leaves_the_last_data() -> None:
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
async def test_the_store_serves_until_a_source_has_delivered_and_never_again(
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
        # One that is written is asked whether it has everything, and filled if it has not. What is in it is no matter.
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


async def test_a_part_of_the_data_does_not_end_the_time_of_the_store() -> None:
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


# -- what is written


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
        pytest.param(1, change("a", "new", 2), "new", id="DS-126 a newer one is written"),
        pytest.param(100, change("a", "new", 2), "edited", id="DS-127 an older one is not"),
        pytest.param(100, change("a", "new", 100), "edited", id="DS-127 nor the same version"),
        pytest.param(100, change("a", "new", 200), "new", id="DS-127 only a newer one"),
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
async def test_data_that_are_not_the_services_are_not_written() -> None:
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
async def test_what_others_stand_on_is_written_first() -> None:
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
        newer = [change(one.key, {}, 2, kind=one.kind) for one in chain[4:]]
        newer += [change("a", 2, 2, prerequisites=[{"key": "b", "variation": 0}]), change("b", 2, 2), change("c", None, 2)]
        feed.say(changes(*newer))
        await anyio.sleep(A_MOMENT)
        assert store.written[1] == [(SEGMENT, "s"), (FLAG, "b"), (FLAG, "a"), (FLAG, "c")]


async def test_flags_that_stand_on_each_other_in_a_circle_are_written_all_the_same() -> None:
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


async def test_changes_without_end_become_one_write_of_everything() -> None:
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
async def test_fdv1_data_are_written_like_others() -> None:
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
async def test_fdv1_data_take_the_place_of_what_was_in_redis(redis_url: str) -> None:
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


async def test_it_is_full_again_half_a_second_after_it_came_back() -> None:
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


async def test_an_outage_is_said_once_and_its_end_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    feed, store = Feed(), MemoryStore()
    async with started(beside(feed, store)):
        feed.say(full(a=1))
        store.fails = OSError("refused\nby nobody")
        for version in range(2, 20):
            feed.say(changes(change("a", version, version)))
            await anyio.sleep(1)
        store.fails = None
        await anyio.sleep(1)
    assert [record.getMessage() for record in caplog.records if "store" in record.getMessage()] == [
        "the store of flag data failed and is not called until it is available again: OSError: refused\\nby nobody",
        "the store of flag data is available again",
    ]


async def test_a_store_that_says_that_it_is_back_and_is_not_is_asked_less_and_less_often() -> None:
    feed, store = Feed(), MemoryStore()
    feed.say(full(a=1))
    store.fails, store.pretends = OSError("full"), True
    async with started(beside(feed, store)):
        await anyio.sleep(3600)
        assert store.calls.count("replace") <= 3600 / 4 + 3
        store.fails = None
        await anyio.sleep(4 + A_MOMENT)
        assert kept(store) == {"a": 1}


async def test_an_outage_that_ends_when_the_store_is_not_needed_any_more_leaves_nothing_stale() -> None:
    feed, store = Feed(), holding(a="stored")
    store.fails = OSError("refused")
    async with started(beside(feed, store, mode="read_only")) as client:
        assert client.store_status == StoreStatus(available=False, stale=True)
        feed.say(full(a="streamed"))
        store.fails = None
        await anyio.sleep(2)
        assert client.store_status == StoreStatus(available=True, stale=False)


async def test_a_store_that_comes_back_before_a_source_has_delivered_is_read_at_once() -> None:
    store = holding(a="stored")
    store.fails = OSError("refused")
    async with started(beside(Feed(), store, cache_ttl=3600)) as client:
        assert not client.is_initialized
        store.fails = None
        await anyio.sleep(0.6)
        assert await client.variation("a", USER, "") == "stored"


@pytest.mark.parametrize("times", [1, 3, 10])
async def test_changes_that_others_were_too_fast_for_are_written_with_everything_else(
    times: int, caplog: pytest.LogCaptureFixture
) -> None:
    """As in a Redis that others write to without a pause: it is there, and gives up on changes alone."""

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


# -- life


async def test_closing_writes_what_waits_and_closes_the_store() -> None:
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
async def test_a_store_that_hangs_does_not_hold_up_closing(when: str) -> None:
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
    ("closes_after", "says"),
    [
        pytest.param(0.1, "before everything was written", id="is closed, which takes a while"),
        pytest.param(3600, "did not close within", id="is given up where closing hangs, too"),
    ],
)
async def test_a_store_that_hangs_over_the_last_write(closes_after: float, says: str, caplog: pytest.LogCaptureFixture) -> None:
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
    assert caplog.text.count(says) == 1
    assert "closing took longer" not in caplog.text


async def test_an_error_at_the_very_end_is_a_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    class Sticky(MemoryStore):
        async def aclose(self) -> None:
            raise OSError("stuck")

    async with Client("", daemon(Sticky())):
        pass
    assert "the store of flag data could not be closed: OSError: stuck" in caplog.text


@pytest.mark.parametrize("cache", ["ttl", "off"])
@pytest.mark.parametrize(
    "rubbish",
    [
        pytest.param(["rubbish"], id="a list"),
        pytest.param({FLAG: ["rubbish"]}, id="lists by kind"),
        pytest.param({FLAG: {"a": b"{}"}}, id="text instead of items"),
        pytest.param({FLAG: {"a": StoredItem(FLAG, "a", 1, 5)}}, id="an item without text"),  # type: ignore[arg-type]  # so it is
    ],
)
async def test_a_store_that_answers_rubbish_costs_nobody_anything(
    rubbish: Any, cache: Literal["ttl", "off"], caplog: pytest.LogCaptureFixture
) -> None:
    class Rubbish(MemoryStore):
        async def load(self) -> Any:
            return rubbish

        async def get(self, kind: ObjectKind, key: str) -> Any:
            return rubbish if isinstance(rubbish, list) else rubbish[FLAG]

    feed, store = Feed(), Rubbish()
    store.marker = True
    async with started(beside(feed, store, cache=cache, mode="read_only")) as client:
        assert await client.variation("a", USER, "default") == "default"
        feed.say(full(a="streamed"))
        await anyio.sleep(A_MOMENT)
        assert await client.variation("a", USER, "default") == "streamed"
    assert "bug" not in caplog.text
    assert "expected StoredItem" in caplog.text or "is left out" in caplog.text


async def test_the_child_of_a_fork_leaves_the_store_of_its_parent_alone() -> None:
    store = holding(a="stored")
    async with Client("", daemon(store, cache="off")) as client:
        assert await client.variation("a", USER, "") == "stored"
        keeper = client._keeper
        assert keeper is not None
        store.calls.clear()
        keeper.after_fork()
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


class Unlucky:
    """A builder that raises, or builds what is no store, until ``problem`` is ``None``."""

    def __init__(self, problem: object) -> None:
        self.problem = problem
        self.store = holding(a="stored")

    def build(self, context: StoreContext, /) -> Any:
        if isinstance(self.problem, BaseException):
            raise self.problem
        return self.store if self.problem is None else self.problem


unlucky = pytest.mark.parametrize(
    ("problem", "says"),
    [
        pytest.param(OSError("no secret mounted"), "could not build it: OSError: no secret mounted", id="raises"),
        pytest.param(KeyError(), "could not build it: KeyError", id="raises without words"),
        pytest.param("redis", "Unlucky.build: str is no store (it has no method initialized)", id="builds something else"),
        pytest.param(asyncio.CancelledError(), "something that it waited for was cancelled", id="is cancelled by nobody"),
    ],
)


@unlucky
async def test_a_store_that_cannot_be_built_is_one_that_is_away(
    problem: object, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Flags come from the network all the same; as soon as it can be built it is used."""
    feed, builder = Feed(), Unlucky(problem)
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
    assert says in caplog.text
    assert "bug" not in caplog.text


@unlucky
async def test_a_client_that_has_nothing_else_is_ready_as_soon_as_it_can_be_built(problem: object, says: str) -> None:
    builder = Unlucky(problem)
    async with Client("", Config(start_wait=1, data_system=DataSystem.daemon(builder))) as client:
        before = client.status
        assert before.status is Status.ERROR
        assert before.last_error is not None
        assert says in before.last_error.message
        builder.problem = None
        await anyio.sleep(1)
        assert await client.variation("a", USER, "") == "stored"
        assert client.status.status is Status.READY


async def test_a_store_that_could_never_be_built_is_not_closed_either(caplog: pytest.LogCaptureFixture) -> None:
    builder = Unlucky(OSError("no secret mounted"))
    async with started(beside(Feed(), builder)):
        pass
    assert not builder.store.is_closed
    assert "could not be closed" not in caplog.text


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        pytest.param({"store": None}, "store: NoneType is no store (it has no method initialized)", id="no store"),
        pytest.param({"store": RedisStore}, "store: RedisStore is a class", id="a class"),
        pytest.param({"mode": "write"}, "mode: expected 'read_only' or 'read_write', got 'write'", id="another mode"),
        pytest.param({"cache": 15}, "cache: expected 'ttl' or 'off' or 'infinite', got 15", id="a cache that is a number"),
        pytest.param({"cache_ttl": "15"}, "cache_ttl: expected int or float, got str", id="a time that is text"),
    ],
)
def test_what_cannot_be_meant_is_refused(options: dict[str, Any], problem: str) -> None:
    chosen: dict[str, Any] = {"store": MemoryStore(), **options}
    with pytest.raises(ConfigError) as raised:
        Persistence(**chosen)
    assert str(raised.value).startswith(problem)


def test_a_time_that_cannot_be_used_becomes_the_default() -> None:
    assert Persistence(store=MemoryStore(), cache_ttl=0).cache_ttl == 15


def test_the_named_configurations_are_these() -> None:
    store = MemoryStore()
    assert DataSystem.daemon(store) == DataSystem(persistence=Persistence(store=store, mode="read_only"))
    kept_up = DataSystem.persistent_store(store)
    assert kept_up.persistence == Persistence(store=store, mode="read_write")
    assert (kept_up.initializers, kept_up.synchronizers) == (DataSystem.default().initializers, DataSystem.default().synchronizers)


def _latest_all(**values: object) -> Answer:
    flags = {key: json.loads(flag_json(key, value, 9)) for key, value in values.items()}
    return Answer(200, {}, [json.dumps({"flags": flags}).encode()])
