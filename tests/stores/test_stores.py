"""The behaviour that all stores have in common: one suite for all of them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import anyio
import pytest

from aioflags.model.change import ObjectKind
from aioflags.stores import ConsulStore, DiskStore, DynamoDBStore, RedisStore, Store, StoreContext, StoredItem, StoredItems
from tests.support.dynamodb_server import TABLE
from tests.support.memory_store import MemoryStore

pytestmark = pytest.mark.real_time

CONTEXT = StoreContext(environment="an environment")


@asynccontextmanager
async def _redis(request: pytest.FixtureRequest) -> AsyncGenerator[Store]:
    yield RedisStore(request.getfixturevalue("redis_url")).build(CONTEXT)


@asynccontextmanager
async def _cluster(request: pytest.FixtureRequest) -> AsyncGenerator[Store]:
    async with request.getfixturevalue("redis_cluster").client() as client:
        yield RedisStore(client=client, prefix="{launchdarkly}").build(CONTEXT)


@asynccontextmanager
async def _sentinel(request: pytest.FixtureRequest) -> AsyncGenerator[Store]:
    async with request.getfixturevalue("watched_redis").client() as client:
        yield RedisStore(client=client).build(CONTEXT)


@asynccontextmanager
async def _dynamodb(request: pytest.FixtureRequest) -> AsyncGenerator[Store]:
    yield DynamoDBStore(TABLE, endpoint_url=request.getfixturevalue("dynamodb").url).build(CONTEXT)


@asynccontextmanager
async def _consul(request: pytest.FixtureRequest) -> AsyncGenerator[Store]:
    yield ConsulStore(request.getfixturevalue("consul_url")).build(CONTEXT)


@asynccontextmanager
async def _own(_request: pytest.FixtureRequest) -> AsyncGenerator[Store]:
    yield MemoryStore()


@asynccontextmanager
async def _disk(request: pytest.FixtureRequest) -> AsyncGenerator[Store]:
    yield DiskStore(request.getfixturevalue("tmp_path") / "flags").build(CONTEXT)


REDIS = [pytest.mark.redis, pytest.mark.leaves("descriptors", reason="the first test starts the servers for all others")]
DYNAMODB = pytest.mark.leaves("descriptors", reason="the first test starts the server for all others")
STORES: list[object] = [
    pytest.param(_own, id="a program's own"),
    pytest.param(_redis, id="Redis", marks=REDIS),
    pytest.param(_cluster, id="a Redis cluster", marks=REDIS),
    pytest.param(_sentinel, id="Redis behind a sentinel", marks=REDIS),
    pytest.param(_dynamodb, id="DynamoDB", marks=DYNAMODB),
    pytest.param(_consul, id="Consul"),
    pytest.param(_disk, id="a file"),
]


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    make: Callable[[pytest.FixtureRequest], AbstractAsyncContextManager[Store]] = request.param
    async with make(request) as made:
        yield made
        await made.aclose()


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


async def test_single_items_do_not_set_the_marker(store: Store) -> None:
    await store.upsert([item("a")])
    assert not await store.initialized()
    assert await store.get(ObjectKind.FLAG, "a") == item("a")


async def test_items_written_after_the_marker_was_read_are_loaded(store: Store) -> None:
    await store.replace(items(item("a")))
    assert await store.initialized()
    await store.upsert([item("a", 2)])
    assert (await store.load())[ObjectKind.FLAG] == {"a": item("a", 2)}
    assert await store.initialized()
    await store.replace(items(item("b")))
    assert (await store.load())[ObjectKind.FLAG] == {"b": item("b")}


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
