"""Flags for ASGI applications: a lifespan, and a middleware that pins the flags of each request. Needs no framework.

Starlette and FastAPI take the lifespan as their ``lifespan``; ``aioflags.fastapi`` has one whose ``context`` function takes a
``Request``. In this module a request is the *scope* of an ASGI connection.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, MutableMapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from aioflags.client_core.application_client import ApplicationClient, ClientOrMaker, ContextOf, RequestFlags
from aioflags.client_core.base_client import BaseClient
from aioflags.client_core.fast_path import use_context
from aioflags.client_core.flags import Flags
from aioflags.errors import ConfigError, LifecycleError

if TYPE_CHECKING:
    from aioflags.model.context import Context

__all__ = ["FlagsMiddleware", "lifespan"]

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
Lifespan: TypeAlias = Callable[[Any], AbstractAsyncContextManager[Mapping[str, Any] | None]]

_KEY: Final = "aioflags"
"""Names the :class:`RequestFlags` of the application in the lifespan's state, and the pinned flags in a request's scope."""
_CLIENT: Final = "flags_client"
"""Names the client in the same state."""


def lifespan(
    client: ClientOrMaker, *, context: ContextOf[Scope] | None = None, around: Lifespan | None = None
) -> Callable[[Any], AbstractAsyncContextManager[dict[str, Any]]]:
    """A lifespan that starts the client with the application and closes it at the end.

    The state of the application has ``flags_client``, and the state that ``around`` yields.

    Args:
        client: a client, or a function that makes one. An application that runs more than once, as in tests, needs a function.
        context: a plain or coroutine function of the scope that returns the context of a request. ``None``: the ambient context.
        around: another lifespan of the application. It starts after the client and ends before it. ``app.state.flags_client`` is
            the client, if the application has a ``state``, as Starlette's has.

    Raises:
        ConfigError: an argument has the wrong type.
    """
    return lifespan_of(ApplicationClient(client, context, remedy="lifespan(lambda: Client(...))"), around)


class FlagsMiddleware:
    """Pins the flags of each request before the application runs: ``scope["state"]["flags"]``, ``request.state.flags``.

    During the request its context is ambient, so evaluations need no ``context`` argument.

    Args:
        client: a client that the program starts and closes itself. ``None``: the client and ``context`` of the lifespan.
        context: a plain or coroutine function of the scope that returns the context of a request. Only with ``client``.

    Raises:
        ConfigError: an argument has the wrong type, or ``context`` is given without a client.
    """

    def __init__(self, app: App, client: BaseClient | None = None, *, context: ContextOf[Scope] | None = None) -> None:
        if client is None and context is not None:
            raise ConfigError("context: it needs a client; without one, the client and the context of the lifespan are used")
        self._app = app
        self._requests = None if client is None else RequestFlags(client, context)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the application; for a request or websocket, with its flags pinned."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        if self._requests is None:
            flags = await flags_of(scope)
        else:
            flags = scope[_KEY] = _stated(scope, await self._requests.pin(scope))
        with use_context(cast("Context", flags.context)):  # pin() raises without one
            await self._app(scope, receive, send)


def lifespan_of(
    service: ApplicationClient[Scope], around: Lifespan | None = None
) -> Callable[[Any], AbstractAsyncContextManager[dict[str, Any]]]:
    """:func:`lifespan` for a framework with a remedy of its own in ``service``."""

    @asynccontextmanager
    async def run(app: Any) -> AsyncGenerator[dict[str, Any], None]:
        async with AsyncExitStack() as stack:
            requests = await stack.enter_async_context(service.running())
            # Set both on app.state, too: for `around`, and because a test that enters the lifespan itself may not pass on the state
            # that it yields.
            if (state := getattr(app, "state", None)) is not None:
                for name, value in ((_KEY, requests), (_CLIENT, requests.client)):
                    setattr(state, name, value)
                    stack.callback(_remove, state, name, value)
            extra = None if around is None else await stack.enter_async_context(around(app))
            yield {**(extra or {}), _CLIENT: requests.client, _KEY: requests}

    return run


async def flags_of(scope: Scope) -> Flags:
    """The pinned flags of a request. Pins them at the first call.

    Raises:
        LifecycleError: the application runs without the lifespan.
        ConfigError: the request has no context.
    """
    __tracebackhide__ = True
    pinned: Flags | None = scope.get(_KEY)
    return pinned or _stated(scope, await requests_of(scope).pin_once(scope, scope, _KEY))


def requests_of(scope: Scope) -> RequestFlags[Scope]:
    """The :class:`RequestFlags` that the lifespan set for its application.

    Raises:
        LifecycleError: the application runs without the lifespan.
    """
    __tracebackhide__ = True
    requests: RequestFlags[Scope] | None = scope.get("state", {}).get(_KEY)
    requests = requests or getattr(getattr(scope.get("app"), "state", None), _KEY, None)
    if requests is None:
        raise LifecycleError(
            "the flags of this application have not started: use the lifespan of aioflags, and run it. A server runs the one of the"
            " outermost application, not the ones of applications that are mounted in it. A test client runs it inside"
            " `with TestClient(app)`; httpx.ASGITransport does not run it, so enter app.router.lifespan_context(app)"
            " around it, or app.lifespan() with Litestar"
        )
    return requests


def _remove(state: Any, name: str, value: object) -> None:
    """Remove an attribute of the state, unless a later run replaced its value: runs may end in any order."""
    if getattr(state, name, None) is value:
        delattr(state, name)


def _stated(scope: Scope, flags: Flags) -> Flags:
    """Set the flags in the state of a request. The scope keeps them as well, since the state may be shared by requests."""
    scope.setdefault("state", {})["flags"] = flags
    return flags
