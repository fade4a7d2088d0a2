"""StateTimer: limits how long a source may stay in its state. Its deadline moves while a task waits for it.

What an expired timer means is decided in ``verdict.py``.

Source: ``data-system.md`` 5.5; ``architecture.md`` 7.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping
from contextlib import contextmanager

import anyio
import anyio.lowlevel

from aioflags.model.source_state import SourceState
from aioflags.runtime.event_loops import loop_time

__all__ = ["StateTimer"]


class StateTimer:
    """The timer of one run of a source. It starts when it is created, in the state ``INITIALIZING``.

    ``limits``: for how many seconds the source may stay in a state; states that are not listed have no limit.
    ``until``: when the timer expires in any state, on the event loop's clock.
    """

    def __init__(self, limits: Mapping[SourceState, float], *, until: float = math.inf) -> None:
        self.state: SourceState = SourceState.INITIALIZING
        self._limits = limits
        self._until = until
        self._is_held = False
        self._scope: anyio.CancelScope | None = None
        self._restart()

    @property
    def is_over(self) -> bool:
        """Whether the time for the whole run is over."""
        return loop_time() >= self._until

    def enter(self, state: SourceState) -> None:
        """The source reported ``state``. Only a change of state moves the deadline.

        An interruption before the first ``VALID`` does not count: the source is still starting. ``OFF`` ends the run by itself.
        """
        still_starting = self.state is SourceState.INITIALIZING and state is SourceState.INTERRUPTED
        if state in {SourceState.VALID, SourceState.INTERRUPTED} and state is not self.state and not still_starting:
            self.state = state
            self._restart()

    @contextmanager
    def held(self) -> Generator[None, None, None]:
        """The timer does not expire inside this block, so that a result that is being applied is not lost."""
        self._is_held = True
        self._move()
        try:
            yield
        finally:
            self._is_held = False
            self._move()

    async def until_expired(self) -> None:
        """Return when the timer has expired.

        A result that arrives at the deadline wins: the event loop runs once more, then the deadline is compared again.
        """
        while True:
            with anyio.CancelScope(deadline=self._effective) as self._scope:
                await anyio.sleep_forever()
            await anyio.lowlevel.checkpoint()
            if anyio.current_time() >= self._effective:
                return

    @property
    def _effective(self) -> float:
        return math.inf if self._is_held else self._deadline

    def _restart(self) -> None:
        self._deadline = min(loop_time() + self._limits.get(self.state, math.inf), self._until)
        self._move()

    def _move(self) -> None:
        if self._scope is not None:
            self._scope.deadline = self._effective
