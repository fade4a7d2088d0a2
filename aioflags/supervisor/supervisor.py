"""Supervisor: runs the initializers, then one tenure after another, by verdict, until nothing is left to run.

It asks ``verdict.py`` what a result means and the roster whose turn it is, and does what they say. What the public gets to
see is left to the status cell behind :class:`UpdateSink`.

Source: ``data-system.md`` 5, 6.3 and 6.6; ``architecture.md`` 4, 7 and 9.
"""

from __future__ import annotations

import logging
import math
import random as _random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import anyio

from aioflags.model.change import ChangeKind, ChangeSet, Selector
from aioflags.model.result import Basis, ErrorInfo, FailureKind, FallbackDirective, FetchFailure, Result, SourceState, Update
from aioflags.runtime import clock
from aioflags.runtime.logs import display_name
from aioflags.runtime.logs import logger as package_logger
from aioflags.sources.base import SourceBuilder, SourceContext
from aioflags.supervisor.fallback_state import FallbackState, lifetime
from aioflags.supervisor.holder import SnapshotHolder
from aioflags.supervisor.next_snapshot import next_snapshot
from aioflags.supervisor.policy import SERVER, Policy
from aioflags.supervisor.rotation import Rotation, RotationEntry
from aioflags.supervisor.source_run import FDV1, INITIALIZER, SYNCHRONIZER, SourceRun
from aioflags.supervisor.state_timer import StateTimer
from aioflags.supervisor.update_log import UpdateLog
from aioflags.supervisor.update_sink import UpdateSink
from aioflags.supervisor.verdict import Verdict, is_ready, is_refusal, judge, limits, reported

if TYPE_CHECKING:
    from aioflags.evaluation.snapshot import Snapshot

__all__ = ["Supervisor"]


class Supervisor:
    """The data sources of one client, for one run.

    ``recovery``: whether a directive holds until the client is closed (``"never"``) or for as long as the server said (``"ttl"``).
    ``refused_retry``: whether the sources start again after the service refused all of them (``"extended"``) or not (``"never"``).
    ``engagement`` remembers directives between runs. ``applied`` is called with each change set that was applied and the snapshot
    that it made, once that is published. ``random`` gives a number in [0, 1), for jitter.
    """

    def __init__(
        self,
        *,
        initializers: Sequence[SourceBuilder],
        synchronizers: Sequence[SourceBuilder],
        fdv1_fallback: SourceBuilder | None,
        recovery: Literal["never", "ttl"],
        refused_retry: Literal["extended", "never"],
        context: SourceContext,
        holder: SnapshotHolder,
        facts: UpdateSink,
        engagement: FallbackState,
        policy: Policy = SERVER,
        applied: Callable[[ChangeSet, Snapshot], None] | None = None,
        random: Callable[[], float] = _random.random,
        logger: logging.Logger = package_logger,
    ) -> None:
        self._initializers = tuple(initializers)
        self._roster = Rotation.of(tuple(synchronizers), fdv1_fallback)
        self._recovers = recovery == "ttl"
        self._retries_refused = refused_retry == "extended"
        self._context = context
        self._holder = holder
        self._facts = facts
        self._engagement = engagement
        self._policy = policy
        self._applied = applied
        self._random = random
        self._logger = logger
        self._log = UpdateLog(logger)
        self._state = SourceState.INITIALIZING
        self._has_data = False
        self._last_error: ErrorInfo | None = None
        self._pause = 0.0
        self._was_valid = False
        """Whether the source that runs now, or ran last, was ``VALID`` in this run."""
        self._was_refused = False
        """Whether it ended since the service refused its request."""
        self._refusals = 0
        """How many times in a row no source was left after refusals."""
        self._last_name = ""
        """The name of the synchronizer that ran last."""
        self._has_woken = False

    async def run(self) -> None:
        """Until nothing is left to run, or until cancelled; no source is open afterwards. Raises nothing that sources do."""
        if anyio.current_time() >= self._engagement.until:
            self._engagement.end()
        self._turn(Verdict.FDV1 if self._engagement.is_on_fdv1 else await self._initialize())
        while True:
            verdict = await (self._rest() if self._roster.current is None else self._synchronize(self._roster.current))
            if verdict is Verdict.DONE:
                return
            self._turn(verdict)

    # -- the phases

    async def _initialize(self) -> Verdict:
        """Runs initializers until one completes the initialization or brings a directive. Returns ``FDV1`` or ``DONE``."""
        verdict = Verdict.DONE
        for builder in self._initializers:
            verdict = await self._serve(SourceRun(builder, INITIALIZER, StateTimer({}), self._absorb, self._logger), self._context)
            if verdict is not Verdict.NEXT:
                break
        if self._has_data:
            # No initializer is left that could bring better data, so that these complete the initialization.
            self._log.flush()
            self._report(SourceState.VALID)
        # The list of synchronizers stays as it is, unless there was a directive.
        return verdict if verdict is Verdict.FDV1 else Verdict.DONE

    async def _synchronize(self, entry: RotationEntry) -> Verdict:
        """Runs a synchronizer, after the pause that the last verdict asked for."""
        pause, self._pause = self._pause, 0.0
        await anyio.sleep(pause)
        self._was_valid = self._was_refused = False
        roster = self._roster
        if roster.on_fdv1:
            role, lease = FDV1, StateTimer({}, until=self._engagement.until)
        else:
            role, lease = SYNCHRONIZER, StateTimer(limits(self._policy, alone=roster.is_alone, primary=roster.is_primary))
        tenure = SourceRun(entry.builder, role, lease, self._absorb, self._logger)
        verdict = await self._serve(tenure, replace(self._context, retry_state=entry.retry_state))
        self._last_name = tenure.name
        return verdict

    async def _serve(self, tenure: SourceRun, context: SourceContext) -> Verdict:
        try:
            return await tenure.run(context, self._selector)
        finally:
            # Also when the client is closed meanwhile: one that is started again has to stay on FDv1.
            if (directive := tenure.directive) is not None:
                self._engage(tenure.name, directive)

    async def _rest(self) -> Verdict:
        """No source is left: the end, or a pause until FDv2 may be tried again, or until sources that were refused may be.

        While a directive holds for a time the state is not ``OFF``: it ends with that time, whatever becomes of FDv1.
        """
        retry_in = self._retry_in()
        if self._roster.on_fdv1 and self._engagement.until < math.inf:
            self._log.flush()
            self._report(SourceState.INTERRUPTED, sources_left=False)
            until = self._engagement.until
            if retry_in is None or anyio.current_time() + retry_in >= until:
                await anyio.sleep_until(until)
                return Verdict.RECOVER
            await anyio.sleep(retry_in)
            return Verdict.RETRY
        if self._roster.on_fdv1:
            self._off(self._last_error, retry_in)
        elif self._roster.configured:
            self._off(self._last_error or self._exhausted(), retry_in)
        elif self._initializers and not self._has_data:
            self._off(self._exhausted())
        else:
            self._log.flush()
            self._report(SourceState.VALID)
        if retry_in is None:
            return Verdict.DONE
        await self._wait_for_retry(retry_in)
        return Verdict.RETRY

    def _retry_in(self) -> float | None:
        """Seconds until sources that were refused start again; ``None`` if they do not."""
        if not (self._retries_refused and self._roster.was_refused):
            return None
        self._refusals += 1
        return self._policy.pause_after_refusal(self._refusals, chance=self._random())

    async def _wait_for_retry(self, seconds: float) -> None:
        """A timer, unless all sources poll on demand: these have none, and start again with a ``refresh()`` after that time."""
        demand, roster = self._context.demand, self._roster
        entries = roster.configured if not roster.on_fdv1 else () if roster.fallback is None else (roster.fallback,)
        if all(_is_on_demand(entry) for entry in entries):
            await demand.wait_for_request(seconds)
        else:
            demand.sources_stopped()
            await anyio.sleep(seconds)

    # -- what follows from a verdict

    def _engage(self, name: str, directive: FallbackDirective) -> None:
        holds = lifetime(directive, self._random) if self._recovers else math.inf
        self._engagement.engage(until=anyio.current_time() + holds)
        self._logger.warning("%s was told to leave FDv2 for FDv1 (%s)", name, directive.origin)

    def _turn(self, verdict: Verdict) -> None:
        before = self._roster
        self._roster = before.after(verdict, was_valid=self._was_valid, was_refused=self._was_refused)
        self._rotate(verdict, was_engaged=before.on_fdv1)
        if before.on_fdv1 and not self._roster.on_fdv1:
            self._engagement.end()
            self._logger.info("returning to FDv2: the time that the server named is over")
        elif self._roster.on_fdv1 and not before.on_fdv1:
            action = "halting: no FDv1 fallback is configured" if self._roster.fallback is None else "switching to FDv1 polling"
            if math.isinf(self._engagement.until):
                self._logger.warning("%s", action)
            else:
                self._logger.warning("%s; FDv2 again in %.0f s", action, self._engagement.until - anyio.current_time())

    def _rotate(self, verdict: Verdict, *, was_engaged: bool) -> None:
        """What a change of source brings: a line in the log, and a pause after a whole round without a valid source."""
        following = self._roster.current
        if following is None:
            return
        match verdict:
            case Verdict.NEXT:
                if rounds := self._roster.failed_rounds:
                    self._pause = max(self._pause, self._policy.pause_after_round(rounds, chance=self._random()))
                if self._state is SourceState.OFF:
                    # The sources that started again were not refused, so that what goes on is an interruption.
                    self._report(SourceState.INTERRUPTED)
                self._log.handed_over(self._last_name, display_name(following.builder), pause=self._pause)
            case Verdict.RECOVER if not was_engaged:
                self._log.recovering(self._last_name, display_name(following.builder))
            case Verdict.REMOVE:
                self._log.removed(display_name(following.builder))
            case _:
                pass

    # -- from one result to its verdict

    async def _absorb(self, name: str, result: Result) -> Verdict:
        """Environment, data, state, readiness, in this order, and then what the result means."""
        if not isinstance(result, FetchFailure) and result.environment_id:
            self._facts.set_environment(result.environment_id)
        snapshot = None
        change_set = None if isinstance(result, FetchFailure) else result.change_set
        try:
            # The data go in before the directive is judged: a server that sends us away may still have sent the newest
            # data on the same connection, and FDv1 may take its time to answer.
            if change_set is not None and change_set.kind is not ChangeKind.NONE:
                snapshot = await next_snapshot(self._holder.snapshot, change_set, traced=self._facts.is_followed)
        except Exception as bug:
            self._logger.exception("%s brought data that could not be applied", name)
            result = _rejected(result, f"{name} brought data that could not be applied: {type(bug).__name__}")
            verdict = judge(result)
            if verdict is Verdict.STAY and isinstance(result, Update):
                # The source believes that we have the data. Another run of it, or of the next one, asks for them anew.
                verdict, self._pause = Verdict.NEXT, self._policy.after_rejection
        else:
            verdict = judge(result)
            self._log.result(name, result, verdict, has_data=self._serves_data, is_on_demand=_is_on_demand(self._roster.current))
        self._has_data = self._has_data or snapshot is not None
        state = reported(result, verdict, applied=snapshot is not None)
        error = None if isinstance(result, Basis) else result.error
        self._was_refused = verdict is Verdict.REMOVE and is_refusal(error)
        if state is SourceState.VALID:
            self._was_valid, self._refusals = True, 0
        if verdict is Verdict.REMOVE and snapshot is None and (self._is_last or self._state is SourceState.OFF):
            # OFF follows as soon as the last source is closed, or has been reported before. Nothing is interrupted in between.
            self._last_error = error or self._last_error
        elif state is not None or snapshot is not None:
            if snapshot is not None:
                self._facts.set_source(name)
            self._report(state, error=error, snapshot=snapshot, change_set=None if snapshot is None else change_set)
            if self._applied is not None and snapshot is not None and change_set is not None:
                self._applied(change_set, snapshot)
        return verdict

    @property
    def _is_last(self) -> bool:
        """Whether no source is left when the current one is removed, and no directive ends that would bring others."""
        return self._roster.is_alone and not (self._roster.on_fdv1 and self._engagement.until < math.inf)

    @property
    def _serves_data(self) -> bool:
        """Whether evaluations are served from flag data, of sources or of a store."""
        return self._holder.snapshot.has_data

    def _selector(self) -> Selector:
        return self._holder.snapshot.selector

    # -- reports

    def _off(self, error: ErrorInfo | None, retry_in: float | None = None) -> None:
        self._log.exhausted(error, has_data=self._serves_data, retry_in=retry_in)
        next_attempt = None if retry_in is None else clock.now() + retry_in
        self._report(SourceState.OFF, error=error, sources_left=False, next_attempt=next_attempt)

    def _exhausted(self) -> ErrorInfo:
        last = f"; the last error: {self._last_error.message}" if self._last_error else ""
        return ErrorInfo(kind=FailureKind.UNKNOWN, message=f"all data sources exhausted{last}", time=clock.now())

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
        self._facts.report(state, error=error, snapshot=snapshot, change_set=change_set, next_attempt=next_attempt)
        self._state = state or self._state
        self._last_error = error or self._last_error
        # The state first: who wakes is to find it.
        if not self._has_woken and is_ready(state, sources_left=sources_left):
            self._has_woken = True
            self._facts.mark_ready()


def _is_on_demand(entry: RotationEntry | None) -> bool:
    """Whether the source does nothing by itself. Builders need not have that attribute."""
    return entry is not None and getattr(entry.builder, "on_demand", False) is True


def _rejected(result: Result, message: str) -> Result:
    """What a result comes to when its data cannot be applied: a failure of our own, with the directive it carried."""
    error = ErrorInfo(kind=FailureKind.UNKNOWN, message=message, time=clock.now())
    if isinstance(result, Update):
        state = SourceState.OFF if result.state is SourceState.OFF else SourceState.INTERRUPTED
        return replace(result, state=state, change_set=None, error=error)
    return FetchFailure(error=error, directive=result.directive)
