"""ContextChange: one call of ``start`` or ``identify``, from its wait in the queue to its result.

Source: ``client-side.md`` 4.3 and 5.2.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

from aioflags.model.status import IdentifyResult, IdentifyStatus

if TYPE_CHECKING:
    from aioflags.client_core.hook_runner import AfterIdentify
    from aioflags.mobile.flag_cache import ContextCache
    from aioflags.model.context import Context
    from aioflags.protocol.client_side import ClientSide
    from aioflags.sources.base import FlagCache

MAX_TURN: Final = 15.0
"""Seconds that calls wait for the flags of the call before them, if neither has a shorter time-out."""

Outcome: TypeAlias = "asyncio.Future[IdentifyResult]"

_COMPLETED: Final = IdentifyResult(IdentifyStatus.COMPLETED)
_OVERDUE: Final = "the flags of the context have not arrived in time"


def _future() -> Outcome:
    return asyncio.get_running_loop().create_future()


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenContext:
    """A context as the program gave it, with what belongs to this context alone.

    Args:
        context: Without generated keys and attributes of the environment.
        secure_mode_hash: The proof that the program may ask for its flags.
        bootstrap: Its flags until the service answers.
    """

    context: Context
    secure_mode_hash: str | None = field(default=None, repr=False)
    bootstrap: Mapping[str, object] | None = None


@dataclass(eq=False, slots=True, kw_only=True)
class ContextChange:
    """A call that changes the context. Use it on the client's event loop.

    Args:
        given: The new context.
        timeout: How many seconds the call waits for its flags; ``None``: for as long as it takes.
        accepts_cached: The call completes with flags that the service has not confirmed.
        is_sheddable: While the call waits for its turn, a newer call replaces it.
        cached: Done as soon as there are flags of the context, even unconfirmed ones.
        outcome: Done when the change has ended: the flags of the context are there, or cannot be had.
        result: Done when the call ends: the result of ``outcome``, or a time-out.
        after: The hooks that run when the call ends.
        report: Called when the change ends, or is overdue: with the reason why the flags are missing, or with ``None``.
        is_overdue: The other calls no longer wait for the flags.
    """

    given: GivenContext
    timeout: float | None
    accepts_cached: bool
    is_sheddable: bool = False
    cached: Outcome = field(default_factory=_future)
    outcome: Outcome = field(default_factory=_future)
    result: Outcome = field(default_factory=_future)
    after: AfterIdentify | None = None
    report: Callable[[str | None], object] | None = None
    is_overdue: bool = False

    @property
    def turn(self) -> float:
        """How many seconds the next call waits for the flags of this one."""
        return MAX_TURN if self.timeout is None else min(self.timeout, MAX_TURN)

    def activated(self, report: Callable[[str | None], object]) -> None:
        """The context is the active one from now on."""
        self.report = report
        if self.is_overdue:
            report(_OVERDUE)

    def has_cached(self) -> None:
        """There are flags of the context that the service has not confirmed, or has sent for an equal context."""
        settle(self.cached, _COMPLETED)
        if self.accepts_cached:
            self.completed()

    def completed(self) -> None:
        """The flags are as new as they can be."""
        self._end(_COMPLETED)

    def failed(self, error: str) -> None:
        """The flags cannot be had."""
        self._end(IdentifyResult(IdentifyStatus.ERROR, error))

    def overdue(self) -> None:
        """The other calls do not wait for the flags any longer. They may still come."""
        if not self.outcome.done():
            self.is_overdue = True
            if self.report is not None:
                self.report(_OVERDUE)

    def _end(self, result: IdentifyResult) -> None:
        if settle(self.outcome, result) and self.report is not None:
            self.report(result.error)

    def end_call(self, result: IdentifyResult) -> None:
        """End the call with this result, unless its change has ended with another."""
        settle(self.outcome, result)
        settle(self.result, self.outcome.result())


@dataclass(frozen=True, slots=True, kw_only=True)
class ActiveContext:
    """A context that is to become the active one.

    Args:
        context: A valid context, complete.
        side: Asks the service for its flags.
        kept: What the device keeps for it.
        first: Flags that serve until the service answers; ``None``: what ``kept`` has.
        change: The call that waits for its flags.
    """

    context: Context
    side: ClientSide
    kept: ContextCache
    first: FlagCache | None
    change: ContextChange


def settle(future: Outcome, result: IdentifyResult) -> bool:
    """Set the result, unless the future has one. Returns whether it was set."""
    if future.done():
        return False
    future.set_result(result)
    return True
