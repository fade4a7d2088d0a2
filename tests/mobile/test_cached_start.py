"""Starts with cached flags: the supervisor with the cache as its first initializer."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from aioflags.client_core.status import StatusCell
from aioflags.evaluation.client_side import CLIENT_SIDE
from aioflags.evaluation.snapshot import Snapshot
from aioflags.mobile.flag_cache import FlagCaches
from aioflags.model.change import Change, ChangeKind, ChangeSet, FallbackDirective, ObjectKind, Selector, Update
from aioflags.model.context import Context
from aioflags.model.detail import FlagEvaluation
from aioflags.model.status import SourceState
from aioflags.sources.base import SourceBuilder, SourceContext
from aioflags.sources.memory import from_function
from aioflags.sources.polling import Cache
from aioflags.stores.storage import MemoryStorage, Storage
from aioflags.supervisor.next_snapshot import SnapshotHolder
from aioflags.supervisor.policy import MOBILE
from aioflags.supervisor.rotation import FallbackState, SourceOptions
from aioflags.supervisor.supervisor import Supervisor
from tests.support.device_storages import LOGGER, ScriptedStorage, cache_of, device_storage

ANNA = Context("anna")
DIRECTIVE = FallbackDirective(ttl=None, origin="header")


def data(value: object, selector: str = "s") -> Update:
    definition = FlagEvaluation(key="f", version=1, value=value)
    change = Change(ObjectKind.FLAG, "f", 1, definition)
    change_set = ChangeSet(kind=ChangeKind.FULL, changes=(change,), selector=Selector(selector, 1))
    return Update(state=SourceState.VALID, directive=None, change_set=change_set)


LEAVE_FDV2 = Update(state=SourceState.OFF, directive=DIRECTIVE)


def network(name: str, *steps: float | Update) -> SourceBuilder:
    """A source that waits and yields, step by step, then hangs."""

    async def play(_: SourceContext, selector: Callable[[], Selector]) -> AsyncGenerator[Update, None]:
        assert name == "fdv1" or not selector().is_defined, "cached flags have no selector, so the first transfer is a full one"
        for step in steps:
            if isinstance(step, Update):
                yield step
            else:
                await anyio.sleep(step)
        await anyio.sleep_forever()

    return from_function(name, play)


@asynccontextmanager
async def running(
    storage: Storage, *, fdv2: Sequence[Any] = (), fdv1: Sequence[Any] = (), limit: int = 5
) -> AsyncGenerator[Callable[[], object], None]:
    """A client's supervisor and cache; yields a function that evaluates the flag."""
    holder = SnapshotHolder(Snapshot.empty(dialect=CLIENT_SIDE))
    caches = FlagCaches(device_storage(storage), "mob-key", limit=limit, logger=LOGGER)
    cache = cache_of(caches, ANNA)
    sources = SourceOptions(
        initializers=[Cache()], synchronizers=[network("fdv2", *fdv2)], fdv1_fallback=network("fdv1", *fdv1), policy=MOBILE
    )
    sink = StatusCell(holder)
    supervisor = Supervisor(sources, SourceContext(cache=cache), sink, FallbackState(), on_applied=cache.applied)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(caches.run)
        tasks.start_soon(supervisor.run)
        await anyio.sleep(0.1)
        yield lambda: holder.snapshot.evaluate("f", ANNA, "default").detail.value
        tasks.cancel_scope.cancel()
    await caches.finish()


async def test_cached_flags_are_served_until_the_service_answers() -> None:
    storage = MemoryStorage()
    async with running(storage, fdv2=[data("old")]) as value:
        assert value() == "old"
    async with running(storage, fdv2=[60, data("new")]) as value:
        assert value() == "old"
        await anyio.sleep(60)
        assert value() == "new"
    async with running(storage) as value:
        assert value() == "new"


async def test_cached_flags_are_not_written_again() -> None:
    storage = ScriptedStorage()
    async with running(storage, fdv2=[data("old")]):
        pass
    storage.calls.clear()
    async with running(storage):
        await anyio.sleep(10)
    assert [call.partition("_")[0] for call in storage.calls] == ["get flags", "get fresh"]


@pytest.mark.parametrize(
    ("storage", "seconds"),
    [
        pytest.param(ScriptedStorage(failure=OSError("broken")), 0, id="S-85 raises"),
        pytest.param(ScriptedStorage(delay=3600), 2, id="hangs"),
    ],
)
async def test_data_arrive_although_the_storage(storage: Storage, seconds: float, caplog: pytest.LogCaptureFixture) -> None:
    async with running(storage, fdv2=[data("new")]) as value:
        await anyio.sleep(seconds)
        assert value() == "new"
        await anyio.sleep(20)
    assert [line for line in caplog.messages if line.startswith("the storage of the device failed")] == caplog.messages[:1]


async def test_flags_of_fdv1_are_cached() -> None:
    """F-45."""
    storage = MemoryStorage()
    async with running(storage, fdv2=[LEAVE_FDV2], fdv1=[data("fdv1", selector="")]) as value:
        assert value() == "fdv1"
    async with running(storage) as value:
        assert value() == "fdv1"


@pytest.mark.parametrize("delay", [pytest.param(0, id="raises"), pytest.param(3600, id="hangs")])
async def test_the_switch_to_fdv1_does_not_wait_for_a_storage_that(delay: float) -> None:
    """F-45."""
    storage = ScriptedStorage()
    async with running(storage, fdv2=[data("fdv2"), 5, LEAVE_FDV2], fdv1=[data("fdv1", selector="")]) as value:
        storage.delay, storage.failure = delay, OSError("broken")
        await anyio.sleep(4.5)
        assert value() == "fdv2"
        await anyio.sleep(0.6)
        assert value() == "fdv1"


async def test_without_a_cache_the_service_is_asked_at_once() -> None:
    storage = ScriptedStorage()
    async with running(storage, fdv2=[data("new")], limit=0) as value:
        assert value() == "new"
    assert storage.calls == []
