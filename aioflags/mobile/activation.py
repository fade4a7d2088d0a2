"""Activation: a context that becomes the active one, and how the call ends that waits for its flags.

Source: ``client-side.md`` 4.3 and 5.2.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

import msgspec

from aioflags.model.change import Change, ObjectKind
from aioflags.model.detail import FlagEvaluation
from aioflags.model.status import IdentifyResult, IdentifyStatus
from aioflags.sources.base import CachedFlags

if TYPE_CHECKING:
    from aioflags.mobile.flag_cache import ContextCache
    from aioflags.model.context import Context
    from aioflags.protocol.client_side import ClientSide
    from aioflags.sources.base import FlagCache


Report: TypeAlias = Callable[[str | None], object]
"""Called when a call ends: with the reason why it ends without flags, or with ``None``."""

_COMPLETED: Final = IdentifyResult(IdentifyStatus.COMPLETED)
_OVERDUE: Final = "the flags of the context have not arrived in time"


class Activation:
    """A context that becomes the active one. Use it on the client's event loop.

    Args:
        context: A valid context, complete.
        side: Asks the service for its flags.
        kept: What the device keeps for it.
        first: Flags that serve until the service answers; by default those of ``kept``.
        accepts_cached: The call completes with flags that the service has not confirmed.
        cached: Gets the result when there are flags of the context, also such that the service has not confirmed.
        outcome: Gets the result when the flags of the context are there, or cannot be had.
    """

    def __init__(
        self,
        *,
        context: Context,
        side: ClientSide,
        kept: ContextCache,
        first: FlagCache | None,
        accepts_cached: bool,
        cached: asyncio.Future[IdentifyResult],
        outcome: asyncio.Future[IdentifyResult],
    ) -> None:
        self.context = context
        self.side = side
        self.kept = kept
        self.first = first
        self._accepts_cached = accepts_cached
        self._cached = cached
        self._outcome = outcome
        self._is_overdue = False
        self._report: Report | None = None

    def activated(self, report: Report) -> None:
        """The context is the active one from now on. ``report`` is called when the call ends, at once if it is overdue."""
        self._report = report
        if self._is_overdue:
            report(_OVERDUE)

    def cached(self) -> None:
        """The client has flags that the service has not confirmed, or not as the last ones."""
        if not self._cached.done():
            self._cached.set_result(_COMPLETED)
        if self._accepts_cached:
            self._end(_COMPLETED)

    def fresh(self) -> None:
        """The flags are as new as they can be."""
        self._end(_COMPLETED)

    def failed(self, error: str) -> None:
        """The flags cannot be had."""
        self._end(IdentifyResult(IdentifyStatus.ERROR, error))

    def overdue(self) -> None:
        """The call does not wait any longer. Its flags may still come."""
        self._is_overdue = True
        if self._report is not None:
            self._report(_OVERDUE)

    def _end(self, result: IdentifyResult) -> None:
        if not self._outcome.done():
            self._outcome.set_result(result)
            if self._report is not None:
                self._report(result.error)


# -- Bootstrap: the flags that a program has for its first context, which a server-side SDK evaluated.
# Source: ``client-side.md`` 5.4.


_STATE: Final = "$flagsState"
_VALID: Final = "$valid"


class Bootstrap:
    """A :class:`~aioflags.sources.base.FlagCache` of given flags.

    ``document`` has the values by flag key, and under ``$flagsState`` what else is known of each flag. A flag whose entry there
    cannot be used has its value alone.
    """

    def __init__(self, document: Mapping[str, object]) -> None:
        state = document.get(_STATE)
        details: Mapping[str, Any] = cast("Mapping[str, Any]", state) if isinstance(state, Mapping) else {}
        self._changes = tuple(
            Change(ObjectKind.FLAG, key, flag.version, flag)
            for key, value in document.items()
            if key not in (_STATE, _VALID)
            for flag in [_evaluation(key, value, details.get(key))]
        )

    async def read(self) -> CachedFlags:
        """The given flags."""
        return CachedFlags(changes=self._changes, freshness_ms=None)


def _evaluation(key: str, value: object, details: object) -> FlagEvaluation:
    if isinstance(details, Mapping):
        try:
            return msgspec.convert({**cast("Mapping[str, Any]", details), "value": value, "key": key}, FlagEvaluation)
        except msgspec.ValidationError:
            pass
    return FlagEvaluation(key=key, value=value)
