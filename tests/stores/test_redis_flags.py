"""RedisFlags with many writers at once: every writer succeeds, no write is lost, and stored items are not written again."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import anyio
import pytest
import redis.asyncio
from redis.exceptions import ConnectionError, MaxConnectionsError, WatchError  # noqa: A004 -- redis-py's own

from aioflags import StoreError
from aioflags.model.change import ObjectKind
from aioflags.stores import RedisStore, Store, StoreContext, StoredItem
from aioflags.stores.redis_flags import RedisConnection, RedisFlags
from tests.stores.conftest import Build
from tests.support.redis_server import UNNAMED, RedisCluster, RedisServer

CONTEXT = StoreContext(environment="an environment")
FLAG = ObjectKind.FLAG
LOGGER = logging.getLogger("aioflags")


def item(key: str, version: int) -> StoredItem:
    return StoredItem(FLAG, key, version, b'{"key":"%b","version":%d}' % (key.encode(), version))


# -- one who is disturbed


class Contested:
    """A client of a Redis where another client writes first ``times`` times. ``tried`` has when a transaction was begun.

    ``stored`` is what is there after each of them, by key; it is read by who asks next.
    """

    def __init__(self, times: int, *, stored: dict[str, bytes] | None = None) -> None:
        self.times = times
        self.tried: list[float] = []
        self.written: dict[str, bytes] = {}
        self._stored = stored or {}

    def pipeline(self, *, transaction: bool) -> Any:
        assert transaction
        self.tried.append(anyio.current_time())
        return self

    async def __aenter__(self) -> Contested:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def watch(self, *names: str) -> None:
        assert names == ("flags:features", "flags:$inited")

    async def get(self, _: str) -> bytes:
        return b""

    async def hlen(self, _: str) -> int:
        return int(len(self.tried) > 1 and bool(self._stored))

    async def hmget(self, _: str, keys: Sequence[str]) -> list[bytes | None]:
        return [self._stored.get(key) if len(self.tried) > 1 else None for key in keys]

    def multi(self) -> None:
        self.written = {}

    def hset(self, _: str, *, mapping: dict[str, bytes]) -> None:
        self.written = mapping

    def __len__(self) -> int:
        return 1

    async def execute(self) -> list[int]:
        if len(self.tried) <= self.times:
            self.written = {}
            raise WatchError
        return [len(self.written)]


def flags_on(client: object, *, chance: float) -> RedisFlags:
    return RedisFlags(RedisConnection(client), prefix="flags", logger=LOGGER, chance=lambda: chance)


async def test_an_upsert_gives_up_before_the_time_limit_of_a_store() -> None:
    client, began = Contested(1000), anyio.current_time()
    with pytest.raises(StoreError, match="flags:features in Redis changed 32 times while this client tried to write"):
        await flags_on(client, chance=0.7).upsert([item("a", 5)])
    assert len(client.tried) == 32
    assert anyio.current_time() - began < 10


@pytest.mark.parametrize(
    "theirs",
    [pytest.param(5, id="the other process wrote the same version"), pytest.param(6, id="the other process wrote a newer version")],
)
async def test_an_upsert_that_lost_a_race_does_not_write_if_the_other_process_wrote(theirs: int) -> None:
    """The stored version is the same or newer, so there is nothing left to write."""
    client = Contested(1, stored={"a": item("a", theirs).text})
    await flags_on(client, chance=0.5).upsert([item("a", 5)])
    assert len(client.tried) == 2
    assert client.written == {}


async def test_an_item_that_is_stored_already_is_not_written_again() -> None:
    client = Contested(0, stored={"a": item("a", 5).text})
    flags = flags_on(client, chance=0.5)
    await flags.upsert([item("a", 5)])
    assert client.written == {"a": item("a", 5).text}
    client.times = 1000
    await flags.upsert([item("a", 5)])
    assert len(client.tried) == 2


# -- a pool whose connections are all in use


class Full:
    """A client whose pool has no connection left for the first ``times`` calls. ``tried`` has when each was made."""

    def __init__(self, times: int, error: Exception) -> None:
        self.times = times
        self.tried: list[float] = []
        self._error = error

    async def exists(self, _: str) -> int:
        self.tried.append(anyio.current_time())
        if len(self.tried) <= self.times:
            raise self._error
        return 1


FULL = [
    pytest.param(MaxConnectionsError("Too many connections"), id="of redis-py 8"),
    pytest.param(ConnectionError("Too many connections"), id="of redis-py 5"),
]


def flags_beside(client: object) -> RedisFlags:
    return RedisFlags(RedisConnection(client, chance=lambda: 0.5), prefix="flags", logger=LOGGER)


@pytest.mark.parametrize("error", FULL)
async def test_a_call_is_repeated_after_growing_pauses_while_the_program_uses_all_connections(error: Exception) -> None:
    client = Full(6, error)
    assert await flags_beside(client).is_available()
    pauses = [after - before for before, after in zip(client.tried, client.tried[1:], strict=False)]
    assert pauses == pytest.approx([0.005, 0.01, 0.02, 0.04, 0.05, 0.05])


@pytest.mark.parametrize("error", FULL)
async def test_a_call_gives_up_before_its_time_limit_if_the_connections_stay_in_use(error: Exception) -> None:
    client, began = Full(1000, error), anyio.current_time()
    with pytest.raises(StoreError, match="all connections of this client are in use: it needs a higher max_connections"):
        await flags_beside(client).is_available()
    assert (len(client.tried), anyio.current_time() - began < 2) == (18, True)


async def test_another_error_of_a_connection_is_not_repeated() -> None:
    client = Full(1000, ConnectionError("Connection refused"))
    with pytest.raises(ConnectionError, match="refused"):
        await flags_beside(client).is_available()
    assert len(client.tried) == 1


@pytest.mark.redis
@pytest.mark.real_time
@pytest.mark.parametrize("options", [pytest.param("", id="of 50 connections"), pytest.param("?max_connections=2", id="of two")])
async def test_calls_at_once_share_a_pool(redis_url: str, options: str) -> None:
    described = RedisStore(f"{redis_url}{options}")
    flags, memberships = described.build(CONTEXT), described.build_memberships()
    try:
        await flags.replace({FLAG: {"a": item("a", 1)}})
        async with anyio.create_task_group() as group:
            for number in range(75):
                group.start_soon(flags.get, FLAG, "a")
                group.start_soon(memberships.memberships, f"a hash {number}")
                group.start_soon(memberships.last_updated_ms)
                group.start_soon(flags.is_available)
    finally:
        await flags.aclose()
        await memberships.aclose()


# -- eviction


@pytest.mark.real_time
async def test_a_hash_that_redis_evicts_for_want_of_memory_is_noticed_and_written_again(
    build: Build, own_redis: RedisServer
) -> None:
    flags = {FLAG: {"a": item("a", 1), "large": StoredItem(FLAG, "large", 1, b'{"version":1}'.ljust(4_000_000))}}
    store = build(RedisStore(own_redis.url))
    await store.replace(flags)
    async with redis.asyncio.Redis.from_url(own_redis.url, **UNNAMED) as client:
        await client.config_set("maxmemory-policy", "allkeys-lru")
        # Redis evicts what was not used for the longest time, and measures it in seconds.
        unused: Any = await client.dump("launchdarkly:features")
        await client.restore("launchdarkly:features", 0, unused, replace=True, idletime=1000)
        memory: Any = await client.info("memory")
        await client.config_set("maxmemory", memory["used_memory"] - 1_000_000)
        assert await client.exists("launchdarkly:features", "launchdarkly:$inited") == 1
        await client.config_set("maxmemory", 0)
    assert not await store.initialized()
    await store.upsert([item("a", 2)])
    assert not await store.initialized()
    await store.replace(flags)
    assert (await store.load())[FLAG] == flags[FLAG]


# -- a crowd


@asynccontextmanager
async def fleet_on(cluster: RedisCluster, count: int) -> AsyncGenerator[list[Store]]:
    """As many stores as processes would have, each with connections of its own."""
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(cluster.client()) for _ in range(count)]
        yield [RedisStore(client=client, prefix="{flags}").build(CONTEXT) for client in clients]


async def crowd(stores: Sequence[Store], *, rounds: int) -> dict[str, int]:
    """Everybody writes, one version after another, a flag that all write, one that it shares with some, and one of its own.

    Gives what is there in the end.
    """

    async def write(number: int, store: Store) -> None:
        for version in range(1, rounds + 1):
            keys = ("everybody's", f"of some {number % 4}", f"own {number}")
            await store.upsert([item(key, version) for key in keys])

    await stores[0].replace({})
    async with anyio.create_task_group() as tasks:
        for number, store in enumerate(stores):
            tasks.start_soon(write, number, store)
    return {key: stored.version for key, stored in (await stores[0].load())[FLAG].items()}


def expected(count: int, version: int) -> dict[str, int]:
    keys = {"everybody's", *(f"of some {number % 4}" for number in range(count)), *(f"own {number}" for number in range(count))}
    return dict.fromkeys(keys, version)


@pytest.mark.real_time
@pytest.mark.timeout(60)
async def test_24_clients_that_write_at_once_leave_the_newest_versions(build: Build, redis_url: str) -> None:
    stores = [build(RedisStore(redis_url, prefix="{flags}")) for _ in range(24)]
    assert await crowd(stores, rounds=4) == expected(24, 4)


@pytest.mark.real_time
@pytest.mark.timeout(60)
async def test_a_fleet_that_writes_the_same_patch_at_once_succeeds(build: Build, redis_url: str) -> None:
    seeing: Any = redis.asyncio.Redis.from_url(redis_url, **UNNAMED)
    stores = [build(RedisStore(redis_url, prefix="{flags}")) for _ in range(24)]
    async with seeing:
        await stores[0].replace({})
        await seeing.config_resetstat()
        async with anyio.create_task_group() as tasks:
            for store in stores:
                tasks.start_soon(store.upsert, [item("a", 7)])
        # A writer that loses a race has sent its command, too, but Redis does not execute it.
        assert (await seeing.info("commandstats"))["cmdstat_hset"]["calls"] == 1
        assert await seeing.hget("{flags}:features", "a") == item("a", 7).text


@pytest.mark.real_time
@pytest.mark.timeout(60)
async def test_a_fleet_that_writes_to_a_cluster_at_once_succeeds(redis_cluster: RedisCluster) -> None:
    async with fleet_on(redis_cluster, 8) as stores:
        assert await crowd(stores, rounds=4) == expected(8, 4)
