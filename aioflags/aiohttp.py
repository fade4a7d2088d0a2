"""Flags for aiohttp: ``setup`` once for an application, ``await flags_of(request)`` in its handlers.

::

    app = web.Application()
    aioflags.aiohttp.setup(app, Client("sdk-key"), context=context_of)

    async def checkout(request: web.Request) -> web.Response:
        flags = await aioflags.aiohttp.flags_of(request)
        return web.Response(text="new" if flags.variation("new-checkout", False) else "old")

aiohttp is a dependency of the program; aioflags has no extra for it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final, TypeVar, overload

try:
    from aiohttp import web
except ModuleNotFoundError as _missing:
    _message = f"aioflags.aiohttp needs {_missing.name}: pip install aiohttp"
    raise ModuleNotFoundError(_message, name=_missing.name) from None

from aioflags.client.client import Client
from aioflags.client_core.application_client import ApplicationClient, ClientOrMaker, ContextOf, RequestFlags
from aioflags.client_core.base_client import BaseClient
from aioflags.client_core.flags import Flags
from aioflags.errors import ConfigError, LifecycleError
from aioflags.runtime.validation import require

__all__ = ["client_of", "flags_of", "setup"]

C = TypeVar("C", bound=BaseClient)

_SERVICE: Final = web.AppKey("aioflags.service", ApplicationClient[web.Request])
_REQUESTS: Final = web.AppKey("aioflags.requests", RequestFlags[web.Request])
# aiohttp 3.14 introduced RequestKey. Earlier versions accept any key for a request.
_FLAGS: Final[Any] = getattr(web, "RequestKey", web.AppKey)("aioflags.flags", Flags)


def setup(app: web.Application, client: ClientOrMaker, *, context: ContextOf[web.Request] | None = None) -> None:
    """Start the client with the application and close it at the end. Subapplications share the client.

    Args:
        app: the main application.
        client: a client, or a function that makes one.
        context: a plain or coroutine function of the request that returns its context. ``None``: the ambient context.

    Raises:
        ConfigError: an argument has the wrong type, or the application was set up before.
    """
    __tracebackhide__ = True
    require("app", app, web.Application, expected="an aiohttp Application, as in setup(app, client)")
    if _SERVICE in app:
        raise ConfigError("app: it was set up before; one client serves an application and its subapplications")
    service = app[_SERVICE] = ApplicationClient(client, context, remedy="setup(app, lambda: Client(...))")

    async def run(app: web.Application) -> AsyncIterator[None]:
        async with service.running() as requests:
            app[_REQUESTS] = requests
            yield

    app.cleanup_ctx.append(run)


async def flags_of(request: web.Request) -> Flags:
    """The flags of a request, pinned at the first call: every evaluation of the request sees the same data.

    Raises:
        LifecycleError: the application was not set up, or has not started.
        ConfigError: the request has no context.
    """
    __tracebackhide__ = True
    flags: Flags | None = request.get(_FLAGS)
    return flags or await _requests_of(request).pin_once(request, request, _FLAGS)


@overload
def client_of(request: web.Request) -> Client: ...
@overload
def client_of(request: web.Request, kind: type[C]) -> C: ...
def client_of(request: web.Request, kind: type[BaseClient] = Client) -> BaseClient:
    """The client of the application: for its status, and for evaluations with another context than the one of the request.

    ``kind`` is its class: ``client_of(request, FlagdClient)``.

    Raises:
        LifecycleError: the application was not set up, or has not started.
        ConfigTypeError: the application has a client of another class.
    """
    __tracebackhide__ = True
    return require("the client of this application", _requests_of(request).client, kind)


def _requests_of(request: web.Request) -> RequestFlags[web.Request]:
    __tracebackhide__ = True
    # config_dict looks in the application of the handler, then in the applications around it.
    requests: RequestFlags[web.Request] | None = request.config_dict.get(_REQUESTS)
    if requests is None:
        raise LifecycleError(
            "the flags of this application have not started: call aioflags.aiohttp.setup(app, client) before it runs"
        )
    return requests
