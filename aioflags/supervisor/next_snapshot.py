"""next_snapshot: applies a change set, or new overrides, to a snapshot without holding the event loop.

Definitions that are slow to compile are compiled in a thread before they are published. All others are compiled before, too, if the
program evaluates all flags at once.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

from aioflags.evaluation.slow_definitions import slow_items
from aioflags.runtime.checkpoints import run_cooperatively
from aioflags.runtime.daemon_threads import DaemonThreads

if TYPE_CHECKING:
    from aioflags.evaluation.overrides import Overrides
    from aioflags.evaluation.snapshot import Snapshot
    from aioflags.model.change import ChangeSet
    from aioflags.runtime.async_lock import ForkSafeAsyncLock
    from aioflags.supervisor.update_sink import UpdateSink

__all__ = ["OverrideSink", "next_published", "next_snapshot", "publish_overrides"]

_THREADS: Final = DaemonThreads("aioflags-patterns")


async def next_snapshot(before: Snapshot, change_set: ChangeSet, *, traced: bool = False) -> Snapshot:
    """The snapshot that ``change_set`` makes of ``before``. ``traced``: it records which flags the change set affects."""
    snapshot = await run_cooperatively(before.builder(change_set, traced=traced))
    await _compile_ahead(snapshot, change_set)
    return snapshot


async def next_published(sink: UpdateSink, change_set: ChangeSet) -> Snapshot:
    """The snapshot that ``change_set`` makes of the newest one. Publish it before the next ``await``.

    Sources, a store and overrides may publish: one after the other, because of the lock of the sink. If data are published without
    the lock meanwhile, the change set is applied again, to the newer snapshot.
    """
    async with sink.publishing:
        while True:
            before = sink.snapshot
            snapshot = await next_snapshot(before, change_set, traced=sink.is_followed)
            if sink.snapshot is before:
                return snapshot


class OverrideSink(Protocol):
    """What publishes overrides. The client's status cell implements it."""

    @property
    def snapshot(self) -> Snapshot: ...
    @property
    def publishing(self) -> ForkSafeAsyncLock: ...
    @property
    def is_followed(self) -> bool: ...
    def report_overrides(self, snapshot: Snapshot, change_set: ChangeSet) -> None:
        """Publishes a snapshot that differs from the newest one by its overrides. ``change_set``: what they change."""
        ...


async def publish_overrides(sink: OverrideSink, overrides: Overrides) -> bool:
    """Puts these overrides in place of the present ones. Returns whether that changes anything.

    On the client's event loop. Can be cancelled: then either nothing or everything has changed.
    """
    async with sink.publishing:
        while True:
            before = sink.snapshot
            snapshot, change_set = await run_cooperatively(before.overriding(overrides, traced=sink.is_followed))
            await _compile_ahead(snapshot, change_set)
            if sink.snapshot is before:
                if snapshot is before:
                    return False
                sink.report_overrides(snapshot, change_set)
                return True


async def _compile_ahead(snapshot: Snapshot, change_set: ChangeSet) -> None:
    """Compile what would hold the event loop after the publication: slow definitions, and all of them for a program that evaluates
    all flags at once.
    """
    await _compile_slow(snapshot, change_set)
    if snapshot.bulk_use.has_begun:
        await run_cooperatively(snapshot.compile_all())


async def _compile_slow(snapshot: Snapshot, change_set: ChangeSet) -> None:
    """Compile the definitions of the change set that would hold the event loop at their first evaluation.

    If no thread can be started, they are compiled at their first evaluation.
    """
    items = await run_cooperatively(slow_items(change_set, snapshot.dialect))
    if not items:
        return
    try:
        compilation = asyncio.get_running_loop().run_in_executor(_THREADS, snapshot.compile, items)
    except RuntimeError:
        return
    await compilation
