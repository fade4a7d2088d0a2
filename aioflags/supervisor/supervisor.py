"""Supervisor: runs the initializers, then one tenure after another, by verdict, until nothing is left to run.

It asks ``verdict.py`` what a result means and the roster whose turn it is, and does what they say. What the public gets to
see is left to the status cell behind :class:`Facts`.

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

from aioflags import clock
from aioflags.logs import logger as package_logger
from aioflags.logs import printable
from aioflags.model.change import ChangeKind, ChangeSet, Selector
from aioflags.model.result import Basis, ErrorInfo, FailureKind, FallbackDirective, FetchFailure, Result, SourceState, Update
from aioflags.sources.base import SourceBuilder, SourceContext, breathing
from aioflags.supervisor.engagement import Engagement, lifetime
from aioflags.supervisor.facts import Facts
from aioflags.supervisor.holder import SnapshotHolder
from aioflags.supervisor.lease import Lease
from aioflags.supervisor.policy import SERVER, Policy
from aioflags.supervisor.precompilation import compile_slow
from aioflags.supervisor.roster import Roster
from aioflags.supervisor.tenure import FDV1, INITIALIZER, SYNCHRONIZER, Tenure
from aioflags.supervisor.verdict import Verdict, is_ready, judge, limits, reported

if TYPE_CHECKING:
    from aioflags.evaluation.snapshot import Snapshot

__all__ = ["Supervisor"]


class Supervisor:
    """The data sources of one client, for one run.

    ``recovery``: whether a directive holds for ever (``"never"``) or for as long as the server said (``"ttl"``).
    ``engagement`` remembers directives between runs. ``applied`` is told of each change set that counts, with the snapshot it
    made, once everybody can see that. ``random`` gives a number in [0, 1), for jitter.
    """

    def __init__(
        self,
        *,
        initializers: Sequence[SourceBuilder],
        synchronizers: Sequence[SourceBuilder],
        fdv1_fallback: SourceBuilder | None,
        recovery: Literal["never", "ttl"],
        context: SourceContext,
        holder: SnapshotHolder,
        facts: Facts,
        engagement: Engagement,
        policy: Policy = SERVER,
        applied: Callable[[ChangeSet, Snapshot], None] | None = None,
        random: Callable[[], float] = _random.random,
        logger: logging.Logger = package_logger,
    ) -> None:
        self._initializers = tuple(initializers)
        self._roster = Roster.of(tuple(synchronizers), fdv1_fallback)
        self._recovers = recovery == "ttl"
        self._context = context
        self._holder = holder
        self._facts = facts
        self._engagement = engagement
        self._policy = policy
        self._applied = applied
        self._random = random
        self._logger = logger
        self._state = SourceState.INITIALIZING
        self._has_data = False
        self._last_error: ErrorInfo | None = None
        self._pause = 0.0
        self._has_woken = False

    async def run(self) -> None:
        """Until nothing is left to run, or until cancelled; no source is open afterwards. Raises nothing that sources do."""
        if anyio.current_time() >= self._engagement.until:
            self._engagement.end()
        self._turn(Verdict.FDV1 if self._engagement.is_engaged else await self._initialize())
        while True:
            verdict = await (self._rest() if self._roster.current is None else self._synchronize(self._roster.current))
            if verdict is Verdict.DONE:
                return
            self._turn(verdict)

    # -- the phases

    async def _initialize(self) -> Verdict:
        """Runs initializers until one completes the initialization or is sent away. Answers the last verdict."""
        verdict = Verdict.DONE
        for builder in self._initializers:
            verdict = await self._serve(Tenure(builder, INITIALIZER, Lease({}), self._absorb, self._logger))
            if verdict is not Verdict.NEXT:
                break
        if self._has_data:
            # Nothing better is to come, so that what there is completes the initialization.
            self._report(SourceState.VALID)
        # Nobody's turn changes by the end of this phase, unless by a directive.
        return verdict if verdict is Verdict.FDV1 else Verdict.DONE

    async def _synchronize(self, builder: SourceBuilder) -> Verdict:
        """Runs the synchronizer whose turn it is."""
        pause, self._pause = self._pause, 0.0
        await anyio.sleep(pause)
        roster = self._roster
        if roster.engaged:
            role, lease = FDV1, Lease({}, until=self._engagement.until)
        else:
            role, lease = SYNCHRONIZER, Lease(limits(self._policy, alone=roster.is_alone, primary=roster.is_primary))
        return await self._serve(Tenure(builder, role, lease, self._absorb, self._logger))

    async def _serve(self, tenure: Tenure) -> Verdict:
        try:
            return await tenure.run(self._context, self._selector)
        finally:
            # Also when the client is closed meanwhile: a restarted one has to know.
            if (directive := tenure.directive) is not None:
                self._engage(tenure.name, directive)

    async def _rest(self) -> Verdict:
        """Nobody's turn: the end, or a pause until FDv2 may be tried again. ``OFF`` would be final, so a pause is none."""
        if self._roster.engaged and self._engagement.until < math.inf:
            self._report(SourceState.INTERRUPTED, sources_left=False)
            await anyio.sleep_until(self._engagement.until)
            return Verdict.RECOVER
        if self._roster.engaged:
            self._off(self._last_error)
        elif self._roster.configured:
            self._off(self._last_error or self._exhausted())
        elif self._initializers and not self._has_data:
            self._off(self._exhausted())
        else:
            self._report(SourceState.VALID)
        return Verdict.DONE

    # -- what follows from a verdict

    def _engage(self, name: str, directive: FallbackDirective) -> None:
        holds = lifetime(directive, self._random) if self._recovers else math.inf
        self._engagement.engage(until=anyio.current_time() + holds)
        self._logger.warning("%s was told to leave FDv2 for FDv1 (%s)", name, directive.origin)

    def _turn(self, verdict: Verdict) -> None:
        before, self._roster = self._roster, self._roster.after(verdict)
        if before.engaged and not self._roster.engaged:
            self._engagement.end()
            self._logger.info("returning to FDv2: the time that the server named is over")
        elif self._roster.engaged and not before.engaged:
            action = "halting: no FDv1 fallback is configured" if self._roster.fallback is None else "switching to FDv1 polling"
            if math.isinf(self._engagement.until):
                self._logger.warning("%s", action)
            else:
                self._logger.warning("%s; FDv2 again in %.0f s", action, self._engagement.until - anyio.current_time())

    # -- the way of one result

    async def _absorb(self, name: str, result: Result) -> Verdict:
        """Environment, data, state, readiness, in this order, and then what the result means."""
        if not isinstance(result, FetchFailure) and result.environment_id:
            self._facts.environment(result.environment_id)
        snapshot = None
        change_set = None if isinstance(result, FetchFailure) else result.change_set
        try:
            # The data go in before the directive is judged: a server that sends us away may still have sent the newest
            # data on the same connection, and FDv1 may take its time to answer.
            if change_set is not None and change_set.kind is not ChangeKind.NONE:
                built = await breathing(self._holder.snapshot.builder(change_set, traced=self._facts.is_followed))
                await compile_slow(built, change_set)
                snapshot = built
        except Exception as bug:
            self._logger.exception("%s brought data that could not be applied", name)
            result = _rejected(result, f"{name} brought data that could not be applied: {type(bug).__name__}")
            verdict = judge(result)
            if verdict is Verdict.STAY and isinstance(result, Update):
                # The source believes that we have the data. Another run of it, or of the next one, asks for them anew.
                verdict, self._pause = Verdict.NEXT, self._policy.after_rejection
        else:
            verdict = judge(result)
            self._log(name, result, verdict)
        self._has_data = self._has_data or snapshot is not None
        state = reported(result, verdict, applied=snapshot is not None)
        error = None if isinstance(result, Basis) else result.error
        if verdict is Verdict.REMOVE and snapshot is None and self._is_last:
            # OFF follows as soon as the source is closed. In between nothing is interrupted: it is over.
            self._last_error = error or self._last_error
        elif state is not None or snapshot is not None:
            if snapshot is not None:
                self._facts.origin(name)
            self._report(state, error=error, snapshot=snapshot, change_set=None if snapshot is None else change_set)
            if self._applied is not None and snapshot is not None and change_set is not None:
                self._applied(change_set, snapshot)
        return verdict

    @property
    def _is_last(self) -> bool:
        """Whether nothing is left, and nothing will return, when the source whose turn it is goes."""
        return self._roster.is_alone and not (self._roster.engaged and self._engagement.until < math.inf)

    @property
    def _is_on_demand(self) -> bool:
        """Whether the source whose turn it is does nothing by itself. Not every builder knows of this."""
        return getattr(self._roster.current, "on_demand", False) is True

    def _selector(self) -> Selector:
        return self._holder.snapshot.selector

    # -- what is said about it

    def _off(self, error: ErrorInfo | None) -> None:
        self._logger.error("no data source is left: %s", printable(error.message) if error else "FDv2 was left without a fallback")
        self._report(SourceState.OFF, error=error, sources_left=False)

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
    ) -> None:
        self._facts.report(state, error=error, snapshot=snapshot, change_set=change_set)
        self._state = state or self._state
        self._last_error = error or self._last_error
        # The state first: who wakes is to find it.
        if not self._has_woken and is_ready(state, sources_left=sources_left):
            self._has_woken = True
            self._facts.ready()

    def _log(self, name: str, result: Result, verdict: Verdict) -> None:
        match result:
            case FetchFailure(error=error):
                self._logger.warning("%s found no data: %s", name, printable(error.message))
            case Update(state=SourceState.OFF, error=error):
                level = logging.ERROR if verdict is Verdict.REMOVE else logging.WARNING
                self._logger.log(level, "%s gave up: %s", name, printable(error.message if error else "it did not say why"))
            case Update(state=SourceState.INTERRUPTED, error=ErrorInfo(message=message) as error):
                level = logging.WARNING if self._is_news(error) else logging.DEBUG
                serving = "the data at hand are served" if self._holder.snapshot.has_data else "defaults are served"
                again = "is asked again by refresh" if self._is_on_demand else "will retry"
                self._logger.log(level, "%s interrupted, %s; %s: %s", name, again, serving, printable(message))
            case Update(state=SourceState.VALID) if self._state is not SourceState.VALID:
                self._logger.info("%s keeps the flag data current%s", name, " again" if self._has_data else "")
            case _:
                self._logger.debug("%s: %s", name, verdict.value)

    def _is_news(self, error: ErrorInfo) -> bool:
        """Whether an interruption is told: the first, and data that are wrong in another way; somebody is mending them."""
        last = self._last_error
        if self._state is not SourceState.INTERRUPTED or last is None:
            return True
        return error.kind is FailureKind.INVALID_DATA and (error.kind, error.message) != (last.kind, last.message)


def _rejected(result: Result, message: str) -> Result:
    """What a result comes to when its data cannot be applied: a failure of our own, with the directive it carried."""
    error = ErrorInfo(kind=FailureKind.UNKNOWN, message=message, time=clock.now())
    if isinstance(result, Update):
        state = SourceState.OFF if result.state is SourceState.OFF else SourceState.INTERRUPTED
        return replace(result, state=state, change_set=None, error=error)
    return FetchFailure(error=error, directive=result.directive)
