"""FlagUpdates: runs the sources that the current connection mode needs, for the current context of one environment.

A mode switch and a new context do the same: stop the supervisor, wait until its sources are closed, then start another one. One
task does both, so that at most one run has a connection.

Source: ``client-side.md`` 3.7, 4.7 to 4.9, 5.2 and I-10.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio
from anyio.abc import TaskGroup

from aioflags.client_core.status import StatusCell
from aioflags.mobile.connection_info import ConnectionLog
from aioflags.mobile.context_change import ActiveContext
from aioflags.mobile.modes import ConnectionMode, ModeInEffect, ModeSelector, Pipeline
from aioflags.model.change import Basis, ChangeKind, ChangeSet, FetchFailure, Result, Update
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

_REPLACED: Final = "another context took its place before its flags arrived"


class FlagUpdates:
    """The flag updates of one environment.

    Args:
        cell: The status of the environment, and its flags.
        modes: Knows the current mode. Call :meth:`mode_changed` when that changes.
        pipelines: The sources of every mode.
        source_context: Returns what sources are built with, apart from the context.
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
        *,
        recovers_fdv2: bool,
        on_activated: Callable[[Context], object],
        logger: logging.Logger,
    ) -> None:
        self._cell = cell
        self._modes = modes
        self._pipelines = pipelines
        self._source_context = source_context
        self.connections: ConnectionLog = ConnectionLog()
        """What the sources reported last."""
        self._recovers_fdv2 = recovers_fdv2
        self._on_activated = on_activated
        self._logger = logger
        self.fallback: FallbackState = FallbackState()
        """Outlives mode switches and contexts: after a directive the environment stays on FDv1."""
        self.after_fork()
        reset_after_fork(self)

    def after_fork(self) -> None:
        """After a fork, in the child: no source runs here, and the flags have to be fetched again."""
        self._changed = Signal()
        self._next: ActiveContext | None = None
        """The context that becomes the active one when the sources are closed."""
        self._active: ActiveContext | None = None
        self._supervisor: Supervisor | None = None
        """Runs the sources, or has run them last; ``None`` while they close."""
        self._pipeline = Pipeline()
        """The sources that started last."""
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
        return self._supervisor is not None and not self._supervisor.ended.is_set() and self._pipeline.uses_network

    @property
    def last_error(self) -> ErrorInfo | None:
        """The newest failure of the sources that run, or have run last."""
        return None if self._supervisor is None else self._supervisor.last_error

    # -- requests

    def activate(self, active: ActiveContext) -> None:
        """Make a context the active one, soon."""
        replaced, self._next = self._next, active
        if replaced is not None:
            replaced.change.failed(_REPLACED)
        self._changed.send()

    def mode_changed(self) -> None:
        """Another mode is in effect."""
        self._changed.send()

    # -- the one task that starts and stops sources

    async def run(self) -> None:
        """Run the sources until cancelled."""
        try:
            async with anyio.create_task_group() as group:
                while True:
                    if self._next is not None:
                        await self._stop_sources()
                        self._switch_context(group)
                    elif self._supervisor is not None and self._mode != self._modes.in_effect:
                        await self._switch_mode(group, self._supervisor)
                    else:
                        await self._changed.wait()
        finally:
            for active in (self._active, self._next):
                if active is not None:
                    active.change.failed("the client no longer updates its flags")

    def _switch_context(self, group: TaskGroup) -> None:
        # The newest one: while sources closed, another may have come.
        active, self._next = self._next, None
        if active is None:
            return
        if self._active is not None:
            self._active.change.failed(_REPLACED)
        self._modes.settle()
        before = self._cell.snapshot
        is_equal = before.evaluated_for == active.context
        self._active = active
        self._has_flags = self._has_flags and is_equal
        self._confirmed_at = -math.inf
        self._retry_times = RetryTimes()
        number = self._cell.reconcile(before.switched(active.context, keeps_flags=is_equal))
        active.change.activated(partial(self._reconciled, active, number))
        self._on_activated(active.context)
        if self._has_flags:
            active.change.has_cached()
        self._start_sources(group, active, is_new=True)

    async def _switch_mode(self, group: TaskGroup, supervisor: Supervisor) -> None:
        mode = self._modes.in_effect
        if self._pipelines[mode.mode] == self._pipeline:
            self._mode = mode
            supervisor.show_valid_as(mode.state)
            return
        await self._stop_sources()
        if self._next is None and self._active is not None:
            self._start_sources(group, self._active, is_new=False)

    async def _stop_sources(self) -> None:
        supervisor, self._supervisor = self._supervisor, None
        if supervisor is not None:
            await supervisor.stop()

    def _start_sources(self, group: TaskGroup, active: ActiveContext, *, is_new: bool) -> None:
        mode = self._modes.in_effect
        pipeline = self._pipeline = self._pipelines[mode.mode]
        if self._mode is not None and self._mode.mode is not mode.mode:
            self._logger.info("connection mode: %s", mode.mode.value)
        if self.mode.is_forced and not mode.is_forced and pipeline.uses_network:
            # The state has the reason why no source ran. From now on sources run, and have not reported yet.
            self._cell.report(SourceState.INTERRUPTED)
        self._mode = mode
        self.fallback.end_if_over(loop_time())
        # Without network sources there is nothing to leave FDv2 with.
        fallback = self.fallback if pipeline.uses_network else FallbackState()
        cache = () if self._has_flags else pipeline.cache_alone()
        initializers = pipeline.without_cache() if self._has_flags else pipeline.initializers
        if active.first is not None and not (cache or self._has_flags):
            # The flags that the program gave are read in place of the cache, also in a mode that does not read the cache.
            cache = (Cache(),)
            initializers = (*cache, *initializers)
        if not is_new and self._cell.snapshot.selector.is_defined:
            initializers = ()
        first = cache if fallback.is_on_fdv1 else initializers
        is_halted = fallback.is_on_fdv1 and pipeline.fdv1_fallback is None
        without_error = NO_FDV1_FALLBACK if is_halted else "no source has the flags"

        def end_change() -> None:
            """The flags are there, or will not come."""
            if supervisor.is_stopped:
                return
            if supervisor.state is SourceState.VALID:
                active.change.completed()
            else:
                active.change.failed(str(supervisor.last_error or without_error))

        def on_applied(change_set: ChangeSet, snapshot: Snapshot) -> None:
            self._has_flags = True
            active.change.has_cached()
            active.kept.applied(change_set, snapshot)

        supervisor = self._supervisor = Supervisor(
            SourceOptions(
                initializers=initializers,
                synchronizers=pipeline.synchronizers,
                fdv1_fallback=pipeline.fdv1_fallback,
                fdv1_initializers=cache,
                first_pause=0.0 if first else self._first_pause(pipeline, is_on_fdv1=fallback.is_on_fdv1),
                recovers_fdv2=self._recovers_fdv2,
                policy=MOBILE,
            ),
            replace(
                self._source_context(),
                side=active.side,
                cache=active.first or active.kept,
                demand=PollOnDemand(end_change),
                retry_times=self._retry_times,
            ),
            self._cell,
            fallback,
            valid_state=mode.state,
            on_ready=end_change,
            on_applied=on_applied,
            on_result=partial(self._note, active),
        )
        start(group, supervisor.run)

    def _first_pause(self, pipeline: Pipeline, *, is_on_fdv1: bool) -> float:
        """Seconds until the first poll after a mode switch, so that switching to and fro does not multiply requests."""
        first = pipeline.fdv1_fallback if is_on_fdv1 else next(iter(pipeline.synchronizers), None)
        if not isinstance(first, PollOptions) or first.interval is None or is_on_fdv1 is not self._confirmed_by_fdv1:
            return 0.0
        age = loop_time() - self._confirmed_at
        return min(max(first.interval - age, 0.0), first.interval)

    # -- results

    def _note(self, active: ActiveContext, name: str, result: Result) -> None:
        """Note what a source reported: for :attr:`MobileClient.connection_info`, and how old the flags are."""
        match result:
            case FetchFailure(error=error) | Update(error=ErrorInfo() as error):
                self.connections.failed(name, error)
            case Basis(cached=False, change_set=change_set) | Update(state=SourceState.VALID, change_set=change_set):
                self.connections.succeeded(name)
                self._confirmed_at, self._confirmed_by_fdv1 = loop_time(), self.fallback.is_on_fdv1
                if change_set is None or change_set.kind is ChangeKind.NONE:
                    active.kept.confirmed()
            case _:
                pass

    def _reconciled(self, active: ActiveContext, number: int, reason: str | None) -> None:
        """The change to the context has ended, or is overdue. ``reason``: why its flags are missing."""
        error = None
        if reason is not None:
            # The error of the sources says more, and has the status that the service sent.
            error = self.last_error if active is self._active else None
            error = error or ErrorInfo(kind=FailureKind.UNKNOWN, message=reason, time=clock.now())
        self._cell.reconciled(number, error)
