"""A store that loses what was written, without an outage that anybody notices: it gets everything again."""

from __future__ import annotations

import logging

import anyio
import pytest

from aioflags import StoreStatus
from tests.persistence.test_persistence import A_MOMENT, FLAG, beside, kept, started
from tests.support.feed import Feed, change, changes, full
from tests.support.memory_store import MemoryStore

TOLD = [
    "the store of flag data lost what was written; everything is written again",
    "the store of flag data is available again",
]


class Forgetful(MemoryStore):
    """Never has a marker, whatever is written."""

    async def initialized(self) -> bool:
        await super().initialized()
        return False


def lose(store: MemoryStore) -> None:
    store.items[FLAG].clear()
    store.marker = False


@pytest.mark.parametrize("has_news", [pytest.param(True, id="while flags change"), pytest.param(False, id="while none does")])
async def test_a_store_that_was_emptied_is_full_again_in_five_seconds(has_news: object, caplog: pytest.LogCaptureFixture) -> None:
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
    assert [record.getMessage() for record in caplog.records if "store" in record.getMessage()] == TOLD


async def test_until_it_is_full_again_it_counts_as_stale() -> None:
    feed, store = Feed(), MemoryStore()
    feed.say(full(a=1))
    async with started(beside(feed, store)) as client:
        statuses = client.store_statuses()
        assert await anext(statuses) == StoreStatus(available=True, stale=False)
        lose(store)
        store.delay = 1
        assert await anext(statuses) == StoreStatus(available=True, stale=True)
        assert await anext(statuses) == StoreStatus(available=True, stale=False)


async def test_an_outage_shows_although_no_flag_changes() -> None:
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


async def test_one_that_never_keeps_its_marker_gets_everything_less_and_less_often() -> None:
    feed, store = Feed(), Forgetful()
    feed.say(full(a=1))
    async with started(beside(feed, store)):
        await anyio.sleep(3600)
    assert store.calls.count("replace") < 3600 / 300 + 10


async def test_a_store_to_which_nothing_was_written_yet_is_not_asked() -> None:
    store = MemoryStore()
    async with started(beside(Feed(), store, cache="infinite")):
        store.calls.clear()
        await anyio.sleep(600)
    assert store.calls == []
