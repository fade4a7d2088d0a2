"""StateTimer: a deadline that moves while a task waits for it.

What a lease that ran out means is decided in ``verdict.py``.

Source: ``data-system.md`` 5.5; ``architecture.md`` 7.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping
from contextlib import contextmanager

import anyio
import anyio.lowlevel

from aioflags.model.result import SourceState

__all__ = ["StateTimer"]


class StateTimer:
    """For how long a tenure may go on as it does. It starts when it is made, in the state ``INITIALIZING``.

    ``limits``: for how many seconds the source may stay in a state; for ever in those that are not named.
    ``until``: when it ends in any case, on the event loop's clock.
    """

    def __init__(self, limits: Mapping[SourceState, float], *, until: float = math.inf) -> None:
        self.state: SourceState = SourceState.INITIALIZING
        self._limits = limits
        self._until = until
        self._held = False
        self._scope: anyio.CancelScope | None = None
        self._begin()

    def renew(self, state: SourceState) -> None:
        """The source reported ``state``. Only a change of state moves the deadline.

        An interruption before the first ``VALID`` is none: the source is still starting. ``OFF`` ends a tenure by itself.
        """
        still_starting = self.state is SourceState.INITIALIZING and state is SourceState.INTERRUPTED
        if state in {SourceState.VALID, SourceState.INTERRUPTED} and state is not self.state and not still_starting:
            self.state = state
            self._begin()

    @contextmanager
    def held(self) -> Generator[None, None, None]:
        """While held, the lease may run out but does not expire: a result that is being absorbed is not lost to a timer."""
        self._held = True
        self._move()
        try:
            yield
        finally:
            self._held = False
            self._move()

    async def expired(self) -> None:
        """Returns when the lease has expired.

        A result that is there at the very moment wins: the loop turns once more, and the deadline is looked at again.
        """
        while True:
            with anyio.CancelScope(deadline=self._effective) as self._scope:
                await anyio.sleep_forever()
            await anyio.lowlevel.checkpoint()
            if anyio.current_time() >= self._effective:
                return

    @property
    def _effective(self) -> float:
        return math.inf if self._held else self._deadline

    def _begin(self) -> None:
        self._deadline = min(anyio.current_time() + self._limits.get(self.state, math.inf), self._until)
        self._move()

    def _move(self) -> None:
        if self._scope is not None:
            self._scope.deadline = self._effective
