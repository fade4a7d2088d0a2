"""DeferredHooks: hook callbacks that run after the call that caused them, in a task of the client.

Source: ``client-surface.md`` 6.6.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

import anyio

from aioflags.runtime.broadcast import Signal
from aioflags.runtime.fork import reset_after_fork
from aioflags.runtime.logs import Once

__all__ = ["DeferredHooks"]

_MAX_WAITING: Final = 1000


class DeferredHooks:
    """Runs hook callbacks one after the other in one task of the client: a ``Background`` of its life cycle.

    At most 1000 wait; further ones are dropped, with one warning until the queue is empty again. Callbacks must not raise.
    ``is_open`` from the start of the client to its close.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._once = Once()
        self.after_fork()
        reset_after_fork(self)

    def after_fork(self) -> None:
        """In the child of a fork: the parent runs the callbacks that wait."""
        self._waiting: deque[Callable[[], Awaitable[None]]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.is_open: bool = False
        self._is_busy = False
        self._added = Signal()
        self._idle = Signal()

    def offer(self, callback: Callable[[], Awaitable[None]]) -> bool:
        """Adds a callback; any thread may call this. Returns whether it was accepted. A close that runs out of time drops it."""
        if not self.is_open or self._loop is None:
            return False
        if len(self._waiting) >= _MAX_WAITING:
            if self._once("full"):
                self._logger.warning("%d hook callbacks are pending; dropping new ones", _MAX_WAITING)
            return False
        self._waiting.append(callback)
        try:
            self._loop.call_soon_threadsafe(self._added.send)
        except RuntimeError:  # the loop is closed
            return False
        return True

    # -- life cycle

    def open(self) -> None:
        """Accepts callbacks, to run them on the running event loop. Those that an earlier close dropped do not run."""
        self.after_fork()
        self._loop, self.is_open = asyncio.get_running_loop(), True

    def stop(self) -> None:
        """Accepts no more callbacks."""
        self.is_open = False

    async def run(self) -> None:
        """Runs callbacks until it is cancelled."""
        while True:
            while self._waiting:
                self._is_busy = True
                await self._waiting.popleft()()
            self._is_busy = False
            self._once.forget("full")
            self._idle.send()
            await self._added.wait()

    async def finish(self, seconds: float) -> None:
        """Runs the callbacks that are left within ``seconds``, and abandons the rest, with a warning."""
        with anyio.move_on_after(seconds):
            while self._waiting or self._is_busy:
                await self._idle.wait()
        if left := len(self._waiting) + self._is_busy:
            self._logger.warning("closed with %d hook callbacks pending", left)
