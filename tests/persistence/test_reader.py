"""StoreReader: concurrent calls share a read of the store; an empty store is logged."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Literal

import anyio
import pytest

from aioflags import Client, Config, DataSystem, Persistence, StoreStatus
from aioflags.model.change import ObjectKind
from aioflags.stores import StoredItem, StoredItems
from tests.support.canaries import secretive
from tests.support.feed import Feed, flag_json
from tests.support.memory_store import MemoryStore

USER = secretive("user-123")


def put(store: MemoryStore, value: str, version: int) -> None:
    store.items[ObjectKind.FLAG]["a"] = StoredItem(ObjectKind.FLAG, "a", version, flag_json("a", value, version))


@asynccontextmanager
async def reading(store: MemoryStore) -> AsyncGenerator[Client]:
    """A client whose store has changed since it was read, and whose next read takes a second."""
    put(store, "old", 1)
    async with Client("", Config(data_system=DataSystem.daemon(store, cache="off"))) as client:
        put(store, "new", 2)
        store.delay = 0.5
        store.calls.clear()
        yield client


READ = ["initialized", "load"]


async def value(client: Client) -> str:
    return (await client.flags(USER)).variation("a", "")


async def test_the_next_call_reads_if_the_reading_call_is_cancelled() -> None:
    store = MemoryStore()
    async with reading(store) as client:
        first, *others = (asyncio.create_task(value(client)) for _ in range(3))
        await anyio.sleep(0.7)
        first.cancel()
        assert await asyncio.gather(*others) == ["new", "new"]
        assert store.calls == READ * 2


async def test_a_call_during_a_read_waits_for_a_later_read() -> None:
    store = MemoryStore()
    async with reading(store) as client:
        first = asyncio.create_task(value(client))
        await anyio.sleep(0.7)
        put(store, "newest", 3)
        assert await value(client) == "newest"
        assert await first == "newest"
        assert store.calls == READ * 2


async def test_calls_that_share_a_failed_read_do_not_repeat_it() -> None:
    store = MemoryStore()
    async with reading(store) as client:
        store.fails = OSError("refused")
        assert await asyncio.gather(*(value(client) for _ in range(10))) == ["old"] * 10
        assert store.calls == ["initialized"]


class Emptied(MemoryStore):
    """Another program empties it during a read, after the look at its marker."""

    loses: bool = False

    async def load(self) -> StoredItems:
        if self.loses:
            self.items[ObjectKind.FLAG].clear()
            self.marker = False
        return await super().load()


@pytest.mark.parametrize("cache", ["ttl", "off"])
async def test_a_store_that_is_emptied_during_a_read_is_not_read_as_empty(cache: Literal["ttl", "off"]) -> None:
    store = Emptied()
    store.marker = True
    put(store, "old", 1)
    async with Client("", Config(data_system=DataSystem.daemon(store, cache=cache, cache_ttl=10))) as client:
        store.loses = True
        for _ in range(3):
            await anyio.sleep(11)
            assert await value(client) == "old"
        assert client.store_status == StoreStatus(available=False, stale=True)


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


EMPTY = "the store of flag data is empty: check its prefix, and that a program writes to it"


@pytest.mark.parametrize("cache", ["ttl", "off", "infinite"])
async def test_a_store_that_stays_empty_is_logged_once(
    cache: Literal["ttl", "off", "infinite"], caplog: pytest.LogCaptureFixture
) -> None:
    store = MemoryStore()
    async with Client("", Config(data_system=DataSystem.daemon(store, cache=cache, cache_ttl=10))) as client:
        await anyio.sleep(35)
        assert await value(client) == ""
    assert warnings_of(caplog) == [EMPTY]


async def test_a_store_that_is_emptied_is_logged_each_time(caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore()
    put(store, "old", 1)
    async with Client("", Config(data_system=DataSystem.daemon(store, cache_ttl=10))) as client:
        values: list[tuple[str, int]] = []
        for version in (2, 3):
            store.items[ObjectKind.FLAG].clear()
            await anyio.sleep(25)
            values.append((await value(client), len(warnings_of(caplog))))
            put(store, "new", version)
            await anyio.sleep(25)
            values.append((await value(client), len(warnings_of(caplog))))
        assert client.status == "READY"
        assert client.store_status == StoreStatus(available=True, stale=False)
    assert values == [("", 1), ("new", 1), ("", 2), ("new", 2)]
    assert warnings_of(caplog) == [EMPTY] * 2


async def test_an_empty_store_of_a_client_with_sources_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore()
    store.marker = True
    system = DataSystem.custom(synchronizers=[Feed()], persistence=Persistence(store=store, cache_ttl=10))
    async with Client("", Config(start_wait=1, data_system=system)):
        await anyio.sleep(35)
    assert store.calls.count("load") > 1
    assert EMPTY not in warnings_of(caplog)
