"""FallbackState: remembers that the client left FDv2, and until when. ``verdict.py`` decides, ``rotation.py`` changes the sources.

It belongs to the client and outlives sources and supervisors: a client that is started again, after a fork for example, stays on
FDv1.

Source: ``data-system.md`` 6.3 and 6.6, FB-26.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from aioflags.model.defaults import MAX_TTL
from aioflags.model.result import FallbackDirective
from aioflags.runtime import clock

__all__ = ["FallbackState", "lifetime"]


def lifetime(directive: FallbackDirective, random: Callable[[], float]) -> float:
    """For how many seconds a directive holds, if directives do not hold until the client is closed.

    The server's own number if it is in (0, 3600]: the server has added jitter to it. Otherwise a random number from 1800 to 3600.
    """
    ttl = directive.ttl
    if ttl is not None and 0 < ttl <= MAX_TTL:
        return ttl
    return MAX_TTL * (1 - random() / 2)


class FallbackState:
    """Whether the client has left FDv2, and until when. Only a supervisor starts it."""

    __slots__ = ("_until", "directive", "since")

    def __init__(self) -> None:
        self._until: float | None = None
        self.directive: FallbackDirective | None = None
        """The directive because of which the client has left FDv2; ``None`` if it has not."""
        self.since: float | None = None
        """When it was received, in Unix seconds."""

    @property
    def is_on_fdv1(self) -> bool:
        """Whether the client has to stay off FDv2."""
        return self._until is not None

    @property
    def until(self) -> float:
        """When FDv2 may be tried again, on the event loop's clock. Infinity: never, or the client has not left FDv2."""
        return math.inf if self._until is None else self._until

    def start(self, directive: FallbackDirective, *, until: float) -> None:
        """A directive was received. A second directive does not move the deadline of the first one."""
        if self._until is None:
            self._until, self.directive, self.since = until, directive, clock.now()

    def end_if_over(self, time: float) -> None:
        """End it if its time is over. ``time``: that of the event loop's clock."""
        if time >= self.until:
            self.end()

    def end(self) -> None:
        """The client is back on FDv2. The next directive sets a new deadline."""
        self._until = self.directive = self.since = None
