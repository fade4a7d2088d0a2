"""The behaviour that all stores have in common: one suite for all of them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import httpx
import pytest
import redis.asyncio

from aioflags import StoreError
from aioflags.model.change import ObjectKind
from aioflags.stores import ConsulStore, DiskStore, DynamoDBStore, RedisStore, Store, StoreContext, StoredItem, StoredItems
from aioflags.stores.items import COLLECTIONS
from tests.support.consul_server import put_into
from tests.support.dynamodb_server import TABLE, DynamoDBServer
from tests.support.memory_store import MemoryStore
from tests.support.redis_server import UNNAMED

pytestmark = pytest.mark.real_time

CONTEXT = StoreContext(environment="an environment")


@dataclass(frozen=True, slots=True)
class Opened:
    """A store, and what other programs may do to its database: delete all that is in a place, and set or delete the marker.

    A store without a database has no ``places``.
    """

    store: Store
    places: dict[ObjectKind, str]
    delete: Callable[[str], Awaitable[Any]]
    mark: Callable[[str], Awaitable[Any]]
    unmark: Callable[[], Awaitable[Any]]


async def _impossible(_: str = "") -> None:
    raise AssertionError("the store has no database")


def _on_redis(store: RedisStore, client: Any) -> Opened:
    places = {kind: f"{store.prefix}:{name}" for kind, name in COLLECTIONS.items()}
    marker = f"{store.prefix}:$inited"
    return Opened(store.build(CONTEXT), places, client.delete, lambda text: client.set(marker, text), lambda: client.delete(marker))


@asynccontextmanager
async def _redis(request: pytest.FixtureRequest) -> AsyncGenerator[Opened]:
    url: str = request.getfixturevalue("redis_url")
    async with redis.asyncio.Redis.from_url(url, **UNNAMED) as client:
        yield _on_redis(RedisStore(url), client)


@asynccontextmanager
async def _cluster(request: pytest.FixtureRequest) -> AsyncGenerator[Opened]:
    async with request.getfixturevalue("redis_cluster").client() as client:
        yield _on_redis(RedisStore(client=client, prefix="{launchdarkly}"), client)


@asynccontextmanager
async def _sentinel(request: pytest.FixtureRequest) -> AsyncGenerator[Opened]:
    async with request.getfixturevalue("watched_redis").client() as client:
        yield _on_redis(RedisStore(client=client), client)


@asynccontextmanager
async def _dynamodb(request: pytest.FixtureRequest) -> AsyncGenerator[Opened]:
    server: DynamoDBServer = request.getfixturevalue("dynamodb")

    async def delete(place: str) -> None:
        for each in server.items:
            if each["namespace"]["S"] == place:
                server.client.delete_item(TableName=TABLE, Key={name: each[name] for name in ("namespace", "key")})

    async def mark(text: str) -> None:
        server.put("$inited", "$inited", **({"item": {"S": text}} if text else {}))

    places = {kind: str(name) for kind, name in COLLECTIONS.items()}
    yield Opened(DynamoDBStore(TABLE, endpoint_url=server.url).build(CONTEXT), places, delete, mark, lambda: delete("$inited"))


@asynccontextmanager
async def _consul(request: pytest.FixtureRequest) -> AsyncGenerator[Opened]:
    url: str = request.getfixturevalue("consul_url")

    async def delete(place: str) -> None:
        async with httpx.AsyncClient(trust_env=False) as client:
            (await client.delete(f"{url}/v1/kv/{place}?recurse")).raise_for_status()

    async def mark(text: str) -> None:
        put_into(url, "launchdarkly/$inited", text.encode())

    places = {kind: f"launchdarkly/{name}/" for kind, name in COLLECTIONS.items()}
    yield Opened(ConsulStore(url).build(CONTEXT), places, delete, mark, lambda: delete("launchdarkly/$inited"))


@asynccontextmanager
async def _own(_request: pytest.FixtureRequest) -> AsyncGenerator[Opened]:
    yield Opened(MemoryStore(), {}, _impossible, _impossible, _impossible)


@asynccontextmanager
async def _disk(request: pytest.FixtureRequest) -> AsyncGenerator[Opened]:
    store = DiskStore(request.getfixturevalue("tmp_path") / "flags").build(CONTEXT)
    yield Opened(store, {}, _impossible, _impossible, _impossible)


REDIS = [pytest.mark.redis, pytest.mark.leaves("descriptors", reason="the first test starts the servers for all others")]
DYNAMODB = pytest.mark.leaves("descriptors", reason="the first test starts the server for all others")
SENTINEL = pytest.param(_sentinel, id="Redis behind a sentinel", marks=REDIS)
DATABASES: list[object] = [
    pytest.param(_redis, id="Redis", marks=REDIS),
    pytest.param(_cluster, id="a Redis cluster", marks=REDIS),
    pytest.param(_dynamodb, id="DynamoDB", marks=DYNAMODB),
    pytest.param(_consul, id="Consul"),
]
STORES: list[object] = [pytest.param(_own, id="a program's own"), *DATABASES, SENTINEL, pytest.param(_disk, id="a file")]


@asynccontextmanager
async def _opened(request: pytest.FixtureRequest) -> AsyncGenerator[Opened]:
    make: Callable[[pytest.FixtureRequest], AbstractAsyncContextManager[Opened]] = request.param
    async with make(request) as made:
        yield made
        await made.store.aclose()


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    async with _opened(request) as made:
        yield made.store


@pytest.fixture(params=DATABASES)
async def database(request: pytest.FixtureRequest) -> AsyncIterator[Opened]:
    async with _opened(request) as made:
        yield made


def item(key: str, version: int = 1, kind: ObjectKind = ObjectKind.FLAG, *, deleted: bool = False) -> StoredItem:
    rest = b',"deleted":true' if deleted else b',"on":true,"variations":["\xc3\xbc"]'
    return StoredItem(kind, key, version, b'{"key":"%b","version":%d%b}' % (key.encode(), version, rest))


def items(*several: StoredItem) -> StoredItems:
    return {kind: {one.key: one for one in several if one.kind is kind} for kind in (ObjectKind.SEGMENT, ObjectKind.FLAG)}


async def test_a_new_store_is_empty_and_has_no_marker(store: Store) -> None:
    assert not await store.initialized()
    assert [key for kind in (await store.load()).values() for key in kind] == []
    assert await store.get(ObjectKind.FLAG, "a") is None


async def test_items_are_read_back_byte_by_byte(store: Store) -> None:
    written = items(item("a"), item("s/1 ü", 2, ObjectKind.SEGMENT), item("gone", 3, deleted=True))
    await store.replace(written)
    loaded = await store.load()
    assert {kind: dict(loaded[kind]) for kind in ObjectKind} == {kind: dict(written[kind]) for kind in ObjectKind}
    assert await store.get(ObjectKind.SEGMENT, "s/1 ü") == item("s/1 ü", 2, ObjectKind.SEGMENT)
    assert await store.initialized()


async def test_flags_and_segments_with_one_key_are_kept_apart(store: Store) -> None:
    await store.replace(items(item("a"), item("a", 2, ObjectKind.SEGMENT)))
    assert await store.get(ObjectKind.FLAG, "a") == item("a")
    assert await store.get(ObjectKind.SEGMENT, "a") == item("a", 2, ObjectKind.SEGMENT)


@pytest.mark.holds("DS-125")
async def test_a_whole_data_set_replaces_the_old_one(store: Store) -> None:
    await store.replace(items(item("old"), item("both", 9), item("s", 1, ObjectKind.SEGMENT)))
    await store.replace(items(item("both", 1), item("new")))
    loaded = await store.load()
    assert set(loaded[ObjectKind.FLAG]) == {"both", "new"}
    assert dict(loaded.get(ObjectKind.SEGMENT, {})) == {}
    assert loaded[ObjectKind.FLAG]["both"].version == 1


async def test_an_empty_data_set_sets_the_marker(store: Store) -> None:
    await store.replace(items(item("a")))
    await store.replace(items())
    assert await store.initialized()
    assert await store.get(ObjectKind.FLAG, "a") is None


@pytest.mark.parametrize(
    ("stored", "offered", "remains"),
    [
        pytest.param(None, item("a", 1), item("a", 1), id="DS-126 what was not there"),
        pytest.param(item("a", 100), item("a", 1), item("a", 100), id="DS-127 an older one"),
        pytest.param(item("a", 100), item("a", 100, deleted=True), item("a", 100), id="DS-127 DS-128 the same version"),
        pytest.param(item("a", 100), item("a", 200), item("a", 200), id="DS-127 a newer one"),
        pytest.param(item("a", 100), item("a", 1, deleted=True), item("a", 100), id="DS-128 an older delete"),
        pytest.param(item("a", 100), item("a", 200, deleted=True), item("a", 200, deleted=True), id="DS-128 a newer delete"),
        pytest.param(item("a", 200, deleted=True), item("a", 100), item("a", 200, deleted=True), id="DS-55 older than a delete"),
    ],
)
async def test_only_a_newer_version_is_written(
    store: Store, stored: StoredItem | None, offered: StoredItem, remains: StoredItem
) -> None:
    await store.replace(items() if stored is None else items(stored))
    await store.upsert([offered])
    assert await store.get(ObjectKind.FLAG, "a") == remains
    assert (await store.load())[ObjectKind.FLAG]["a"] == remains


async def test_several_items_in_one_call_are_each_compared_by_version(store: Store) -> None:
    await store.replace(items(item("a", 5), item("b", 5), item("s", 5, ObjectKind.SEGMENT)))
    await store.upsert([item("s", 6, ObjectKind.SEGMENT), item("a", 4), item("b", 6), item("c", 1)])
    loaded = await store.load()
    assert {key: item.version for key, item in loaded[ObjectKind.FLAG].items()} == {"a": 5, "b": 6, "c": 1}
    assert loaded[ObjectKind.SEGMENT]["s"].version == 6


async def test_writing_nothing_changes_nothing(store: Store) -> None:
    await store.upsert([])
    assert not await store.initialized()


async def test_single_items_do_not_begin_a_data_set(store: Store) -> None:
    await store.upsert([item("a"), item("s", 1, ObjectKind.SEGMENT)])
    assert not await store.initialized()
    assert await store.get(ObjectKind.FLAG, "a") is None
    assert {key for kind in (await store.load()).values() for key in kind} == set()


async def test_items_written_after_the_marker_was_read_are_loaded(store: Store) -> None:
    await store.replace(items(item("a")))
    assert await store.initialized()
    await store.upsert([item("a", 2)])
    assert (await store.load())[ObjectKind.FLAG] == {"a": item("a", 2)}
    assert await store.initialized()
    await store.replace(items(item("b")))
    assert (await store.load())[ObjectKind.FLAG] == {"b": item("b")}


@pytest.mark.slow
async def test_two_thousand_items_are_kept(store: Store) -> None:
    written = items(*(item(f"flag-{n}", n) for n in range(1, 2001)))
    await store.replace(written)
    assert dict((await store.load())[ObjectKind.FLAG]) == dict(written[ObjectKind.FLAG])


async def test_a_working_store_is_available(store: Store) -> None:
    assert await store.is_available()


async def test_many_calls_can_run_at_once(store: Store) -> None:
    await store.replace(items(*(item(f"flag-{n}", 1) for n in range(20))))
    results: list[StoredItem | None] = []

    async def ask(key: str) -> None:
        results.append(await store.get(ObjectKind.FLAG, key))

    async with anyio.create_task_group() as askers:
        for n in range(20):
            askers.start_soon(ask, f"flag-{n}")
            askers.start_soon(store.upsert, [item(f"flag-{n}", 2)])
    assert len([result for result in results if result is not None]) == 20
    assert {one.version for one in (await store.load())[ObjectKind.FLAG].values()} == {2}


# -- a database that lost all items of a kind, by eviction or deletion

FLAG, SEGMENT = ObjectKind.FLAG, ObjectKind.SEGMENT
WHOLE = items(item("s", 1, SEGMENT), item("a"), item("b"), item("c"))


@pytest.mark.parametrize("lost", [FLAG, SEGMENT])
@pytest.mark.parametrize("changed", [[FLAG], [SEGMENT, FLAG]], ids=["a flag", "both"])
async def test_a_data_set_that_lost_a_kind_is_neither_read_nor_changed(
    database: Opened, lost: ObjectKind, changed: list[ObjectKind]
) -> None:
    store, place = database.store, database.places[lost]
    await store.replace(WHOLE)
    await database.delete(place)
    assert not await store.initialized()
    await store.upsert([item(key, 2, kind) for kind in changed for key in ("a", "new")])
    assert not await store.initialized()
    kept = FLAG if lost is SEGMENT else SEGMENT
    assert await store.get(kept, "new") == (None if lost in changed else item("new", 2, kept))
    for read in (store.load(), store.get(lost, "a"), store.get(lost, "new")):
        with pytest.raises(StoreError, match=f"has (lost all items of|evicted or deleted) {place}"):
            await read
    assert await store.is_available()
    await store.replace(WHOLE)
    assert await store.initialized()
    assert await store.load() == WHOLE


async def test_many_changes_do_not_fill_a_lost_kind(database: Opened) -> None:
    await database.store.replace(WHOLE)
    await database.delete(database.places[FLAG])
    await database.store.upsert([item(f"flag-{n}", 2) for n in range(40)])
    assert not await database.store.initialized()


@pytest.mark.parametrize("kinds", [[FLAG], [SEGMENT], [SEGMENT, FLAG]], ids=["flags", "segments", "both"])
async def test_a_data_set_without_a_marker_is_not_begun_by_single_items(database: Opened, kinds: list[ObjectKind]) -> None:
    store = database.store
    await store.replace(WHOLE)
    await database.unmark()
    for place in database.places.values():
        await database.delete(place)
    await store.upsert([item("a", 2, kind) for kind in kinds])
    assert not await store.initialized()
    assert await store.load() == items()
    await store.replace(WHOLE)
    assert await store.load() == WHOLE


async def test_the_other_kind_is_read_one_by_one(database: Opened) -> None:
    await database.store.replace(WHOLE)
    await database.delete(database.places[SEGMENT])
    assert await database.store.get(FLAG, "a") == item("a")
    assert await database.store.get(FLAG, "unknown") is None


async def test_the_first_item_of_a_kind_is_written_and_its_kind_is_guarded_from_then_on(database: Opened) -> None:
    store = database.store
    await store.replace(items(*WHOLE[FLAG].values()))
    await store.upsert([item("s", 1, SEGMENT)])
    assert await store.load() == WHOLE
    await database.delete(database.places[SEGMENT])
    assert not await store.initialized()


async def test_a_kind_whose_last_item_is_removed_is_not_lost(database: Opened) -> None:
    store = database.store
    await store.replace(WHOLE)
    for remaining in (items(*WHOLE[FLAG].values()), items()):
        await store.replace(remaining)
        assert await store.initialized()
        assert await store.load() == remaining
        assert await store.get(SEGMENT, "s") is None


@pytest.mark.parametrize("marker", ["", "launchdarkly:$inited", "1"])
async def test_the_marker_of_another_sdk_guards_nothing(database: Opened, marker: str) -> None:
    """It has no list, so a kind without items cannot be told from one that is lost."""
    store = database.store
    await store.replace(WHOLE)
    await database.mark(marker)
    await database.delete(database.places[SEGMENT])
    assert await store.initialized()
    assert await store.load() == items(*WHOLE[FLAG].values())
    assert await store.get(SEGMENT, "s") is None
    await store.upsert([item("s", 1, SEGMENT)])
    assert await store.load() == WHOLE
    await store.replace(WHOLE)
    await database.delete(database.places[SEGMENT])
    assert not await store.initialized()
