"""DynamoDBMemberships: reads the data of a Relay Proxy like LaunchDarkly's SDK does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from ldclient import Context as LdContext
from ldclient import LDClient
from ldclient.config import BigSegmentsConfig as LdBigSegments
from ldclient.config import Config as LdConfig
from ldclient.integrations import DynamoDB, Files

from aioflags import BigSegments, BigSegmentsStatus, Client, Config, Context, StoreStatus
from aioflags.runtime.clock import now_ms
from aioflags.stores import DynamoDBStore, MembershipStore, context_hash
from tests.stores.test_redis_memberships import DOCUMENT
from tests.support.canaries import KEY
from tests.support.dynamodb_server import TABLE, DynamoDBServer

pytestmark = pytest.mark.real_time

HASH = context_hash("user-key")
FAILED = StoreStatus(available=False, stale=False)
NEVER_UPDATED = StoreStatus(available=True, stale=True)


def write(server: DynamoDBServer, included: list[str], excluded: list[str], updated: int | None = None, start: str = "") -> None:
    """What a Relay Proxy writes."""
    sets = {"included": included, "excluded": excluded}
    server.put(f"{start}big_segments_user", HASH, **{name: {"SS": names} for name, names in sets.items() if names})
    if updated is not None:
        metadata = f"{start}big_segments_metadata"
        server.put(metadata, metadata, synchronizedOn={"N": str(updated)})


@asynccontextmanager
async def opened(server: DynamoDBServer, **options: Any) -> AsyncGenerator[MembershipStore]:
    store = DynamoDBStore(TABLE, endpoint_url=server.url, **options).build_memberships()
    try:
        yield store
    finally:
        await store.aclose()


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
@pytest.mark.parametrize(("prefix", "start"), [("", ""), ("shop", "shop:")], ids=["without a prefix", "with a prefix"])
async def test_big_segments_are_read_like_launchdarklys_sdk_does(
    dynamodb: DynamoDBServer, prefix: str, start: str, included: list[str], excluded: list[str], updated: int | None
) -> None:
    write(dynamodb, included, excluded, updated, start)
    theirs: Any = DynamoDB.new_big_segment_store(TABLE, prefix=prefix, dynamodb_opts={"endpoint_url": dynamodb.url})
    try:
        async with opened(dynamodb, prefix=prefix) as ours:
            assert (await ours.memberships(HASH) or None) == theirs.get_membership(HASH)
            assert await ours.last_updated_ms() == theirs.get_metadata().last_up_to_date == updated
            assert await ours.memberships(context_hash("another")) == {}
    finally:
        theirs._client.close()


async def test_both_sdks_give_the_same_answers_from_one_table(dynamodb: DynamoDBServer, tmp_path: Path) -> None:
    write(dynamodb, ["beta-users.g2"], ["beta-users.g1"], now_ms())
    data = tmp_path / "flags.json"
    data.write_text(json.dumps(DOCUMENT))
    theirs = await asyncio.to_thread(_reference, dynamodb.url, data)
    assert theirs["user-key"][0] is True
    async with Client.local(DOCUMENT, _config(dynamodb)) as client:
        for key, expected in theirs.items():
            detail = await client.variation_detail("beta", Context(key), False)
            assert (detail.value, detail.variation_index, detail.reason.to_dict()) == expected


def _reference(url: str, data: Path) -> dict[str, tuple[Any, int | None, dict[str, Any]]]:
    """What launchdarkly-server-sdk answers."""
    store: Any = DynamoDB.new_big_segment_store(TABLE, dynamodb_opts={"endpoint_url": url})
    source = Files.new_data_source(paths=[str(data)])
    config = LdConfig(KEY, update_processor_class=source, send_events=False, big_segments=LdBigSegments(store=store))
    with LDClient(config) as client:
        details = {key: client.variation_detail("beta", LdContext.create(key), False) for key in ("user-key", "somebody")}
    store._client.close()
    return {key: (detail.value, detail.variation_index, detail.reason) for key, detail in details.items()}


def _config(server: DynamoDBServer) -> Config:
    return Config(big_segments=BigSegments(store=DynamoDBStore(TABLE, endpoint_url=server.url)))


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
    async with Client.local(DOCUMENT, _config(dynamodb)) as client:
        assert await client.big_segments_status() == status
        detail = await client.variation_detail("beta", Context("user-key"), True)
        assert (detail.value, detail.reason.big_segments_status) == (False, expected or BigSegmentsStatus.STORE_ERROR)


async def test_two_clients_use_one_configuration(dynamodb: DynamoDBServer) -> None:
    write(dynamodb, ["beta-users.g2"], [], now_ms())
    config = _config(dynamodb)
    async with Client.local(DOCUMENT, config) as one, Client.local(DOCUMENT, config) as other:
        for client in (one, other):
            detail = await client.variation_detail("beta", Context("user-key"), False)
            assert (detail.value, detail.reason.big_segments_status) == (True, BigSegmentsStatus.HEALTHY)
            assert await client.variation("beta", Context("somebody"), True) is False
