"""BigSegmentLookup from the start of a client to its close, in a fork, and with a store that cannot be built or closed."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import Any

import pytest

from aioflags import BigSegments, BigSegmentsStatus, Client, Config, Context, DataSystem, StoreStatus
from aioflags.model.detail import Membership
from aioflags.persistence.big_segments import BigSegmentLookup
from aioflags.runtime.clock import now_ms
from aioflags.sources import MemorySource
from tests.evaluation.data import snapshot_of
from tests.persistence.segment_clients import SEGMENTS, USER, flag, fresh, running, segment
from tests.support.scripted_memberships import ScriptedMemberships


async def test_the_store_is_called_from_the_start_to_the_close_of_the_client() -> None:
    store = fresh({"user-key": {"s.g2": True}, "a": {"s.g2": True}})
    document = {"flags": {"flag": flag("s")}, "segments": SEGMENTS}
    client = Client.local(document, Config(big_segments=BigSegments(store=store)))
    assert await client.variation("flag", USER, False) is False
    assert await client.big_segments_status() == StoreStatus(available=False, stale=False)
    assert (store.asked, store.polls) == ([], 0)
    await client.start(0)
    assert await client.variation("flag", USER, False) is True
    await client.aclose()
    assert store.closed == 1
    assert await client.variation("flag", USER, False) is True
    assert await client.variation("flag", Context("a"), False) is False
    assert store.asked == ["user-key"]


async def test_an_offline_client_does_not_call_the_store() -> None:
    store = fresh()
    async with Client("", Config(offline=True, big_segments=BigSegments(store=store))) as client:
        assert await client.variation("flag", USER, 7) == 7
        assert await client.big_segments_status() == StoreStatus(available=False, stale=False)
    assert (store.asked, store.polls, store.closed) == ([], 0, 0)


class Stubborn(ScriptedMemberships):
    async def aclose(self) -> None:
        await super().aclose()
        await self._answered(None)


@pytest.mark.parametrize(
    ("failure", "delay", "warning"),
    [
        pytest.param(OSError("gone"), 0, "could not be closed: OSError: gone", id="a store that raises"),
        pytest.param(None, 3600, "did not close within", id="a store that hangs"),
    ],
)
async def test_a_store_that_does_not_close_is_abandoned(
    failure: Exception | None, delay: float, warning: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = Stubborn(updated=now_ms())
    async with running(store, SEGMENTS):
        await asyncio.sleep(1)
        store.failure, store.delay = failure, delay
        began = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - began <= 2
    assert store.closed == 1
    assert warning in caplog.text


async def test_two_clients_may_share_a_configuration() -> None:
    store = fresh({"user-key": {"s.g2": True}})
    config = Config(big_segments=BigSegments(store=store))
    document = {"flags": {"flag": flag("s")}, "segments": SEGMENTS}
    async with Client.local(document, config) as one, Client.local(document, replace(config)) as other:
        assert await one.variation("flag", USER, False) is True
        assert await other.variation("flag", USER, False) is True
    assert store.asked == ["user-key", "user-key"]


async def test_the_child_of_a_fork_builds_a_store_when_it_starts() -> None:
    store = fresh({"user-key": {"s.g2": True}, "a": {"s.g2": True}})
    builder = Builder(store)
    memberships = BigSegmentLookup(BigSegments(store=builder), logging.getLogger("aioflags"))
    memberships.open()
    await memberships.status()
    snapshot = snapshot_of(segments=[{"key": "s", "version": 1, **segment()}])
    pinned = await memberships.fetch_for(snapshot, USER, lambda find: () if find("user-key") else ("user-key",))
    assert (pinned("user-key"), builder.built) == (Membership({"s.g2": True}, BigSegmentsStatus.HEALTHY), 1)
    memberships.after_fork()
    assert builder.built == 1
    assert memberships.cached("user-key").status is BigSegmentsStatus.HEALTHY
    for opened, status in ((False, BigSegmentsStatus.STORE_ERROR), (True, BigSegmentsStatus.HEALTHY)):
        if opened:
            memberships.open()
        pinned = await memberships.fetch_for(snapshot, Context("a"), lambda find: () if find("a") else ("a",))
        assert (membership := pinned("a")) is not None
        assert membership.status is status
    assert builder.built == 2


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")


async def test_an_error_whose_text_cannot_be_read_fails_the_store_alone(caplog: pytest.LogCaptureFixture) -> None:
    store = fresh()
    store.failure = UnprintableError()
    async with running(
        store, SEGMENTS, {"flag": flag("s"), "plain": {"on": False, "variations": [1], "offVariation": 0}}
    ) as client:
        await asyncio.sleep(60)
        assert await client.variation("flag", USER, None) is False
        assert await client.variation("plain", USER, 0) == 1
        assert (await client.big_segments_status()).available is False
        store.failure = None
        await asyncio.sleep(60)
        assert (await client.big_segments_status()).available
    assert "does not answer: UnprintableError" in caplog.text
    assert "bug" not in caplog.text


async def test_an_internal_error_in_the_lookup_does_not_stop_the_flags(caplog: pytest.LogCaptureFixture) -> None:
    store, source = fresh(), MemorySource({"f": 1})
    config = Config(data_system=DataSystem.custom(synchronizers=[source]), big_segments=BigSegments(store=store))
    client = Client("", config)
    memberships: Any = client._core.big_segments
    memberships._wall_ms = None
    async with client:
        await asyncio.sleep(60)
        source.set("f", 2)
        await asyncio.sleep(1)
        assert (await client.variation("f", USER, 0), client.status) == (2, "READY")
    assert "internal error" in caplog.text
    assert store.closed == 1


async def test_a_store_that_cannot_be_built_is_unavailable_and_built_later(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken(Builder):
        def build_memberships(self) -> ScriptedMemberships:
            store = super().build_memberships()
            if self.built == 1:
                raise OSError("no socket")
            return store

    builder = Broken(fresh({"user-key": {"s.g2": True}}))
    document = {"flags": {"flag": flag("s")}, "segments": SEGMENTS}
    async with Client.local(document, Config(big_segments=BigSegments(store=builder))) as client:
        await asyncio.sleep(1)
        assert not (await client.big_segments_status()).available
        await asyncio.sleep(5)
        assert (await client.big_segments_status()).available
        assert await client.variation("flag", USER, False) is True
    assert "does not answer: OSError: no socket" in caplog.text


class Builder:
    """Builds the same store each time, and counts."""

    def __init__(self, store: ScriptedMemberships) -> None:
        self.store, self.built = store, 0

    def build_memberships(self) -> ScriptedMemberships:
        self.built += 1
        return self.store
