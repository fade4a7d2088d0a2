"""IdentifyQueue: one change of the context at a time, in the order of the calls.

Source: ``client-side.md`` 5.2.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

import anyio

from aioflags.model.identify import IdentifyResult, IdentifyStatus
from aioflags.runtime.broadcast import Signal
from aioflags.runtime.fork import reset_after_fork

__all__ = ["MAX_TURN", "IdentifyQueue", "Switch"]

MAX_TURN: Final = 15.0
"""Seconds that calls wait for the data of the call before them, if that has no shorter time-out."""

Outcome: TypeAlias = "asyncio.Future[IdentifyResult]"
Switch: TypeAlias = Callable[[], Awaitable[Outcome]]
"""Changes the context. What it returns is done when the client has data of the new context, or cannot get any."""

_SHED: Final = IdentifyResult(IdentifyStatus.SHED, "a newer call replaced it")
_TIMEOUT: Final = IdentifyResult(IdentifyStatus.TIMEOUT, "no data within the time of the call; the client keeps trying")
_CLOSED: Final = IdentifyResult(IdentifyStatus.ERROR, "the client is closed")


@dataclass(eq=False, slots=True)
class _Call:
    switch: Switch
    on_overdue: Callable[[], object]
    is_sheddable: bool
    turn: float
    result: Outcome


class IdentifyQueue:
    """Runs the calls of one client. Use it on the client's event loop alone."""

    def __init__(self) -> None:
        self.after_fork()
        reset_after_fork(self)

    def after_fork(self) -> None:
        """In the child of a fork: the callers exist in the parent only."""
        self._waiting: deque[_Call] = deque()
        self._arrived = Signal()
        self._is_closed = False

    async def call(
        self, switch: Switch, *, is_sheddable: bool, timeout: float | None, on_overdue: Callable[[], object] = lambda: None
    ) -> IdentifyResult:
        """Waits for its turn, changes the context, and waits for the data.

        Args:
            switch: changes the context. It runs in the task of the queue, so that a caller that is cancelled leaves no half change.
            is_sheddable: while it waits, a newer call replaces it.
            timeout: in seconds; ``None``: for as long as it takes. A call that times out goes on without its caller.
            on_overdue: called if the turn ends before the data have arrived.
        """
        if self._is_closed:
            return _CLOSED
        result: Outcome = asyncio.get_running_loop().create_future()
        for waiting in [waiting for waiting in self._waiting if waiting.is_sheddable]:
            self._waiting.remove(waiting)
            _settle(waiting.result, _SHED)
        turn = MAX_TURN if timeout is None else min(timeout, MAX_TURN)
        self._waiting.append(_Call(switch, on_overdue, is_sheddable, turn, result))
        self._arrived.send()
        with anyio.move_on_after(timeout):
            return await asyncio.shield(result)
        return _TIMEOUT

    async def run(self) -> None:
        """Runs the calls until it is cancelled."""
        while True:
            while self._waiting:
                await self._run(self._waiting.popleft())
            await self._arrived.wait()

    async def _run(self, call: _Call) -> None:
        try:
            outcome = await call.switch()
        except BaseException:
            _settle(call.result, _CLOSED)
            raise
        # Also after the turn: the caller may have no time-out.
        outcome.add_done_callback(lambda done: _settle(call.result, done.result()))
        await asyncio.wait({outcome}, timeout=call.turn)
        if not outcome.done():
            call.on_overdue()

    def close(self) -> None:
        """Ends the calls that wait. Those that come later end at once."""
        self._is_closed = True
        while self._waiting:
            _settle(self._waiting.popleft().result, _CLOSED)


def _settle(future: Outcome, result: IdentifyResult) -> None:
    if not future.done():
        future.set_result(result)
