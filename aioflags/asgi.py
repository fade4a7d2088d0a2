"""Flags for ASGI applications: a lifespan, and a middleware that pins the flags of each request. Needs no framework.

The lifespan is what Starlette and FastAPI take by that name; ``aioflags.fastapi`` has it for functions of a ``Request``.
Here a request is what ASGI calls a connection's *scope*.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, MutableMapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from aioflags.client.ambient import use_context
from aioflags.client.client import Client
from aioflags.client.flags import Flags
from aioflags.errors import ConfigError, LifecycleError
from aioflags.web.requests import ClientOrMaker, ContextOf, RequestFlags, Service

if TYPE_CHECKING:
    from aioflags.model.context import Context

__all__ = ["FlagsMiddleware", "lifespan"]

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
Lifespan: TypeAlias = Callable[[Any], AbstractAsyncContextManager[Mapping[str, Any] | None]]

_KEY: Final = "aioflags"
"""In the lifespan's state: the :class:`RequestFlags` of the application. In a request's scope: its pinned flags."""


def lifespan(
    client: ClientOrMaker, *, context: ContextOf[Scope] | None = None, around: Lifespan | None = None
) -> Callable[[Any], AbstractAsyncContextManager[dict[str, Any]]]:
    """What an application takes as its lifespan: starts the client, and closes it in the end.

    ``client`` may be a function that makes one; an application that runs more than once, as under tests, needs that.
    ``context`` says whom a request is for, as a plain or coroutine function of its scope; without it the ambient context
    counts. ``around`` is the lifespan that the application has otherwise: it begins when the flags have, and ends before
    them. The state has ``flags_client``, and what ``around`` yields.

    Raises:
        ConfigError: an argument of the wrong type.
    """
    service = Service(client, context, remedy="lifespan(lambda: Client(...))")

    @asynccontextmanager
    async def run(app: Any) -> AsyncGenerator[dict[str, Any], None]:
        async with AsyncExitStack() as stack:
            requests = await stack.enter_async_context(service.running())
            # The application's own state, too: who enters the lifespan by hand, as tests do, may not pass on what it yields.
            if (state := getattr(app, "state", None)) is not None:
                setattr(state, _KEY, requests)
                stack.callback(_forget, state, requests)
            others = None if around is None else await stack.enter_async_context(around(app))
            yield {**(others or {}), "flags_client": requests.client, _KEY: requests}

    return run


class FlagsMiddleware:
    """Pins the flags of each request before the application sees it: ``scope["state"]["flags"]``, ``request.state.flags``.

    Whom the request is for is ambient meanwhile, so that evaluations anywhere in it need not name a context. Without a
    ``client``, those of the lifespan count. A ``client`` given here is started and closed by others, and ``context`` is a
    plain or coroutine function of the scope.

    Raises:
        ConfigError: an argument of the wrong type, or a ``context`` without a client.
    """

    def __init__(self, app: App, client: Client | None = None, *, context: ContextOf[Scope] | None = None) -> None:
        if client is None and context is not None:
            raise ConfigError("context: it goes with a client; without one, that of the lifespan counts")
        self._app = app
        self._own = None if client is None else RequestFlags(client, context)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hands a request on, with its flags; anything else as it is."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        flags = await (flags_of(scope) if self._own is None else _pin(scope, self._own))
        with use_context(cast("Context", flags.context)):  # a request without one was refused
            await self._app(scope, receive, send)


async def flags_of(scope: Scope) -> Flags:
    """The flags of a request: those that are pinned already, or else pinned now.

    Raises:
        LifecycleError: the application runs without the lifespan.
        ConfigError: nobody says whom the request is for.
    """
    __tracebackhide__ = True
    pinned = scope.get(_KEY)
    return pinned if isinstance(pinned, Flags) else await _pin(scope, requests_of(scope))


def requests_of(scope: Scope) -> RequestFlags[Scope]:
    """What the lifespan left for the requests of its application.

    Raises:
        LifecycleError: the application runs without the lifespan.
    """
    __tracebackhide__ = True
    found: RequestFlags[Scope] | None = scope.get("state", {}).get(_KEY)
    found = found or getattr(getattr(scope.get("app"), "state", None), _KEY, None)
    if found is None:
        raise LifecycleError(
            "the flags of this application have not started: give it the lifespan of aioflags, and let that run. A test client runs"
            " it inside `with TestClient(app)`; httpx.ASGITransport does not, so enter app.router.lifespan_context(app) around it"
        )
    return found


def _forget(state: Any, requests: RequestFlags[Scope]) -> None:
    """Unless another run of the application has taken the place; runs need not end in the order in which they began."""
    if getattr(state, _KEY, None) is requests:
        delattr(state, _KEY)


async def _pin(scope: Scope, requests: RequestFlags[Scope]) -> Flags:
    __tracebackhide__ = True
    # Beside the state as well as in it: the scope is surely this request's alone, and nobody mistakes another's flags for its own.
    flags = scope[_KEY] = await requests.pin(scope)
    scope.setdefault("state", {})["flags"] = flags
    return flags
