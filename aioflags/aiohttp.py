"""Flags for aiohttp: ``setup`` once for an application, ``await flags_of(request)`` in its handlers.

::

    app = web.Application()
    aioflags.aiohttp.setup(app, Client("sdk-key"), context=context_of)

    async def checkout(request: web.Request) -> web.Response:
        flags = await aioflags.aiohttp.flags_of(request)
        return web.Response(text="new" if flags.variation("new-checkout", False) else "old")

aiohttp is the user's own dependency: there is no extra for it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

try:
    from aiohttp import web
except ModuleNotFoundError as _missing:
    _message = f"aioflags.aiohttp needs {_missing.name}: pip install aiohttp"
    raise ModuleNotFoundError(_message, name=_missing.name) from None

from aioflags.client.client import Client
from aioflags.client.flags import Flags
from aioflags.errors import ConfigError, LifecycleError
from aioflags.runtime.validation import require
from aioflags.web.requests import ClientOrMaker, ContextOf, RequestFlags, Service

__all__ = ["client_of", "flags_of", "setup"]

_SERVICE: Final = web.AppKey("aioflags.service", Service[web.Request])
_REQUESTS: Final = web.AppKey("aioflags.requests", RequestFlags[web.Request])
# Keys of requests have a type of their own since aiohttp 3.14; before, any would do.
_FLAGS: Final[Any] = getattr(web, "RequestKey", web.AppKey)("aioflags.client.flags", Flags)


def setup(app: web.Application, client: ClientOrMaker, *, context: ContextOf[web.Request] | None = None) -> None:
    """Starts the client with the application, and closes it in the end; the application's subapplications share it.

    ``client`` may be a function that makes one. ``context`` says whom a request is for, as a plain or coroutine function of
    it; without it the ambient context counts.

    Raises:
        ConfigError: an argument of the wrong type, or an application that has been set up.
    """
    __tracebackhide__ = True
    require("app", app, web.Application, expected="an aiohttp Application, and after it the client, as in setup(app, client)")
    if _SERVICE in app:
        raise ConfigError("app: it has been set up for flags before; one client serves it and its subapplications")
    service = app[_SERVICE] = Service(client, context, remedy="setup(app, lambda: Client(...))")

    async def run(app: web.Application) -> AsyncIterator[None]:
        async with service.running() as requests:
            app[_REQUESTS] = requests
            yield

    app.cleanup_ctx.append(run)


async def flags_of(request: web.Request) -> Flags:
    """The flags of a request, pinned when they are first asked for: every evaluation sees the same data.

    Raises:
        LifecycleError: the application has not been set up, or has not started.
        ConfigError: nobody says whom the request is for.
    """
    __tracebackhide__ = True
    flags: Flags | None = request.get(_FLAGS)
    if flags is None:
        flags = request[_FLAGS] = await _requests_of(request).pin(request)
    return flags


def client_of(request: web.Request) -> Client:
    """The client of the application: for its status, and for evaluations in another context than the request's.

    Raises:
        LifecycleError: the application has not been set up, or has not started.
    """
    __tracebackhide__ = True
    return _requests_of(request).client


def _requests_of(request: web.Request) -> RequestFlags[web.Request]:
    __tracebackhide__ = True
    # Through all applications around the handler's, from the inside.
    requests: RequestFlags[web.Request] | None = request.config_dict.get(_REQUESTS)
    if requests is None:
        raise LifecycleError(
            "the flags of this application have not started: call aioflags.aiohttp.setup(app, client) before it runs"
        )
    return requests
