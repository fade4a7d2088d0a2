"""DeferredHooks: what hooks still have to do after a call that did not wait for them.

Source: ``client-surface.md`` 6.6.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

import anyio

from aioflags.runtime.fork import reset_after_fork
from aioflags.runtime.logs import Once

__all__ = ["DeferredHooks"]

_LONGEST: Final = 1000


class DeferredHooks:
    """Coroutines that nobody waits for, run one after the other by one task of the client. An outlet of its core.

    At most 1000 wait; past that new ones are dropped, with one warning until none waits. They must not raise. ``is_open`` from the
    start of the client to its close.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._once = Once()
        self.after_fork()
        reset_after_fork(self)

    def after_fork(self) -> None:
        """In the child of a fork: what waits in the parent is run there."""
        self._waiting: deque[Callable[[], Awaitable[None]]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.is_open: bool = False
        self._is_busy = False
        self._news = anyio.Event()
        self._idle = anyio.Event()

    def offer(self, run: Callable[[], Awaitable[None]]) -> bool:
        """Whether it will be run, if time is left for it. From any thread."""
        if not self.is_open or self._loop is None:
            return False
        if len(self._waiting) >= _LONGEST:
            if self._once("full"):
                self._logger.warning("hooks are %d events behind: they do not hear of new ones", _LONGEST)
            return False
        self._waiting.append(run)
        try:
            self._loop.call_soon_threadsafe(self._wake)
        except RuntimeError:  # the loop is closed, and nothing will ever run on it
            return False
        return True

    def _wake(self) -> None:
        self._news.set()
        self._news = anyio.Event()

    # -- the life of a run

    def open(self) -> None:
        """There is a loop to run on."""
        self._loop, self.is_open = asyncio.get_running_loop(), True

    def stop(self) -> None:
        """Nothing more is taken."""
        self.is_open = False

    async def run(self) -> None:
        """Runs what waits, until it is cancelled."""
        while True:
            while self._waiting:
                self._is_busy = True
                await self._waiting.popleft()()
            self._is_busy = False
            self._once.forget("full")
            self._idle.set()
            self._idle = anyio.Event()
            await self._news.wait()

    async def finish(self, seconds: float) -> None:
        """Gives what is left so many seconds. What is not done then is abandoned, with a warning."""
        with anyio.move_on_after(seconds):
            while self._waiting or self._is_busy:
                await self._idle.wait()
        if left := len(self._waiting) + self._is_busy:
            self._logger.warning("closed before hooks were told of all events: %d were left", left)
