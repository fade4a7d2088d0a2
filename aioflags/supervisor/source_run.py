"""SourceRun: one run of one source, from building it to a verdict. One group, one pump, one watch.

The pump is the caller itself, iterating; the watch waits for the lease and cancels. It cannot do so while a result is
absorbed. What a source raises, or leaves unsaid, becomes the result that it should have yielded: above this file no
source raises.

Source: ``data-system.md`` 5.1 and 5.5; ``architecture.md`` 7 and 9.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

import anyio
import anyio.lowlevel

from aioflags.model.change import Selector
from aioflags.model.result import Basis, ErrorInfo, FailureKind, FallbackDirective, FetchFailure, Result, SourceState, Update
from aioflags.runtime import clock
from aioflags.runtime.cancellation import contain_cancellation, is_cancelled
from aioflags.sources.base import Latching, SourceBuilder, SourceContext, closing
from aioflags.supervisor.state_timer import StateTimer
from aioflags.supervisor.verdict import Verdict, concluded, expired

__all__ = ["FDV1", "INITIALIZER", "SYNCHRONIZER", "Absorb", "Role", "SourceRun"]

Absorb: TypeAlias = Callable[[str, Result], Awaitable[Verdict]]
"""Takes a source's name and its result; answers what the result means."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """As what a source runs: how it is opened, what it may yield, and how it says that it failed.

    ``may_end``: that it ends after a result is no failure. ``hears_directives``: FDv1 has nowhere to be sent (FB-22).
    """

    open: Callable[[Any, Callable[[], Selector]], AsyncGenerator[Result, None]]
    results: tuple[type[Result], ...]
    failed: Callable[[ErrorInfo, FallbackDirective | None], Result]
    may_end: bool = False
    hears_directives: bool = True


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
FDV1: Final = replace(SYNCHRONIZER, hears_directives=False)


class SourceRun:
    """One run of the source that ``builder`` describes. ``absorb`` gets its results, one at a time."""

    def __init__(self, builder: SourceBuilder, role: Role, lease: StateTimer, absorb: Absorb, logger: logging.Logger) -> None:
        self.name: str = type(builder).__name__
        self._builder = builder
        self._role = role
        self._lease = lease
        self._absorb = absorb
        self._logger = logger
        self._source: object = None
        self._carried: FallbackDirective | None = None
        self._has_spoken = False

    @property
    def directive(self) -> FallbackDirective | None:
        """The directive that the source brought: carried by a result, or latched still."""
        if not self._role.hears_directives:
            return None
        return self._carried or (self._source.latched if isinstance(self._source, Latching) else None)

    async def run(self, context: SourceContext, selector: Callable[[], Selector]) -> Verdict:
        """Builds the source, iterates it, closes it, and says what to do next. Raises nothing that the source does."""
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
            async with self._left(results):
                verdict = await self._pump(results)
        if verdict is Verdict.STAY:
            return expired(self._lease.state, self.directive, fdv1=not self._role.hears_directives)
        return concluded(verdict, self.directive)

    async def _pump(self, results: AsyncGenerator[Result, None]) -> Verdict:
        """The first verdict other than ``STAY``; ``STAY`` if the lease expired, or if the source ended with nothing amiss."""
        verdict = Verdict.STAY
        async with anyio.create_task_group() as group:
            group.start_soon(self._watch, group.cancel_scope)
            while verdict is Verdict.STAY and (result := await self._next(results)) is not None:
                with self._lease.held():
                    if isinstance(result, Update):
                        self._lease.renew(result.state)
                    self._carried = result.directive
                    verdict = await self._absorb(self.name, result)
                    # A source that never waits would otherwise hold the loop for ever.
                    await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
        return verdict

    async def _watch(self, tenure: anyio.CancelScope) -> None:
        await self._lease.expired()
        tenure.cancel()

    async def _next(self, results: AsyncGenerator[Result, None]) -> Result | None:
        """The source's next result, its failure as a result, or ``None`` when it has ended and all is said."""
        try:
            result = await anext(results)
            if not isinstance(result, self._role.results):
                raise TypeError(f"{self.name} yielded {type(result).__name__}")
        except StopAsyncIteration:
            if self._role.may_end and self._has_spoken:
                return None
            result = self._failure("ended without a last word")
        except (Exception, asyncio.CancelledError) as error:
            if is_cancelled():
                if isinstance(error, asyncio.CancelledError):
                    raise
                # It was asked to leave, so what it raises on its way out is no finding about it.
                self._logger.exception("%s failed while it was closed", self.name)
                await anyio.lowlevel.checkpoint()
            else:
                # A cancellation that nobody asked for comes from something that the source awaits, and is its failure.
                self._logger.exception("%s failed", self.name)
            result = self._failure(f"failed: {type(error).__name__}")
        self._has_spoken = True
        return result if self._role.hears_directives else replace(result, directive=None)

    def _failure(self, what: str) -> Result:
        error = ErrorInfo(kind=FailureKind.UNKNOWN, message=f"{self.name} {what}", time=clock.now())
        return self._role.failed(error, self.directive)

    @asynccontextmanager
    async def _left(self, results: AsyncGenerator[Result, None]) -> AsyncGenerator[None, None]:
        """Closes the source in the end. What it raises then is logged, since the verdict stands already."""
        try:
            yield
        finally:
            try:
                with contain_cancellation():
                    async with closing(results):
                        pass
            except Exception:
                self._logger.exception("%s failed while it was closed", self.name)
