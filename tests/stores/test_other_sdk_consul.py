"""Consul shared with LaunchDarkly's SDK: each SDK reads the flags that the other one writes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import ldclient
import pytest
from ldclient.config import Config as TheirConfig
from ldclient.feature_store import CacheConfig
from ldclient.integrations import Consul as TheirConsul
from ldclient.versioned_data_kind import FEATURES, SEGMENTS

from aioflags import Client, Config, Context, DataSystem
from aioflags.evaluation.snapshot import Snapshot
from aioflags.model.change import ChangeKind, ChangeSet
from aioflags.model.values import same_json
from aioflags.stores import ConsulStore
from tests.evaluation.data import outcome
from tests.evaluation.generator import world
from tests.evaluation.oracle import Oracle
from tests.stores.test_other_sdk import sent
from tests.support.canaries import KEY
from tests.support.consul_server import kept_in
from tests.support.feed import Feed, change, changes
from tests.support.store_clients import beside

pytestmark = [pytest.mark.real_time, pytest.mark.holds("DS-137")]


@pytest.fixture
def theirs(consul_url: str) -> Iterator[Any]:
    """The store of LaunchDarkly's SDK on the same Consul."""
    host, _, port = consul_url.removeprefix("http://").partition(":")
    store: Any = TheirConsul.new_feature_store(host=host, port=int(port), caching=CacheConfig.disabled())
    yield store
    store._core._client.http.session.close()  # it has no close, and leaves the connections to the garbage collector


async def until(is_so: Callable[[], bool]) -> None:
    with anyio.fail_after(60):
        while not is_so():
            await anyio.sleep(0.005)


@pytest.mark.parametrize("seed", [f"shared:{n}" for n in range(5)])
async def test_the_other_sdk_evaluates_our_stored_flags_like_those_of_the_service(consul_url: str, theirs: Any, seed: str) -> None:
    made, feed = world(seed), Feed()
    feed.say(sent(made))
    async with Client(KEY, beside(feed, ConsulStore(consul_url))):
        await until(lambda: bool(theirs.initialized))
        flags, segments = (theirs.all(kind, _itself) for kind in (FEATURES, SEGMENTS))
        read = Oracle([flag.to_json_dict() for flag in flags.values()], [one.to_json_dict() for one in segments.values()])
        original = Oracle(made.flags, made.segments)
        assert {flag["key"] for flag in made.flags} == set(flags)
        for context in made.contexts:
            for flag in made.flags:
                assert read.evaluate(flag["key"], context) == original.evaluate(flag["key"], context)


@pytest.mark.parametrize("seed", [f"shared:{n}" for n in range(5)])
async def test_flags_stored_by_the_other_sdk_are_evaluated_like_those_of_the_service(
    consul_url: str, theirs: Any, seed: str
) -> None:
    made = world(seed)
    flags = {one["key"]: one for one in made.flags}
    theirs.init({FEATURES: flags, SEGMENTS: {one["key"]: one for one in made.segments}})
    original = Snapshot.empty().apply(sent(made))
    async with Client("", Config(data_system=DataSystem.daemon(ConsulStore(consul_url)))) as client:
        read = client._holder.snapshot
        assert set(read.flags) == set(flags)
        for context in map(Context.from_dict, made.contexts):
            for key in flags:
                assert same_json(
                    list(outcome(read.evaluate(key, context, None))), list(outcome(original.evaluate(key, context, None)))
                )


async def test_the_other_sdk_serves_our_stored_flags_and_their_changes(consul_url: str, theirs: Any) -> None:
    feed, user = Feed(), ldclient.Context.create("user-123")
    feed.say(ChangeSet(kind=ChangeKind.FULL, changes=(change("a", "first"), change("b", "second"))))
    config = TheirConfig("", feature_store=theirs, use_ldd=True, send_events=False, diagnostic_opt_out=True)
    async with Client(KEY, beside(feed, ConsulStore(consul_url))):
        their_client = await anyio.to_thread.run_sync(ldclient.LDClient, config)
        await until(lambda: bool(their_client.variation("a", user, "") == "first"))
        feed.say(changes(change("a", "newer", 2), change("b", None, 2)))
        await until(lambda: bool(their_client.variation("a", user, "") == "newer"))
        detail = their_client.variation_detail("b", user, "gone")
        assert (detail.value, detail.reason["errorKind"]) == ("gone", "FLAG_NOT_FOUND")
        await anyio.to_thread.run_sync(their_client.close)


async def test_each_sdk_respects_the_versions_of_the_other(consul_url: str, theirs: Any) -> None:
    feed = Feed()
    feed.say(ChangeSet(kind=ChangeKind.FULL, changes=(change("a", "ours", 5), change("b", "ours", 5))))
    async with Client(KEY, beside(feed, ConsulStore(consul_url))):
        await until(lambda: bool(theirs.initialized))
        theirs.upsert(FEATURES, {"key": "a", "version": 4, "on": True, "variations": ["theirs"]})
        theirs.upsert(FEATURES, {"key": "b", "version": 100, "on": True, "variations": ["theirs"]})
        feed.say(changes(change("a", "newer", 6), change("b", "newer", 6)))
        await until(lambda: bool(theirs.get(FEATURES, "a", _itself).version == 6))
        assert theirs.get(FEATURES, "b", _itself).variations == ["theirs"]
        theirs.delete(FEATURES, "a", 7)
        async with Client("", Config(data_system=DataSystem.daemon(ConsulStore(consul_url)))) as reader:
            assert await reader.variation("a", Context("user-123"), "gone") == "gone"


async def test_both_sdks_use_the_same_keys(consul_url: str, theirs: Any) -> None:
    flag, segment = {"key": "a", "version": 3, "on": True}, {"key": "s", "version": 4}
    theirs.init({FEATURES: {"a": flag}, SEGMENTS: {"s": segment}})
    by_them = kept_in(consul_url)
    feed = Feed()
    feed.say(ChangeSet(kind=ChangeKind.FULL, changes=(change("a", "ours", 5),)))
    async with Client(KEY, beside(feed, ConsulStore(consul_url))):
        await until(lambda: kept_in(consul_url).keys() == {"launchdarkly/$inited", "launchdarkly/features/a"})
    assert {key: json.loads(value or b"null") for key, (value, _) in by_them.items()} == {
        "launchdarkly/$inited": None,
        "launchdarkly/features/a": flag,
        "launchdarkly/segments/s": segment,
    }


def _itself(value: Any) -> Any:
    return value
