"""StoreHealth: the status of a store that fails, and what is written and read when it works again."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import anyio
import pytest

from aioflags import Status, StoreError, StoreStatus
from aioflags.stores import StoredItem
from tests.support.feed import Feed, change, changes, full
from tests.support.memory_store import MemoryStore
from tests.support.store_clients import A_MOMENT, FLAG, USER, beside, holding, kept, started

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
