"""Connections: how long a request may take to arrive and an answer to be read, how many connections may be open, and no delay of
small answers.

uvicorn closes a connection that is idle between two requests. It waits without a limit for the first header, for the rest of a
request that has begun, and for a client that does not read.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
import struct
import sys
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

if sys.platform != "win32":
    import resource


MAX_HEADER_BYTES: Final = 64 * 1024
"""The largest request line and headers. h11 accepts 16 KiB unless told otherwise, and a path may have a context."""
_MOST_CONNECTIONS: Final = 1000
_QUEUE: Final = 1024
"""How many connections may wait to be accepted."""
_NO_LINGER: Final = struct.pack("ii", 1, 0)
"""The value of SO_LINGER that makes closing a reset."""


def connections_for(descriptors: int) -> int:
    """How many connections a process that may open so many files accepts: half of them, and a thousand at most."""
    return min(_MOST_CONNECTIONS, descriptors // 2)


def _default_connections() -> int:
    if sys.platform == "win32":
        return _MOST_CONNECTIONS
    descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _MOST_CONNECTIONS if descriptors == resource.RLIM_INFINITY else connections_for(descriptors)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """Limits of one server. Times are in seconds; what exceeds one is closed.

    Args:
        header_timeout: from the opening of a connection, or from an answer, to the end of the next request's header.
        body_timeout: from the end of a request's header to the end of its body.
        write_timeout: how long the client of an answer that waits to be read may take no byte of it.
        connections: how many may be open. Above that, the connection that has waited longest for the rest of a request is closed;
            the newest one, if all others wait for the server.
    """

    header_timeout: float = 10.0
    body_timeout: float = 60.0
    write_timeout: float = 30.0
    connections: int = field(default_factory=_default_connections)


def lengthen_queue(server: asyncio.AbstractServer) -> None:
    """Let connections wait until the server accepts them. Make the server with ``backlog=1``.

    asyncio accepts as many connections at a time as its backlog allows. Without free descriptors each of these attempts fails, and
    logs a traceback.
    """
    for listener in getattr(server, "sockets", ()):
        with listener.dup() as same:
            same.listen(_QUEUE)


def reset_when_closed(transport: asyncio.BaseTransport) -> None:
    """Let the connection be closed by a reset. A Unix socket has none."""
    connection: socket.socket = transport.get_extra_info("socket")
    if connection.family in {socket.AF_INET, socket.AF_INET6}:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)


def limited_protocol(limits: ConnectionLimits) -> type[H11Protocol]:
    """An HTTP protocol for uvicorn with these limits."""

    class Protocol(_LimitedProtocol):
        _limits = limits

    return Protocol


_Awaited: TypeAlias = tuple[Literal["header", "body"], object]
"""What the client owes: the rest of a body; the next header, or to close. And the newest request, to tell one from the next."""


class _LimitedProtocol(H11Protocol):
    _limits: ConnectionLimits
    _request_deadline: _Deadline
    _answer_deadline: _Deadline
    _awaited: _Awaited | None = None
    """``None`` while the server owes the client an answer, or sends a stream."""
    waiting_since: float = math.inf
    """When the server began to wait for the client; infinite while the client waits for the server."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn's annotation
        super().connection_made(transport)
        # asyncio does this only for sockets that were made with the protocol TCP. Without it an answer waits 40 ms for the client.
        with contextlib.suppress(OSError):  # the connection is closed already
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._request_deadline, self._answer_deadline = _Deadline(transport), _Deadline(transport)
        self._limit_request()
        if len(self.connections) > self._limits.connections:
            self._close_one()

    def _close_one(self) -> None:
        """Close the connection that has waited longest for its client, if too many are open.

        A connection that is closing is still listed until the loop's next turn, and in one turn many may be opened.
        """
        protocols: list[_LimitedProtocol] = [other for other in self.connections if isinstance(other, _LimitedProtocol)]
        candidates = [other for other in protocols if not other.transport.is_closing()]
        if len(candidates) > self._limits.connections:
            min(candidates, key=lambda other: other.waiting_since).transport.abort()

    def handle_events(self) -> None:
        """Called when data have come, and before the next request of a connection is read."""
        super().handle_events()
        self._limit_request()

    def on_response_complete(self) -> None:
        """Called when the whole answer has been passed to the transport."""
        super().on_response_complete()
        self._limit_request()

    def send_400_response(self, msg: str) -> None:
        """Called when a request is not HTTP. uvicorn logs an exception if that is its body, because it then sends two answers."""
        # uvicorn's annotation misses that the cycle is None before the first request.
        cycle = cast("RequestResponseCycle | None", self.cycle)
        if self.conn.our_state is h11.IDLE or cycle is None:  # it is the header
            super().send_400_response(msg)
            return
        cycle.disconnected = True
        cycle.message_event.set()
        if not cycle.response_started and cycle.scope["method"] != "HEAD":
            super().send_400_response(msg)
        self.transport.close()

    def _limit_request(self) -> None:
        """Start the time limit of what is awaited from now on, if that has changed."""
        if self.conn.their_state is h11.SEND_BODY:
            awaited: _Awaited | None = ("body", self.cycle)
        elif self.conn.their_state is h11.IDLE or self.conn.our_state in {h11.MUST_CLOSE, h11.CLOSED}:
            awaited = ("header", self.cycle)
        else:
            awaited = None
        if awaited != self._awaited:
            self._awaited, self.waiting_since = awaited, math.inf
            self._request_deadline.stop()
            if awaited is not None:
                self.waiting_since = self.loop.time()
                self._request_deadline.start(self._limits.body_timeout if awaited[0] == "body" else self._limits.header_timeout)

    def pause_writing(self) -> None:
        """Called by the transport when too many bytes wait for the client."""
        super().pause_writing()
        self._answer_deadline.start(self._limits.write_timeout)

    def resume_writing(self) -> None:
        """Called by the transport when the client has taken most of them."""
        self._answer_deadline.stop()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._request_deadline.stop()
        self._answer_deadline.stop()
        super().connection_lost(exc)


class _Deadline:
    """A time limit that closes a connection. It starts again each time the client takes bytes of an answer."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._timer: asyncio.TimerHandle | None = None

    def start(self, seconds: float) -> None:
        """Close the connection after so many seconds in which the client takes no byte of an answer."""
        self._start(seconds, self._transport.get_write_buffer_size())

    def _start(self, seconds: float, waiting: int) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._expire, seconds, waiting)

    def stop(self) -> None:
        """Leave the connection open."""
        if self._timer is not None:
            self._timer.cancel()

    def _expire(self, seconds: float, before: int) -> None:
        waiting = self._transport.get_write_buffer_size()
        if waiting in {0, before}:
            self._transport.abort()
        else:
            self._start(seconds, waiting)
