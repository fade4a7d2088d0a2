"""A client with a store: what is written to the store, in which order, and again after a loss."""

from __future__ import annotations

import json
import logging
from typing import Any

import anyio
import pytest
import redis

from aioflags import Client, Config, DataSystem, Events, Persistence, Status, StoreStatus
from aioflags.sources import Fdv1FallbackOptions, MemorySource, Polling, Streaming
from aioflags.stores import RedisStore
from tests.support.canaries import KEY
from tests.support.feed import Feed, change, changes, flag_json, full
from tests.support.memory_store import MemoryStore
from tests.support.scripted_http import Answer, Service, payload, poll_of
from tests.support.store_clients import A_MOMENT, FLAG, SEGMENT, USER, beside, holding, kept, put, started

# -- writes


@pytest.mark.holds("DS-125")
async def test_a_basis_replaces_what_is_stored_and_sets_the_marker() -> None:
    feed, store = Feed(), holding(marker=False, old="stored")
    feed.say(full(a=1, b=2))
    async with started(beside(feed, store)):
        assert kept(store) == {"a": 1, "b": 2}
        assert store.marker


@pytest.mark.parametrize(
    ("stored", "offered", "remains"),
    [
        pytest.param(1, change("a", "new", 2), "new", id="DS-126 a newer version is written"),
        pytest.param(100, change("a", "new", 2), "edited", id="DS-127 an older version is not"),
        pytest.param(100, change("a", "new", 100), "edited", id="DS-127 the same version is not"),
        pytest.param(100, change("a", "new", 200), "new", id="DS-127 a much newer version is"),
        pytest.param(100, change("a", None, 2), "edited", id="DS-128 an older delete is not"),
        pytest.param(100, change("a", None, 200), None, id="DS-128 a newer delete is"),
    ],
)
async def test_a_change_is_written_by_its_version_and_served_in_any_case(stored: int, offered: Any, remains: object) -> None:
    feed, store = Feed(), MemoryStore()
    feed.say(full(a="old", b="other"))
    async with started(beside(feed, store)) as client:
        put(store, "a", "edited", stored)
        feed.say(changes(offered))
        await anyio.sleep(A_MOMENT)
        assert kept(store) == {"a": remains, "b": "other"}
        assert await client.variation("a", USER, "none") == ("none" if offered.definition is None else "new")


@pytest.mark.holds("DS-129")
async def test_a_store_that_is_only_read_is_not_written() -> None:
    feed, store = Feed(), holding(a="stored")
    async with started(beside(feed, store, mode="read_only")) as client:
        feed.say(full(a="streamed"))
        feed.say(changes(change("a", "changed", 2)))
        await anyio.sleep(60)
        assert await client.variation("a", USER, "") == "changed"
    assert kept(store) == {"a": "stored"}
    assert {"replace", "upsert"} & set(store.calls) == set()


@pytest.mark.holds("DS-138")
async def test_data_of_a_memory_source_are_not_written() -> None:
    store = MemoryStore()
    source = MemorySource({"a": 1})
    data_system = DataSystem.custom(synchronizers=[source], persistence=Persistence(store=store, mode="read_write"))
    async with started(Config(events=Events(send_events=False), data_system=data_system)) as client:
        assert await client.variation("a", USER, 0) == 1
        source.update(source.flag("a").value_for_all(2))
        await anyio.sleep(1)
    assert kept(store) == {}
    assert not store.marker


@pytest.mark.holds("DS-136")
async def test_dependencies_are_written_first() -> None:
    feed, store = Feed(), MemoryStore()
    chain = [
        change("a", 1, prerequisites=[{"key": "b", "variation": 0}, {"key": "c", "variation": 0}]),
        change("b", 1, prerequisites=[{"key": "d", "variation": 0}, {"key": "nowhere", "variation": 0}]),
        change("c", 1, prerequisites=[{"key": "d", "variation": 0}]),
        change("d", 1),
        change("s", {}, kind=SEGMENT),
    ]
    feed.say(full(*chain))
    async with started(beside(feed, store)):
        assert store.written == [[(SEGMENT, "s"), (FLAG, "d"), (FLAG, "b"), (FLAG, "c"), (FLAG, "a")]]
        newer = [change(item.key, {}, 2, kind=item.kind) for item in chain[4:]]
        newer += [change("a", 2, 2, prerequisites=[{"key": "b", "variation": 0}]), change("b", 2, 2), change("c", None, 2)]
        feed.say(changes(*newer))
        await anyio.sleep(A_MOMENT)
        assert store.written[1] == [(SEGMENT, "s"), (FLAG, "b"), (FLAG, "a"), (FLAG, "c")]


async def test_flags_with_circular_prerequisites_are_written() -> None:
    feed, store = Feed(), MemoryStore()
    feed.say(full(*(change(key, 1, prerequisites=[{"key": below, "variation": 0}]) for key, below in ("ab", "bc", "ca", "dd"))))
    async with started(beside(feed, store)):
        assert kept(store) == {"a": 1, "b": 1, "c": 1, "d": 1}


async def test_many_changes_while_the_store_is_slow_become_one_write() -> None:
    feed, store = Feed(), MemoryStore()
    feed.say(full(a=0))
    async with started(beside(feed, store)) as client:
        store.delay = 1
        for version in range(2, 502):
            feed.say(changes(change("a", version, version)))
        await anyio.sleep(0.5)
        assert await client.variation("a", USER, 0) == 501
        await anyio.sleep(5)
        assert kept(store) == {"a": 501}
        assert store.calls.count("upsert") <= 3


async def test_too_many_changes_become_one_write_of_everything() -> None:
    feed, store = Feed(), MemoryStore()
    feed.say(full(a=0))
    async with started(beside(feed, store)):
        store.delay = 1
        feed.say(changes(change("a", 1, 2)))
        await anyio.sleep(A_MOMENT)
        for n in range(1500):
            feed.say(changes(change(f"flag-{n}", n)))
        await anyio.sleep(5)
        assert len(kept(store)) == 1501
        assert store.calls[-2:] == ["upsert", "replace"]


# -- FDv1


@pytest.mark.holds("DS-119", "FB-28")
async def test_fdv1_data_are_written() -> None:
    service = Service(poll_of(*payload("f", state="s1")).directed(), _latest_all(f="from fdv1"))
    store = MemoryStore()
    system = DataSystem.custom(
        initializers=[Polling()],
        synchronizers=[Streaming()],
        fdv1_fallback=Fdv1FallbackOptions(),
        persistence=Persistence(store=store, mode="read_write"),
    )
    async with started(Config(http=service.http(), data_system=system)) as client:
        await anyio.sleep(1)
        assert kept(store) == {"f": "from fdv1"}
        assert not client._core.holder.snapshot.selector.is_defined


@pytest.mark.real_time
@pytest.mark.holds("DS-119", "FB-28")
async def test_fdv1_data_replace_the_data_in_redis(redis_url: str) -> None:
    service = Service(poll_of(*payload("f", "gone", state="s1")).directed(), _latest_all(f="from fdv1", new=1))
    system = DataSystem.custom(
        initializers=[Polling()],
        synchronizers=[Streaming()],
        fdv1_fallback=Fdv1FallbackOptions(),
        persistence=Persistence(store=RedisStore(redis_url), mode="read_write"),
    )
    with redis.Redis.from_url(redis_url) as database:
        database.hset("launchdarkly:features", "left over", flag_json("left over", 1, 99))
        async with Client(KEY, Config(http=service.http(), data_system=system)) as client:
            while not database.hexists("launchdarkly:features", "new"):
                await anyio.sleep(0.01)
            assert not client._core.holder.snapshot.selector.is_defined
        stored: Any = database.hgetall("launchdarkly:features")
        assert {key: json.loads(text)["variations"][0] for key, text in stored.items()} == {b"f": "from fdv1", b"new": 1}
        assert json.loads(stored[b"f"])["version"] == 9
        assert database.exists("launchdarkly:$inited") == 1
    async with Client("", Config(data_system=DataSystem.daemon(RedisStore(redis_url)))) as restarted:
        assert await restarted.variation("f", USER, "") == "from fdv1"


@pytest.mark.parametrize("trouble", ["fails", "hangs"])
@pytest.mark.holds("DS-120", "FB-33")
async def test_a_store_that_is_no_use_does_not_hinder_the_switch(trouble: str) -> None:
    service = Service(Answer(500).directed(), _latest_all(f="from fdv1"))
    store = MemoryStore()
    store.fails, store.hangs = (OSError("refused"), False) if trouble == "fails" else (None, True)
    persistence = Persistence(store=store, mode="read_write")
    system = DataSystem.custom(synchronizers=[Streaming()], fdv1_fallback=Fdv1FallbackOptions(), persistence=persistence)
    began = anyio.current_time()
    async with Client(KEY, Config(http=service.http(), data_system=system)) as client:
        assert anyio.current_time() - began < 1
        assert await client.variation("f", USER, "") == "from fdv1"
        assert client.status is Status.READY


def _latest_all(**values: object) -> Answer:
    flags = {key: json.loads(flag_json(key, value, 9)) for key, value in values.items()}
    return Answer(200, {}, [json.dumps({"flags": flags}).encode()])


# -- StoreWriter


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


@pytest.mark.parametrize("has_news", [pytest.param(True, id="while flags change"), pytest.param(False, id="while no flag changes")])
async def test_a_store_that_was_emptied_is_written_within_five_seconds(has_news: object, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    feed, store, version = Feed(), MemoryStore(), 1
    feed.say(full(a=1, b=1))
    async with started(beside(feed, store)) as client:
        await anyio.sleep(60)
        assert store.calls.count("replace") == 1
        store.empty()
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
        store.empty()
        store.delay = 1
        assert await anext(statuses) == StoreStatus(available=True, stale=True)
        assert await anext(statuses) == StoreStatus(available=True, stale=False)


async def test_an_outage_is_noticed_while_no_flag_changes() -> None:
    feed, store = Feed(), MemoryStore()
    feed.say(full(a=1))
    async with started(beside(feed, store)) as client:
        store.fails = OSError("refused")
        store.empty()
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
