"""ContextSwitcher: gives one environment its context: completes it, calls hooks, and waits for its flags.

Source: ``client-side.md`` 5.1 and 5.2.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aioflags.client_core.status import StatusCell
from aioflags.hooks.hook import IdentifyCall
from aioflags.hooks.runner import HookRunner
from aioflags.mobile.activation import Activation
from aioflags.mobile.bootstrap import Bootstrap
from aioflags.mobile.context_additions import ContextAdditions
from aioflags.mobile.data_manager import DataManager
from aioflags.mobile.flag_cache import FlagCaches
from aioflags.mobile.identify_queue import IdentifyQueue
from aioflags.model.identify import IdentifyResult, IdentifyStatus
from aioflags.protocol.client_side import ClientSide
from aioflags.runtime.logs import printable

if TYPE_CHECKING:
    from aioflags.hooks.runner import AfterIdentify
    from aioflags.model.context import Context

__all__ = ["ContextSwitcher", "FirstContext", "Wait"]

_CLOSED: Final = IdentifyResult(IdentifyStatus.ERROR, "the client is closed")
_START_TIMEOUT: Final = IdentifyResult(IdentifyStatus.TIMEOUT, "no flags within the time of the start; the client keeps trying")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """For what a call waits. ``timeout`` is in seconds. ``accepts_cached``: flags that the device kept are enough."""

    timeout: float | None
    accepts_cached: bool


class ContextSwitcher:
    """Changes the context of one environment, one call after another.

    Args:
        given: The first context.
        cell: The status of the environment.
        queue: Runs the calls.
        additions: Complete contexts.
        hooks: Called around each change.
        manager: Gets the flags of the context.
        caches: The flags that the device kept.
        use_report: Requests have the context in their body.
        with_reasons: The service sends the reason of each value.
        bootstrap: The flags of the first context until the service answers.
        logger: The client's logger.
    """

    def __init__(
        self,
        given: Context,
        *,
        cell: StatusCell,
        queue: IdentifyQueue,
        additions: ContextAdditions,
        hooks: HookRunner,
        manager: DataManager,
        caches: FlagCaches,
        use_report: bool,
        with_reasons: bool,
        bootstrap: Mapping[str, object] | None,
        logger: logging.Logger,
    ) -> None:
        self.given: Context = given
        """The context of the last call, as the program gave it."""
        self._cell = cell
        self._queue = queue
        self._additions = additions
        self._hooks = hooks
        self._manager = manager
        self._caches = caches
        self._use_report = use_report
        self._with_reasons = with_reasons
        self._bootstrap = bootstrap
        self._logger = logger

    async def switch(
        self, context: Context, wait: Wait, *, is_sheddable: bool = False, secure_mode_hash: str | None = None
    ) -> IdentifyResult:
        """Make a context the active one, and wait for its flags. An invalid context changes nothing."""
        if self._cell.is_closed:
            return _CLOSED
        activation: Activation | None = None
        after: AfterIdentify | None = None

        async def activate() -> asyncio.Future[IdentifyResult]:
            nonlocal activation, after
            complete = await self._additions.complete(context)
            outcome: asyncio.Future[IdentifyResult] = asyncio.get_running_loop().create_future()
            try:
                activation = self._activation(complete, wait, outcome, secure_mode_hash)
            except (TypeError, ValueError) as error:
                self._logger.warning("identify: the context cannot be used: %s", printable(str(error)))
                outcome.set_result(IdentifyResult(IdentifyStatus.ERROR, str(error)))
                return outcome
            if self._hooks:
                after = await self._hooks.before_identify(IdentifyCall(context=complete, timeout=wait.timeout))
            self.given = context
            self._manager.activate(activation)
            return outcome

        def overdue() -> None:
            if activation is not None:
                activation.overdue()

        result = await self._queue.call(activate, is_sheddable=is_sheddable, timeout=wait.timeout, on_overdue=overdue)
        if after is not None:
            await after(result)
        return result

    def _activation(
        self, context: Context, wait: Wait, outcome: asyncio.Future[IdentifyResult], secure_mode_hash: str | None
    ) -> Activation:
        """What makes a context the active one. Raises ``TypeError`` or ``ValueError`` for a context that cannot be used."""
        if context.error is not None:
            raise ValueError(context.error)
        side = ClientSide(
            context=context,
            use_report=self._use_report,
            with_reasons=self._with_reasons,
            secure_mode_hash=secure_mode_hash,
        )
        is_first = self._cell.snapshot.evaluated_for is None
        first = Bootstrap(self._bootstrap) if is_first and self._bootstrap is not None else None
        return Activation(
            context=context,
            side=side,
            kept=self._caches.of(context, side.body),
            first=first,
            accepts_cached=wait.accepts_cached,
            outcome=outcome,
        )


class FirstContext:
    """The call that the start of a client makes: it gives the environment the context that it was created with.

    After a fork, and then a start, that is the context of the last call.
    """

    def __init__(self, switcher: ContextSwitcher, cell: StatusCell, secure_mode_hash: str | None) -> None:
        self._switcher = switcher
        self._cell = cell
        self._hash = secure_mode_hash
        self.wait: Wait = Wait(timeout=None, accepts_cached=False)
        """For what the start waits. Set it before the start."""
        self.result: IdentifyResult = IdentifyResult(
            IdentifyStatus.TIMEOUT, "no flags within the time of the start; the client keeps trying"
        )
        """The newest result of the call."""

    async def switch(self) -> None:
        """Make the call, then wake the start."""
        self.result = await self._switcher.switch(self._switcher.given, self.wait, secure_mode_hash=self._hash)
        self._cell.mark_ready()
