"""FallbackState: the client's memory that a directive was obeyed, and for how long it holds.

It belongs to the client and outlives sources, tenures and supervisors: a client that is restarted, after a fork say, stays
on FDv1.

Source: ``data-system.md`` 6.3 and 6.6, FB-26.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from aioflags.model.defaults import MAX_TTL
from aioflags.model.result import FallbackDirective

__all__ = ["FallbackState", "lifetime"]


def lifetime(directive: FallbackDirective, random: Callable[[], float]) -> float:
    """For how many seconds a directive holds, where it does not hold for ever.

    The server's own number if it is in (0, 3600]: the server has spread it already. Else between 1800 and 3600.
    """
    ttl = directive.ttl
    if ttl is not None and 0 < ttl <= MAX_TTL:
        return ttl
    return MAX_TTL * (1 - random() / 2)


class FallbackState:
    """Whether FDv2 has been left, and until when. Read by anybody, changed by the supervisor alone."""

    __slots__ = ("_until",)

    def __init__(self) -> None:
        self._until: float | None = None

    @property
    def is_on_fdv1(self) -> bool:
        """Whether the client is to stay off FDv2."""
        return self._until is not None

    @property
    def until(self) -> float:
        """When FDv2 may be tried again, on the event loop's clock: infinity for never, or if FDv2 was not left at all."""
        return math.inf if self._until is None else self._until

    def engage(self, *, until: float) -> None:
        """A directive was received. One that comes while another holds changes nothing, so that a deadline cannot be put off."""
        if self._until is None:
            self._until = until

    def end(self) -> None:
        """Back to FDv2: the next directive counts anew."""
        self._until = None
