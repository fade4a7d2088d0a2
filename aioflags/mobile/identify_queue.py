"""IdentifyQueue: one change of the context at a time, in the order of the calls.

Source: ``client-side.md`` 5.2.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeAlias

import anyio
from anyio.abc import TaskGroup

from aioflags.model.defaults import STORE_CLOSE_GRACE
from aioflags.model.status import IdentifyResult, IdentifyStatus
from aioflags.runtime.broadcast import Signal
from aioflags.runtime.fork import reset_after_fork

MAX_TURN: Final = 15.0
"""Seconds that calls wait for the data of the call before them, if neither has a shorter time-out."""

TIMEOUT: Final = IdentifyResult(IdentifyStatus.TIMEOUT, "no flags within the time of the call; the client keeps trying")

Outcome: TypeAlias = "asyncio.Future[IdentifyResult]"

_SHED: Final = IdentifyResult(IdentifyStatus.SHED, "a newer call replaced it")
_CLOSED: Final = IdentifyResult(IdentifyStatus.ERROR, "the client is closed")
_STOPPED: Final = IdentifyResult(IdentifyStatus.ERROR, "the client no longer updates its flags: the log has the reason")


class ContextChange(Protocol):
    """A change of the context that has begun."""

    def overdue(self) -> None:
        """The other calls do not wait for its data any longer."""
        ...

    async def end(self, result: IdentifyResult) -> None:
        """Called once, with the result of the call, before its caller gets that. Raises nothing."""
        ...


Switch: TypeAlias = Callable[[Outcome], Awaitable[ContextChange | None]]
"""Changes the context. Its argument is to be done when the client has data of the new context, or cannot get any. Returns ``None``
if it is done already, because nothing changes."""


def _future() -> Outcome:
    return asyncio.get_running_loop().create_future()


@dataclass(eq=False, slots=True, kw_only=True)
class QueuedCall:
    """A call that waits or runs. ``outcome``: how the change ended. ``result``: what the caller gets, possibly a time-out."""

    switch: Switch
    timeout: float | None
    is_sheddable: bool = False
    outcome: Outcome = field(default_factory=_future)
    result: Outcome = field(default_factory=_future)

    @property
    def turn(self) -> float:
        """How many seconds the next call waits for the data of this one."""
        return MAX_TURN if self.timeout is None else min(self.timeout, MAX_TURN)

    def end(self, result: IdentifyResult) -> None:
        """The call ends with this result, unless its change has ended with another."""
        _settle(self.outcome, result)
        _settle(self.result, self.outcome.result())


class IdentifyQueue:
    """Runs the calls of one client. Use it on the client's event loop alone."""

    def __init__(self) -> None:
        self.after_fork()
        reset_after_fork(self)

    def after_fork(self) -> None:
        """In the child of a fork: the callers exist in the parent only."""
        self._waiting: deque[QueuedCall] = deque()
        self._running: set[QueuedCall] = set()
        self._arrived = Signal()
        self._closed: IdentifyResult | None = None
        self._switching: asyncio.Task[Any] | None = None
        """The task that changes the context, while it does."""
        self._turn_over: asyncio.Future[None] | None = None
        """Done when the turn of the call that runs is to end."""

    @property
    def ended(self) -> IdentifyResult | None:
        """The result of all further calls, if the queue has ended."""
        return self._closed

    @property
    def is_switching_here(self) -> bool:
        """Whether the current task is changing the context. A call that it awaits would wait for itself."""
        return self._switching is not None and self._switching is asyncio.current_task()

    def put_first(self, switch: Switch, *, timeout: float | None) -> QueuedCall:
        """Adds a call that runs before those that wait. It drops none of them."""
        call = QueuedCall(switch=switch, timeout=timeout)
        if self._closed is not None:
            call.end(self._closed)
            return call
        self._waiting.appendleft(call)
        self._arrived.send()
        return call

    async def call(self, switch: Switch, *, is_sheddable: bool, timeout: float | None) -> IdentifyResult:
        """Waits for its turn, changes the context, and waits for the data.

        Args:
            switch: changes the context. It runs in the task of the queue, so that a caller that is cancelled leaves no half change.
            is_sheddable: while it waits, a newer call replaces it.
            timeout: in seconds; ``None``: for as long as it takes. A call that times out goes on without its caller.
        """
        if self._closed is not None:
            return self._closed
        for waiting in [waiting for waiting in self._waiting if waiting.is_sheddable]:
            self._waiting.remove(waiting)
            waiting.end(_SHED)
        call = QueuedCall(switch=switch, timeout=timeout, is_sheddable=is_sheddable)
        self._waiting.append(call)
        self._arrived.send()
        return await self.result_of(call, timeout)

    async def result_of(self, call: QueuedCall, timeout: float | None) -> IdentifyResult:
        """Waits for the result of a call. The call times out if it has no result within ``timeout`` seconds."""
        with anyio.move_on_after(timeout):
            return await asyncio.shield(call.result)
        # What runs after the change may still run: then the flags have come in time.
        _settle(call.result, call.outcome.result() if call.outcome.done() else TIMEOUT)
        self._end_turn_if_awaited()
        return call.result.result()

    async def run(self) -> None:
        """Runs the calls until it is cancelled."""
        async with anyio.create_task_group() as group:
            try:
                while True:
                    while self._waiting:
                        await self._run(group, self._waiting.popleft())
                    await self._arrived.wait()
            finally:
                # Unless the client was closed, an internal error ended the updates.
                self.close(_STOPPED)

    async def _run(self, group: TaskGroup, call: QueuedCall) -> None:
        self._running.add(call)
        self._switching = asyncio.current_task()
        try:
            change = await call.switch(call.outcome)
        finally:
            self._switching = None
        await self._wait_for_data(call)
        if change is not None and not call.outcome.done():
            change.overdue()
        group.start_soon(self._end, call, change)

    async def _wait_for_data(self, call: QueuedCall) -> None:
        self._turn_over = asyncio.get_running_loop().create_future()
        self._end_turn_if_awaited()
        ends: set[asyncio.Future[Any]] = {call.outcome, self._turn_over}
        await asyncio.wait(ends, timeout=call.turn, return_when=asyncio.FIRST_COMPLETED)
        self._turn_over = None

    def _end_turn_if_awaited(self) -> None:
        """End the turn if the time of a waiting call is over: from then on the flags of before must not serve."""
        if self._turn_over is not None and not self._turn_over.done() and any(waiting.result.done() for waiting in self._waiting):
            self._turn_over.set_result(None)

    async def _end(self, call: QueuedCall, change: ContextChange | None) -> None:
        """Gives a call its result. That may be long after its turn: the caller may have no time-out."""
        # The queue settles all calls when it closes, so this ends.
        with anyio.CancelScope(shield=True):
            await asyncio.wait({call.outcome, call.result}, return_when=asyncio.FIRST_COMPLETED)
        result = (call.result if call.result.done() else call.outcome).result()
        try:
            if change is not None:
                is_closed = self._closed is not None
                with anyio.move_on_after(STORE_CLOSE_GRACE if is_closed else None, shield=is_closed):
                    await change.end(result)
        finally:
            _settle(call.result, result)
            self._running.discard(call)

    def close(self, result: IdentifyResult = _CLOSED) -> None:
        """Ends all calls with ``result``. Those that come later end at once."""
        if self._closed is None:
            self._closed = result
        for call in (*self._waiting, *self._running):
            call.end(self._closed)
        self._waiting.clear()


def _settle(future: Outcome, result: IdentifyResult) -> None:
    if not future.done():
        future.set_result(result)
