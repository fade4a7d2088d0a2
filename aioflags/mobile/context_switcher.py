"""ContextSwitcher: gives one environment its context. One change runs at a time, in the order of the calls.

The way of a change: :meth:`ContextSwitcher.switch` puts it into the :class:`ChangeQueue`, whose task completes the context, calls
the hooks and hands it to :class:`~aioflags.mobile.flag_updates.FlagUpdates`. The sources that run for it end its ``outcome``.

Source: ``client-side.md`` 5.1 and 5.2.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final

import anyio
from anyio.abc import TaskGroup

from aioflags.client_core.hook_runner import HookRunner
from aioflags.client_core.status import StatusCell
from aioflags.hooks import IdentifyCall
from aioflags.mobile.context_additions import ContextAdditions
from aioflags.mobile.context_change import ActiveContext, ContextChange, GivenContext, settle
from aioflags.mobile.flag_cache import Bootstrap, FlagCaches
from aioflags.mobile.flag_updates import FlagUpdates
from aioflags.model.context import Context
from aioflags.model.defaults import STORE_CLOSE_GRACE
from aioflags.model.status import ErrorInfo, FailureKind, IdentifyResult, IdentifyStatus, SourceState
from aioflags.protocol.client_side import ClientSide
from aioflags.runtime import clock
from aioflags.runtime.broadcast import Signal
from aioflags.runtime.fork import reset_after_fork
from aioflags.runtime.logs import printable

TIMEOUT: Final = IdentifyResult(IdentifyStatus.TIMEOUT, "no flags within the time of the call; the client keeps trying")

_SHED: Final = IdentifyResult(IdentifyStatus.SHED, "a newer call replaced it")
_CLOSED: Final = IdentifyResult(IdentifyStatus.ERROR, "the client is closed")
_STOPPED: Final = IdentifyResult(IdentifyStatus.ERROR, "the client no longer updates its flags: the log has the reason")


class ContextSwitcher:
    """Changes the context of one environment.

    Args:
        given: The first context.
        environment: The name of the environment, for hooks.
        cell: The status of the environment.
        additions: Complete contexts.
        hooks: Called around each change.
        updates: Get the flags of the context.
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
        additions: ContextAdditions,
        hooks: HookRunner,
        updates: FlagUpdates,
        caches: FlagCaches,
        use_report: bool,
        with_reasons: bool,
        logger: logging.Logger,
    ) -> None:
        self.queue: ChangeQueue = ChangeQueue(self._switch)
        self._given = given
        self._environment = environment
        self._cell = cell
        self._additions = additions
        self._hooks = hooks
        self._updates = updates
        self._caches = caches
        self._use_report = use_report
        self._with_reasons = with_reasons
        self._logger = logger
        self._newest: ContextChange | None = None
        """The change of the start, later the newest one whose context can be used."""

    @property
    def given(self) -> Context:
        """The context of the last change, as the program gave it."""
        return self._given.context

    def begin(self, timeout: float | None, *, accepts_cached: bool) -> ContextChange:
        """Make the call of the start: the first of all. It activates the first context, or after a fork the last one."""
        change = ContextChange(given=self._given, timeout=timeout, accepts_cached=accepts_cached)
        self.queue.put_first(change)
        change.result.add_done_callback(lambda _: self._cell.mark_ready())
        self._newest = change
        return change

    async def first_result(self, change: ContextChange) -> IdentifyResult:
        """The result of :meth:`begin` after the time of the start is over, or the call has ended."""
        if change.timeout is None and not change.result.done():
            return TIMEOUT  # It did not wait, so the call goes on.
        return self._with_cause(await self.queue.result_of(change, 0))

    async def newest_result(self, timeout: float, *, accepts_cached: bool) -> IdentifyResult:
        """The result of the newest change, after at most ``timeout`` seconds."""
        if self.queue.ended is not None:
            return self.queue.ended
        with anyio.move_on_after(timeout):
            while (newest := self._newest) is not None:
                enough = [newest.cached, newest.outcome] if accepts_cached else [newest.outcome]
                if not any(each.done() for each in enough):  # asyncio.wait would suspend, which a time limit of 0 does not allow
                    await asyncio.wait(enough, return_when=asyncio.FIRST_COMPLETED)
                if newest is self._newest:
                    return next(each for each in enough if each.done()).result()
        return self._with_cause(TIMEOUT)

    async def switch(self, change: ContextChange) -> IdentifyResult:
        """Make its context the active one, and wait for the flags. An invalid context changes nothing."""
        return self._with_cause(await self.queue.call(change))

    def _with_cause(self, result: IdentifyResult) -> IdentifyResult:
        """The result; if it is a time-out, with the last failure of the sources that run."""
        failure = self._updates.last_error
        if result.status is not IdentifyStatus.TIMEOUT or failure is None:
            return result
        return replace(result, error=f"{result.error}; the last failure: {failure}")

    async def _switch(self, change: ContextChange) -> None:
        context = await self._additions.complete(change.given.context)
        try:
            active = self._active(context, change)
        except (TypeError, ValueError) as error:
            self._refuse(error)
            settle(change.outcome, IdentifyResult(IdentifyStatus.ERROR, str(error)))
            return
        if self._hooks:
            call = IdentifyCall(context=context, timeout=change.timeout, environment=self._environment)
            change.after = await self._hooks.before_identify(call)
        self._given, self._newest = change.given, change
        self._updates.activate(active)

    def _active(self, context: Context, change: ContextChange) -> ActiveContext:
        """What :class:`FlagUpdates` needs. Raises ``TypeError`` or ``ValueError`` for a context that cannot be used."""
        if context.error is not None:
            raise ValueError(context.error)
        given = change.given
        side = ClientSide(
            context=context,
            use_report=self._use_report,
            with_reasons=self._with_reasons,
            secure_mode_hash=given.secure_mode_hash,
        )
        first = None
        # In the child of a fork the client has newer flags.
        if self._cell.snapshot.evaluated_for is None and given.bootstrap is not None:
            first = Bootstrap(given.bootstrap)
            # The program has chosen the flags to begin with, so that a start does not wait for the service.
            change.accepts_cached = True
        return ActiveContext(context=context, side=side, kept=self._caches.of(context, side.body), first=first, change=change)

    def _refuse(self, error: TypeError | ValueError) -> None:
        """Log why a context cannot be used. If it is the first one, no source starts, and the status has the reason."""
        reason = f"the context cannot be used: {printable(str(error))}"
        if self._cell.snapshot.evaluated_for is not None:
            self._logger.warning("identify: %s", reason)
            return
        self._logger.warning("%s; no flags are requested until identify() is called with another one", reason)
        self._cell.report(SourceState.OFF, error=ErrorInfo(kind=FailureKind.UNKNOWN, message=reason, time=clock.now()))


class ChangeQueue:
    """Runs the changes of one environment. Use it on the client's event loop alone.

    ``switch`` changes the context. It runs in the task of the queue, so that a caller that is cancelled leaves no half change.
    """

    def __init__(self, switch: Callable[[ContextChange], Awaitable[None]]) -> None:
        self._switch = switch
        self.after_fork()
        reset_after_fork(self)

    def after_fork(self) -> None:
        """After a fork, in the child: the callers exist in the parent only."""
        self._waiting: deque[ContextChange] = deque()
        self._running: set[ContextChange] = set()
        self._arrived = Signal()
        self.ended: IdentifyResult | None = None
        """The result of all further calls, if the queue has ended."""
        self._switching: asyncio.Task[Any] | None = None
        """The task that changes the context, while it does."""
        self._turn_over: asyncio.Future[None] | None = None
        """Done when the turn of the change that runs is to end."""

    @property
    def is_switching_here(self) -> bool:
        """Whether the current task is changing the context. A call that it awaits would wait for itself."""
        return self._switching is not None and self._switching is asyncio.current_task()

    def put_first(self, change: ContextChange) -> None:
        """Add a change that runs before those that wait. It replaces none of them."""
        if self.ended is not None:
            change.end_call(self.ended)
            return
        self._waiting.appendleft(change)
        self._arrived.send()

    async def call(self, change: ContextChange) -> IdentifyResult:
        """Wait for the turn of the change, run it, and wait for its flags. A call that times out goes on without its caller."""
        if self.ended is not None:
            return self.ended
        for waiting in [waiting for waiting in self._waiting if waiting.is_sheddable]:
            self._waiting.remove(waiting)
            waiting.end_call(_SHED)
        self._waiting.append(change)
        self._arrived.send()
        return await self.result_of(change, change.timeout)

    async def result_of(self, change: ContextChange, timeout: float | None) -> IdentifyResult:
        """Wait for the result of a call. The call times out if it has no result within ``timeout`` seconds."""
        with anyio.move_on_after(timeout):
            return await asyncio.shield(change.result)
        # Hooks may still run after the change: then the flags have come in time.
        settle(change.result, change.outcome.result() if change.outcome.done() else TIMEOUT)
        self._end_turn_if_awaited()
        return change.result.result()

    async def run(self) -> None:
        """Run the changes until cancelled."""
        async with anyio.create_task_group() as group:
            try:
                while True:
                    while self._waiting:
                        await self._run(group, self._waiting.popleft())
                    await self._arrived.wait()
            finally:
                # Unless the client was closed, an internal error ended the updates.
                self.close(_STOPPED)

    async def _run(self, group: TaskGroup, change: ContextChange) -> None:
        self._running.add(change)
        self._switching = asyncio.current_task()
        try:
            await self._switch(change)
        finally:
            self._switching = None
        await self._wait_for_flags(change)
        change.overdue()
        group.start_soon(self._end, change)

    async def _wait_for_flags(self, change: ContextChange) -> None:
        self._turn_over = asyncio.get_running_loop().create_future()
        self._end_turn_if_awaited()
        ends: set[asyncio.Future[Any]] = {change.outcome, self._turn_over}
        await asyncio.wait(ends, timeout=change.turn, return_when=asyncio.FIRST_COMPLETED)
        self._turn_over = None

    def _end_turn_if_awaited(self) -> None:
        """End the turn if the time of a waiting call is over: from then on the flags of the context before must not serve."""
        if self._turn_over is not None and not self._turn_over.done() and any(waiting.result.done() for waiting in self._waiting):
            self._turn_over.set_result(None)

    async def _end(self, change: ContextChange) -> None:
        """Give a call its result. That may be long after its turn: the caller may have no time-out."""
        # The queue settles all calls when it closes, so this ends.
        with anyio.CancelScope(shield=True):
            await asyncio.wait({change.outcome, change.result}, return_when=asyncio.FIRST_COMPLETED)
        result = (change.result if change.result.done() else change.outcome).result()
        try:
            if change.after is not None:
                is_closed = self.ended is not None
                with anyio.move_on_after(STORE_CLOSE_GRACE if is_closed else None, shield=is_closed):
                    await change.after(result)
        finally:
            settle(change.result, result)
            self._running.discard(change)

    def close(self, result: IdentifyResult = _CLOSED) -> None:
        """End all calls with ``result``. Those that come later end at once."""
        if self.ended is None:
            self.ended = result
        for change in (*self._waiting, *self._running):
            change.end_call(self.ended)
        self._waiting.clear()
