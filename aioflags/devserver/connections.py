"""Limits of the server's connections: how long a request's header may take, and how many connections may be open.

uvicorn drops a connection that is idle between two requests, but waits without a limit for the header of the first one, and for
the rest of a header that has begun.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from typing import cast

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

__all__ = ["Limits", "limited"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """``header_timeout``: seconds from the opening of a connection, or the first byte of a later request, to the end of the header.

    ``connections``: how many may be open. Beyond that, the one that has waited longest for a header is cut.
    """

    header_timeout: float = 10.0
    connections: int = 1000


def limited(limits: Limits) -> type[H11Protocol]:
    """A protocol for uvicorn that keeps to these limits."""

    class Protocol(_LimitedProtocol):
        _limits = limits

    return Protocol


class _LimitedProtocol(H11Protocol):
    _limits: Limits
    _timer: asyncio.TimerHandle | None = None
    """Cuts the connection. Set while a header is incomplete."""

    @property
    def header_due(self) -> float:
        """When the connection will be cut unless a header is complete; infinite while a request is answered."""
        return math.inf if self._timer is None else self._timer.when()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._start()
        if len(self.connections) > self._limits.connections:
            own: list[_LimitedProtocol] = [other for other in self.connections if isinstance(other, _LimitedProtocol)]
            min(own, key=lambda other: other.header_due).transport.abort()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # uvicorn's types leave out that there is no cycle before the first request.
        cycle = cast("RequestResponseCycle | None", self.cycle)
        # A complete header makes a new cycle, whose response cannot be complete before the event loop has run.
        if cycle is not None and not cycle.response_complete:
            self._stop()
        elif self._timer is None:
            self._start()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        super().connection_lost(exc)

    def _start(self) -> None:
        self._timer = self.loop.call_later(self._limits.header_timeout, self.transport.abort)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
