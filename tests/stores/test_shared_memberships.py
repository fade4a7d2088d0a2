"""Big segments of Redis and DynamoDB: the data of a Relay Proxy are read like LaunchDarkly's SDK reads them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import pytest
import redis.asyncio
from ldclient import Context as LdContext
from ldclient import LDClient
from ldclient.config import BigSegmentsConfig as LdBigSegments
from ldclient.config import Config as LdConfig
from ldclient.integrations import DynamoDB, Files, Redis

from aioflags import BigSegments, BigSegmentsStatus, Client, Config, Context, StoreStatus
from aioflags.runtime.clock import now_ms
from aioflags.stores import DynamoDBStore, RedisStore, context_hash
from tests.stores.test_outages import Way, end_trouble, make_trouble
from tests.stores.test_stores import DYNAMODB, REDIS
from tests.support.canaries import KEY
from tests.support.dynamodb_server import TABLE, DynamoDBServer
from tests.support.redis_server import UNNAMED, RedisServer

pytestmark = pytest.mark.real_time

HASH = context_hash("user-key")
DOCUMENT: dict[str, Any] = {
    "flags": {
        "beta": {
            "key": "beta",
            "version": 1,
            "salt": "",
            "on": True,
            "variations": [True, False],
            "fallthrough": {"variation": 1},
            "rules": [
                {"id": "rule", "clauses": [{"attribute": "", "op": "segmentMatch", "values": ["beta-users"]}], "variation": 0}
            ],
        }
    },
    "segments": {"beta-users": {"key": "beta-users", "version": 1, "salt": "", "unbounded": True, "generation": 2}},
}
FAILED = StoreStatus(available=False, stale=False)
NEVER_UPDATED = StoreStatus(available=True, stale=True)


class Database(Protocol):
    """A database, as a store of ours and as one of LaunchDarkly's SDK, which is closed by ``close``."""

    def ours(self, prefix: str = "") -> RedisStore | DynamoDBStore: ...
    def theirs(self, prefix: str = "") -> Any: ...
    def close(self, theirs: Any) -> None: ...

    async def write(self, included: list[str], excluded: list[str], updated: object = None, prefix: str = "") -> None:
        """Write what a Relay Proxy writes."""


class OnRedis:
    def __init__(self, url: str) -> None:
        self.url = url

    def ours(self, prefix: str = "") -> RedisStore:
        return RedisStore(self.url, prefix=prefix)

    def theirs(self, prefix: str = "") -> Any:
        return Redis.new_big_segment_store(self.url, prefix=prefix or "launchdarkly")

    def close(self, theirs: Any) -> None:
        theirs.stop()

    async def write(self, included: list[str], excluded: list[str], updated: object = None, prefix: str = "") -> None:
        start = prefix or "launchdarkly"
        async with _client(self.url) as client:
            for name, segments in (("include", included), ("exclude", excluded)):
                if segments:
                    await client.sadd(f"{start}:big_segment_{name}:{HASH}", *segments)
            if updated is not None:
                await client.set(f"{start}:big_segments_synchronized_on", str(updated))


class OnDynamoDB:
    def __init__(self, server: DynamoDBServer) -> None:
        self.server = server

    def ours(self, prefix: str = "") -> DynamoDBStore:
        return DynamoDBStore(TABLE, endpoint_url=self.server.url, prefix=prefix)

    def theirs(self, prefix: str = "") -> Any:
        return DynamoDB.new_big_segment_store(TABLE, prefix=prefix, dynamodb_opts={"endpoint_url": self.server.url})

    def close(self, theirs: Any) -> None:
        theirs._client.close()

    async def write(self, included: list[str], excluded: list[str], updated: object = None, prefix: str = "") -> None:
        start, sets = f"{prefix}:" if prefix else "", {"included": included, "excluded": excluded}
        self.server.put(f"{start}big_segments_user", HASH, **{name: {"SS": names} for name, names in sets.items() if names})
        if updated is not None:
            metadata = f"{start}big_segments_metadata"
            self.server.put(metadata, metadata, synchronizedOn={"N": str(updated)})


def _client(url: str, **options: Any) -> Any:
    # Without it redis-py looks its own version up on the disk.
    return redis.asyncio.Redis.from_url(url, **UNNAMED, **options)


@pytest.fixture(
    params=[pytest.param("redis_url", id="Redis", marks=REDIS), pytest.param("dynamodb", id="DynamoDB", marks=DYNAMODB)]
)
def database(request: pytest.FixtureRequest) -> Database:
    opened = request.getfixturevalue(request.param)
    return OnRedis(opened) if request.param == "redis_url" else OnDynamoDB(opened)


def config_of(store: RedisStore | DynamoDBStore) -> Config:
    return Config(big_segments=BigSegments(store=store))


@pytest.mark.parametrize(
    ("included", "excluded", "updated"),
    [
        pytest.param([], [], None, id="nothing at all"),
        pytest.param(["a.g1"], [], 1_700_000_000_000, id="included"),
        pytest.param([], ["a.g1"], 0, id="excluded"),
        pytest.param(["a.g1", "b.g2"], ["a.g1", "c.g3"], 5, id="in both sets, which is included"),
        pytest.param(["ü ☃.g0"], [], 1, id="a key beyond ASCII"),
    ],
)
@pytest.mark.parametrize("prefix", ["", "shop"], ids=["without a prefix", "with a prefix"])
async def test_big_segments_are_read_like_launchdarklys_sdk_does(
    database: Database, prefix: str, included: list[str], excluded: list[str], updated: int | None
) -> None:
    await database.write(included, excluded, updated, prefix)
    ours, theirs = database.ours(prefix).build_memberships(), database.theirs(prefix)
    try:
        assert (await ours.memberships(HASH) or None) == theirs.get_membership(HASH)
        assert await ours.last_updated_ms() == theirs.get_metadata().last_up_to_date == updated
        assert await ours.memberships(context_hash("another")) == {}
    finally:
        database.close(theirs)
        await ours.aclose()


@pytest.mark.parametrize(
    "updated", [pytest.param(now_ms, id="up to date"), pytest.param(lambda: 1, id="stale"), pytest.param(lambda: None, id="never")]
)
async def test_both_sdks_give_the_same_answers_from_one_database(
    database: Database, tmp_path: Path, updated: Callable[[], int | None]
) -> None:
    await database.write(["beta-users.g2"], ["beta-users.g1"], updated())
    data = tmp_path / "flags.json"
    data.write_text(json.dumps(DOCUMENT))
    theirs = await asyncio.to_thread(_reference, database, data)
    assert theirs["user-key"][0] is True
    async with Client.local(DOCUMENT, config_of(database.ours())) as client:
        for key, expected in theirs.items():
            detail = await client.variation_detail("beta", Context(key), False)
            assert (detail.value, detail.variation_index, detail.reason.to_dict()) == expected


def _reference(database: Database, data: Path) -> dict[str, tuple[Any, int | None, dict[str, Any]]]:
    """What launchdarkly-server-sdk answers."""
    store = database.theirs()
    source = Files.new_data_source(paths=[str(data)])
    config = LdConfig(KEY, update_processor_class=source, send_events=False, big_segments=LdBigSegments(store=store))
    with LDClient(config) as client:
        details = {key: client.variation_detail("beta", LdContext.create(key), False) for key in ("user-key", "somebody")}
    database.close(store)
    return {key: (detail.value, detail.variation_index, detail.reason) for key, detail in details.items()}


async def test_two_clients_with_one_configuration_evaluate_by_what_is_stored(database: Database) -> None:
    await database.write(["beta-users.g2"], [], now_ms())
    config = config_of(database.ours())
    async with Client.local(DOCUMENT, config) as one, Client.local(DOCUMENT, config) as other:
        for client in (one, other):
            detail = await client.variation_detail("beta", Context("user-key"), False)
            assert (detail.value, detail.reason.big_segments_status) == (True, BigSegmentsStatus.HEALTHY)
            assert await client.variation("beta", Context("somebody"), True) is False


# -- Redis


async def test_a_segment_name_that_is_not_text_does_not_hide_others(redis_url: str) -> None:
    async with _client(redis_url) as client:
        await client.sadd(f"launchdarkly:big_segment_include:{HASH}", b"\xff", b"a.g1")
    store = RedisStore(redis_url).build_memberships()
    assert (await store.memberships(HASH) or {})["a.g1"] is True
    await store.aclose()


async def test_a_ready_client_is_used_and_left_open(redis_url: str) -> None:
    await OnRedis(redis_url).write(["a.g1"], ["b.g1"], 7)
    async with _client(redis_url, decode_responses=True) as client:
        store = RedisStore(client=client).build_memberships()
        assert await store.memberships(HASH) == {"a.g1": True, "b.g1": False}
        assert await store.last_updated_ms() == 7
        await store.aclose()
        assert await client.ping() is True


@pytest.mark.parametrize(
    ("key", "kind", "status"),
    [
        pytest.param("big_segments_synchronized_on", "rubbish", FAILED, id="no time"),
        pytest.param("big_segments_synchronized_on", "", NEVER_UPDATED, id="an empty time"),
        pytest.param("big_segment_include:" + HASH, "no set", NEVER_UPDATED, id="a string for a set"),
    ],
)
async def test_invalid_data_in_the_database_are_a_store_error(redis_url: str, key: str, kind: str, status: StoreStatus) -> None:
    async with _client(redis_url) as client:
        await client.set(f"launchdarkly:{key}", kind)
    expected = BigSegmentsStatus.STALE if kind == "" else BigSegmentsStatus.STORE_ERROR
    await check_status(RedisStore(redis_url), status, expected)


async def check_status(store: RedisStore | DynamoDBStore, status: StoreStatus, expected: BigSegmentsStatus) -> None:
    async with Client.local(DOCUMENT, config_of(store)) as client:
        assert await client.big_segments_status() == status
        detail = await client.variation_detail("beta", Context("user-key"), True)
        assert (detail.value, detail.reason.big_segments_status) == (False, expected)


@pytest.mark.slow
async def test_evaluations_continue_while_the_database_fails_in_several_ways(own_redis: RedisServer) -> None:
    database = OnRedis(own_redis.url)
    await database.write(["beta-users.g2"], [], now_ms())
    way = Way(own_redis)
    seen: set[tuple[bool, BigSegmentsStatus | None]] = set()

    async def ask_until(client: Client, answer: tuple[bool, BigSegmentsStatus]) -> None:
        seen.clear()
        async with asyncio.timeout(60):
            while answer not in seen:
                detail = await client.variation_detail("beta", Context("user-key"), False)
                seen.add((detail.value, detail.reason.big_segments_status))
                await asyncio.sleep(0.001)
        assert (False, BigSegmentsStatus.HEALTHY) not in seen

    async with way.open():
        options = BigSegments(store=RedisStore(way.url, timeout=1), context_cache_time=0.05, status_poll_interval=0.05)
        async with Client.local(DOCUMENT, Config(big_segments=options)) as client:
            await ask_until(client, (True, BigSegmentsStatus.HEALTHY))
            assert len(seen) == 1
            for trouble in ("frozen", "killed", "garbage", "nonsense"):
                await make_trouble(own_redis, way, trouble)
                await ask_until(client, (False, BigSegmentsStatus.STORE_ERROR))
                await end_trouble(own_redis, way, trouble)
                await database.write(["beta-users.g2"], [], now_ms())
                await ask_until(client, (True, BigSegmentsStatus.HEALTHY))


# -- DynamoDB


@pytest.mark.parametrize(
    ("metadata", "sets", "status", "expected"),
    [
        pytest.param({"synchronizedOn": {"S": "now"}}, {}, FAILED, None, id="a time that is text"),
        pytest.param({"synchronizedOn": {"N": "1.5"}}, {}, FAILED, None, id="half a millisecond"),
        pytest.param({}, {}, NEVER_UPDATED, BigSegmentsStatus.STALE, id="no time"),
        pytest.param(
            {"synchronizedOn": {"NULL": True}},
            {"included": {"NULL": True}},
            NEVER_UPDATED,
            BigSegmentsStatus.STALE,
            id="null for a time and a set",
        ),
        pytest.param({}, {"included": {"S": "a"}}, NEVER_UPDATED, None, id="text for a set"),
        pytest.param({}, {"excluded": {"L": []}}, NEVER_UPDATED, None, id="a list for a set"),
        pytest.param({}, {"included": {"NS": ["1"]}}, NEVER_UPDATED, None, id="a set of numbers"),
    ],
)
async def test_attributes_of_wrong_types_are_a_store_error(
    dynamodb: DynamoDBServer,
    metadata: dict[str, Any],
    sets: dict[str, Any],
    status: StoreStatus,
    expected: BigSegmentsStatus | None,
) -> None:
    dynamodb.put("big_segments_metadata", "big_segments_metadata", **metadata)
    dynamodb.put("big_segments_user", HASH, **sets)
    await check_status(OnDynamoDB(dynamodb).ours(), status, expected or BigSegmentsStatus.STORE_ERROR)
