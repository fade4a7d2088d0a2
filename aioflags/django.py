"""Flags for Django under ASGI: a middleware for ``request.flags``, and a client that lives as long as the server.

::

    # settings.py
    MIDDLEWARE = [..., "aioflags.django.RequestFlagsMiddleware"]
    AIOFLAGS = {"CLIENT": "shop.flags.make_client", "CONTEXT": "shop.flags.user_of"}

    # asgi.py
    application = aioflags.django.asgi(get_asgi_application())

    # views.py
    async def checkout(request: FlagsRequest) -> HttpResponse:
        flags = await request.aflags()
        return HttpResponse("new" if flags.variation("new-checkout", False) else "old")

``settings.AIOFLAGS`` has up to three keys. A function is given as such, or by its dotted path.

- ``CLIENT``: a client, or a function that makes one; by default ``Client.from_env``.
- ``CONTEXT``: a plain or coroutine function of the ``HttpRequest`` that returns its context; by default the ambient context.
- ``AMBIENT``: ``True`` computes the context of each request, and makes it ambient while the view runs. By default it is computed
  when a request first uses its flags.

Django is a dependency of the program; aioflags has no extra for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from inspect import iscoroutine
from traceback import format_exc
from typing import Any, Final, TypeAlias, TypeVar, cast, overload

try:
    from asgiref.sync import async_to_sync, iscoroutinefunction, markcoroutinefunction
    from django.conf import settings
    from django.http import HttpRequest, HttpResponseBase
    from django.template import Context as TemplateContext
    from django.template import Library
    from django.utils.functional import SimpleLazyObject
    from django.utils.module_loading import import_string
except ModuleNotFoundError as _missing:
    _message = f"aioflags.django needs {(_missing.name or '').partition('.')[0]}: pip install django"
    raise ModuleNotFoundError(_message, name=_missing.name) from None

from aioflags.client.client import Client
from aioflags.client_core.application_client import ApplicationClient, RequestFlags
from aioflags.client_core.base_client import BaseClient
from aioflags.client_core.fast_path import use_context
from aioflags.client_core.flags import Flags
from aioflags.errors import ConfigError, LifecycleError
from aioflags.model.context import Context
from aioflags.runtime.fork import Lock
from aioflags.runtime.validation import require

__all__ = ["FlagsRequest", "RequestFlagsMiddleware", "asgi", "current_client", "register", "running"]

C = TypeVar("C", bound=BaseClient)
App: TypeAlias = Callable[[Any, Any, Any], Awaitable[object]]


class FlagsRequest(HttpRequest):
    """The type of a request with the attributes that :class:`RequestFlagsMiddleware` sets: ``def view(request: FlagsRequest)``.

    ``flags`` are the flags of the request, pinned at first use: every evaluation of the request sees the same data. Plain views and
    templates use them directly. ``await request.aflags()`` returns the same flags in async code, where a ``CONTEXT`` that is a
    coroutine function has to be awaited, and flags from a server or big segments may have to be fetched.
    """

    flags: Flags
    aflags: Callable[[], Awaitable[Flags]]


class RequestFlagsMiddleware:
    """Sets ``request.flags`` and ``request.aflags``, as :class:`FlagsRequest` describes them.

    Put it below the middlewares whose attributes ``CONTEXT`` uses, such as ``AuthenticationMiddleware``.

    Raises:
        ConfigError: ``settings.AIOFLAGS`` has a mistake.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        current_site()
        self._get_response = get_response
        # This one knows functions that are marked. It is called deprecated because it was asyncio's.
        self._is_async = iscoroutinefunction(get_response)  # pyright: ignore[reportDeprecated]
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        """Pass the request on."""
        asked = cast("FlagsRequest", request)
        asked.flags = cast("Flags", SimpleLazyObject(partial(_pin_nowait, asked)))
        asked.aflags = partial(_pin, asked)
        if not current_site().is_ambient:
            return cast("HttpResponseBase | Awaitable[HttpResponseBase]", self._get_response(request))
        return self._await_ambient(asked) if self._is_async else self._call_ambient(asked)

    async def _await_ambient(self, request: FlagsRequest) -> HttpResponseBase:
        with use_context(cast("Context", (await request.aflags()).context)):  # pin() raises without one
            return cast("HttpResponseBase", await self._get_response(request))

    def _call_ambient(self, request: FlagsRequest) -> HttpResponseBase:
        with use_context(cast("Context", request.flags.context)):
            return cast("HttpResponseBase", self._get_response(request))


def asgi(application: App) -> App:
    """Wrap the application of ``asgi.py``: start the client with the server, and close it at the end.

    A server without a lifespan, such as daphne, starts the client at the first request, and ends without closing it.
    """
    return LifespanApplication(application, running)


@asynccontextmanager
async def running() -> AsyncGenerator[BaseClient, None]:
    """Start the client of the settings, and close it at the end of the block. Requests of this process use it inside the block.

    :func:`asgi` does this for an ASGI server. Use it in async commands, and with a portal under WSGI.

    Raises:
        ConfigError: ``settings.AIOFLAGS`` has a mistake.
        LifecycleError: the client was used for an earlier run, or one runs in this process now.
    """
    site = current_site()
    if site.is_running:
        raise LifecycleError("the client of settings.AIOFLAGS runs in this process already; use current_client()")
    site.is_running = True
    try:
        async with site.service.running() as requests:
            site.requests = requests
            yield requests.client
    finally:
        site.requests, site.is_running = site.service.not_started(), False


@overload
def current_client() -> Client: ...
@overload
def current_client(kind: type[C]) -> C: ...
def current_client(kind: type[BaseClient] = Client) -> BaseClient:
    """The client of this process: for its status, and for evaluations with another context than the one of a request.

    ``kind`` is its class: ``current_client(FlagdClient)``.

    Raises:
        LifecycleError: no client runs.
        ConfigTypeError: the client has another class.
    """
    __tracebackhide__ = True
    return require("the client of settings.AIOFLAGS", _requests().client, kind)


register: Final = Library()
"""A template library with the tag ``{% flag "new-checkout" False as is_new %}``. Name ``aioflags.django`` in the ``libraries`` or
``builtins`` of ``TEMPLATES``."""


@register.simple_tag(takes_context=True, name="flag")
def _flag(context: TemplateContext, key: str, default: Any = None) -> object:
    request: Any = getattr(context, "request", None)
    if request is None:
        raise ConfigError("{% flag %}: this template has no request; pass it to render() or render_to_string()")
    return request.flags.variation(key, default)


def _requests() -> RequestFlags[HttpRequest]:
    __tracebackhide__ = True
    if (requests := current_site().requests) is None:
        raise LifecycleError(
            "the client of settings.AIOFLAGS has not started: wrap the application in asgi.py, as in"
            " aioflags.django.asgi(get_asgi_application()), and run it under an ASGI server, which `manage.py runserver` is not."
            " In a command write `async with aioflags.django.running():`. A test replaces CLIENT, by the fixture flags for example"
        )
    return requests


async def _pin(request: FlagsRequest) -> Flags:
    __tracebackhide__ = True
    kept = vars(request)
    request.flags = kept.get(_KEY) or await _requests().pin_once(request, kept, _KEY)
    return request.flags


def _pin_nowait(request: FlagsRequest) -> Flags:
    __tracebackhide__ = True
    kept = vars(request)
    # Two threads of a request may pin flags. Those that were pinned first count.
    request.flags = kept.get(_KEY) or kept.setdefault(_KEY, _requests().pin_nowait(request, _wait_for))
    return request.flags


_KEY: Final = "_aioflags"


def _wait_for(context: Awaitable[Context]) -> Context:
    """Run a coroutine function of the request from plain code: under ASGI on the server's event loop, otherwise on a new one."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return async_to_sync(_awaited)(context)
    if iscoroutine(context):
        context.close()  # it would warn that it was never awaited
    raise ConfigError(
        'settings.AIOFLAGS["CONTEXT"] is a coroutine function, which request.flags cannot await in async code:'
        " call `await request.aflags()` first, also for templates that an async view renders"
    )


async def _awaited(context: Awaitable[Context]) -> Context:
    return await context


# -- The lifespan of an ASGI server, for an application that does not handle it, such as Django's.


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


# -- The meaning of Django's ``settings.AIOFLAGS``, and the client that runs for it in this process.


_REMEDY: Final = 'AIOFLAGS = {"CLIENT": "shop.flags.make_client"}'
_NO_OPTIONS: Final[Mapping[str, object]] = {}


class DjangoSite:
    """The checked options of ``settings.AIOFLAGS``, and the flags of requests.

    Raises:
        ConfigError: the options have a mistake.
    """

    def __init__(self, options: Mapping[str, object]) -> None:
        require("settings.AIOFLAGS", options, Mapping)
        if unknown := sorted(map(str, options.keys() - {"CLIENT", "CONTEXT", "AMBIENT"})):
            raise ConfigError(f"settings.AIOFLAGS: unknown key {unknown[0]!r}; it may have CLIENT, CONTEXT and AMBIENT")
        self.options: Mapping[str, object] = options
        self.is_ambient: bool = bool(require('settings.AIOFLAGS["AMBIENT"]', options.get("AMBIENT", False), bool))
        client = Client.from_env if options.get("CLIENT") is None else _loaded(options, "CLIENT")
        self.service: ApplicationClient[HttpRequest] = ApplicationClient(client, _loaded(options, "CONTEXT"), remedy=_REMEDY)
        self.requests: RequestFlags[HttpRequest] | None = self.service.not_started()
        """``None`` while no client runs."""
        self.is_running: bool = False


_sites: Final[list[DjangoSite]] = []
"""Those that run, and the last one: tests replace settings for a time."""
_LOCK: Final = Lock()


def current_site() -> DjangoSite:
    """The site for the settings of this moment. Raises :class:`ConfigError` for a mistake in them."""
    options: Mapping[str, object] = getattr(settings, "AIOFLAGS", _NO_OPTIONS)
    with _LOCK:
        site = next((site for site in _sites if site.options is options), None)
        if site is None:
            site = DjangoSite(options)
            _sites[:] = [*(kept for kept in _sites if kept.is_running), site]
        return site


def _loaded(options: Mapping[str, object], key: str) -> Any:
    value = options.get(key)
    try:
        return import_string(value) if isinstance(value, str) else value
    except ImportError as error:
        raise ConfigError(f'settings.AIOFLAGS["{key}"]: {error}') from error
