"""DynamoDB shared with LaunchDarkly's SDK: each SDK reads the flags that the other one writes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anyio
import ldclient
import pytest
from ldclient.config import Config as TheirConfig
from ldclient.feature_store import CacheConfig
from ldclient.integrations import DynamoDB as TheirDynamoDB
from ldclient.versioned_data_kind import FEATURES, SEGMENTS

from aioflags import Client, Config, Context, DataSystem
from aioflags.evaluation.snapshot import Snapshot
from aioflags.model.change import ChangeKind, ChangeSet
from aioflags.model.values import same_json
from aioflags.stores import DynamoDBStore
from tests.evaluation.data import outcome
from tests.evaluation.generator import world
from tests.evaluation.oracle import Oracle
from tests.stores.test_other_sdk import sent, until
from tests.support.canaries import KEY
from tests.support.dynamodb_server import TABLE, DynamoDBServer
from tests.support.feed import Feed, change, changes
from tests.support.store_clients import beside

pytestmark = [pytest.mark.real_time, pytest.mark.one_interpreter, pytest.mark.holds("DS-137")]

SEEDS = [f"shared:{n}" for n in range(3)]


@pytest.fixture(params=["", "shop"], ids=["without a prefix", "with a prefix"])
def ours(request: pytest.FixtureRequest, dynamodb: DynamoDBServer) -> DynamoDBStore:
    return DynamoDBStore(TABLE, prefix=request.param, endpoint_url=dynamodb.url)


@pytest.fixture
def theirs(ours: DynamoDBStore) -> Iterator[Any]:
    """The store of LaunchDarkly's SDK on the same table."""
    options = {"endpoint_url": ours.endpoint_url}
    store: Any = TheirDynamoDB.new_feature_store(TABLE, ours.prefix, options, CacheConfig.disabled())
    yield store
    store._core._client.close()  # its close leaves the connections to the garbage collector


@pytest.mark.parametrize("seed", SEEDS)
async def test_the_other_sdk_evaluates_our_stored_flags_like_those_of_the_service(
    ours: DynamoDBStore, theirs: Any, seed: str
) -> None:
    made, feed = world(seed), Feed()
    feed.say(sent(made))
    async with Client(KEY, beside(feed, ours)):
        await until(lambda: bool(theirs.initialized))
        flags, segments = (theirs.all(kind, _itself) for kind in (FEATURES, SEGMENTS))
        read = Oracle([flag.to_json_dict() for flag in flags.values()], [one.to_json_dict() for one in segments.values()])
        original = Oracle(made.flags, made.segments)
        assert {flag["key"] for flag in made.flags} == set(flags)
        for context in made.contexts:
            for flag in made.flags:
                assert read.evaluate(flag["key"], context) == original.evaluate(flag["key"], context)


@pytest.mark.parametrize("seed", SEEDS)
async def test_flags_stored_by_the_other_sdk_are_evaluated_like_those_of_the_service(
    ours: DynamoDBStore, theirs: Any, seed: str
) -> None:
    made = world(seed)
    flags = {one["key"]: one for one in made.flags}
    theirs.init({FEATURES: flags, SEGMENTS: {one["key"]: one for one in made.segments}})
    original = Snapshot.empty().apply(sent(made))
    async with Client("", Config(data_system=DataSystem.daemon(ours))) as client:
        read = client._holder.snapshot
        assert set(read.flags) == set(flags)
        for context in map(Context.from_dict, made.contexts):
            for key in flags:
                assert same_json(
                    list(outcome(read.evaluate(key, context, None))), list(outcome(original.evaluate(key, context, None)))
                )


async def test_the_other_sdk_serves_our_stored_flags_and_their_changes(ours: DynamoDBStore, theirs: Any) -> None:
    feed, user = Feed(), ldclient.Context.create("user-123")
    feed.say(ChangeSet(kind=ChangeKind.FULL, changes=(change("a", "first"), change("b", "second"))))
    config = TheirConfig("", feature_store=theirs, use_ldd=True, send_events=False, diagnostic_opt_out=True)
    async with Client(KEY, beside(feed, ours)):
        their_client = await anyio.to_thread.run_sync(ldclient.LDClient, config)
        await until(lambda: bool(their_client.variation("a", user, "") == "first"))
        feed.say(changes(change("a", "newer", 2), change("b", None, 2)))
        await until(lambda: bool(their_client.variation_detail("b", user, "gone").reason.get("errorKind") == "FLAG_NOT_FOUND"))
        assert their_client.variation("a", user, "") == "newer"
        await anyio.to_thread.run_sync(their_client.close)


async def test_each_sdk_respects_the_versions_of_the_other(ours: DynamoDBStore, theirs: Any) -> None:
    feed = Feed()
    feed.say(ChangeSet(kind=ChangeKind.FULL, changes=(change("a", "ours", 5), change("b", "ours", 5))))
    async with Client(KEY, beside(feed, ours)):
        await until(lambda: bool(theirs.initialized))
        theirs.upsert(FEATURES, {"key": "a", "version": 4, "on": True, "variations": ["theirs"]})
        theirs.upsert(FEATURES, {"key": "b", "version": 100, "on": True, "variations": ["theirs"]})
        feed.say(changes(change("a", "newer", 6), change("b", "newer", 6)))
        await until(lambda: bool(theirs.get(FEATURES, "a", _itself).version == 6))
        assert theirs.get(FEATURES, "b", _itself).variations == ["theirs"]
        theirs.delete(FEATURES, "a", 7)
        async with Client("", Config(data_system=DataSystem.daemon(ours))) as reader:
            assert await reader.variation("a", Context("user-123"), "gone") == "gone"


def _itself(value: Any) -> Any:
    return value
