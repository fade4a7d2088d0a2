"""The server: its ASGI application, on a real socket, in the running event loop.

uvicorn's own ``serve`` installs signal handlers and needs 0.2 s to end, so this module starts and stops its server itself.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.utils import formatdate
from typing import Final, cast

import anyio
import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aioflags.devserver.access import AccessCheck, page_routes
from aioflags.devserver.api import Save, control_routes
from aioflags.devserver.connections import MAX_HEADER_BYTES, ConnectionLimits, lengthen_queue, limited_protocol, reset_when_closed
from aioflags.devserver.injection import CUT_EXTENSION
from aioflags.devserver.routes import sdk_routes
from aioflags.devserver.state import ServerState
from aioflags.model.defaults import LAST_CYCLES
from aioflags.runtime.clock import now
from aioflags.runtime.fork import ProcessBound
from aioflags.runtime.logs import printable

# -- The server as an ASGI application: LaunchDarkly's endpoints for SDKs, OFREP, the control API, and the page.
#
# Requests of SDKs never change the served flags.
#
# Source: ``data-system.md`` 1 to 3 and 6.1; ``flagd.md`` 9.


HEARTBEAT_INTERVAL: Final = 30.0
LOOPBACK_HOSTS: Final = ("127.0.0.1", "localhost", "[::1]")
"""The ``Host`` names that requests may use. Another name may be DNS rebinding: a web page whose domain resolves to this machine."""


def create_app(
    state: ServerState,
    *,
    token: str | None = None,
    save: Save | None = None,
    allowed_hosts: Sequence[str] = LOOPBACK_HOSTS,
    heartbeat: float = HEARTBEAT_INTERVAL,
) -> Starlette:
    """Make the ASGI application that serves ``state``.

    Args:
        state: the flags, clients and faults.
        token: the bearer token of the control API. Without it there is no control API and no page.
        save: writes the served flags back to their file.
        allowed_hosts: the accepted ``Host`` names; ``["*"]`` accepts any. Web pages from these hosts may use the endpoints for
            JavaScript SDKs.
        heartbeat: seconds without data after which a stream sends a comment.
    """
    routes = sdk_routes(state, heartbeat)
    if token is not None:
        routes += [*control_routes(state, save), *page_routes()]
    app = Starlette(
        routes=routes,
        middleware=[Middleware(AccessCheck, allowed_hosts, token)],
        exception_handlers={404: _not_found, 405: _method_not_allowed},
    )
    app.router.redirect_slashes = False  # a redirect would copy the Host name of the request
    return app


def _not_found(request: Request, _: Exception) -> Response:
    return Response(msgspec.json.encode({"error": f"unknown path {printable(request.url.path)}"}), 404, None, "application/json")


def _method_not_allowed(request: Request, refusal: Exception) -> Response:
    """405 for a known path, with the methods that it accepts."""
    headers = cast("HTTPException", refusal).headers or {}
    message = f"{printable(request.url.path)} takes {headers['Allow']}, not {printable(request.method)}"
    return Response(msgspec.json.encode({"error": message}), 405, headers, "application/json")


LOOPBACK: Final = "127.0.0.1"
_LIMITS: Final = ConnectionLimits()
_REQUEST_GRACE: Final = 0.2
"""After connections were closed: if no request ends within this many seconds, the remaining ones are cancelled."""
_DISCONNECT_TIMEOUT: Final = 1.0
_CLOSE_TIMEOUT: Final = 10.0
"""Seconds that closing the server may take in total."""
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
                reset_when_closed(connection.transport)
                connection.transport.abort()
            else:
                connection.transport.close()
            with anyio.move_on_after(_DISCONNECT_TIMEOUT) as waiting:
                # The request must end after its connection. Otherwise uvicorn logs a crash.
                while (await receive())["type"] != "http.disconnect":
                    pass
            if waiting.cancelled_caught:
                connection.transport.abort()
