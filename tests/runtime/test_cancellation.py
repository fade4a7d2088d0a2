"""Stray cancellations: a hook, plugin or store awaits something that is cancelled, and the client continues."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal

import anyio
import pytest

from aioflags import BigSegments, Client, Config, DataSystem, Hook, Persistence
from aioflags.hooks import EvaluationCall, TrackCall
from aioflags.migration import Migrator, ReadOrder, Stage
from aioflags.model.detail import EvaluationDetail
from aioflags.plugins import EnvironmentMetadata, Plugin
from aioflags.runtime.event_loops import StrayCancellationError, contain_cancellation, is_cancelled
from aioflags.sources import MemorySource
from tests.support.canaries import secretive
from tests.support.feed import Feed, change, changes, full
from tests.support.memory_store import MemoryStore
from tests.support.scripted_memberships import ScriptedMemberships

USER = secretive("anna")


async def cancelled() -> None:
    """Waits for a task that is cancelled."""
    task = asyncio.create_task(asyncio.sleep(60))
    asyncio.get_running_loop().call_soon(task.cancel)
    await task


# -- the block


async def test_a_stray_cancellation_is_an_exception_with_its_cause() -> None:
    with pytest.raises(StrayCancellationError) as raised, contain_cancellation():
        await cancelled()
    assert isinstance(raised.value.__cause__, asyncio.CancelledError)


async def test_a_task_that_is_itself_cancelled_ends() -> None:
    met: list[bool] = []

    async def wait() -> None:
        with contain_cancellation():
            try:
                await anyio.sleep(60)
            finally:
                met.append(is_cancelled())

    task = asyncio.create_task(wait())
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with anyio.move_on_after(1) as scope:
        await wait()
    assert scope.cancelled_caught
    assert met == [True, True]
    assert not is_cancelled()


async def test_a_stray_cancellation_inside_an_expired_time_limit_is_contained() -> None:
    async def stubborn() -> None:
        with suppress(asyncio.CancelledError):
            await anyio.sleep(60)
        await cancelled()

    with pytest.raises((StrayCancellationError, TimeoutError)), contain_cancellation(), anyio.fail_after(1):
        await stubborn()
    assert not is_cancelled()


@pytest.mark.parametrize("error", [ValueError("v"), KeyboardInterrupt()])
def test_an_exception_that_is_not_a_cancellation_is_raised(error: BaseException) -> None:
    with pytest.raises(type(error)), contain_cancellation():
        raise error


# -- a client


class CancelledAfterTrack(Hook):
    """Waits after each event. Its first wait is cancelled. Records the other events."""

    name = "listening"

    def __init__(self) -> None:
        self.recorded: list[str] = []

    async def after_track(self, series_context: TrackCall) -> None:
        if series_context.key == "first":
            await cancelled()
        self.recorded.append(series_context.key)


class CancelledAroundEvaluation(Hook):
    """The same before or after evaluations."""

    name = "around"

    def __init__(self, at: str) -> None:
        self.at = at

    async def before_evaluation(self, series_context: EvaluationCall, data: Mapping[str, object]) -> Mapping[str, object]:
        if self.at == "before":
            await cancelled()
        return data

    async def after_evaluation(
        self, series_context: EvaluationCall, data: Mapping[str, object], detail: EvaluationDetail[Any]
    ) -> Mapping[str, object]:
        if self.at == "after":
            await cancelled()
        return data


class Plain(Hook):
    """Reads the result of a cancelled future, without waiting."""

    name = "plain"

    @staticmethod
    def _ask() -> None:
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        future.result()

    def before_evaluation(self, series_context: EvaluationCall, data: Mapping[str, object]) -> Mapping[str, object]:
        self._ask()
        return data

    def after_track(self, series_context: TrackCall) -> None:
        self._ask()


class Registering(Plugin):
    name = "registering"

    async def register(self, client: Client, environment: EnvironmentMetadata) -> None:
        await cancelled()


class Bringing(Plugin):
    name = "bringing"

    def get_hooks(self, environment: EnvironmentMetadata) -> Sequence[Hook]:
        raise asyncio.CancelledError


class Memberships(ScriptedMemberships):
    """Its second poll is cancelled, and so are its queries and its close."""

    async def last_updated_ms(self) -> Any:
        if self.polls == 1:
            self.polls += 1
            await cancelled()
        return await super().last_updated_ms()

    async def aclose(self) -> None:
        await super().aclose()
        await cancelled()


class Store(MemoryStore):
    """Every call named ``at`` is cancelled."""

    def __init__(self, at: str) -> None:
        super().__init__()
        self.at = at
        self.marker = True

    async def _called(self, name: str) -> None:
        await super()._called(name)
        if name == self.at:
            await cancelled()

    async def is_available(self) -> bool:
        if self.at == "is_available":
            await cancelled()
        return await super().is_available()

    async def aclose(self) -> None:
        await super().aclose()
        if self.at == "aclose":
            await cancelled()


GUESTS: Mapping[str, Callable[[MemorySource], dict[str, Any]]] = {
    "a hook, after an event": lambda source: {"hooks": [CancelledAfterTrack()]},
    "a hook, before an evaluation": lambda source: {"hooks": [CancelledAroundEvaluation("before")]},
    "a hook, after an evaluation": lambda source: {"hooks": [CancelledAroundEvaluation("after")]},
    "a hook that does not wait": lambda source: {"hooks": [Plain()]},
    "a plugin that registers": lambda source: {"plugins": [Registering()]},
    "a plugin that brings hooks": lambda source: {"plugins": [Bringing()]},
    "a store of memberships": lambda source: {"big_segments": BigSegments(store=Memberships())},
}
"""Options of a client with a hook, plugin or store whose work is cancelled, by the name of the work."""


@pytest.mark.parametrize("guest", GUESTS)
async def test_a_client_continues_after_a_cancellation_in_a_hook_or_plugin(guest: str) -> None:
    source = MemorySource({"f": 1})
    chosen: dict[str, Any] = {"data_system": DataSystem.custom(synchronizers=[source]), **GUESTS[guest](source)}
    async with Client("", Config(**chosen)) as client:
        for key in ("first", "second"):
            client.track(key, USER)
            await anyio.sleep(60)
            assert await client.variation("f", USER, 0) == client.variation_nowait("f", USER, 0) == 1
        source.set("f", 2)
        await anyio.sleep(60)
        assert await client.variation("f", USER, 0) == 2
        assert client.status == "READY"
        assert [hook.recorded for hook in chosen.get("hooks", []) if isinstance(hook, CancelledAfterTrack)] in ([], [["second"]])
    assert client.report.last_error is None


@pytest.mark.parametrize("at", ["initialized", "load", "get", "replace", "upsert", "is_available", "aclose"])
@pytest.mark.parametrize("cache", ["ttl", "off"])
async def test_a_client_continues_after_a_cancellation_in_its_store(at: str, cache: Literal["ttl", "off"]) -> None:
    feed, store = Feed(), Store(at)
    persistence = Persistence(store=store, mode="read_write", cache=cache)
    system = DataSystem.custom(synchronizers=[feed], persistence=persistence)
    async with Client("", Config(start_wait=1, data_system=system)) as client:
        assert await client.variation("a", USER, 0) == 0
        feed.say(full(a=1))
        await anyio.sleep(60)
        if at == "is_available":
            store.fails = OSError("gone")
        for version in (2, 3):
            feed.say(changes(change("a", version, version)))
            await anyio.sleep(60)
            assert await client.variation("a", USER, 0) == version
        assert client.status == "READY"
    assert client.report.last_error is None
    assert store.closed == 1


async def test_a_store_of_memberships_is_polled_again_and_closed() -> None:
    store = Memberships()
    async with Client.local({}, Config(big_segments=BigSegments(store=store, status_poll_interval=1))) as client:
        await anyio.sleep(1.5)
        assert not (await client.big_segments_status()).available
        await anyio.sleep(1)
        assert (await client.big_segments_status()).available
    assert store.closed == 1


@pytest.mark.parametrize("order", ReadOrder)
async def test_a_stray_cancellation_is_a_failure_of_a_system_of_a_migration(order: ReadOrder) -> None:
    async def old(payload: object) -> str:
        return "old"

    async def new(payload: object) -> str:
        await cancelled()
        return "new"

    async with Client.local({}) as client:
        migrator: Migrator[object, str, str] = Migrator(
            client, read_old=old, read_new=new, write_old=old, write_new=new, order=order
        )
        shadow = await migrator.read("move", USER, Stage.SHADOW, None)
        assert (shadow.is_success, shadow.value) == (True, "old")
        live = await migrator.read("move", USER, Stage.COMPLETE, None)
        assert not live.is_success
        assert isinstance(live.error, StrayCancellationError)
