"""StoreSession, its reader and its health: how long calls wait for the store, share a read, and what follows a failure."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal

import anyio
import pytest

from aioflags import Client, Config, DataSystem, Persistence, Status, StoreError, StoreStatus
from aioflags.model.change import ObjectKind
from aioflags.stores import StoredItem, StoredItems
from tests.support.feed import Feed, change, changes, full
from tests.support.memory_store import MemoryStore
from tests.support.store_clients import A_MOMENT, USER, beside, holding, kept, put, started


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


# -- StoreReader


@asynccontextmanager
async def reading(store: MemoryStore) -> AsyncGenerator[Client]:
    """A client whose store has changed since it was read, and whose next read takes a second."""
    put(store, "a", "old", 1)
    async with Client("", Config(data_system=DataSystem.daemon(store, cache="off"))) as client:
        put(store, "a", "new", 2)
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
        put(store, "a", "newest", 3)
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
            self.empty()
        return await super().load()


@pytest.mark.parametrize("cache", ["ttl", "off"])
async def test_a_store_that_is_emptied_during_a_read_is_not_read_as_empty(cache: Literal["ttl", "off"]) -> None:
    store = Emptied()
    store.marker = True
    put(store, "a", "old", 1)
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
    put(store, "a", "old", 1)
    async with Client("", Config(data_system=DataSystem.daemon(store, cache_ttl=10))) as client:
        values: list[tuple[str, int]] = []
        for version in (2, 3):
            store.items[ObjectKind.FLAG].clear()
            await anyio.sleep(25)
            values.append((await value(client), len(warnings_of(caplog))))
            put(store, "a", "new", version)
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


# -- StoreHealth


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
        assert client.status is Status.READY
        feed.say(changes(change("b", None, 2), change("c", 3)))
        store.empty()
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
