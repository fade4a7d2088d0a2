"""Who shares a reading of a store with somebody who gives up, or whose reading fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio

from aioflags import Client, Config, DataSystem
from aioflags.model.change import ObjectKind
from aioflags.stores import StoredItem
from tests.canaries import secretive
from tests.feed import flag_json
from tests.stores.memory_store import MemoryStore

USER = secretive("user-123")


def put(store: MemoryStore, value: str, version: int) -> None:
    store.items[ObjectKind.FLAG]["a"] = StoredItem(ObjectKind.FLAG, "a", version, flag_json("a", value, version))


@asynccontextmanager
async def reading(store: MemoryStore) -> AsyncGenerator[Client]:
    """A client on a store that has changed since it was read, and whose next reading takes a second."""
    put(store, "old", 1)
    async with Client("", Config(data_system=DataSystem.daemon(store, cache="off"))) as client:
        put(store, "new", 2)
        store.delay = 1
        store.calls.clear()
        yield client


async def value(client: Client) -> str:
    return (await client.flags(USER)).variation("a", "")


async def test_the_next_one_reads_if_the_one_who_reads_gives_up() -> None:
    store = MemoryStore()
    async with reading(store) as client:
        first, *others = (asyncio.create_task(value(client)) for _ in range(3))
        await anyio.sleep(0.5)
        first.cancel()
        assert await asyncio.gather(*others) == ["new", "new"]
        assert store.calls == ["load", "load"]


async def test_who_comes_during_a_reading_waits_for_one_that_began_later() -> None:
    store = MemoryStore()
    async with reading(store) as client:
        first = asyncio.create_task(value(client))
        await anyio.sleep(0.5)
        put(store, "newest", 3)
        assert await value(client) == "newest"
        assert await first == "newest"
        assert store.calls == ["load", "load"]


async def test_a_reading_that_fails_is_not_tried_again_by_each_who_shared_it() -> None:
    store = MemoryStore()
    async with reading(store) as client:
        store.fails = OSError("refused")
        assert await asyncio.gather(*(value(client) for _ in range(10))) == ["old"] * 10
        assert store.calls == ["load"]
