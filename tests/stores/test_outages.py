"""A real Redis that is killed, hangs or sends invalid answers during a thousand evaluations per second."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

import anyio
import pytest
import redis

from aioflags import Client, Config, DataSystem, StoreStatus
from aioflags.model.defaults import STORE_CHECK_INTERVAL, STORE_LOOKUP_TIMEOUT
from aioflags.stores import RedisStore, StoreContext, StoredItem
from tests.support.canaries import KEY, secretive
from tests.support.feed import Feed, change, changes, flag_json, full
from tests.support.redis_server import RedisServer
from tests.support.store_clients import FLAG, beside

pytestmark = [pytest.mark.real_time, pytest.mark.slow]

USER = secretive("user-123")
AWAY = 3.0
"""Seconds of an outage: longer than a connection may be silent."""
FULL_WITHIN = 5.0
A_MOMENT = 0.5
"""Longer than an evaluation takes on a busy machine, and shorter than the time limit of a store."""
RUBBISH = {"garbage": b"\x00\xffgarbage\r\n$-7\r\n*\r\n" * 20, "nonsense": b":1\r\n"}


class Way:
    """A proxy in front of the server, which can answer every command with the same invalid bytes."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self._tasks: set[asyncio.Task[None]] = set()
        self.rubbish: bytes | None = None
        self.url = ""

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        listening = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"redis://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        try:
            yield
        finally:
            listening.close()
            self.cut()
            await asyncio.sleep(0)

    def cut(self) -> None:
        """Every connection breaks."""
        for task in self._tasks:
            task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with contextlib.suppress(OSError, asyncio.CancelledError), contextlib.closing(writer):
            if self.rubbish is not None:
                while await reader.read(65536):
                    writer.write(self.rubbish)
                return
            there, back = await asyncio.open_connection("127.0.0.1", self._server.port)
            with contextlib.closing(back):
                both = [asyncio.ensure_future(_carry(reader, back)), asyncio.ensure_future(_carry(there, writer))]
                try:
                    await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for one in both:
                        one.cancel()
                    await asyncio.wait(both)


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, asyncio.CancelledError):
        while data := await reader.read(65536):
            writer.write(data)


@dataclass
class Asked:
    """How often evaluations were asked for, how long the slowest waited, and what was wrong with their answers."""

    count: int = 0
    longest: float = 0.0
    newest: int = 0
    wrong: str = ""


async def ask(client: Client, asked: Asked) -> None:
    """Evaluate a thousand times per second, awaited and not: versions never go back, and every value was sent by the service."""
    last, began = [0, 0], anyio.current_time()
    while True:
        while asked.count < (anyio.current_time() - began) * 1000:
            asked.count += 1
            asks = anyio.current_time()
            value = await client.variation("n", USER, -1) if asked.count % 2 else client.variation_nowait("n", USER, -1)
            asked.longest = max(asked.longest, anyio.current_time() - asks)
            door = asked.count % 2
            if not last[door] <= value <= asked.newest:
                asked.wrong += f" {value} after {last[door]}, when {asked.newest} was the newest;"
            last[door] = value
        await anyio.sleep(0.005)


async def make_trouble(server: RedisServer, way: Way, trouble: str) -> None:
    if trouble == "killed":
        await asyncio.to_thread(server.stop)
    elif trouble == "frozen":
        server.freeze()
    else:
        way.rubbish = RUBBISH[trouble]
        way.cut()


async def end_trouble(server: RedisServer, way: Way, trouble: str) -> None:
    if trouble == "killed":
        await asyncio.to_thread(server.start)
    elif trouble == "frozen":
        server.thaw()
    else:
        way.rubbish = None
        way.cut()


@pytest.mark.parametrize("trouble", ["killed", "frozen", "garbage", "nonsense"])
@pytest.mark.holds("DS-135")
async def test_a_written_store_is_complete_soon_after_an_outage(
    own_redis: RedisServer, trouble: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    feed, way, asked = Feed(), Way(own_redis), Asked()
    others = [change(f"flag-{n}", n) for n in range(500)]
    feed.say(full(*others, n=0))

    def say() -> None:
        asked.newest += 1
        feed.say(changes(change("n", asked.newest, asked.newest + 1)))

    async with way.open(), Client(KEY, beside(feed, RedisStore(way.url))) as client, anyio.create_task_group() as tasks:
        await _until(client, StoreStatus(available=True, stale=False))
        tasks.start_soon(ask, client, asked)
        await make_trouble(own_redis, way, trouble)
        began = anyio.current_time()
        while anyio.current_time() < began + AWAY:
            say()
            await anyio.sleep(0.1)
        # Who answers nonsense may claim in between that he is there.
        assert client.store_status is not None
        assert client.store_status.stale
        await end_trouble(own_redis, way, trouble)
        with anyio.fail_after(FULL_WITHIN):
            await _until(client, StoreStatus(available=True, stale=False))
        say()
        await anyio.sleep(0.3)
        tasks.cancel_scope.cancel()
    assert asked.wrong == ""
    assert asked.count > AWAY * 900
    assert asked.longest < A_MOMENT
    with redis.Redis.from_url(own_redis.url) as database:
        stored: Any = database.hgetall("launchdarkly:features")
    assert len(stored) == 501
    assert b'"variations":[%d]' % asked.newest in stored[b"n"]
    assert "Traceback" not in caplog.text


async def test_a_restarted_empty_server_is_filled_although_no_flag_changes(
    own_redis: RedisServer,
) -> None:
    feed = Feed()
    feed.say(full(a=1, b=1))
    async with Client(KEY, beside(feed, RedisStore(own_redis.url))) as client:
        await _until(client, StoreStatus(available=True, stale=False))
        await asyncio.to_thread(own_redis.stop)
        await asyncio.to_thread(own_redis.start)
        await anyio.sleep(STORE_CHECK_INTERVAL + 1.5)
        with redis.Redis.from_url(own_redis.url) as database:
            stored: Any = database.hgetall("launchdarkly:features")
            assert database.exists("launchdarkly:$inited")
    assert stored.keys() == {b"a", b"b"}


async def test_an_emptied_server_is_filled_while_flags_change_and_no_reader_sees_a_part_of_them(redis_url: str) -> None:
    store, feed, version = RedisStore(redis_url), Feed(), 1
    readers = [
        ("", Config(data_system=DataSystem.daemon(store, cache="ttl", cache_ttl=0.05))),
        ("", Config(data_system=DataSystem.daemon(store, cache="off"))),
        (KEY, beside(Feed(), store, mode="read_only", cache_ttl=0.05)),
    ]
    feed.say(full(a=1, b=1))
    async with contextlib.AsyncExitStack() as stack:
        writer = await stack.enter_async_context(Client(KEY, beside(feed, store)))
        await _until(writer, StoreStatus(available=True, stale=False))
        database = stack.enter_context(redis.Redis.from_url(redis_url))
        with anyio.fail_after(FULL_WITHIN):
            while not database.exists("launchdarkly:$inited"):
                await anyio.sleep(0.01)
        clients = [await stack.enter_async_context(Client(key, config)) for key, config in readers]
        database.flushall()
        with anyio.fail_after(STORE_CHECK_INTERVAL + 1.5):
            while not database.exists("launchdarkly:$inited"):
                version += 1
                feed.say(changes(change("a", version, version)))
                for client in clients:
                    assert await client.variation("a", USER, 0) > 0
                    assert await client.variation("b", USER, 0) == 1
                await anyio.sleep(0.05)
        stored: Any = database.hgetall("launchdarkly:features")
        assert stored.keys() == {b"a", b"b"}
        assert [await client.variation("b", USER, 0) for client in clients] == [1, 1, 1]
        # A reader looks again within 4 s.
        with anyio.fail_after(FULL_WITHIN):
            while [await client.variation("a", USER, 0) for client in clients] != [version] * 3:
                await anyio.sleep(0.05)


async def test_readers_keep_their_flags_while_redis_lacks_a_hash(redis_url: str) -> None:
    store = RedisStore(redis_url)
    writer = store.build(StoreContext(environment="an environment"))
    old, new = ({key: StoredItem(FLAG, key, n, flag_json(key, n, n)) for key in "ab"} for n in (1, 2))
    await writer.replace({FLAG: old})
    readers = [
        Config(data_system=DataSystem.daemon(store, cache="ttl", cache_ttl=0.05)),
        Config(data_system=DataSystem.daemon(store, cache="off")),
    ]
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(Client("", config)) for config in readers]
        with anyio.fail_after(FULL_WITHIN):
            while [await client.variation("b", USER, 0) for client in clients] != [1, 1]:
                await anyio.sleep(0.05)
        with redis.Redis.from_url(redis_url) as database:
            database.delete("launchdarkly:features")
        await writer.upsert([new["a"]])
        for client in clients:
            with anyio.fail_after(FULL_WITHIN):
                while client.store_status != StoreStatus(available=False, stale=True):
                    assert [await client.variation(key, USER, 0) for key in "ab"] == [1, 1]
                    await anyio.sleep(0.05)
            assert [await client.variation(key, USER, 0) for key in "ab"] == [1, 1]
        await writer.replace({FLAG: new})
        with anyio.fail_after(FULL_WITHIN):
            while [await client.variation("a", USER, 0) for client in clients] != [2, 2]:
                await anyio.sleep(0.05)
    await writer.aclose()


@pytest.mark.parametrize("cache", ["ttl", "off"])
@pytest.mark.parametrize("trouble", ["frozen", "garbage", "nonsense"])
async def test_a_store_that_is_only_read_is_read_soon_after_an_outage(
    own_redis: RedisServer, trouble: str, cache: Literal["ttl", "off"]
) -> None:
    way, asked = Way(own_redis), Asked()

    def write(number: int) -> None:
        with redis.Redis.from_url(own_redis.url) as database:
            database.hset("launchdarkly:features", "n", flag_json("n", number, number + 1))

    write(0)
    async with way.open(), anyio.create_task_group() as tasks:
        system = DataSystem.daemon(RedisStore(way.url), cache=cache, cache_ttl=0.2)
        async with Client("", Config(data_system=system)) as client:
            tasks.start_soon(ask, client, asked)
            await anyio.sleep(0.3)
            await make_trouble(own_redis, way, trouble)
            await anyio.sleep(AWAY)
            assert client.store_status is not None
            assert client.store_status.stale
            await end_trouble(own_redis, way, trouble)
            asked.newest = 1
            await asyncio.to_thread(write, 1)
            with anyio.fail_after(FULL_WITHIN):
                while client.variation_nowait("n", USER, -1) != 1:
                    await anyio.sleep(0.01)
            tasks.cancel_scope.cancel()
    assert asked.wrong == ""
    # Without a cache the first evaluations wait until the store is known to fail, and again after each short recovery.
    assert asked.count > AWAY * (900 if cache == "ttl" else 1)
    assert asked.longest < (A_MOMENT if cache == "ttl" else STORE_LOOKUP_TIMEOUT + A_MOMENT)


async def _until(client: Client, expected: StoreStatus) -> None:
    async for status in client.store_statuses():
        if status == expected:
            return
