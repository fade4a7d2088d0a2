"""StoreWriter: a store that loses its data without a failed call gets everything again."""

from __future__ import annotations

import logging

import anyio
import pytest

from aioflags import StoreStatus
from tests.support.feed import Feed, change, changes, full
from tests.support.memory_store import MemoryStore
from tests.support.store_clients import A_MOMENT, FLAG, beside, kept, started

LOGGED = [
    "the store of flag data lost what was written; everything is written again",
    "the store of flag data is available again",
]


class Forgetful(MemoryStore):
    """Never has a marker."""

    async def initialized(self) -> bool:
        await super().initialized()
        return False


async def test_a_source_that_begins_with_changes_fills_the_store() -> None:
    feed, store = Feed(), MemoryStore()
    feed.say(changes(change("a", 1, 1)))
    async with started(beside(feed, store)):
        await anyio.sleep(A_MOMENT)
        assert (kept(store), store.marker) == ({"a": 1}, True)
        feed.say(changes(change("b", 2, 2)))
        await anyio.sleep(A_MOMENT)
        assert kept(store) == {"a": 1, "b": 2}
        assert store.calls.count("replace") == 1


def lose(store: MemoryStore) -> None:
    store.items[FLAG].clear()
    store.marker = False


@pytest.mark.parametrize("has_news", [pytest.param(True, id="while flags change"), pytest.param(False, id="while no flag changes")])
async def test_a_store_that_was_emptied_is_written_within_five_seconds(has_news: object, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    feed, store, version = Feed(), MemoryStore(), 1
    feed.say(full(a=1, b=1))
    async with started(beside(feed, store)) as client:
        await anyio.sleep(60)
        assert store.calls.count("replace") == 1
        lose(store)
        began = anyio.current_time()
        while anyio.current_time() < began + 5:
            if has_news:
                version += 1
                feed.say(changes(change("a", version, version)))
            await anyio.sleep(1)
        await anyio.sleep(A_MOMENT)
        assert kept(store) == {"a": version, "b": 1}
        assert store.marker
        assert client.store_status == StoreStatus(available=True, stale=False)
    assert [record.getMessage() for record in caplog.records if "store" in record.getMessage()] == LOGGED


async def test_a_store_that_lost_its_data_is_stale_until_it_is_written() -> None:
    feed, store = Feed(), MemoryStore()
    feed.say(full(a=1))
    async with started(beside(feed, store)) as client:
        statuses = client.store_statuses()
        assert await anext(statuses) == StoreStatus(available=True, stale=False)
        lose(store)
        store.delay = 1
        assert await anext(statuses) == StoreStatus(available=True, stale=True)
        assert await anext(statuses) == StoreStatus(available=True, stale=False)


async def test_an_outage_is_noticed_while_no_flag_changes() -> None:
    feed, store = Feed(), MemoryStore()
    feed.say(full(a=1))
    async with started(beside(feed, store)) as client:
        store.fails = OSError("refused")
        lose(store)
        await anyio.sleep(5)
        assert client.store_status == StoreStatus(available=False, stale=True)
        store.fails = None
        await anyio.sleep(0.5 + A_MOMENT)
        assert kept(store) == {"a": 1}


async def test_a_store_that_loses_its_marker_each_time_is_written_less_often() -> None:
    feed, store = Feed(), Forgetful()
    feed.say(full(a=1))
    async with started(beside(feed, store)):
        await anyio.sleep(3600)
    assert store.calls.count("replace") < 3600 / 300 + 10


async def test_a_store_that_was_not_written_is_not_asked_for_its_marker() -> None:
    store = MemoryStore()
    async with started(beside(Feed(), store, cache="infinite")):
        store.calls.clear()
        await anyio.sleep(600)
    assert store.calls == []
