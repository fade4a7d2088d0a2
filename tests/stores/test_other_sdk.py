"""Databases shared with LaunchDarkly's SDK: each SDK reads the flags that the other one writes."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import ldclient
import pytest
import redis
from ldclient.config import Config as TheirConfig
from ldclient.feature_store import CacheConfig
from ldclient.integrations import Consul as TheirConsul
from ldclient.integrations import DynamoDB as TheirDynamoDB
from ldclient.integrations import Redis as TheirRedis
from ldclient.versioned_data_kind import FEATURES, SEGMENTS

from aioflags import Client, Config, Context, DataSystem, StoreStatus
from aioflags.evaluation.snapshot import Snapshot
from aioflags.model.change import Change, ChangeKind, ChangeSet, ObjectKind
from aioflags.model.values import same_json
from aioflags.protocol.definitions import read_definition
from aioflags.stores import ConsulStore, DynamoDBStore, RedisStore, StoreBuilder, StoreContext, StoredItem
from tests.evaluation.data import outcome
from tests.evaluation.generator import World, world
from tests.evaluation.oracle import Oracle
from tests.stores.test_stores import DYNAMODB, REDIS
from tests.support.canaries import KEY
from tests.support.consul_server import kept_in
from tests.support.dynamodb_server import TABLE
from tests.support.feed import Feed, change, changes, flag_json
from tests.support.store_clients import beside

pytestmark = [pytest.mark.real_time, pytest.mark.holds("DS-137")]


@dataclass(frozen=True, slots=True)
class Shared:
    """A database, as a store of ours and as one of LaunchDarkly's SDK."""

    ours: StoreBuilder
    theirs: Any


@contextmanager
def _redis(request: pytest.FixtureRequest) -> Generator[Shared]:
    url: str = request.getfixturevalue("redis_url")
    theirs: Any = TheirRedis.new_feature_store(url=url, caching=CacheConfig.disabled())
    yield Shared(RedisStore(url), theirs)
    theirs._core._pool.disconnect()  # its close leaves the connections to the garbage collector


@contextmanager
def _consul(request: pytest.FixtureRequest) -> Generator[Shared]:
    url: str = request.getfixturevalue("consul_url")
    host, _, port = url.removeprefix("http://").partition(":")
    theirs: Any = TheirConsul.new_feature_store(host=host, port=int(port), caching=CacheConfig.disabled())
    yield Shared(ConsulStore(url), theirs)
    theirs._core._client.http.session.close()  # it has no close, and leaves the connections to the garbage collector


@contextmanager
def _dynamodb(request: pytest.FixtureRequest, prefix: str = "") -> Generator[Shared]:
    url: str = request.getfixturevalue("dynamodb").url
    theirs: Any = TheirDynamoDB.new_feature_store(TABLE, prefix, {"endpoint_url": url}, CacheConfig.disabled())
    yield Shared(DynamoDBStore(TABLE, prefix=prefix, endpoint_url=url), theirs)
    theirs._core._client.close()  # its close leaves the connections to the garbage collector


def _prefixed_dynamodb(request: pytest.FixtureRequest) -> AbstractContextManager[Shared]:
    return _dynamodb(request, "shop")


SLOW = [DYNAMODB, pytest.mark.slow]
DATABASES: list[tuple[str, object, int, list[pytest.MarkDecorator]]] = [
    ("Redis", _redis, 25, REDIS),
    ("Consul", _consul, 5, []),
    ("DynamoDB", _dynamodb, 3, SLOW),
    ("DynamoDB with a prefix", _prefixed_dynamodb, 3, SLOW),
]
"""Their names, how they are opened, in how many worlds they are tried, and marks."""
EACH = pytest.mark.parametrize(
    "shared", [pytest.param(opened, id=name, marks=marks) for name, opened, _, marks in DATABASES], indirect=True
)
IN_WORLDS = pytest.mark.parametrize(
    ("shared", "seed"),
    [
        pytest.param(opened, f"shared:{n}", id=f"{name}, world {n}", marks=marks)
        for name, opened, worlds, marks in DATABASES
        for n in range(worlds)
    ],
    indirect=["shared"],
)


@pytest.fixture
def shared(request: pytest.FixtureRequest) -> Iterator[Shared]:
    """An empty database."""
    opened: Callable[[pytest.FixtureRequest], AbstractContextManager[Shared]] = request.param
    with opened(request) as database:
        yield database


async def until(is_so: Callable[[], bool]) -> None:
    with anyio.fail_after(60):
        while not is_so():
            await anyio.sleep(0.005)


def sent(made: World) -> ChangeSet:
    """The world as a service sends it."""
    objects = [*((ObjectKind.FLAG, flag) for flag in made.flags), *((ObjectKind.SEGMENT, segment) for segment in made.segments)]
    puts = [Change(kind, item["key"], item["version"], read_definition(kind, json.dumps(item).encode())) for kind, item in objects]
    return ChangeSet(kind=ChangeKind.FULL, changes=tuple(puts))


@IN_WORLDS
async def test_the_other_sdk_evaluates_our_stored_flags_like_those_of_the_service(shared: Shared, seed: str) -> None:
    made, feed, theirs = world(seed), Feed(), shared.theirs
    feed.say(sent(made))
    async with Client(KEY, beside(feed, shared.ours)):
        await until(lambda: bool(theirs.initialized))
        flags, segments = (theirs.all(kind, _itself) for kind in (FEATURES, SEGMENTS))
        read = Oracle([flag.to_json_dict() for flag in flags.values()], [one.to_json_dict() for one in segments.values()])
        original = Oracle(made.flags, made.segments)
        assert {flag["key"] for flag in made.flags} == set(flags)
        for context in made.contexts:
            for flag in made.flags:
                assert read.evaluate(flag["key"], context) == original.evaluate(flag["key"], context)


@IN_WORLDS
async def test_flags_stored_by_the_other_sdk_are_evaluated_like_those_of_the_service(shared: Shared, seed: str) -> None:
    made = world(seed)
    flags = {one["key"]: one for one in made.flags}
    shared.theirs.init({FEATURES: flags, SEGMENTS: {one["key"]: one for one in made.segments}})
    original = Snapshot.empty().apply(sent(made))
    async with Client("", Config(data_system=DataSystem.daemon(shared.ours))) as client:
        read = client._core.holder.snapshot
        assert set(read.flags) == set(flags)
        for context in map(Context.from_dict, made.contexts):
            for key in flags:
                assert same_json(
                    list(outcome(read.evaluate(key, context, None))), list(outcome(original.evaluate(key, context, None)))
                )


@EACH
async def test_the_other_sdk_serves_our_stored_flags_and_their_changes(shared: Shared) -> None:
    feed, user = Feed(), ldclient.Context.create("user-123")
    feed.say(ChangeSet(kind=ChangeKind.FULL, changes=(change("a", "first"), change("b", "second"))))
    config = TheirConfig("", feature_store=shared.theirs, use_ldd=True, send_events=False, diagnostic_opt_out=True)
    async with Client(KEY, beside(feed, shared.ours)):
        their_client = await anyio.to_thread.run_sync(ldclient.LDClient, config)
        await until(lambda: bool(their_client.variation("a", user, "") == "first"))
        feed.say(changes(change("a", "newer", 2), change("b", None, 2)))
        # Written last: DynamoDB does not write both in one step.
        await until(lambda: bool(their_client.variation("b", user, "gone") == "gone"))
        detail = their_client.variation_detail("b", user, "gone")
        assert (detail.value, detail.reason["errorKind"]) == ("gone", "FLAG_NOT_FOUND")
        assert their_client.variation("a", user, "") == "newer"
        await anyio.to_thread.run_sync(their_client.close)


@EACH
async def test_each_sdk_respects_the_versions_of_the_other(shared: Shared) -> None:
    feed, theirs = Feed(), shared.theirs
    feed.say(ChangeSet(kind=ChangeKind.FULL, changes=(change("a", "ours", 5), change("b", "ours", 5))))
    async with Client(KEY, beside(feed, shared.ours)):
        await until(lambda: bool(theirs.initialized))
        theirs.upsert(FEATURES, {"key": "a", "version": 4, "on": True, "variations": ["theirs"]})
        theirs.upsert(FEATURES, {"key": "b", "version": 100, "on": True, "variations": ["theirs"]})
        feed.say(changes(change("a", "newer", 6), change("b", "newer", 6)))
        await until(lambda: bool(theirs.get(FEATURES, "a", _itself).version == 6))
        assert theirs.get(FEATURES, "b", _itself).variations == ["theirs"]
        theirs.delete(FEATURES, "a", 7)
        async with Client("", Config(data_system=DataSystem.daemon(shared.ours))) as reader:
            assert await reader.variation("a", Context("user-123"), "gone") == "gone"


@pytest.mark.slow
@pytest.mark.parametrize("shared", [pytest.param(_redis, id="Redis", marks=REDIS)], indirect=True)
async def test_a_single_flag_that_the_other_sdk_writes_to_an_emptied_database_is_not_a_data_set(
    shared: Shared, redis_url: str
) -> None:
    def stored(version: int) -> dict[ObjectKind, dict[str, StoredItem]]:
        return {ObjectKind.FLAG: {key: StoredItem(ObjectKind.FLAG, key, version, flag_json(key, "ours", version)) for key in "ab"}}

    ours, user = shared.ours.build(StoreContext(environment="an environment")), Context("user-123")
    reading = DataSystem.daemon(shared.ours, cache_ttl=0.05)
    await ours.replace(stored(1))
    async with Client("", Config(data_system=reading)) as reader:
        with redis.Redis.from_url(redis_url) as database:
            database.flushall()
        shared.theirs.upsert(FEATURES, {"key": "a", "version": 9, "on": False})
        await until(lambda: reader.store_status == StoreStatus(available=False, stale=True))
        await ours.upsert([stored(10)[ObjectKind.FLAG]["b"]])
        assert not shared.theirs.initialized
        assert set((await ours.load())[ObjectKind.FLAG]) == {"a"}
        assert [await reader.variation(key, user, "") for key in "ab"] == ["ours", "ours"]
        theirs = {"on": True, "variations": ["theirs"], "fallthrough": {"variation": 0}}
        shared.theirs.init({FEATURES: {key: {"key": key, "version": 10, **theirs} for key in "ab"}, SEGMENTS: {}})
        await until(lambda: [reader.variation_nowait(key, user, "") for key in "ab"] == ["theirs", "theirs"])
        await ours.upsert([stored(11)[ObjectKind.FLAG]["b"]])
        await until(lambda: reader.variation_nowait("b", user, "") == "ours")
    await ours.aclose()


@pytest.mark.parametrize("shared", [pytest.param(_consul, id="Consul")], indirect=True)
async def test_both_sdks_use_the_same_keys(shared: Shared, consul_url: str) -> None:
    flag, segment = {"key": "a", "version": 3, "on": True}, {"key": "s", "version": 4}
    shared.theirs.init({FEATURES: {"a": flag}, SEGMENTS: {"s": segment}})
    by_them = kept_in(consul_url)
    feed = Feed()
    feed.say(ChangeSet(kind=ChangeKind.FULL, changes=(change("a", "ours", 5),)))
    async with Client(KEY, beside(feed, shared.ours)):
        await until(lambda: kept_in(consul_url).keys() == {"launchdarkly/$inited", "launchdarkly/features/a"})
    assert {key: json.loads(value or b"null") for key, (value, _) in by_them.items()} == {
        "launchdarkly/$inited": None,
        "launchdarkly/features/a": flag,
        "launchdarkly/segments/s": segment,
    }


def _itself(value: Any) -> Any:
    return value
