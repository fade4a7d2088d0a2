"""The lifespan of an ASGI server, for an application that does not handle it, such as Django's."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from traceback import format_exc
from typing import Any, TypeAlias

__all__ = ["LifespanApplication"]

App: TypeAlias = Callable[[Any, Any, Any], Awaitable[object]]


class LifespanApplication:
    """Calls an ASGI application inside ``running()``: from the start of the server's lifespan to its end.

    With a server that has no lifespan, such as daphne, the first request enters ``running()``. Then the block is never left: such a
    server does not report its end.
    """

    def __init__(self, app: App, running: Callable[[], AbstractAsyncContextManager[object]]) -> None:
        self._app = app
        self._running = running
        self._has_lifespan = False
        self._unending = AsyncExitStack()
        self._start: asyncio.Task[object] | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Handle the lifespan, or call the application."""
        if scope["type"] == "lifespan":
            self._has_lifespan = True
            await self._live(receive, send)
            return
        if not self._has_lifespan:
            await self._started()
        await self._app(scope, receive, send)

    async def _live(self, receive: Any, send: Any) -> None:
        await receive()  # lifespan.startup
        phase = "startup"
        try:
            async with self._running():
                await send({"type": "lifespan.startup.complete"})
                phase = "shutdown"
                await receive()  # lifespan.shutdown
        except Exception:
            # The server logs the message of a failure, and ends.
            await send({"type": f"lifespan.{phase}.failed", "message": format_exc()})
            raise
        await send({"type": "lifespan.shutdown.complete"})

    async def _started(self) -> None:
        """Wait for the start. A task of its own makes it, so that a request that is cancelled does not cancel it for the others."""
        if self._start is None:
            self._start = asyncio.create_task(self._unending.enter_async_context(self._running()))
        await asyncio.shield(self._start)
