"""PollOnDemand: when a source that polls on demand asks, and when whoever wanted newer data has them.

Between two polls it has no timer, so that a process may be frozen there, as functions in a cloud are, and wake to no arrears.
"""

from __future__ import annotations

from collections.abc import Callable

import anyio

from aioflags.runtime.clock import now

__all__ = ["PollOnDemand"]


class PollOnDemand:
    """What the sources of one client and those who want newer data share, on the client's event loop.

    ``polled_on_demand`` is called each time a source has polled and asks no more by itself. ``wall_clock`` gives Unix seconds.
    """

    def __init__(self, polled_on_demand: Callable[[], None] | None = None, wall_clock: Callable[[], float] = now) -> None:
        self._rested = polled_on_demand
        self._wall_clock = wall_clock
        self._is_resting = False
        self._seconds = 0.0
        self._since = (0.0, 0.0)
        self._asked = anyio.Event()
        self._over = anyio.Event()
        self._over.set()

    # -- for sources

    def begin(self) -> None:
        """A source polls, without having been asked."""
        if self._over.is_set():
            self._over = anyio.Event()

    async def rest(self, seconds: float) -> None:
        """A poll is over, and its result absorbed. Returns when somebody asks, but for those who do within ``seconds``."""
        self._seconds, self._since = seconds, self._now()
        self._is_resting = True
        self._over.set()
        if self._rested is not None:
            self._rested()
        try:
            await self._asked.wait()
        finally:
            self._is_resting = False
            self._asked = anyio.Event()

    # -- for the client

    async def ask(self) -> None:
        """Returns when a poll is over: the one that is under way, or a new one.

        Returns at once if no source polls on demand, and if the one that does is not to be asked again yet.
        """
        if self._is_resting and self._is_due():
            self._is_resting = False
            self._over = anyio.Event()
            self._asked.set()
        await self._over.wait()

    def end(self) -> None:
        """No source runs any more: nobody waits for one in vain."""
        self._over.set()

    def after_fork(self) -> None:
        """In the child of a fork: the parent's source does not run here, and those who wait for it are not here."""
        self._is_resting = False
        self._asked, self._over = anyio.Event(), anyio.Event()
        self._over.set()

    def _is_due(self) -> bool:
        """Goes by the clock that moved further: a process that was frozen may have slept through one of them."""
        return max(now - then for now, then in zip(self._now(), self._since, strict=True)) >= self._seconds

    def _now(self) -> tuple[float, float]:
        return anyio.current_time(), self._wall_clock()
