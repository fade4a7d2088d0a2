"""StoreSession: how long a call waits for the store."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from aioflags import Client, Config, DataSystem, StoreStatus
from aioflags.model.change import ObjectKind
from aioflags.stores import StoredItem, StoredItems
from tests.support.canaries import secretive
from tests.support.feed import flag_json
from tests.support.memory_store import MemoryStore

USER = secretive("user-123")


class SlowStore(MemoryStore):
    """Takes ``for_all`` seconds to load everything, ``for_one`` seconds for an item."""

    def __init__(self, *, for_all: float = 0.0, for_one: float = 0.0) -> None:
        super().__init__()
        self.for_all, self.for_one = for_all, for_one

    async def load(self) -> StoredItems:
        await anyio.sleep(self.for_all)
        return await super().load()

    async def get(self, kind: ObjectKind, key: str) -> StoredItem | None:
        await anyio.sleep(self.for_one)
        return await super().get(kind, key)


def put(store: MemoryStore, key: str, value: object, **rest: Any) -> None:
    store.items[ObjectKind.FLAG][key] = StoredItem(ObjectKind.FLAG, key, 1, flag_json(key, value, 1, **rest))


def client_of(store: MemoryStore, cache: Any) -> Client:
    return Client("", Config(start_wait=0, data_system=DataSystem.daemon(store, cache=cache)))


async def waited(client: Client, *, all_flags: bool = False) -> float:
    """The seconds that a call takes."""
    began = anyio.current_time()
    await (client.flags(USER) if all_flags else client.variation("a", USER, ""))
    return anyio.current_time() - began


@pytest.mark.parametrize(
    ("cache", "waits"),
    [
        pytest.param("ttl", [2, 0, 0], id="for the first read"),
        pytest.param("off", [2, 2, 0], id="for the first read and for a flag"),
    ],
)
async def test_calls_wait_two_seconds_for_a_store_that_hangs_from_the_start(cache: str, waits: list[float]) -> None:
    store = MemoryStore()
    store.hangs = True
    async with client_of(store, cache) as client:
        assert [await waited(client) for _ in waits] == pytest.approx(waits)


async def test_a_slow_first_read_goes_on_after_a_call_stops_waiting() -> None:
    store = SlowStore(for_all=5)
    put(store, "a", "stored")
    async with client_of(store, "ttl") as client:
        assert await client.variation("a", USER, "") == ""
        await client.wait_ready(timeout=4)
        assert await client.variation("a", USER, "") == "stored"
        assert client.store_status == StoreStatus(available=True, stale=False)


async def test_a_flag_and_its_prerequisites_share_one_time_limit() -> None:
    store = SlowStore(for_one=0.9)
    put(store, "a", "top", prerequisites=[{"key": "b", "variation": 0}])
    put(store, "b", "middle", prerequisites=[{"key": "c", "variation": 0}])
    put(store, "c", "bottom")
    async with client_of(store, "off") as client:
        await client.wait_ready(timeout=1)
        assert await waited(client) == pytest.approx(2)
        assert client.store_status == StoreStatus(available=False, stale=True)
        assert await waited(client) == 0


async def test_a_complete_read_may_take_longer_than_a_call_waits() -> None:
    store = SlowStore()
    put(store, "a", "stored")
    async with client_of(store, "off") as client:
        await client.wait_ready(timeout=1)
        store.for_all = 3
        assert await waited(client, all_flags=True) == pytest.approx(2)
        assert client.store_status == StoreStatus(available=True, stale=False)
