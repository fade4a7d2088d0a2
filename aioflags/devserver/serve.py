"""Serves an ASGI application on a real socket, in the running event loop: for the command and for tests.

uvicorn's own ``serve`` installs signal handlers and needs 0.2 s to end, so this module starts and stops its server itself.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.utils import formatdate
from typing import Final

import anyio
import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aioflags.devserver.connections import MAX_HEADER_BYTES, ConnectionLimits, lengthen_queue, limited_protocol
from aioflags.devserver.faults.injection import CUT_EXTENSION
from aioflags.model.defaults import LAST_CYCLES
from aioflags.runtime.clock import now
from aioflags.runtime.process_bound import ProcessBound

LOOPBACK: Final = "127.0.0.1"
_LIMITS: Final = ConnectionLimits()
_REQUEST_GRACE: Final = 0.2
"""After connections were closed: if no request ends within this many seconds, the remaining ones are cancelled."""
_DISCONNECT_TIMEOUT: Final = 1.0
_CLOSE_TIMEOUT: Final = 10.0
"""Seconds that closing the server may take in total."""
_NO_LINGER: Final = struct.pack("ii", 1, 0)
"""The value of SO_LINGER that makes closing a reset."""
_LOOPBACK_OF_WILDCARD: Final = {"0.0.0.0": LOOPBACK, "::": "::1"}  # noqa: S104 - not bound here, but recognised


@dataclass(frozen=True, slots=True)
class RunningServer(ProcessBound):
    """A server that is listening."""

    server: uvicorn.Server
    host: str
    port: int

    @property
    def url(self) -> str:
        """The base URL for clients on this machine, without a slash at the end."""
        host = _LOOPBACK_OF_WILDCARD.get(self.host, self.host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    def drop_connections(self) -> int:
        """Abort every connection, as a failing network would. Returns how many there were."""
        connections = list(self.server.server_state.connections)
        for connection in connections:
            connection.transport.abort()
        return len(connections)


@asynccontextmanager
async def serve(
    app: ASGIApp, *, host: str = LOOPBACK, port: int = 0, limits: ConnectionLimits = _LIMITS
) -> AsyncGenerator[RunningServer, None]:
    """Serve ``app`` until the block ends; then every connection is closed.

    Args:
        app: the ASGI application.
        host: the address to bind.
        port: the port to bind; 0 takes a free port.
        limits: the limits of the connections.

    Raises:
        OSError: the address cannot be used.
    """
    # Bound here, because uvicorn exits the process if it cannot bind.
    listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    server: uvicorn.Server

    async def app_with_extensions(scope: Scope, receive: Receive, send: Send) -> None:
        async def cut(*, reset: bool) -> None:
            await _cut(server, scope, receive, reset=reset)

        async def send_with_date(message: Message) -> None:
            # uvicorn adds the date in its own main loop, which does not run here.
            if message["type"] == "http.response.start":
                date = formatdate(now(), usegmt=True).encode()
                message = {**message, "headers": [(b"date", date), *message["headers"]]}
            await send(message)

        await app({**scope, "extensions": {**(scope.get("extensions") or {}), CUT_EXTENSION: cut}}, receive, send_with_date)

    config = uvicorn.Config(
        app_with_extensions,
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        http=limited_protocol(limits),
        backlog=1,
        h11_max_incomplete_event_size=MAX_HEADER_BYTES,
        loop="none",
        proxy_headers=False,  # otherwise a header could claim that a request comes from this machine
        server_header=False,
    )
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    try:
        await server.startup(sockets=[listener])
    except BaseException:  # cancelled, for example
        for each in (listener, *getattr(server, "servers", ())):
            each.close()
        raise
    for each in server.servers:
        lengthen_queue(each)
    running = RunningServer(server, host, listener.getsockname()[1])
    try:
        yield running
    finally:
        # Shielded, because requests are separate tasks that would outlive a cancelled block.
        with anyio.move_on_after(_CLOSE_TIMEOUT, shield=True):
            await _close(running)


async def _close(running: RunningServer) -> None:
    """Stop listening, close the connections, end the requests, in this order."""
    server = running.server
    for listener in server.servers:
        listener.close()
    running.drop_connections()
    # Requests end by themselves after their connection is closed. A request cancelled at once would be logged as a crash.
    pending = set(server.server_state.tasks)
    while pending:
        # Continue as long as some requests end: hundreds of streams need a while.
        ended, pending = await asyncio.wait(pending, timeout=_REQUEST_GRACE)
        if not ended:
            # If a callback blocked the event loop, the grace is over before any request could run.
            for _ in range(LAST_CYCLES):
                await asyncio.sleep(0)
            if not any(task.done() for task in pending):
                for task in pending:
                    task.cancel()
                await asyncio.wait(pending)
                break
    for listener in server.servers:
        await listener.wait_closed()


async def _cut(server: uvicorn.Server, scope: Scope, receive: Receive, *, reset: bool) -> None:
    """Close the connection of a request before the response is complete: with a reset, or after the buffered bytes are sent."""
    for connection in list(server.server_state.connections):
        if getattr(connection, "client", None) == scope["client"]:
            if reset:
                connection.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
                connection.transport.abort()
            else:
                connection.transport.close()
            with anyio.move_on_after(_DISCONNECT_TIMEOUT) as waiting:
                # The request must end after its connection. Otherwise uvicorn logs a crash.
                while (await receive())["type"] != "http.disconnect":
                    pass
            if waiting.cancelled_caught:
                connection.transport.abort()
