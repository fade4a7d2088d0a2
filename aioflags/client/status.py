"""The status cell: one report, one place where it changes, and those who follow it.

Facts come from the supervisor (:class:`aioflags.supervisor.update_sink.Facts`) and from the life cycle, on the event loop.
Each step publishes data first and the report after it, without a wait in between, so that nobody sees a ``READY``
without its data. Observers see the newest report; one that is slow skips those in between, never the last.

Source: ``data-system.md`` 5.8; ``openfeature.md`` 4.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace

import anyio

from aioflags.client.flag_changes import FlagTracker
from aioflags.evaluation.snapshot import Snapshot
from aioflags.model.change import ChangeSet
from aioflags.model.result import ErrorInfo, SourceState
from aioflags.model.status import Status, StatusReport, derive
from aioflags.runtime.clock import now
from aioflags.runtime.logs import Once, logger, printable
from aioflags.supervisor.holder import SnapshotHolder

__all__ = ["StatusCell", "Statuses"]


class StatusCell:
    """Who knows how a client is doing. Implements the facts that the supervisor reports."""

    def __init__(self, holder: SnapshotHolder, feed: FlagTracker, log: logging.Logger = logger) -> None:
        self._log = log
        self._once = Once()
        self._holder = holder
        self._feed = feed
        self._start_limit_passed = False
        self.environment_id: str | None = None
        self.source: str | None = None
        """The name of the source that brought the newest data."""
        self.data_since: float | None = None
        """When these data came, in Unix seconds."""
        self.is_closed: bool = False
        self.changed: anyio.Event = anyio.Event()
        self.readiness: anyio.Event = anyio.Event()
        self.newest: StatusReport = StatusReport(
            seq=0, status=Status.NOT_READY, source_state=SourceState.INITIALIZING, since=0.0, source_since=now()
        )

    @property
    def data_age(self) -> float | None:
        """How many seconds ago a source brought the newest data; ``None`` where none has."""
        return None if self.source is None or self.data_since is None else max(0.0, now() - self.data_since)

    @property
    def data_summary(self) -> str:
        """How many flags there are and where they came from, for the log."""
        snapshot = self._holder.snapshot
        if not snapshot.has_data:
            return "no flag data"
        count = len(snapshot.flags)
        source = "" if self.source is None else f" from {printable(self.source)}"
        return f"{count:,} flag{'' if count == 1 else 's'}{source}"

    # -- facts from the supervisor

    def report(
        self,
        state: SourceState | None,
        *,
        error: ErrorInfo | None = None,
        snapshot: Snapshot | None = None,
        change_set: ChangeSet | None = None,
        next_attempt: float | None = None,
    ) -> None:
        """One step: data, if there are any, then the state they bring. ``OFF`` without a next attempt is the last state.

        Data that bring no state are a store's, which may still be read when no source is left.
        """
        is_from_store = state is None and snapshot is not None
        if self.is_closed or (self.newest.is_final and not is_from_store):
            return
        before = self._holder.snapshot
        if snapshot is not None:
            self._holder.publish(snapshot)
            if state is None and self.newest.source_state is SourceState.INITIALIZING and self._once("unconfirmed"):
                self._log.info("serving flag data that no source has confirmed yet")
            self.data_since = now()
        if state is SourceState.OFF:
            # The start is decided. If sources start again, it is not a start that is awaited.
            self._start_limit_passed = True
        next_attempt = self.newest.next_attempt if state is None else next_attempt
        self._publish(_next_state(self.newest.source_state, state), error, next_attempt=next_attempt)
        if snapshot is not None and change_set is not None:
            self._feed.publish(before, snapshot, change_set)

    @property
    def snapshot(self) -> Snapshot:
        """The newest published snapshot."""
        return self._holder.snapshot

    @property
    def is_followed(self) -> bool:
        """Whether anybody follows the changes of flags."""
        return self._feed.is_followed

    def set_environment(self, environment_id: str) -> None:
        """Which environment the flags are of, as the newest response said."""
        self.environment_id = environment_id

    def set_source(self, source: str) -> None:
        """Which source the data are from that are reported next."""
        self.source = source

    def mark_ready(self) -> None:
        """Whoever waits for the start may go on."""
        self.readiness.set()

    # -- facts from the life cycle

    def polled_on_demand(self) -> None:
        """A source that polls on demand has polled, so that nothing more comes before it is asked: a start need not wait on."""
        if not self.readiness.is_set():
            self.start_timed_out()
            self.mark_ready()

    def start_timed_out(self) -> None:
        """As long as starting may wait for data, nothing came."""
        is_news, self._start_limit_passed = not self._start_limit_passed, True
        if self.is_closed:
            return
        if is_news and self.newest.source_state is SourceState.INITIALIZING and self._holder.snapshot.has_data:
            error = f" ({self.newest.last_error})" if self.newest.last_error else ""
            self._log.warning("the start is over, and no source has confirmed the flag data at hand%s: they may be old", error)
        self._publish(self.newest.source_state, None, next_attempt=self.newest.next_attempt)

    def failed(self, error: ErrorInfo) -> None:
        """A bug ended what keeps the data current. What is there goes on being served."""
        if not self.is_closed:
            self._publish(SourceState.OFF, error)
        self.mark_ready()

    def close(self) -> None:
        """The last step: source state ``OFF``, status ``NOT_READY``, no error."""
        if self.is_closed:
            return
        self.is_closed = True
        self._put(replace(self._dated(SourceState.OFF), status=Status.NOT_READY, since=_loop_time(), next_attempt=None))
        self.mark_ready()
        self._feed.close()

    def after_fork(self) -> None:
        """In the child of a fork: nothing runs here yet, and the parent's waiters are not here."""
        if self.is_closed:
            return
        self.readiness, self.changed = anyio.Event(), anyio.Event()
        self._start_limit_passed = False
        self.newest = replace(
            self.newest,
            seq=self.newest.seq + 1,
            status=Status.NOT_READY,
            source_state=SourceState.INITIALIZING,
            source_since=now(),
            next_attempt=None,
        )

    # -- the one publish

    def _publish(self, state: SourceState, error: ErrorInfo | None, *, next_attempt: float | None = None) -> None:
        status = derive(state, has_data=self._holder.snapshot.has_data, start_limit_passed=self._start_limit_passed)
        report = self._dated(state)
        if status is not report.status:
            report = replace(report, status=status, since=_loop_time())
        if error is not None:
            report = replace(report, last_error=error)
        if next_attempt != report.next_attempt:
            report = replace(report, next_attempt=next_attempt)
        if report is not self.newest:
            self._put(report)

    def _dated(self, state: SourceState) -> StatusReport:
        if state is self.newest.source_state:
            return self.newest
        return replace(self.newest, source_state=state, source_since=now())

    def _put(self, report: StatusReport) -> None:
        self.newest = replace(report, seq=self.newest.seq + 1)
        self.changed.set()
        self.changed = anyio.Event()


def _loop_time() -> float:
    """The event loop's clock; 0.0 where no loop runs, before the start."""
    try:
        return asyncio.get_running_loop().time()
    except RuntimeError:
        return 0.0


def _next_state(current: SourceState, reported: SourceState | None) -> SourceState:
    """A failure before the first success is no interruption: there was nothing yet to interrupt."""
    if reported is None or (current is SourceState.INITIALIZING and reported is SourceState.INTERRUPTED):
        return current
    return reported


class Statuses:
    """An async iterator: the report of now, then the newest one whenever there is a newer. Ends after the last.

    ``check_loop`` raises where the iterator cannot wait: on another event loop than the client's.
    """

    def __init__(self, cell: StatusCell, check_loop: Callable[[], None] = lambda: None) -> None:
        self._cell = cell
        self._check_loop = check_loop
        self._seen = -1

    def __aiter__(self) -> Statuses:
        return self

    async def __anext__(self) -> StatusReport:
        while self._cell.newest.seq == self._seen:
            if self._cell.is_closed:
                raise StopAsyncIteration
            self._check_loop()
            await self._cell.changed.wait()
        self._seen = self._cell.newest.seq
        return self._cell.newest
