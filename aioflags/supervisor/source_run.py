"""SourceRun: one run of one source, from building it to a verdict.

The caller iterates the source; a second task waits for the state timer and cancels the run, but not while a result is being
absorbed. An exception of a source, or an end without a last result, becomes the result that the source should have yielded: callers
of this module never see an exception of a source.

Source: ``data-system.md`` 5.1 and 5.5; ``architecture.md`` 7 and 9.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

import anyio
import anyio.lowlevel

from aioflags.model.change import Basis, FallbackDirective, FetchFailure, Result, Selector, Update
from aioflags.model.status import ErrorInfo, FailureKind, SourceState
from aioflags.runtime import clock
from aioflags.runtime.event_loops import contain_cancellation, is_cancelled, loop_time
from aioflags.runtime.logs import class_name
from aioflags.runtime.tasks import start
from aioflags.sources.base import Latching, SourceBuilder, SourceContext, closing
from aioflags.supervisor.policy import Policy
from aioflags.supervisor.verdict import Verdict, final_verdict, judge_expiry

# -- StateTimer: limits how long a source may stay in its state. Its deadline moves while a task waits for it.
#
# What an expired timer means is decided in ``verdict.py``.
#
# Source: ``data-system.md`` 5.5; ``architecture.md`` 7.


class StateTimer:
    """The timer of one run of a source. It starts when it is created, in the state ``INITIALIZING``.

    ``limits``: for how many seconds the source may stay in a state; states that are not listed have no limit.
    ``until``: when the timer expires in any state, on the event loop's clock.
    """

    def __init__(self, limits: Mapping[SourceState, float], *, until: float = math.inf) -> None:
        self.state: SourceState = SourceState.INITIALIZING
        self._limits = limits
        self._until = until
        self._is_held = False
        self._scope: anyio.CancelScope | None = None
        self._restart()

    @property
    def is_over(self) -> bool:
        """Whether the time for the whole run is over."""
        return loop_time() >= self._until

    def enter(self, state: SourceState) -> None:
        """The source reported ``state``. Only a change of state moves the deadline.

        An interruption before the first ``VALID`` does not count: the source is still starting. ``OFF`` ends the run by itself.
        """
        still_starting = self.state is SourceState.INITIALIZING and state is SourceState.INTERRUPTED
        if state in {SourceState.VALID, SourceState.INTERRUPTED} and state is not self.state and not still_starting:
            self.state = state
            self._restart()

    @contextmanager
    def held(self) -> Generator[None, None, None]:
        """The timer does not expire inside this block, so that a result that is being applied is not lost."""
        self._is_held = True
        self._move()
        try:
            yield
        finally:
            self._is_held = False
            self._move()

    async def until_expired(self) -> None:
        """Return when the timer has expired.

        A result that arrives at the deadline wins: the event loop runs once more, then the deadline is compared again.
        """
        while True:
            with anyio.CancelScope(deadline=self._effective) as self._scope:
                await anyio.sleep_forever()
            await anyio.lowlevel.checkpoint()
            if anyio.current_time() >= self._effective:
                return

    @property
    def _effective(self) -> float:
        return math.inf if self._is_held else self._deadline

    def _restart(self) -> None:
        self._deadline = min(loop_time() + self._limits.get(self.state, math.inf), self._until)
        self._move()

    def _move(self) -> None:
        if self._scope is not None:
            self._scope.deadline = self._effective


Absorb: TypeAlias = Callable[[str, Result], Awaitable[Verdict]]
"""Gets the name of a source and one of its results; returns the verdict on the source."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """How a source is used: how it is opened, what it may yield, and how its failure is reported.

    ``may_end``: it is not a failure if the source ends after a result. ``stops_all``: if it ends without reporting why, no other
    source takes its place. ``obeys_directives``: false for FDv1, which has no further fallback (FB-22).
    """

    open: Callable[[Any, Callable[[], Selector]], AsyncGenerator[Result, None]]
    results: tuple[type[Result], ...]
    failed: Callable[[ErrorInfo, FallbackDirective | None], Result]
    may_end: bool = False
    stops_all: bool = False
    obeys_directives: bool = True


INITIALIZER: Final = Role(
    open=lambda source, selector: source.fetch(selector),
    results=(Basis, FetchFailure),
    failed=lambda error, directive: FetchFailure(error=error, directive=directive),
    may_end=True,
)
SYNCHRONIZER: Final = Role(
    open=lambda source, selector: source.sync(selector),
    results=(Update,),
    failed=lambda error, directive: Update(state=SourceState.OFF, error=error, directive=directive),
)
FDV1: Final = replace(SYNCHRONIZER, obeys_directives=False)


def synchronizer_role(policy: Policy, *, fdv1: bool) -> Role:
    """The role of a synchronizer. ``fdv1``: it is the FDv1 fallback."""
    role = FDV1 if fdv1 else SYNCHRONIZER
    return replace(role, failed=_interrupted if policy.keeps_failing else role.failed, stops_all=policy.stops_with_source)


def _interrupted(error: ErrorInfo, directive: FallbackDirective | None) -> Update:
    return Update(state=SourceState.INTERRUPTED, error=error, directive=directive)


class SourceRun:
    """One run of the source that ``builder`` describes. ``absorb`` gets its results, one at a time."""

    def __init__(self, builder: SourceBuilder, role: Role, timer: StateTimer, absorb: Absorb, logger: logging.Logger) -> None:
        self.name: str = type(builder).__name__
        self._builder = builder
        self._role = role
        self._timer = timer
        self._absorb = absorb
        self._logger = logger
        self._source: object = None
        self._carried: FallbackDirective | None = None
        """The directive of the newest result."""
        self._has_yielded = False
        self._has_failed = False
        """It raised, or ended although it must not."""
        self._has_stopped = False
        """Its end ends all updates."""

    @property
    def directive(self) -> FallbackDirective | None:
        """The directive that the source received: carried by the newest result, or not yet part of a result."""
        if not self._role.obeys_directives:
            return None
        return self._carried or (self._source.latched if isinstance(self._source, Latching) else None)

    async def run(self, context: SourceContext, selector: Callable[[], Selector]) -> Verdict:
        """Build the source, iterate it, close it, and return the verdict. Raises nothing that the source raises."""
        try:
            with contain_cancellation():
                source = self._builder.build(context)
                self.name = source.name
                results = self._role.open(source, selector)
        except Exception as error:
            self._logger.exception("%s could not be built", self.name)
            verdict = await self._absorb(self.name, self._failure(f"could not be built: {type(error).__name__}"))
        else:
            self._source = source
            async with self._closing(results):
                verdict = await self._iterate(results)
        if self._has_stopped and self.directive is None:
            return Verdict.DONE
        if verdict is Verdict.STAY and self._has_failed:
            verdict = Verdict.NEXT
        if verdict is Verdict.STAY:
            return judge_expiry(self._timer.state, self.directive, is_over=self._timer.is_over)
        return final_verdict(verdict, self.directive)

    async def _iterate(self, results: AsyncGenerator[Result, None]) -> Verdict:
        """The first verdict other than ``STAY``; ``STAY`` if the timer expired, or the source ended when it was allowed to."""
        verdict = Verdict.STAY
        async with anyio.create_task_group() as group:
            start(group, self._cancel_when_expired, group.cancel_scope)
            while verdict is Verdict.STAY and not self._has_failed and (result := await self._next(results)) is not None:
                with self._timer.held():
                    if isinstance(result, Update):
                        self._timer.enter(result.state)
                    self._carried = result.directive
                    verdict = await self._absorb(self.name, result)
                    # A source that never waits would otherwise block the event loop.
                    await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
        return verdict

    async def _cancel_when_expired(self, scope: anyio.CancelScope) -> None:
        await self._timer.until_expired()
        scope.cancel()

    async def _next(self, results: AsyncGenerator[Result, None]) -> Result | None:
        """The source's next result, or its failure as a result. ``None``: it ended when it was allowed to."""
        try:
            result = await anext(results)
            if not isinstance(result, self._role.results):
                raise TypeError(f"{self.name} yielded {class_name(result)}")
        except StopAsyncIteration:
            if self._role.may_end and self._has_yielded:
                return None
            result = self._failure("ended without reporting why")
            self._has_stopped = self._role.stops_all
        except (Exception, asyncio.CancelledError) as error:
            if is_cancelled():
                if isinstance(error, asyncio.CancelledError):
                    raise
                # The run is being cancelled, so an exception of the source does not change the verdict.
                self._logger.exception("%s failed while it was closed", self.name)
                await anyio.lowlevel.checkpoint()
            else:
                # This task is not cancelled: a CancelledError comes from code that the source awaits, and is the source's failure.
                self._logger.exception("%s failed", self.name)
            result = self._failure(f"failed: {type(error).__name__}")
        self._has_yielded = True
        return result if self._role.obeys_directives else replace(result, directive=None)

    def _failure(self, event: str) -> Result:
        self._has_failed = True
        error = ErrorInfo(kind=FailureKind.UNKNOWN, message=f"{self.name} {event}", time=clock.now())
        return self._role.failed(error, self.directive)

    @asynccontextmanager
    async def _closing(self, results: AsyncGenerator[Result, None]) -> AsyncGenerator[None, None]:
        """Close the source at the end of the block. An exception of it is logged: the verdict is decided already."""
        try:
            yield
        finally:
            try:
                with contain_cancellation():
                    async with closing(results):
                        pass
            except Exception:
                self._logger.exception("%s failed while it was closed", self.name)
