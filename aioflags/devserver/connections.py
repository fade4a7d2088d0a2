"""Connections: how long the header of a request may take, how many connections may be open, and no delay of small answers.

uvicorn closes a connection that is idle between two requests. It waits without a limit for the first header, and for the rest of
a header that has begun.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
from dataclasses import dataclass
from typing import cast

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

__all__ = ["ConnectionLimits", "limited_protocol"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """Limits of one server.

    ``header_timeout``: seconds from the opening of a connection, or from the first byte of a later request, to the end of the
    header. ``connections``: how many may be open; above that, the connection that has waited longest for a header is closed.
    """

    header_timeout: float = 10.0
    connections: int = 1000


def limited_protocol(limits: ConnectionLimits) -> type[H11Protocol]:
    """An HTTP protocol for uvicorn with these limits."""

    class Protocol(_LimitedProtocol):
        _limits = limits

    return Protocol


class _LimitedProtocol(H11Protocol):
    _limits: ConnectionLimits
    _timer: asyncio.TimerHandle | None = None
    """Closes the connection. Set while a header is incomplete."""

    @property
    def header_due(self) -> float:
        """When the connection is closed if no header is complete; infinite while a request is handled."""
        return math.inf if self._timer is None else self._timer.when()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn's annotation
        super().connection_made(transport)
        # asyncio does this only for sockets that were made with the protocol TCP. Without it an answer waits 40 ms for the client.
        with contextlib.suppress(OSError):  # the connection is closed already
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._start_timer()
        if len(self.connections) > self._limits.connections:
            candidates: list[_LimitedProtocol] = [other for other in self.connections if isinstance(other, _LimitedProtocol)]
            min(candidates, key=lambda other: other.header_due).transport.abort()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # uvicorn's annotation misses that the cycle is None before the first request.
        cycle = cast("RequestResponseCycle | None", self.cycle)
        # A complete header makes a new cycle. Its response cannot be complete before the event loop has run.
        if cycle is not None and not cycle.response_complete:
            self._stop_timer()
        elif self._timer is None:
            self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def _start_timer(self) -> None:
        self._timer = self.loop.call_later(self._limits.header_timeout, self.transport.abort)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
