"""StatusCell: the status of one client, and the one place that changes it.

The supervisor (:class:`aioflags.supervisor.update_sink.UpdateSink`) and the life cycle report to it on the event loop. Each
step publishes data first and the status after it, without a wait in between, so that no reader sees ``READY`` without its
data.

Source: ``data-system.md`` 5.8; ``openfeature.md`` 4.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import cast

import anyio

from aioflags.client_core.flag_changes import FlagTracker
from aioflags.evaluation.snapshot import Snapshot
from aioflags.model.change import ChangeSet
from aioflags.model.source_state import ErrorInfo, SourceState
from aioflags.model.status import Status, StatusReport, derive
from aioflags.runtime.broadcast import Latest
from aioflags.runtime.clock import now
from aioflags.runtime.logs import Once, logger, printable
from aioflags.supervisor.holder import SnapshotHolder

__all__ = ["StatusCell"]


class StatusCell:
    """The status of one client. The supervisor reports to it as to its ``UpdateSink``."""

    def __init__(self, holder: SnapshotHolder, flag_tracker: FlagTracker, log: logging.Logger = logger) -> None:
        self._log = log
        self._once = Once()
        self._holder = holder
        self._flag_tracker = flag_tracker
        self._start_limit_passed = False
        self.environment_id: str | None = None
        self.source: str | None = None
        """The name of the source that brought the newest data."""
        self.data_since: float | None = None
        """When these data came, in Unix seconds."""
        self.readiness: anyio.Event = anyio.Event()
        """Set when a start need not wait any longer."""
        self.reports: Latest[StatusReport] = Latest()
        """The newest report; never empty."""
        self.reports.put(
            StatusReport(seq=0, status=Status.NOT_READY, source_state=SourceState.INITIALIZING, since=0.0, source_since=now())
        )

    @property
    def newest(self) -> StatusReport:
        """The newest report."""
        return cast("StatusReport", self.reports.value)

    @property
    def is_closed(self) -> bool:
        """Whether the client has begun to close."""
        return self.reports.is_closed

    @property
    def data_age(self) -> float | None:
        """How many seconds ago a source brought the newest data; ``None`` if none has."""
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

    # -- called by the supervisor

    def report(
        self,
        state: SourceState | None,
        *,
        error: ErrorInfo | None = None,
        snapshot: Snapshot | None = None,
        change_set: ChangeSet | None = None,
        next_attempt: float | None = None,
    ) -> None:
        """Publishes data, if there are any, then the state of the source. ``OFF`` without a next attempt is the last state.

        ``state`` is ``None`` for data of a store, which may still be read when no source is left.
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
            # The start is decided. If sources start again later, no start waits for them.
            self._start_limit_passed = True
        next_attempt = self.newest.next_attempt if state is None else next_attempt
        self._publish(_next_state(self.newest.source_state, state), error, next_attempt=next_attempt)
        if snapshot is not None and change_set is not None:
            self._flag_tracker.publish(before, snapshot, change_set)

    @property
    def snapshot(self) -> Snapshot:
        """The newest published snapshot."""
        return self._holder.snapshot

    @property
    def is_followed(self) -> bool:
        """Whether an observer follows the changes of flags."""
        return self._flag_tracker.is_followed

    def set_environment(self, environment_id: str) -> None:
        """Sets the environment of the flags, as the newest response named it."""
        self.environment_id = environment_id

    def set_source(self, source: str) -> None:
        """Sets the source of the data that are reported next."""
        self.source = source

    def mark_ready(self) -> None:
        """Wakes the tasks that wait for the start."""
        self.readiness.set()

    # -- called by the life cycle

    def polled_on_demand(self) -> None:
        """A source that polls on demand has polled: no data come before the next request, so a start need not wait longer."""
        if not self.readiness.is_set():
            self.start_timed_out()
            self.mark_ready()

    def start_timed_out(self) -> None:
        """No data came within the time that a start may wait."""
        is_first, self._start_limit_passed = not self._start_limit_passed, True
        if self.is_closed:
            return
        if is_first and self.newest.source_state is SourceState.INITIALIZING and self._holder.snapshot.has_data:
            error = f" ({self.newest.last_error})" if self.newest.last_error else ""
            self._log.warning("start timed out%s: serving flag data that no source has confirmed; they may be old", error)
        self._publish(self.newest.source_state, None, next_attempt=self.newest.next_attempt)

    def failed(self, error: ErrorInfo) -> None:
        """A bug ended the updates. Evaluations continue on the newest data."""
        if not self.is_closed:
            self._publish(SourceState.OFF, error)
        self.mark_ready()

    def close(self) -> None:
        """Publishes the last report: source state ``OFF``, status ``NOT_READY``, no new error."""
        if self.is_closed:
            return
        self._put(replace(self._dated(SourceState.OFF), status=Status.NOT_READY, since=_loop_time(), next_attempt=None))
        self.reports.close()
        self.mark_ready()
        self._flag_tracker.close()

    def after_fork(self) -> None:
        """In the child of a fork: no source runs yet, and the tasks that wait are the parent's."""
        if self.is_closed:
            return
        self.readiness = anyio.Event()
        self.reports.after_fork()
        self._start_limit_passed = False
        self._put(
            replace(
                self.newest,
                status=Status.NOT_READY,
                source_state=SourceState.INITIALIZING,
                source_since=now(),
                next_attempt=None,
            )
        )

    # -- all reports are published here

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
        self.reports.put(replace(report, seq=self.newest.seq + 1))


def _loop_time() -> float:
    """The event loop's clock; 0.0 before the start, if no loop runs."""
    try:
        return asyncio.get_running_loop().time()
    except RuntimeError:
        return 0.0


def _next_state(current: SourceState, reported: SourceState | None) -> SourceState:
    """The state after ``reported``. A failure before the first success is not an interruption: the state stays ``INITIALIZING``."""
    if reported is None or (current is SourceState.INITIALIZING and reported is SourceState.INTERRUPTED):
        return current
    return reported
