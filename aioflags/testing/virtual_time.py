"""VirtualTimeLoop: an event loop whose clock jumps to the next deadline when no task can run.

It waits for calls in ``asyncio.to_thread``, but not for sockets, processes and other threads: tests with these need real time.
The plugin does not install it, because only a project knows which tests can use it. docs/how-to/testing.md shows the hook.
"""

from __future__ import annotations

import asyncio
import math
import selectors
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Final, TypeVar, TypeVarTuple

from aioflags.runtime.fork import ProcessBound

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


_DEADLOCK: Final = 5.0
"""Seconds in real time after which nothing will happen any more. Another process may keep this one waiting."""


class _JumpingSelector(selectors.DefaultSelector):
    """Moves the clock of the loop to the next deadline instead of waiting."""

    loop: VirtualTimeLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if self.loop.threads:
            return super().select(0.01)
        if timeout is None:
            if ready := super().select(_DEADLOCK):
                return ready
            raise RuntimeError("nothing is scheduled and nothing is ready: a deadlock")
        self.loop.advance(timeout)
        return ready


class VirtualTimeLoop(ProcessBound, asyncio.SelectorEventLoop):
    """An event loop for tests: ``await asyncio.sleep(3600)`` takes no time, and deadlines keep their order.

    It raises ``RuntimeError`` if no task can run and nothing is scheduled.
    """

    def __init__(self) -> None:
        self.threads: int = 0
        self._now = 1000.0
        selector = _JumpingSelector()
        selector.loop = self
        super().__init__(selector)
        self._clock_resolution = math.ulp(self._now)

    def time(self) -> float:
        """The virtual time, in seconds."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Move the clock forward."""
        self._now += seconds
        # asyncio runs handles that are due within this time: the smallest step of the clock. A smaller one is lost in rounding, and
        # then no handle is ever due. With a larger one a handle that finds itself early asks for the same time again, without end.
        self._clock_resolution = math.ulp(self._now)

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        self.threads += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._thread_ended)
        return future

    def _thread_ended(self, _: object) -> None:
        self.threads -= 1

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ARG002 -- the rest is real time
        # From 3.12 on the join is timed on the loop's clock, which would jump past it.
        self.threads += 1
        try:
            await super().shutdown_default_executor()
        finally:
            self.threads -= 1
