"""DataManager: runs the sources of one environment, those of the connection mode in effect, for the context of now.

A mode switch and a new context do the same: close the sources, wait for their end, then start others. One task does both, so that
at most one run has a connection.

Source: ``client-side.md`` 3.7, 4.7 to 4.9 and 5.2.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio
from anyio.abc import TaskGroup

from aioflags.client_core.status import StatusCell
from aioflags.mobile.activation import Activation
from aioflags.mobile.connection_info import ConnectionLog
from aioflags.mobile.modes import ConnectionMode, ModeInEffect, ModeSelector, OfflineReason
from aioflags.mobile.pipelines import Pipeline
from aioflags.model.change import Basis, ChangeKind, ChangeSet, FetchFailure, Result, Update
from aioflags.model.defaults import MAX_SOURCE_CLOSE
from aioflags.model.status import ErrorInfo, FailureKind, SourceState
from aioflags.runtime import clock
from aioflags.runtime.broadcast import Signal
from aioflags.runtime.event_loops import loop_time
from aioflags.runtime.fork import reset_after_fork
from aioflags.runtime.tasks import start
from aioflags.sources.base import PollOnDemand, SourceContext
from aioflags.sources.polling import Cache, PollOptions
from aioflags.supervisor.policy import MOBILE
from aioflags.supervisor.rotation import FallbackState, SourceOptions
from aioflags.supervisor.supervisor import Supervisor
from aioflags.supervisor.update_log import NO_FDV1_FALLBACK
from aioflags.transport.backoff import RetryTimes

if TYPE_CHECKING:
    from aioflags.evaluation.snapshot import Snapshot
    from aioflags.model.context import Context
    from aioflags.runtime.event_loops import ForkSafeAsyncLock


# -- RunSink: what one run of sources reports to. It passes nothing on when other sources, or another context, have taken
# their place.
# Source: ``client-side.md`` 4.5 and 4.9, I-10.


_OFFLINE_STATES: Final[Mapping[OfflineReason | None, SourceState]] = {
    OfflineReason.SET_OFFLINE: SourceState.SET_OFFLINE,
    OfflineReason.NETWORK_UNAVAILABLE: SourceState.NETWORK_UNAVAILABLE,
    OfflineReason.BACKGROUND_DISABLED: SourceState.BACKGROUND_DISABLED,
    None: SourceState.VALID,
}


class RunSink:
    """An :class:`~aioflags.supervisor.next_snapshot.UpdateSink` for one run of a :class:`Supervisor`.

    Args:
        cell: The client's status, to which the reports go.
        activation: Ended when the flags of the context are there, or cannot be had.
        offline_reason: Why no source is to run, if that is so.
        is_halted: The client has left FDv2, and has no FDv1 source.
    """

    def __init__(
        self, cell: StatusCell, activation: Activation, offline_reason: OfflineReason | None, *, is_halted: bool = False
    ) -> None:
        self._cell = cell
        self._activation = activation
        self._offline_reason = offline_reason
        self._is_halted = is_halted
        self._state: SourceState | None = None
        self.last_error: ErrorInfo | None = None
        """The newest error of these sources."""
        self.is_current: bool = True
        """Whether these sources are those of now."""

    def set_offline_reason(self, reason: OfflineReason | None) -> None:
        """No source is to run for another reason than before."""
        self._offline_reason = reason
        if self._state is SourceState.VALID:
            self._cell.report(_OFFLINE_STATES[reason])

    @property
    def snapshot(self) -> Snapshot:
        """The newest published snapshot."""
        return self._cell.snapshot

    @property
    def publishing(self) -> ForkSafeAsyncLock:
        """Held while the next snapshot is made."""
        return self._cell.publishing

    @property
    def is_followed(self) -> bool:
        """Whether an observer follows the changes of flags."""
        return self._cell.is_followed

    def report(
        self,
        state: SourceState | None,
        *,
        error: ErrorInfo | None = None,
        snapshot: Snapshot | None = None,
        change_set: ChangeSet | None = None,
        next_attempt: float | None = None,
    ) -> None:
        """As :meth:`UpdateSink.report <aioflags.supervisor.next_snapshot.UpdateSink.report>`."""
        if not self.is_current:
            return
        self._state = state or self._state
        self.last_error = error or self.last_error
        shown = _OFFLINE_STATES[self._offline_reason] if state is SourceState.VALID else state
        self._cell.report(shown, error=error, snapshot=snapshot, change_set=change_set, next_attempt=next_attempt)
        if state is SourceState.VALID:
            self._activation.fresh()
        elif snapshot is not None:
            self._activation.cached()

    def set_environment(self, environment_id: str) -> None:
        """A source reported the environment of the data."""
        if self.is_current:
            self._cell.set_environment(environment_id)

    def set_source(self, source: str, since: float | None) -> None:
        """The data of the next report come from the source of that name. The service sent them at ``since``."""
        if self.is_current:
            self._cell.set_source(source, since)

    def count_rejection(self) -> None:
        """A source brought a payload that was rejected."""
        if self.is_current:
            self._cell.count_rejection()

    def mark_ready(self) -> None:
        """There are data, or none will come."""
        if self.is_current:
            without_error = NO_FDV1_FALLBACK if self._is_halted else "no source has the flags"
            self._activation.failed(without_error if self.last_error is None else str(self.last_error))


_REPLACED: Final = "another context took its place before its flags arrived"


@dataclass(slots=True, eq=False, kw_only=True)
class _Run:
    """The sources that run, or have run last."""

    pipeline: Pipeline
    sink: RunSink
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    ended: anyio.Event = field(default_factory=anyio.Event)


class DataManager:
    """The sources of one environment.

    Args:
        cell: The status of the environment, and its flags.
        modes: Tells which mode is in effect. Call :meth:`mode_changed` when that changes.
        pipelines: The sources of every mode.
        source_context: Returns what sources are built with, apart from the context.
        connections: Notes the results of sources.
        recovers_fdv2: A fallback directive holds for a limited time.
        on_activated: Called with each context that becomes the active one.
        logger: The client's logger.
    """

    def __init__(
        self,
        cell: StatusCell,
        modes: ModeSelector,
        pipelines: Mapping[ConnectionMode, Pipeline],
        source_context: Callable[[], SourceContext],
        connections: ConnectionLog,
        *,
        recovers_fdv2: bool,
        on_activated: Callable[[Context], object],
        logger: logging.Logger,
    ) -> None:
        self._cell = cell
        self._modes = modes
        self._pipelines = pipelines
        self._source_context = source_context
        self._connections = connections
        self._recovers_fdv2 = recovers_fdv2
        self._on_activated = on_activated
        self._logger = logger
        self.fallback: FallbackState = FallbackState()
        """Outlives mode switches and contexts: after a directive the environment stays on FDv1."""
        self.after_fork()
        reset_after_fork(self)

    def after_fork(self) -> None:
        """In the child of a fork: no source runs here, and the flags are to be fetched anew."""
        self._changed = Signal()
        self._next: Activation | None = None
        self._active: Activation | None = None
        self._run: _Run | None = None
        self._mode: ModeInEffect | None = None
        """The mode whose sources started last."""
        self._retry_times = RetryTimes()
        """When the service wants the next requests for the active context. A switch of the mode keeps these times."""
        self._has_flags = False
        """Whether flags of the active context were applied."""
        self._confirmed_at = -math.inf
        """When the service last sent or confirmed them, on the loop's clock."""
        self._confirmed_by_fdv1 = False
        """Whether it did so by FDv1."""

    @property
    def mode(self) -> ModeInEffect:
        """The mode whose sources started last; before the first context the one that is in effect."""
        return self._mode or self._modes.in_effect

    @property
    def uses_network(self) -> bool:
        """Whether sources run that make requests, or wait until they make one."""
        run = self._run
        return run is not None and not run.ended.is_set() and run.pipeline.uses_network

    @property
    def last_error(self) -> ErrorInfo | None:
        """The newest failure of the sources that run, or have run last."""
        return None if self._run is None else self._run.sink.last_error

    # -- requests

    def activate(self, activation: Activation) -> None:
        """Make a context the active one, soon."""
        replaced, self._next = self._next, activation
        if replaced is not None:
            replaced.failed(_REPLACED)
        self._changed.send()

    def mode_changed(self) -> None:
        """Another mode is in effect."""
        self._changed.send()

    # -- the one task that starts and closes sources

    async def run(self) -> None:
        """Runs the sources until it is cancelled."""
        try:
            async with anyio.create_task_group() as group:
                while True:
                    if self._next is not None:
                        await self._close_sources()
                        self._switch_context(group)
                    elif self._run is not None and self._mode != self._modes.in_effect:
                        await self._switch_mode(group, self._run)
                    else:
                        await self._changed.wait()
        finally:
            for activation in (self._active, self._next):
                if activation is not None:
                    activation.failed("the client no longer updates its flags")

    def _switch_context(self, group: TaskGroup) -> None:
        # The newest one: while sources closed, another may have come.
        activation, self._next = self._next, None
        if activation is None:
            return
        if self._active is not None:
            self._active.failed(_REPLACED)
        self._modes.settle()
        before = self._cell.snapshot
        is_equal = before.evaluated_for == activation.context
        self._active = activation
        self._has_flags = self._has_flags and is_equal
        self._confirmed_at = -math.inf
        self._retry_times = RetryTimes()
        number = self._cell.reconcile(before.switched(activation.context, keeps_flags=is_equal))
        activation.activated(partial(self._reconciled, activation, number))
        self._on_activated(activation.context)
        if self._has_flags:
            activation.cached()
        self._start_sources(group, activation, is_new=True)

    async def _switch_mode(self, group: TaskGroup, run: _Run) -> None:
        mode = self._modes.in_effect
        if self._pipelines[mode.mode] == run.pipeline:
            self._mode = mode
            run.sink.set_offline_reason(mode.reason)
            return
        await self._close_sources()
        if self._next is None and self._active is not None:
            self._start_sources(group, self._active, is_new=False)

    async def _close_sources(self) -> None:
        """Close the sources and wait for their end, for a limited time. What they still report is dropped."""
        run, self._run = self._run, None
        if run is None:
            return
        run.sink.is_current = False
        run.scope.cancel()
        with anyio.move_on_after(MAX_SOURCE_CLOSE) as limit:
            await run.ended.wait()
        if limit.cancelled_caught:
            self._logger.error("sources did not close within %g s; they were abandoned", MAX_SOURCE_CLOSE)

    def _start_sources(self, group: TaskGroup, activation: Activation, *, is_new: bool) -> None:
        mode = self._modes.in_effect
        pipeline = self._pipelines[mode.mode]
        if self._mode is not None and self._mode.mode is not mode.mode:
            self._logger.info("connection mode: %s", mode.mode.value)
        if self.mode.reason is not None and mode.reason is None and pipeline.uses_network:
            # The state says why no source is to run. From now on sources run, and have not reported yet.
            self._cell.report(SourceState.INTERRUPTED)
        self._mode = mode
        self.fallback.end_if_over(loop_time())
        # Without network sources there is nothing to leave FDv2 with.
        fallback = self.fallback if pipeline.uses_network else FallbackState()
        is_halted = fallback.is_on_fdv1 and pipeline.fdv1_fallback is None
        sink = RunSink(self._cell, activation, mode.reason, is_halted=is_halted)
        run = self._run = _Run(pipeline=pipeline, sink=sink)
        cache = () if self._has_flags else pipeline.cache_alone()
        initializers = pipeline.without_cache() if self._has_flags else pipeline.initializers
        if activation.first is not None and not (cache or self._has_flags):
            # The flags that the program gave are read in place of the cache, also in a mode that does not read the cache.
            cache = (Cache(),)
            initializers = (*cache, *initializers)
        if not is_new and self._cell.snapshot.selector.is_defined:
            initializers = ()
        first = cache if fallback.is_on_fdv1 else initializers
        options = SourceOptions(
            initializers=initializers,
            synchronizers=pipeline.synchronizers,
            fdv1_fallback=pipeline.fdv1_fallback,
            fdv1_initializers=cache,
            first_pause=0.0 if first else self._first_pause(pipeline, is_on_fdv1=fallback.is_on_fdv1),
            recovers_fdv2=self._recovers_fdv2,
            policy=MOBILE,
        )
        context = replace(
            self._source_context(),
            side=activation.side,
            cache=activation.first or activation.kept,
            demand=PollOnDemand(sink.mark_ready),
            retry_times=self._retry_times,
        )

        def on_applied(change_set: ChangeSet, snapshot: Snapshot) -> None:
            if sink.is_current:
                self._has_flags = True
                activation.kept.applied(change_set, snapshot)

        def on_result(name: str, result: Result) -> None:
            if sink.is_current:
                self._note(name, result, activation)

        supervisor = Supervisor(options, context, sink, fallback, on_applied=on_applied, on_result=on_result)
        start(group, _run_sources, supervisor, run)

    def _first_pause(self, pipeline: Pipeline, *, is_on_fdv1: bool) -> float:
        """Seconds until the first poll after a mode switch, so that switching to and fro does not multiply requests."""
        first = pipeline.fdv1_fallback if is_on_fdv1 else next(iter(pipeline.synchronizers), None)
        if not isinstance(first, PollOptions) or first.interval is None or is_on_fdv1 is not self._confirmed_by_fdv1:
            return 0.0
        age = loop_time() - self._confirmed_at
        return min(max(first.interval - age, 0.0), first.interval)

    # -- results

    def _note(self, name: str, result: Result, activation: Activation) -> None:
        """Note what a source reported: for :attr:`MobileClient.connection_info`, and how old the flags are."""
        match result:
            case FetchFailure(error=error) | Update(error=ErrorInfo() as error):
                self._connections.failed(name, error)
            case Basis(cached=False, change_set=change_set):
                self._confirmed(name, change_set, activation)
            case Update(state=SourceState.VALID, change_set=change_set):
                self._confirmed(name, change_set, activation)
            case _:
                pass

    def _confirmed(self, name: str, change_set: ChangeSet | None, activation: Activation) -> None:
        self._connections.succeeded(name)
        self._confirmed_at, self._confirmed_by_fdv1 = loop_time(), self.fallback.is_on_fdv1
        if change_set is None or change_set.kind is ChangeKind.NONE:
            activation.kept.confirmed()

    def _reconciled(self, activation: Activation, number: int, reason: str | None) -> None:
        """The call that made the context the active one has ended. ``reason``: why without its flags."""
        error = None
        if reason is not None:
            # The error of the sources says more, and has the status that the service sent.
            run = self._run if activation is self._active else None
            error = None if run is None else run.sink.last_error
            error = error or ErrorInfo(kind=FailureKind.UNKNOWN, message=reason, time=clock.now())
        self._cell.reconciled(number, error)


async def _run_sources(supervisor: Supervisor, run: _Run) -> None:
    try:
        with run.scope:
            await supervisor.run()
    finally:
        run.ended.set()
