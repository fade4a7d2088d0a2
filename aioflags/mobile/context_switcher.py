"""ContextSwitcher: gives one environment its context: completes it, calls hooks, and waits for its flags.

Source: ``client-side.md`` 5.1 and 5.2.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import anyio

from aioflags.client_core.hook_runner import HookRunner
from aioflags.client_core.status import StatusCell
from aioflags.hooks import IdentifyCall
from aioflags.mobile.activation import Activation, Bootstrap
from aioflags.mobile.context_additions import ContextAdditions
from aioflags.mobile.data_manager import DataManager
from aioflags.mobile.flag_cache import FlagCaches
from aioflags.mobile.identify_queue import TIMEOUT, IdentifyQueue, Outcome, QueuedCall
from aioflags.model.status import ErrorInfo, FailureKind, IdentifyResult, IdentifyStatus, SourceState
from aioflags.protocol.client_side import ClientSide
from aioflags.runtime import clock
from aioflags.runtime.logs import printable

if TYPE_CHECKING:
    from aioflags.client_core.hook_runner import AfterIdentify
    from aioflags.model.context import Context


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """For what a call waits. ``timeout`` is in seconds. ``accepts_cached``: flags that the device kept are enough."""

    timeout: float | None
    accepts_cached: bool


@dataclass(frozen=True, slots=True)
class _Newest:
    """How a change ended, or is to end. ``cached`` is done when there are flags of its context, from wherever they are."""

    outcome: Outcome
    cached: Outcome = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    async def result(self, *, accepts_cached: bool) -> IdentifyResult:
        enough = [self.cached, self.outcome] if accepts_cached else [self.outcome]
        if not any(each.done() for each in enough):  # asyncio.wait would suspend, which a time limit of 0 does not allow
            await asyncio.wait(enough, return_when=asyncio.FIRST_COMPLETED)
        return next(each for each in enough if each.done()).result()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Change:
    """A :class:`~aioflags.mobile.identify_queue.ContextChange`."""

    activation: Activation
    after: AfterIdentify | None

    def overdue(self) -> None:
        self.activation.overdue()

    async def end(self, result: IdentifyResult) -> None:
        if self.after is not None:
            await self.after(result)


class ContextSwitcher:
    """Changes the context of one environment, one call after another.

    Args:
        given: The first context.
        environment: The name of the environment, for hooks.
        cell: The status of the environment.
        queue: Runs the calls.
        additions: Complete contexts.
        hooks: Called around each change.
        manager: Gets the flags of the context.
        caches: The flags that the device kept.
        use_report: Requests have the context in their body.
        with_reasons: The service sends the reason of each value.
        logger: The client's logger.
    """

    def __init__(
        self,
        given: GivenContext,
        *,
        environment: str,
        cell: StatusCell,
        queue: IdentifyQueue,
        additions: ContextAdditions,
        hooks: HookRunner,
        manager: DataManager,
        caches: FlagCaches,
        use_report: bool,
        with_reasons: bool,
        logger: logging.Logger,
    ) -> None:
        self._given = given
        self._environment = environment
        self._cell = cell
        self._queue = queue
        self._additions = additions
        self._hooks = hooks
        self._manager = manager
        self._caches = caches
        self._use_report = use_report
        self._with_reasons = with_reasons
        self._logger = logger
        self._newest: _Newest | None = None
        """The newest change: that of the start, then those that had a context that can be used."""

    @property
    def given(self) -> Context:
        """The context of the last change, as the program gave it."""
        return self._given.context

    @property
    def is_switching_here(self) -> bool:
        """Whether the current task is changing the context, as one that runs a hook does."""
        return self._queue.is_switching_here

    def begin(self, wait: Wait) -> QueuedCall:
        """Make the call of the start: the first of all. It activates the first context, or after a fork that of the last call."""
        call = self._queue.put_first(partial(self._switch, self._given, wait), timeout=wait.timeout)
        call.result.add_done_callback(lambda _: self._cell.mark_ready())
        self._newest = _Newest(call.outcome)
        return call

    async def first_result(self, call: QueuedCall) -> IdentifyResult:
        """The result of :meth:`begin` now that the time of the start is over, or the call has ended."""
        if call.timeout is None and not call.result.done():
            return TIMEOUT  # It did not wait, so the call goes on.
        return self._with_cause(await self._queue.result_of(call, 0))

    async def newest_result(self, wait: Wait) -> IdentifyResult:
        """The result of the newest change, after at most the time-out of ``wait``."""
        if self._queue.ended is not None:
            return self._queue.ended
        with anyio.move_on_after(wait.timeout):
            while (newest := self._newest) is not None:
                result = await newest.result(accepts_cached=wait.accepts_cached)
                if newest is self._newest:
                    return result
        return self._with_cause(TIMEOUT)

    async def switch(self, given: GivenContext, wait: Wait, *, is_sheddable: bool) -> IdentifyResult:
        """Make a context the active one, and wait for its flags. An invalid context changes nothing."""
        call = self._queue.call(partial(self._switch, given, wait), is_sheddable=is_sheddable, timeout=wait.timeout)
        return self._with_cause(await call)

    def _with_cause(self, result: IdentifyResult) -> IdentifyResult:
        """The result; if it is a time-out, with the last failure of the sources that run."""
        failure = self._manager.last_error
        if result.status is not IdentifyStatus.TIMEOUT or failure is None:
            return result
        return replace(result, error=f"{result.error}; the last failure: {failure}")

    async def _switch(self, given: GivenContext, wait: Wait, outcome: Outcome) -> _Change | None:
        complete = await self._additions.complete(given.context)
        newest = self._newest if self._newest is not None and self._newest.outcome is outcome else _Newest(outcome)
        try:
            activation = self._activation(complete, given, wait, newest)
        except (TypeError, ValueError) as error:
            self._refuse(error)
            if not outcome.done():  # The client may have closed meanwhile.
                outcome.set_result(IdentifyResult(IdentifyStatus.ERROR, str(error)))
            return None
        after: AfterIdentify | None = None
        if self._hooks:
            call = IdentifyCall(context=complete, timeout=wait.timeout, environment=self._environment)
            after = await self._hooks.before_identify(call)
        self._given, self._newest = given, newest
        self._manager.activate(activation)
        return _Change(activation=activation, after=after)

    def _refuse(self, error: TypeError | ValueError) -> None:
        """Log why a context cannot be used. If it is the first one, no source starts, and the status has the reason."""
        reason = f"the context cannot be used: {printable(str(error))}"
        if self._cell.snapshot.evaluated_for is not None:
            self._logger.warning("identify: %s", reason)
            return
        self._logger.warning("%s; no flags are requested until identify() is called with another one", reason)
        self._cell.report(SourceState.OFF, error=ErrorInfo(kind=FailureKind.UNKNOWN, message=reason, time=clock.now()))

    def _activation(self, context: Context, given: GivenContext, wait: Wait, newest: _Newest) -> Activation:
        """What makes a context the active one. Raises ``TypeError`` or ``ValueError`` for a context that cannot be used."""
        if context.error is not None:
            raise ValueError(context.error)
        side = ClientSide(
            context=context,
            use_report=self._use_report,
            with_reasons=self._with_reasons,
            secure_mode_hash=given.secure_mode_hash,
        )
        # In the child of a fork the client has newer flags.
        is_first = self._cell.snapshot.evaluated_for is None
        first = Bootstrap(given.bootstrap) if is_first and given.bootstrap is not None else None
        return Activation(
            context=context,
            side=side,
            kept=self._caches.of(context, side.body),
            first=first,
            # The program has chosen the flags to begin with, so that a start does not wait for the service.
            accepts_cached=wait.accepts_cached or first is not None,
            cached=newest.cached,
            outcome=newest.outcome,
        )
