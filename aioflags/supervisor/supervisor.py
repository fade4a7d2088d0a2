"""Supervisor: runs the initializers, then one synchronizer after another, until no source is left to run.

``verdict.py`` decides what a result means, :class:`Rotation` which source is next. The supervisor acts on both, and reports data
and states to the :class:`UpdateSink`, which derives the public status.

Source: ``data-system.md`` 5, 6.3 and 6.6; ``architecture.md`` 4, 7 and 9.
"""

from __future__ import annotations

import math
import random as _random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio

from aioflags.model.change import Basis, ChangeKind, ChangeSet, FallbackDirective, FetchFailure, Result, Update
from aioflags.model.defaults import MAX_SOURCE_CLOSE
from aioflags.model.status import ErrorInfo, FailureKind, SourceState
from aioflags.runtime import clock
from aioflags.runtime.event_loops import loop_time
from aioflags.runtime.logs import display_name
from aioflags.sources.base import SourceBuilder, SourceContext
from aioflags.sources.polling import Cache
from aioflags.supervisor.next_snapshot import UpdateSink, next_published
from aioflags.supervisor.rotation import FallbackState, Rotation, RotationEntry, SourceOptions, lifetime
from aioflags.supervisor.source_run import INITIALIZER, SourceRun, StateTimer, synchronizer_role
from aioflags.supervisor.update_log import UpdateLog
from aioflags.supervisor.verdict import Verdict, is_ready, is_refusal, is_rejection, judge, limits, longest_run, state_after
from aioflags.transport.backoff import delay

if TYPE_CHECKING:
    from aioflags.evaluation.snapshot import Snapshot


class Supervisor:
    """Runs the data sources of one client, once. For other sources, :meth:`stop` it and make another one.

    Args:
        options: The sources, and when they are tried again.
        context: What the sources are built with.
        sink: Receives data and states.
        fallback: Remembers fallback directives between runs of the client.
        valid_state: Reported in place of ``VALID``: a client that is offline on purpose reports the reason.
        on_ready: Called once, when there are data or none will come; by default :meth:`UpdateSink.mark_ready`.
        on_applied: Called with each change set that was applied and the snapshot that it led to, after the snapshot is published.
        on_result: Called with the name of a source and each of its results, when it has been reported.
        random: Returns a number in [0, 1), for jitter.
    """

    def __init__(
        self,
        options: SourceOptions,
        context: SourceContext,
        sink: UpdateSink,
        fallback: FallbackState,
        *,
        valid_state: SourceState = SourceState.VALID,
        on_ready: Callable[[], None] | None = None,
        on_applied: Callable[[ChangeSet, Snapshot], None] | None = None,
        on_result: Callable[[str, Result], None] | None = None,
        random: Callable[[], float] = _random.random,
    ) -> None:
        self._options = options
        self._policy = options.policy
        self._context = context
        self._sink = sink
        self._fallback = fallback
        self._valid_state = valid_state
        self._on_ready = on_ready or sink.mark_ready
        self._on_applied = on_applied
        self._on_result = on_result
        self._random = random
        self._logger = context.logger
        self._log = UpdateLog(context.logger, server_evaluates=options.server_evaluates, has_store=options.has_store)
        self.state: SourceState = SourceState.INITIALIZING
        """The newest state."""
        self.last_error: ErrorInfo | None = None
        """The newest error, also one that was not reported because ``OFF`` follows at once."""
        self.is_stopped: bool = False
        """Whether :meth:`stop` was called. What the sources still return is not reported."""
        self.ended: anyio.Event = anyio.Event()
        """Set when :meth:`run` has ended."""
        self._scope = anyio.CancelScope()
        self._is_ready = False
        self._rotation = Rotation.of(tuple(options.synchronizers), options.fdv1_fallback)
        self._has_data = False
        """A source has brought data in this run. Those that a device kept do not count: the service may have newer ones."""
        self._pause = options.first_pause
        """Seconds before the next synchronizer starts."""
        self._was_valid = False
        """Whether the source that runs now, or ran last, was ``VALID`` in this run."""
        self._was_refused = False
        """Whether it ended because the service refused its request."""
        self._refusals = 0
        """How many times in a row no source was left after refusals."""
        self._last_name = ""
        """The name of the synchronizer that ran last."""
        self._started: dict[RotationEntry, float] = {}
        """When each synchronizer started last."""

    async def run(self) -> None:
        """Run until no source is left, or until stopped or cancelled; no source is open afterwards.

        Raises nothing that a source raises.
        """
        try:
            with self._scope:
                await self._run()
        finally:
            self.ended.set()

    async def stop(self) -> None:
        """End :meth:`run`, and wait until its sources are closed, for a limited time. From now on nothing is reported."""
        self.is_stopped = True
        self._scope.cancel()
        with anyio.move_on_after(MAX_SOURCE_CLOSE):
            await self.ended.wait()
            return
        self._logger.error("sources did not close within %g s; they were abandoned", MAX_SOURCE_CLOSE)

    def show_valid_as(self, state: SourceState) -> None:
        """Report ``state`` in place of ``VALID`` from now on."""
        self._valid_state = state
        if self.state is SourceState.VALID:
            self._report(SourceState.VALID)

    async def _run(self) -> None:
        self._fallback.end_if_over(anyio.current_time())
        if self._fallback.is_on_fdv1:
            await self._initialize(self._options.fdv1_initializers)
            # The change to FDv1 was logged when the directive came.
            self._rotation = self._rotation.after(Verdict.FDV1, restores_removed=self._policy.restores_removed)
        else:
            self._rotate(await self._initialize(self._options.initializers))
        while True:
            entry = self._rotation.current
            if entry is None:
                verdict = await self._wait_without_source()
            elif (verdict := await self._synchronize(entry)) is Verdict.DONE:
                self._report_off(self.last_error, None)
            if verdict is Verdict.DONE:
                return
            self._rotate(verdict)

    # -- phases

    async def _initialize(self, initializers: Sequence[SourceBuilder]) -> Verdict:
        """Run initializers until one completes the initialization or brings a directive. Returns ``FDV1`` or ``DONE``."""
        verdict = Verdict.DONE
        for builder in initializers:
            run = SourceRun(builder, INITIALIZER, StateTimer({}), self._absorb, self._logger)
            verdict = await self._run_source(run, self._context)
            if verdict is not Verdict.NEXT:
                break
        if self._has_data:
            # No initializer is left that could bring better data, so these data complete the initialization.
            self._log.flush()
            self._report(SourceState.VALID)
        # The rotation of synchronizers does not change, unless there was a directive.
        return verdict if verdict is Verdict.FDV1 else Verdict.DONE

    async def _synchronize(self, entry: RotationEntry) -> Verdict:
        """Run a synchronizer, after the pause that the last verdict requires."""
        policy, rotation = self._policy, self._rotation
        pause, self._pause = self._pause, 0.0
        floor = self._started.get(entry, -math.inf) + policy.between_starts - anyio.current_time()
        pause = max(pause, floor, 0.0)
        if rotation.on_fdv1 and anyio.current_time() + pause >= self._fallback.until:
            await anyio.sleep_until(self._fallback.until)
            return Verdict.RECOVER
        await anyio.sleep(pause)
        self._started[entry] = anyio.current_time()
        self._was_valid = self._was_refused = False
        role = synchronizer_role(policy, fdv1=rotation.on_fdv1)
        if rotation.on_fdv1:
            timer = StateTimer({}, until=self._fallback.until)
        else:
            place = {"alone": rotation.is_alone, "primary": rotation.is_primary}
            timer = StateTimer(limits(policy, **place), until=anyio.current_time() + longest_run(policy, **place))
        run = SourceRun(entry.builder, role, timer, self._absorb, self._logger)
        verdict = await self._run_source(run, replace(self._context, retry_state=entry.retry_state))
        self._last_name = run.name
        return verdict

    async def _run_source(self, run: SourceRun, context: SourceContext) -> Verdict:
        try:
            return await run.run(context, lambda: self._sink.snapshot.selector)
        finally:
            # Also when the client is being closed: after a restart it has to stay on FDv1.
            if run.directive is not None:
                self._start_fallback(run.name, run.directive)

    async def _wait_without_source(self) -> Verdict:
        """No source is left: return ``DONE``, or wait until FDv2 or the refused sources may be tried again.

        While a directive holds for a limited time the state is not ``OFF``: FDv2 is tried after that time, even if FDv1 has ended.
        """
        retry_in = self._retry_in()
        until = self._fallback.until
        if self._rotation.on_fdv1 and until < math.inf:
            self._log.flush()
            self._report(SourceState.INTERRUPTED, sources_left=False)
            if retry_in is None or anyio.current_time() + retry_in >= until:
                await anyio.sleep_until(until)
                return Verdict.RECOVER
            await anyio.sleep(retry_in)
            return Verdict.RETRY
        last_error = self.last_error
        uses_network = any(not isinstance(builder, Cache) for builder in self._options.initializers)
        if self._rotation.on_fdv1:
            self._report_off(last_error, retry_in)
        elif self._rotation.configured or (uses_network and not self._has_data):
            self._report_off(last_error or _failure("all data sources exhausted"), retry_in)
        else:
            self._log.flush()
            self._report(SourceState.VALID)
        if retry_in is None:
            return Verdict.DONE
        await self._wait_for_retry(retry_in)
        return Verdict.RETRY

    def _report_off(self, error: ErrorInfo | None, retry_in: float | None) -> None:
        """No source is left. ``retry_in``: seconds until all of them start again; ``None`` if they do not."""
        self._log.exhausted(error, has_data=self._serves_data, retry_in=retry_in)
        next_attempt = None if retry_in is None else clock.now() + retry_in
        self._report(SourceState.OFF, error=error, sources_left=False, next_attempt=next_attempt)

    def _retry_in(self) -> float | None:
        """Seconds until refused sources start again; ``None`` if they do not."""
        if not (self._options.retries_refused and self._rotation.was_refused):
            return None
        self._refusals += 1
        policy = self._policy
        return delay(policy.after_refusal, self._refusals, chance=self._random(), ceiling=policy.max_after_refusal)

    async def _wait_for_retry(self, seconds: float) -> None:
        """Sleep. If all sources poll on demand, wait for the first ``refresh()`` after that time instead."""
        demand = self._context.demand
        if all(_is_on_demand(entry) for entry in self._rotation.active):
            await demand.wait_for_request(seconds)
        else:
            demand.sources_stopped()
            await anyio.sleep(seconds)

    # -- after a verdict

    def _start_fallback(self, name: str, directive: FallbackDirective) -> None:
        seconds = lifetime(directive, self._random) if self._options.recovers_fdv2 else math.inf
        self._fallback.start(directive, until=loop_time() + seconds)
        self._logger.warning("%s received a fallback directive (%s): leaving FDv2 for FDv1", name, directive.origin)

    def _rotate(self, verdict: Verdict) -> None:
        """Change to the rotation that follows from the verdict."""
        before = self._rotation
        self._rotation = before.after(
            verdict,
            was_valid=self._was_valid,
            was_refused=self._was_refused,
            restores_removed=self._policy.restores_removed,
        )
        self._prepare_next(verdict, was_on_fdv1=before.on_fdv1)
        if before.on_fdv1 and not self._rotation.on_fdv1:
            self._fallback.end()
            self._logger.info("returning to FDv2: the fallback directive has expired")
        elif self._rotation.on_fdv1 and not before.on_fdv1:
            has_fallback = self._rotation.fallback is not None
            action = "switching to FDv1 polling" if has_fallback else "flag updates stop: no FDv1 fallback is configured"
            if math.isinf(self._fallback.until):
                self._logger.warning("%s", action)
            else:
                self._logger.warning("%s; FDv2 again in %.0f s", action, self._fallback.until - loop_time())

    def _prepare_next(self, verdict: Verdict, *, was_on_fdv1: bool) -> None:
        """Log the change of source. After a whole round without a valid source, pause."""
        entry = self._rotation.current
        if entry is None:
            return
        policy, next_name = self._policy, display_name(entry.builder)
        match verdict:
            case Verdict.NEXT:
                if rounds := self._rotation.failed_rounds:
                    pause = delay(policy.after_round, rounds, chance=self._random(), ceiling=policy.max_after_round)
                    self._pause = max(self._pause, pause - (loop_time() - max(self._started.values(), default=-math.inf)))
                if self.state is SourceState.OFF:
                    # The sources started again and were not refused, so the outage is now an interruption.
                    self._report(SourceState.INTERRUPTED)
                self._log.handed_over(self._last_name, next_name, pause=self._pause)
            case Verdict.RECOVER if not was_on_fdv1:
                self._log.recovering(self._last_name, next_name)
            case Verdict.REMOVE:
                self._log.removed(next_name)
            case _:
                pass

    # -- from a result to its verdict

    async def _absorb(self, name: str, result: Result) -> Verdict:
        """Apply and report one result: environment, data, state, readiness, in this order. Returns the verdict on it."""
        change_set = None if isinstance(result, FetchFailure) else result.change_set
        snapshot, bug = None, None
        try:
            # The data are applied before the directive is judged: a server that sends a directive may have sent the newest data
            # on the same connection, and FDv1 may take some time to answer.
            if change_set is not None and change_set.kind is not ChangeKind.NONE:
                snapshot = await next_published(self._sink, change_set)
        except Exception as error:
            self._logger.exception("%s brought data that could not be applied", name)
            bug = error
        # A source may return a result although it is cancelled. It must not mix with results of the sources that run next.
        return Verdict.STAY if self.is_stopped else self._publish(name, result, snapshot, bug)

    def _publish(self, name: str, result: Result, snapshot: Snapshot | None, bug: Exception | None) -> Verdict:
        """Report a result, and the ``snapshot`` that its data led to; or the ``bug`` because of which they were not applied."""
        if not isinstance(result, FetchFailure) and result.environment_id:
            self._sink.set_environment(result.environment_id)
        if bug is not None:
            result = _rejected(result, f"{name} brought data that could not be applied: {type(bug).__name__}")
        verdict = judge(result)
        if bug is None:
            is_on_demand = _is_on_demand(self._rotation.current)
            self._log.result(name, result, verdict, has_data=self._serves_data, is_on_demand=is_on_demand)
        elif verdict is Verdict.STAY and isinstance(result, Update):
            # The source assumes that the client has the data. Another run of it, or of the next source, requests them again.
            verdict, self._pause = Verdict.NEXT, self._policy.after_rejection
        state = state_after(result, verdict, applied=snapshot is not None)
        error = _error_of(result)
        if bug is not None or is_rejection(error):
            self._sink.count_rejection()  # before the report, so that a reader of the report finds the payload counted
        self._was_refused = verdict is Verdict.REMOVE and is_refusal(error)
        if state is SourceState.VALID:
            self._was_valid, self._refusals = True, 0
        change_set = None if isinstance(result, FetchFailure) else result.change_set
        if snapshot is not None and change_set is not None:
            self._has_data = self._has_data or not (isinstance(result, Basis) and result.cached)
            self._sink.set_source(name, _sent_at(result))
            self._report(state, error=error, snapshot=snapshot, change_set=change_set)
            if self._on_applied is not None:
                self._on_applied(change_set, snapshot)
        elif verdict is Verdict.REMOVE and (self._is_last or self.state is SourceState.OFF):
            # OFF follows when this source is closed, or was reported before. An interruption in between would be wrong.
            self.last_error = error or self.last_error
        elif state is not None:
            self._report(state, error=error)
        if self._on_result is not None:
            self._on_result(name, result)
        return verdict

    def _report(
        self,
        state: SourceState | None,
        *,
        error: ErrorInfo | None = None,
        snapshot: Snapshot | None = None,
        change_set: ChangeSet | None = None,
        sources_left: bool = True,
        next_attempt: float | None = None,
    ) -> None:
        """As :meth:`UpdateSink.report`. Wakes the tasks that wait for data once there are data, or no source is left."""
        if self.is_stopped:
            return
        shown = self._valid_state if state is SourceState.VALID else state
        self._sink.report(shown, error=error, snapshot=snapshot, change_set=change_set, next_attempt=next_attempt)
        self.state = state or self.state
        self.last_error = error or self.last_error
        # After the report, so that a task that wakes reads the new state.
        if not self._is_ready and is_ready(state, sources_left=sources_left):
            self._is_ready = True
            self._on_ready()

    @property
    def _is_last(self) -> bool:
        """Whether no source is left if the current one is removed, and no directive expires later that would bring others back."""
        return self._rotation.is_alone and not (self._rotation.on_fdv1 and self._fallback.until < math.inf)

    @property
    def _serves_data(self) -> bool:
        """Whether evaluations have flag data, of a source or of a store."""
        snapshot = self._sink.snapshot
        return snapshot.has_data and snapshot.refusal is None


def _is_on_demand(entry: RotationEntry | None) -> bool:
    """Whether the source polls only when it is asked to. The attribute is optional."""
    return entry is not None and getattr(entry.builder, "on_demand", False) is True


def _error_of(result: Result) -> ErrorInfo | None:
    """The failure that a result brings, minor while its source will try again: no warning has reported it then."""
    if isinstance(result, FetchFailure):
        return replace(result.error, is_minor=result.error.is_minor or result.will_retry)
    return None if isinstance(result, Basis) else result.error


def _sent_at(result: Result) -> float | None:
    """When the service sent the data of a result, in Unix seconds; ``None`` if that is unknown."""
    if isinstance(result, Basis) and result.cached:
        return None if result.freshness_ms is None else result.freshness_ms / 1000
    return clock.now()


def _rejected(result: Result, message: str) -> Result:
    """The result without its data, which could not be applied: a failure that carries the same directive."""
    error = _failure(message)
    if isinstance(result, Update):
        state = SourceState.OFF if result.state is SourceState.OFF else SourceState.INTERRUPTED
        return replace(result, state=state, change_set=None, error=error)
    return FetchFailure(error=error, directive=result.directive)


def _failure(message: str) -> ErrorInfo:
    return ErrorInfo(kind=FailureKind.UNKNOWN, message=message, time=clock.now())
