"""VirtualTimeLoop: an event loop whose clock jumps to the next deadline as soon as nobody can run.

Work in ``asyncio.to_thread`` is waited for. Sockets, processes and other threads are not: a test with such needs the wall clock.
The plugin never installs it, since only a project knows which of its tests are fit for it; docs/how-to/testing.md shows the hook.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar, TypeVarTuple

__all__ = ["VirtualTimeLoop"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class _JumpingSelector(selectors.DefaultSelector):
    """Instead of sleeping until the next deadline, moves the loop's clock there."""

    loop: VirtualTimeLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if self.loop.threads:
            return super().select(0.01)
        if timeout is None:
            if ready := super().select(0.5):
                return ready
            raise RuntimeError("nothing is scheduled and nothing is ready: a deadlock")
        self.loop.advance(timeout)
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """For tests: ``await asyncio.sleep(3600)`` takes no time, and deadlines come in their order.

    A program in which nothing is scheduled and nobody can run is told so by a ``RuntimeError``.
    """

    def __init__(self) -> None:
        self.threads: int = 0
        self._now = 1000.0
        selector = _JumpingSelector()
        selector.loop = self
        super().__init__(selector)
        # asyncio runs what is due within this time. Its own nanosecond gets lost in rounding after a few virtual months, and
        # then nothing is ever due.
        self._clock_resolution = 1e-6

    def time(self) -> float:
        """The virtual time, in seconds."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Nobody can run before that much time has passed, so it has."""
        self._now += seconds

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
