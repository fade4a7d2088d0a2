"""An ASGI application on a real socket, inside the event loop that is running: for a command, and for a test as well.

uvicorn's own ``serve`` takes over signals and needs 0.2 s to end, so its server is driven by hand here.
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

from aioflags.devserver.connections import Limits, limited
from aioflags.devserver.faults.injection import CUT
from aioflags.model.defaults import LAST_CYCLES
from aioflags.runtime.clock import now

__all__ = ["LOOPBACK", "Serving", "serve"]

LOOPBACK: Final = "127.0.0.1"
_LIMITS: Final = Limits()
_LEAVE_TAKING: Final = 0.2
_LAST_WORDS: Final = 1.0
_END: Final = 10.0
"""For how long a server may end in all."""
_LINGER_NOT: Final = struct.pack("ii", 1, 0)
"""The socket option that makes closing a reset."""
_EVERYWHERE: Final = {"0.0.0.0": LOOPBACK, "::": "::1"}  # noqa: S104 - not bound here, but recognised


@dataclass(frozen=True, slots=True)
class Serving:
    """A server that is listening."""

    server: uvicorn.Server
    host: str
    port: int

    @property
    def url(self) -> str:
        """Where clients of this machine find it, without a slash at the end."""
        host = _EVERYWHERE.get(self.host, self.host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    def drop_connections(self) -> int:
        """Cut every connection without a word, as a failing network would; answers how many there were."""
        connections = list(self.server.server_state.connections)
        for connection in connections:
            connection.transport.abort()
        return len(connections)


@asynccontextmanager
async def serve(app: ASGIApp, *, host: str = LOOPBACK, port: int = 0, limits: Limits = _LIMITS) -> AsyncGenerator[Serving, None]:
    """Serve ``app`` until the block ends; then every connection is cut. Port 0 takes a free one.

    ``limits`` hold for each connection: a request whose header does not arrive in time is cut.

    Raises:
        OSError: the address cannot be used.
    """
    # Bound here, since uvicorn would leave the process if it could not bind.
    listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    server: uvicorn.Server

    async def cuttable(scope: Scope, receive: Receive, send: Send) -> None:
        async def cut(*, reset: bool) -> None:
            await _cut(server, scope, receive, reset=reset)

        async def dated(message: Message) -> None:
            # uvicorn would do that in its own loop, which does not run here.
            if message["type"] == "http.response.start":
                date = formatdate(now(), usegmt=True).encode()
                message = {**message, "headers": [(b"date", date), *message["headers"]]}
            await send(message)

        await app({**scope, "extensions": {**(scope.get("extensions") or {}), CUT: cut}}, receive, dated)

    config = uvicorn.Config(
        cuttable,
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        http=limited(limits),
        loop="none",
        proxy_headers=False,  # or a header could say that a request comes from this machine
        server_header=False,
    )
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup(sockets=[listener])
    serving = Serving(server, host, listener.getsockname()[1])
    try:
        yield serving
    finally:
        # Shielded: requests are tasks of their own, and would outlive a block that is cancelled.
        with anyio.move_on_after(_END, shield=True):
            await _end(serving)


async def _end(serving: Serving) -> None:
    """Ends listening, connections and requests, in this order."""
    server = serving.server
    for listening in server.servers:
        listening.close()
    serving.drop_connections()
    # Requests end by themselves once their connection is gone; one that is cancelled at once would be logged as a crash.
    late = set(server.server_state.tasks)
    while late:
        # For as long as some of them end: with hundreds of streams that takes its time.
        ended, late = await asyncio.wait(late, timeout=_LEAVE_TAKING)
        if not ended:
            # Where somebody held the loop, that time is over before anybody had a turn.
            for _ in range(LAST_CYCLES):
                await asyncio.sleep(0)
            if not any(task.done() for task in late):
                for task in late:
                    task.cancel()
                await asyncio.wait(late)
                break
    for listening in server.servers:
        await listening.wait_closed()


async def _cut(server: uvicorn.Server, scope: Scope, receive: Receive, *, reset: bool) -> None:
    """Ends the connection of a request in the middle: by a reset, or by its end once everything has gone out."""
    for connection in list(server.server_state.connections):
        if getattr(connection, "client", None) == scope["client"]:
            if reset:
                connection.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
                connection.transport.abort()
            else:
                connection.transport.close()
            with anyio.move_on_after(_LAST_WORDS) as waiting:
                # Not before its end may the request end, which would be taken for a crash.
                while (await receive())["type"] != "http.disconnect":
                    pass
            if waiting.cancelled_caught:
                connection.transport.abort()
