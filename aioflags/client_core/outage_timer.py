"""OutageTimer: how long the outage of a source has lasted, and when its grace is over.

Source: ``flagd.md`` 3.6.
"""

from __future__ import annotations

from collections.abc import Callable

import anyio

from aioflags.client_core.condition import Condition
from aioflags.runtime.broadcast import Signal
from aioflags.runtime.event_loops import loop_time

__all__ = ["OutageTimer"]


class OutageTimer:
    """Follows the outages of one client."""

    def __init__(self) -> None:
        self.began_at: float = 0.0
        """When the newest outage began or ended, on the event loop's clock."""
        self._changed = Signal()

    def reset(self) -> None:
        """Before another start, or in the child of a fork: no task waits any more."""
        self._changed = Signal()

    def update(self, before: Condition, after: Condition) -> None:
        """A step of the status made ``after`` of ``before``."""
        if after.is_out is not before.is_out or after.outages != before.outages:
            self.began_at = loop_time()
            self._changed.send()

    async def run(self, condition: Callable[[], Condition], end_grace: Callable[[int], object]) -> None:
        """Calls ``end_grace`` with the number of each outage that lasts longer than its grace. Runs until it is cancelled.

        ``condition`` returns the newest condition. Without a grace it times nothing.
        """
        grace, ended = condition().grace, 0
        while grace is not None:
            changed, newest = self._changed, condition()
            if not newest.is_out or newest.outages == ended:
                await changed.wait()
                continue
            with anyio.move_on_after(self.began_at + grace - anyio.current_time()):
                await changed.wait()
                continue
            ended = newest.outages
            end_grace(ended)
