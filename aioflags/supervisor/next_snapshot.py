"""The next snapshot: applies a change set, or new overrides, to a snapshot without holding the event loop.

Definitions that are slow to compile are compiled in a thread before they are published. All others are compiled before, too, if the
program evaluates all flags at once.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

from aioflags.evaluation.dialect import Dialect
from aioflags.evaluation.items import Item
from aioflags.model.change import ChangeSet
from aioflags.model.status import ErrorInfo, SourceState
from aioflags.runtime.checkpoints import run_cooperatively
from aioflags.runtime.cooperative import Cooperative, sliced
from aioflags.runtime.daemon_threads import DaemonThreads

if TYPE_CHECKING:
    from aioflags.evaluation.overrides import Overrides
    from aioflags.evaluation.snapshot import Snapshot
    from aioflags.runtime.event_loops import ForkSafeAsyncLock


# -- UpdateSink: what the supervisor, the store reader and overrides report to, and where they find the current snapshot.
#
# The client's status cell implements it and derives the public status.


class UpdateSink(Protocol):
    """Receives data and states. Every method returns at once, and is called on the client's event loop."""

    @property
    def snapshot(self) -> Snapshot:
        """The newest published snapshot."""
        ...

    @property
    def publishing(self) -> ForkSafeAsyncLock:
        """Held while the next snapshot is made, so that a source and new overrides do not make it at the same time."""
        ...

    @property
    def is_followed(self) -> bool:
        """Whether a listener wants to know which flags new data affect."""
        ...

    def report(
        self,
        state: SourceState | None,
        *,
        error: ErrorInfo | None = None,
        snapshot: Snapshot | None = None,
        change_set: ChangeSet | None = None,
        next_attempt: float | None = None,
    ) -> None:
        """Publish ``snapshot``, if given, then change the state, in one step.

        Args:
            state: ``None`` for data that do not change the state.
            error: Why the state changed.
            snapshot: The new data.
            change_set: The change set that led from the current snapshot to ``snapshot``.
            next_attempt: With ``OFF``: when the sources start again, in Unix seconds. ``OFF`` without it is the last state.
        """
        ...

    def report_overrides(self, snapshot: Snapshot, change_set: ChangeSet) -> None:
        """Publish a snapshot that differs from the newest one by its overrides. ``change_set``: what they change."""
        ...

    def set_environment(self, environment_id: str) -> None:
        """A source reported the environment of the data."""
        ...

    def set_source(self, source: str, since: float | None) -> None:
        """The data of the next :meth:`report` come from the source of that name.

        ``since``: when the service sent them, in Unix seconds; ``None`` if that is unknown, as for data of a store.
        """
        ...

    def count_rejection(self) -> None:
        """A source brought a payload that was rejected. Called before the failure is reported."""
        ...

    def mark_ready(self) -> None:
        """Wake the tasks that wait for data: there are data, or none will come. Called once, after the state was reported."""
        ...


# -- SnapshotHolder: refers to the current snapshot.


class SnapshotHolder:
    """Holds the newest snapshot. Any thread may read :attr:`snapshot`: read it once, then use the same snapshot throughout."""

    __slots__ = ("snapshot",)

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot: Snapshot = snapshot

    def publish(self, snapshot: Snapshot) -> None:
        """Evaluations use ``snapshot`` from now on."""
        self.snapshot = snapshot


# -- Slow definitions: those that would hold the event loop for milliseconds at their first evaluation.
#
# The supervisor compiles them in a thread before it publishes the data.


_CHANGES_PER_SLICE: Final = 500


def slow_items(change_set: ChangeSet, dialect: Dialect) -> Cooperative[list[Item]]:
    """The changed definitions that are slow to compile. Pauses about every millisecond."""
    slow: list[Item] = []
    for number, batch in enumerate(sliced(change_set.changes, _CHANGES_PER_SLICE)):
        if number:
            yield
        slow += [(change.kind, change.key) for change in batch if dialect.is_slow(change.definition)]
    return slow


_THREADS: Final = DaemonThreads("aioflags-patterns")


async def next_snapshot(before: Snapshot, change_set: ChangeSet, *, traced: bool = False) -> Snapshot:
    """The snapshot that ``change_set`` makes of ``before``. ``traced``: it records which flags the change set affects."""
    snapshot = await run_cooperatively(before.builder(change_set, traced=traced))
    await _compile_ahead(snapshot, change_set)
    return snapshot


async def next_published(sink: UpdateSink, change_set: ChangeSet) -> Snapshot:
    """The snapshot that ``change_set`` makes of the newest one. Publish it before the next ``await``.

    Sources, a store and overrides may publish: one after the other, because of the lock of the sink. If data are published without
    the lock in between, the change set is applied again, to the newer snapshot.
    """
    async with sink.publishing:
        while True:
            before = sink.snapshot
            snapshot = await next_snapshot(before, change_set, traced=sink.is_followed)
            if sink.snapshot is before:
                return snapshot


async def publish_overrides(sink: UpdateSink, overrides: Overrides) -> bool:
    """Replace the present overrides. Returns whether that changes anything.

    On the client's event loop. Can be cancelled: then either nothing or everything has changed.
    """
    async with sink.publishing:
        while True:
            before = sink.snapshot
            snapshot, change_set = await run_cooperatively(before.overriding(overrides, traced=sink.is_followed))
            await _compile_ahead(snapshot, change_set)
            if sink.snapshot is not before:
                continue
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
