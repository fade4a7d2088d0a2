"""StatusCell: the status of one client, and the one place that changes it.

The supervisor and the life cycle report facts on the event loop; :meth:`StatusCell.post` takes them from any thread.
Each step publishes data first, then the status, then the events, without a wait in between, so that no reader sees ``READY``
without its data.

Source: ``data-system.md`` 5.8; ``openfeature.md`` 4; ``flagd.md`` 3.2.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from contextvars import Context as VariableContext
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

import anyio

from aioflags.client_core.condition import Condition, Fact, FactKind, advance, changed_fields, derive, event_kinds, event_of
from aioflags.client_core.observers import Observers, Step
from aioflags.model.change import ChangeKind, ChangeSet
from aioflags.model.detail import ErrorKind
from aioflags.model.status import ErrorInfo, Event, EventKind, SourceState, Status, StatusReport
from aioflags.runtime.broadcast import Latest
from aioflags.runtime.clock import now
from aioflags.runtime.event_loops import ForkSafeAsyncLock, loop_time, running_loop
from aioflags.runtime.logs import Once, logger, printable
from aioflags.supervisor.next_snapshot import SnapshotHolder

if TYPE_CHECKING:
    from aioflags.evaluation.snapshot import Snapshot


OnStep: TypeAlias = Callable[[Sequence[Event], ChangeSet | None], object]
"""Called inside a step, after its data are published and before its status is. It must return at once."""


class StatusCell:
    """The status of one client. The supervisor reports to it as to its ``UpdateSink``.

    Args:
        holder: Where the data are published.
        log: The client's logger.
        grace: How many seconds of an outage are ``STALE`` before they are an error; ``None``: all of them.
        revives: Whether sources that are ``OFF`` can start again at any time.
        restartable: Whether a closed client can be started again. Its handlers then follow the next start too.
        server_evaluates: Whether the data of the sources are only reports of a server that evaluates.
        on_step: Called with the events and the change set of each step that has any.
    """

    def __init__(
        self,
        holder: SnapshotHolder,
        log: logging.Logger = logger,
        *,
        grace: float | None = None,
        revives: bool = False,
        restartable: bool = False,
        server_evaluates: bool = False,
        on_step: OnStep | None = None,
    ) -> None:
        self._log = log
        self._once = Once()
        self._holder = holder
        self._first_snapshot = holder.snapshot
        self.server_evaluates: bool = server_evaluates
        """Whether the data of the sources are only reports of a server that evaluates."""
        self._on_step = on_step
        self._condition = Condition(grace=grace, revives=revives, server_evaluates=server_evaluates)
        self._facts: deque[Fact] = deque()
        """Facts that wait: for the end of a step, or for the client's event loop."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_stepping = False
        self._call = 0
        self._contact_changed_at = 0.0
        """When the newest outage began or ended, on the event loop's clock."""
        self._grace_timer: asyncio.TimerHandle | None = None
        self.publishing: ForkSafeAsyncLock = ForkSafeAsyncLock(fast_acquire=True)
        """Held while the next snapshot is made."""
        self.restartable: bool = restartable
        """Whether a closed client can be started again."""
        self.environment_id: str | None = None
        self.source: str | None = None
        """The name of the source that brought the newest data."""
        self.data_since: float | None = None
        """When these data came, in Unix seconds."""
        self.rejected_payloads: int = 0
        """How many payloads were rejected since the client was made, or since the fork."""
        self._is_failure_logged = False
        """Whether a warning has said that a source failed."""
        self.is_start_logged: bool = False
        """Whether a warning has said that the start brought no data, or none that a source has confirmed."""
        self.was_started: bool = False
        """Whether the client was started at any time, also before a fork."""
        self.is_forked: bool = False
        """Whether the client was started before this process was forked, and not in this process."""
        self.is_fork_logged: bool = False
        """Whether a warning of this process has said so, or none is needed."""
        self.readiness: anyio.Event = anyio.Event()
        """Set when a start need not wait any longer."""
        self.newest: StatusReport = StatusReport(
            seq=0, status=Status.NOT_READY, source_state=SourceState.INITIALIZING, since=0.0, source_since=now()
        )
        """The newest report."""
        self.entered: int = 0
        """The ``seq`` of the report with which the current status began."""
        self.reports: Latest[StatusReport] = Latest()
        """The newest report that differs from the one before in more than ``seq``; never empty."""
        self.reports.put(self.newest)
        self.observers: Observers = Observers(log, restartable=restartable)

    @property
    def is_closed(self) -> bool:
        """Whether the client has begun to close."""
        return self._condition.is_closed

    @property
    def is_closed_for_good(self) -> bool:
        """Whether the client has begun to close and cannot be started again."""
        return self.is_closed and not self.restartable

    @property
    def is_fatal(self) -> bool:
        """Whether a fatal code has ended this client, also for later starts."""
        return self._condition.is_fatal

    @property
    def is_outage_logged(self) -> bool:
        """Whether the client never had a connection and a warning said so. Failures that follow from it are logged at INFO."""
        return not self._condition.has_connected and (self.is_start_logged or self._is_failure_logged)

    @property
    def revives(self) -> bool:
        """Whether sources that are ``OFF`` can start again at any time."""
        return self._condition.revives

    @property
    def data_age(self) -> float | None:
        """How many seconds ago the service sent the newest data; ``None`` if it has not, or if that is unknown."""
        return None if self.data_since is None else max(0.0, now() - self.data_since)

    @property
    def data_summary(self) -> str:
        """How many flags there are and where they came from, for the log."""
        if self.server_evaluates:
            return "the server evaluates"
        snapshot = self._holder.snapshot
        if not snapshot.has_data:
            return "no flag data"
        count = len(snapshot.flags if snapshot.overrides.is_empty else snapshot.base.flags)
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
        if state is None:
            kind = FactKind.CACHED
        elif state.is_valid:
            kind = FactKind.DATA
        elif state is SourceState.OFF:
            kind = FactKind.OFF if error is None or not error.is_fatal else FactKind.FATAL
        else:
            kind = FactKind.INTERRUPTED
        valid = state or SourceState.VALID
        self.apply(Fact(kind=kind, state=valid, error=error, snapshot=snapshot, change_set=change_set, next_attempt=next_attempt))

    @property
    def snapshot(self) -> Snapshot:
        """The newest published snapshot."""
        return self._holder.snapshot

    @property
    def is_followed(self) -> bool:
        """Whether anything follows the events or the changes of flags."""
        return self._on_step is not None or self.observers.follow

    def set_environment(self, environment_id: str) -> None:
        """Sets the environment of the flags, as the newest response named it."""
        self.environment_id = environment_id

    def set_source(self, source: str, since: float | None) -> None:
        """Sets the source of the data that are reported next, and when the service sent them; ``None`` if that is unknown."""
        self.source, self.data_since = source, since

    def count_rejection(self) -> None:
        """Counts a payload that was rejected."""
        self.rejected_payloads += 1

    def mark_ready(self) -> None:
        """Wakes the tasks that wait for the start."""
        self.readiness.set()

    def report_overrides(self, snapshot: Snapshot, change_set: ChangeSet) -> None:
        """Publishes a snapshot that differs from the newest one by its overrides, and notifies observers. The status stays.

        ``change_set``: what the overrides change.
        """
        self.apply(Fact(kind=FactKind.OVERRIDES, snapshot=snapshot, change_set=change_set))

    def announce(self, old: Snapshot, new: Snapshot, change_set: ChangeSet) -> None:
        """Data that replaced ``old`` were published elsewhere. From any thread; observers get them on the client's event loop."""
        fact = Fact(kind=FactKind.CACHED, snapshot=new, change_set=change_set, replaced=old)
        if self._loop is None or self._loop is running_loop():
            self.apply(fact)
        else:
            self.post(fact)

    # -- called by the life cycle

    def polled_on_demand(self) -> None:
        """A source that polls on demand has polled: no data come before the next request, so a start need not wait longer."""
        if not self.readiness.is_set():
            self.start_timed_out()
            self.mark_ready()

    def start_timed_out(self, reason: str | None = None) -> None:
        """No data came within the time that a start may take. ``reason``: what is known of it; by default the newest error."""
        is_first = not self._condition.start_limit_passed
        if is_first and not self.is_closed and self.newest.source_state is SourceState.INITIALIZING and self.snapshot.has_data:
            reason = reason or str(self.newest.last_error or "no failure so far")
            level = logging.INFO if self.is_outage_logged else logging.WARNING
            self._log.log(level, "start timed out (%s): serving flag data that no source has confirmed; they may be old", reason)
            self.is_start_logged = True
        self.apply(Fact(kind=FactKind.START_LIMIT))

    def failed(self, error: ErrorInfo) -> None:
        """A bug ended the updates. Evaluations continue on the newest data."""
        self.apply(Fact(kind=FactKind.FAILED, error=error))
        self.mark_ready()

    def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """The client starts on ``loop``: facts that were posted before count now."""
        self.was_started, self.is_forked = True, False
        self._loop = loop
        self._apply_waiting()

    def close(self) -> None:
        """Publishes the last report: source state ``OFF``, status ``NOT_READY``, no new error."""
        if self.is_closed:
            # Iterators may have been made since the first close, for a start that did not come.
            self._end_observers()
        self.apply(Fact(kind=FactKind.CLOSED))

    def reopen(self) -> None:
        """Before a start that follows a close: without data, as a new client. A fatal code stays."""
        if not self._condition.is_fatal:
            self._holder.publish(self._first_snapshot)
        self.environment_id = self.source = self.data_since = None
        self._reset()

    def after_fork(self) -> None:
        """After a fork, in the child: no source runs yet, and the tasks that wait run in the parent."""
        self.rejected_payloads = 0
        if not self.is_closed:
            if self.server_evaluates and not self._condition.is_fatal:
                # They are what the parent was connected to.
                self._holder.publish(self._first_snapshot)
                self.source = self.data_since = None
            self.reports.after_fork()
            self._reset()
            self.is_forked = True

    def warn_of_fork(self) -> None:
        """Logs, once in the child of a fork, that nothing of the client runs there."""
        if self.is_forked and not self.is_fork_logged:
            self.is_fork_logged = True
            flags = "evaluations return their defaults" if self.server_evaluates else "flags keep their values of the fork"
            self._log.warning(
                "this process was forked after the client was started: %s and nothing is recorded until the client is started in "
                "this process, too; start it in each process after the fork",
                flags,
            )

    def _reset(self) -> None:
        self.is_start_logged = self._is_failure_logged = False
        self.readiness = anyio.Event()
        self._loop = None
        self._facts.clear()
        self._is_stepping = False
        self.observers.reset()
        self.apply(Fact(kind=FactKind.RESTARTED))

    # -- the context of a mobile client

    def reconcile(self, snapshot: Snapshot | None = None) -> int:
        """The flags of another context are on their way. Returns the number to pass to :meth:`reconciled`.

        ``snapshot``, which belongs to the new context, is published. Observers of flags get no notice before its first data.
        """
        self._call += 1
        self.apply(Fact(kind=FactKind.RECONCILE, number=self._call, snapshot=snapshot))
        return self._call

    def reconciled(self, number: int, error: ErrorInfo | None = None) -> None:
        """They have arrived, or could not be fetched because of ``error``. The call that started last decides the status."""
        kind = FactKind.RECONCILED if error is None else FactKind.RECONCILE_FAILED
        self.apply(Fact(kind=kind, number=number, error=error))

    # -- facts

    def post(self, fact: Fact) -> None:
        """Applies ``fact`` on the client's event loop, soon. From any thread: facts are applied in the order of these calls.

        Before the start they wait for it. A fact for a loop that is closed is dropped.
        """
        # First in first out, and the loop is read last: `open` sets it before it applies what waits, so no fact is forgotten.
        self._facts.append(fact)
        if (loop := self._loop) is not None:
            try:
                loop.call_soon_threadsafe(self._apply_waiting)
            except RuntimeError:
                self._facts.clear()
                self._log.debug("a status fact came after the end of the event loop: %s", fact.kind.value)

    def apply(self, fact: Fact) -> None:
        """Takes the step of ``fact``. On the event loop; before the start on any thread. Facts of a step wait for its end."""
        self._facts.append(fact)
        self._apply_waiting()

    def _apply_waiting(self) -> None:
        if self._is_stepping:
            return
        self._is_stepping = True
        try:
            while self._facts:
                self._step(self._facts.popleft())
        finally:
            self._is_stepping = False

    # -- the one writer

    def _step(self, fact: Fact) -> None:
        """Publishes the data of ``fact``, the report and the events. Nothing else runs on the loop in between."""
        before = self._condition
        snapshot = self._holder.snapshot if fact.snapshot is None else fact.snapshot
        after = advance(before, fact, has_data=snapshot.has_data)
        if after is None:
            return
        old_status = self.newest.status
        status = old_status if after is before else derive(after)
        old_snapshot = self._publish_data(fact, is_refused=after.is_fatal and not before.is_fatal)
        self._condition = after
        self._is_failure_logged = self._is_failure_logged or (fact.error is not None and not fact.error.is_minor)
        self._time_outage(before, after)
        seconds = loop_time() - self._contact_changed_at
        changes = changed_fields(self.newest, fact, after, status, loop_now=loop_time(), wall_now=now(), seconds=seconds)
        keys: frozenset[str] | None = None
        kinds: tuple[EventKind, ...] = ()
        if self.is_followed:
            keys, has_changes = self._changed_flags(fact, old_snapshot)
            # Data that end an outage are always announced.
            has_changes = has_changes or (keys is not None and status is not old_status)
            kinds = event_kinds(old_status, status, after, has_changes=has_changes)
        report = self.newest
        if changes or kinds:
            report = replace(report, seq=report.seq + 1, **changes)
        events = [event_of(kind, report, self.snapshot, keys) for kind in kinds]
        self._put(Step(report, events, keys or frozenset(), self.snapshot), fact, is_news=bool(changes))
        is_late = status is Status.ERROR and old_status is not status and after.grace_over and not after.reconcile_failed
        if is_late and self.newest.error is not None:
            served = "the last flag data" if after.has_data and not self.server_evaluates else "defaults"
            self._log.error("%s; serving %s", self.newest.error.message, served)
        if after.is_fatal or after.is_closed:
            self.mark_ready()
        if after.is_closed:
            self._end_observers()

    def _end_observers(self) -> None:
        reports = self.reports
        if self.restartable:
            # For the iterators that are made while the client is closed: they follow the next start.
            self.reports = Latest()
            self.reports.put(self.newest)
        reports.close()
        self.observers.close()

    def _time_outage(self, before: Condition, after: Condition) -> None:
        """Times the grace of an outage that begins in this step. A timer of an outage that has ended does nothing."""
        if after.is_out is before.is_out and after.outages == before.outages:
            return
        self._contact_changed_at = loop_time()
        if self._grace_timer is not None:
            self._grace_timer.cancel()
            self._grace_timer = None
        if after.is_out and after.grace and (loop := running_loop()) is not None:
            over = Fact(kind=FactKind.GRACE_OVER, number=after.outages)
            self._grace_timer = loop.call_later(after.grace, self.apply, over, context=VariableContext())

    def _publish_data(self, fact: Fact, *, is_refused: bool) -> Snapshot:
        """Publishes the data of ``fact``. Returns the data of before."""
        if fact.replaced is not None:
            return fact.replaced
        old = self._holder.snapshot
        if fact.snapshot is not None:
            self._holder.publish(fact.snapshot)
            is_first = fact.kind is FactKind.CACHED and self._condition.source is SourceState.INITIALIZING
            if is_first and self._once("unconfirmed"):
                self._log.info("serving flag data that no source has confirmed yet")
        if is_refused:
            self._holder.publish(self._holder.snapshot.refused(ErrorKind.PROVIDER_FATAL))
        return old

    def _put(self, step: Step, fact: Fact, *, is_news: bool) -> None:
        """Publishes the report, then the events and the changed flags."""
        if step.events and self._on_step is not None:
            try:
                self._on_step(step.events, fact.change_set)
            except Exception:  # noqa: BLE001 -- the status is published whatever fails
                self._log.exception("a part of the client failed at a change of the status (please report)")
        if step.report.status is not self.newest.status or fact.kind is FactKind.RESTARTED:
            self.entered = step.report.seq
        self.newest = step.report
        if step.events or step.keys:
            self.observers.notify(step)
        if is_news:
            self.reports.put(step.report)

    def _changed_flags(self, fact: Fact, old: Snapshot) -> tuple[frozenset[str] | None, bool]:
        """The keys of the flags that the data of ``fact`` change, and whether they change anything.

        The keys are ``None`` without data, and if they are unknown; then any flag may have changed.
        """
        change_set = fact.change_set
        if fact.snapshot is None or change_set is None or change_set.kind is ChangeKind.NONE:
            return None, False
        keys = None
        if change_set.keys_known:
            try:
                keys = fact.snapshot.changed_since(old, change_set)
            except Exception:  # noqa: BLE001 -- the status is published whatever fails
                # A bug here may lose changes, but not the data, which are published already.
                self._log.exception("the flags that changed are unknown, after an internal error (please report)")
        return keys, keys is None or bool(keys) or old.metadata != fact.snapshot.metadata
