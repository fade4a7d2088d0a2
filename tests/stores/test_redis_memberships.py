"""RedisMemberships: reads the data of a Relay Proxy like LaunchDarkly's SDK does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
from ldclient import Context as LdContext
from ldclient import LDClient
from ldclient.config import BigSegmentsConfig as LdBigSegments
from ldclient.config import Config as LdConfig
from ldclient.integrations import Files, Redis

from aioflags import BigSegments, BigSegmentsStatus, Client, Config, Context, StoreStatus
from aioflags.runtime.clock import now_ms
from aioflags.stores import RedisStore, context_hash
from tests.stores.test_outages import Way, end_trouble, make_trouble
from tests.support.canaries import KEY
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


def _client(url: str, **options: Any) -> Any:
    # Without it redis-py looks its own version up on the disk.
    return redis.asyncio.Redis.from_url(url, **UNNAMED, **options)


async def write(url: str, included: list[str], excluded: list[str], updated: object = None, prefix: str = "launchdarkly") -> None:
    """What a Relay Proxy writes."""
    async with _client(url) as client:
        if included:
            await client.sadd(f"{prefix}:big_segment_include:{HASH}", *included)
        if excluded:
            await client.sadd(f"{prefix}:big_segment_exclude:{HASH}", *excluded)
        if updated is not None:
            await client.set(f"{prefix}:big_segments_synchronized_on", str(updated))


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
@pytest.mark.parametrize("prefix", ["launchdarkly", "shop"])
async def test_big_segments_are_read_like_launchdarklys_sdk_does(
    redis_url: str, prefix: str, included: list[str], excluded: list[str], updated: int | None
) -> None:
    await write(redis_url, included, excluded, updated, prefix)
    ours = RedisStore(redis_url, prefix=prefix).build_memberships()
    theirs: Any = Redis.new_big_segment_store(redis_url, prefix=prefix)
    try:
        assert (await ours.memberships(HASH) or None) == theirs.get_membership(HASH)
        assert await ours.last_updated_ms() == theirs.get_metadata().last_up_to_date == updated
    finally:
        theirs.stop()
        await ours.aclose()


@pytest.mark.parametrize(
    "updated", [pytest.param(now_ms, id="up to date"), pytest.param(lambda: 1, id="stale"), pytest.param(lambda: None, id="never")]
)
async def test_both_sdks_give_the_same_answers_from_one_database(
    redis_url: str, tmp_path: Path, updated: Callable[[], int | None]
) -> None:
    await write(redis_url, ["beta-users.g2"], ["beta-users.g1"], updated())
    data = tmp_path / "flags.json"
    data.write_text(json.dumps(DOCUMENT))
    theirs = await asyncio.to_thread(_reference, redis_url, data)
    async with Client.local(DOCUMENT, Config(big_segments=BigSegments(store=RedisStore(redis_url)))) as client:
        for key, expected in theirs.items():
            detail = await client.variation_detail("beta", Context(key), False)
            assert (detail.value, detail.variation_index, detail.reason.to_dict()) == expected


def _reference(redis_url: str, data: Path) -> dict[str, tuple[Any, int | None, dict[str, Any]]]:
    """What launchdarkly-server-sdk answers."""
    store = LdBigSegments(store=Redis.new_big_segment_store(redis_url))
    source = Files.new_data_source(paths=[str(data)])
    config = LdConfig(KEY, update_processor_class=source, send_events=False, big_segments=store)
    with LDClient(config) as client:
        details = {key: client.variation_detail("beta", LdContext.create(key), False) for key in ("user-key", "somebody")}
        return {key: (detail.value, detail.variation_index, detail.reason) for key, detail in details.items()}


async def test_a_segment_name_that_is_not_text_does_not_hide_others(redis_url: str) -> None:
    async with _client(redis_url) as client:
        await client.sadd(f"launchdarkly:big_segment_include:{HASH}", b"\xff", b"a.g1")
    store = RedisStore(redis_url).build_memberships()
    assert (await store.memberships(HASH) or {})["a.g1"] is True
    await store.aclose()


async def test_a_ready_client_is_used_and_left_open(redis_url: str) -> None:
    await write(redis_url, ["a.g1"], ["b.g1"], 7)
    async with _client(redis_url, decode_responses=True) as client:
        store = RedisStore(client=client).build_memberships()
        assert await store.memberships(HASH) == {"a.g1": True, "b.g1": False}
        assert await store.last_updated_ms() == 7
        await store.aclose()
        assert await client.ping() is True


async def test_stored_memberships_decide_evaluations(redis_url: str) -> None:
    await write(redis_url, ["beta-users.g2"], [], now_ms())
    config = Config(big_segments=BigSegments(store=RedisStore(redis_url)))
    async with Client.local(DOCUMENT, config) as one, Client.local(DOCUMENT, config) as other:
        for client in (one, other):
            detail = await client.variation_detail("beta", Context("user-key"), False)
            assert (detail.value, detail.reason.big_segments_status) == (True, BigSegmentsStatus.HEALTHY)
            assert await client.variation("beta", Context("somebody"), True) is False


@pytest.mark.parametrize(
    ("key", "kind", "status"),
    [
        pytest.param("big_segments_synchronized_on", "rubbish", StoreStatus(available=False, stale=False), id="no time"),
        pytest.param("big_segments_synchronized_on", "", StoreStatus(available=True, stale=True), id="an empty time"),
        pytest.param("big_segment_include:" + HASH, "no set", StoreStatus(available=True, stale=True), id="a string for a set"),
    ],
)
async def test_invalid_data_in_the_database_are_a_store_error(redis_url: str, key: str, kind: str, status: StoreStatus) -> None:
    async with _client(redis_url) as client:
        await client.set(f"launchdarkly:{key}", kind)
    async with Client.local(DOCUMENT, Config(big_segments=BigSegments(store=RedisStore(redis_url)))) as client:
        assert await client.big_segments_status() == status
        detail = await client.variation_detail("beta", Context("user-key"), True)
        expected = BigSegmentsStatus.STALE if kind == "" else BigSegmentsStatus.STORE_ERROR
        assert (detail.value, detail.reason.big_segments_status) == (False, expected)


@pytest.mark.slow
async def test_evaluations_continue_while_the_database_fails_in_several_ways(own_redis: RedisServer) -> None:
    await write(own_redis.url, ["beta-users.g2"], [], now_ms())
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
                await write(own_redis.url, ["beta-users.g2"], [], now_ms())
                await ask_until(client, (True, BigSegmentsStatus.HEALTHY))
