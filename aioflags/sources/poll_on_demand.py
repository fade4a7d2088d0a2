"""PollOnDemand: connects sources that poll on demand with ``Client.refresh()``, which asks for a poll and waits for its end.

A source that waits for a request has no timer. A process may therefore be frozen between two polls, as serverless functions
are, and has no overdue timers when it continues.
"""

from __future__ import annotations

from collections.abc import Callable

from anyio.lowlevel import checkpoint

from aioflags.runtime.broadcast import Signal
from aioflags.runtime.clock import now
from aioflags.runtime.event_loops import loop_time

__all__ = ["PollOnDemand"]


class PollOnDemand:
    """Shared by the sources of one client and its ``refresh()`` calls, on the client's event loop.

    Args:
        polled_on_demand: called after each poll of a source that polls on demand.
        wall_clock: returns Unix seconds.
    """

    def __init__(self, polled_on_demand: Callable[[], None] | None = None, wall_clock: Callable[[], float] = now) -> None:
        self._polled_on_demand = polled_on_demand
        self._wall_clock = wall_clock
        self._is_waiting = False
        """A source waits for a request."""
        self._is_polling = False
        self._seconds = 0.0
        self._waiting_since = (0.0, 0.0)
        self._requested = Signal()
        self._finished = Signal()

    # -- for sources

    def poll_started(self) -> None:
        """A source starts to poll without a request."""
        self._is_polling = True

    async def wait_for_request(self, seconds: float) -> None:
        """Report that a poll is over and its result applied, then wait for a request. Ignores requests for ``seconds``."""
        self._seconds, self._waiting_since = seconds, self._now()
        self._is_waiting = True
        self._poll_finished()
        if self._polled_on_demand is not None:
            self._polled_on_demand()
        try:
            await self._requested.wait()
        finally:
            self._is_waiting = False

    # -- for the client

    async def request(self) -> None:
        """Request a poll, and return when it is over. If a poll is running already, wait for that one.

        Returns at once if no source polls on demand, or if the source must not poll again yet.
        """
        if self._is_waiting and self._is_due():
            self._is_waiting, self._is_polling = False, True
            self._requested.send()
        if self._is_polling:
            await self._finished.wait()
        else:
            await checkpoint()

    def sources_stopped(self) -> None:
        """No source runs any more: wake the callers that wait for a poll."""
        self._poll_finished()

    def after_fork(self) -> None:
        """In the child of a fork: the source and the waiting callers exist in the parent only."""
        self._is_waiting = self._is_polling = False
        self._requested.after_fork()
        self._finished.after_fork()

    def _poll_finished(self) -> None:
        self._is_polling = False
        self._finished.send()

    def _is_due(self) -> bool:
        """Uses the clock that advanced more: one of them may have stood still while the process was frozen."""
        return max(now - then for now, then in zip(self._now(), self._waiting_since, strict=True)) >= self._seconds

    def _now(self) -> tuple[float, float]:
        return loop_time(), self._wall_clock()
