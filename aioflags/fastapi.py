"""Flags for FastAPI: a lifespan, and the flags of a request as a dependency.

::

    app = FastAPI(lifespan=aioflags.fastapi.lifespan(Client("sdk-key"), context=context_of))

    @app.get("/checkout")
    async def checkout(flags: CurrentFlags) -> str:
        return "new" if flags.variation("new-checkout", False) else "old"

FastAPI is a dependency of the program; aioflags has no extra for it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Annotated, Any, TypeAlias

try:
    from fastapi import Depends, Request
    from fastapi.requests import HTTPConnection
except ModuleNotFoundError as _missing:
    _message = f"aioflags.fastapi needs {_missing.name}: pip install fastapi"
    raise ModuleNotFoundError(_message, name=_missing.name) from None

from aioflags import asgi
from aioflags.client.client import Client
from aioflags.client_core.application_client import ClientOrMaker, ContextOf
from aioflags.client_core.base_client import BaseClient
from aioflags.client_core.flags import Flags
from aioflags.model.context import Context

__all__ = ["CurrentClient", "CurrentFlags", "current_client", "current_flags", "lifespan"]


def lifespan(
    client: ClientOrMaker, *, context: ContextOf[Request] | None = None, around: asgi.Lifespan | None = None
) -> Callable[[Any], AbstractAsyncContextManager[dict[str, Any]]]:
    """For ``FastAPI(lifespan=…)``: a lifespan that starts the client with the application and closes it at the end.

    The state of the application has ``flags_client``, and the state that ``around`` yields.

    Args:
        client: a client, or a function that makes one. An application that runs more than once, as in tests, needs a function.
        context: a plain or coroutine function that returns the context of a request. Its argument is the ``Request``, or the
            ``HTTPConnection`` of a websocket. ``None``: the ambient context.
        around: another lifespan of the application. It starts after the client and ends before it. ``app.state.flags_client`` is
            the client.

    Raises:
        ConfigError: an argument has the wrong type.
    """
    if not callable(context):
        return asgi.lifespan(client, context=context, around=around)

    def of_scope(scope: asgi.Scope) -> Context | Awaitable[Context]:
        connection: Any = Request(scope) if scope["type"] == "http" else HTTPConnection(scope)
        return context(connection)

    return asgi.lifespan(client, context=of_scope, around=around)


async def current_flags(connection: HTTPConnection) -> Flags:
    """The dependency behind :data:`CurrentFlags`, for ``app.dependency_overrides``."""
    __tracebackhide__ = True
    return await asgi.flags_of(connection.scope)


async def current_client(connection: HTTPConnection) -> BaseClient:
    """The dependency behind :data:`CurrentClient`, for ``app.dependency_overrides`` and for clients of another class.

    A parameter with the type ``Annotated[FlagdClient, Depends(current_client)]`` gets a client for flagd.
    """
    __tracebackhide__ = True
    return asgi.requests_of(connection.scope).client


CurrentFlags: TypeAlias = Annotated[Flags, Depends(current_flags)]
"""The flags of a request or websocket, pinned at first use: every evaluation of the request sees the same data."""

CurrentClient: TypeAlias = Annotated[Client, Depends(current_client)]
"""The client of the application: for its status, and for evaluations with another context than the one of the request."""
