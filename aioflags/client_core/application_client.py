"""Runs a client with a web application, and pins the flags of each request. Shared by all framework integrations.

The start, the end and the request of a framework are handled in the module with its name.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from inspect import isawaitable
from typing import Any, Final, Generic, TypeAlias, TypeVar
from weakref import WeakSet

from aioflags.client_core.base_client import BaseClient
from aioflags.client_core.flags import Flags
from aioflags.errors import ConfigError, ConfigTypeError, LifecycleError
from aioflags.model.context import Context
from aioflags.runtime.logs import class_name
from aioflags.runtime.tasks import SingleFlight
from aioflags.runtime.validation import require

R = TypeVar("R")

ClientOrMaker: TypeAlias = BaseClient | Callable[[], BaseClient]
"""A client for one run of an application, or a function that makes one for each run."""

ContextOf: TypeAlias = Callable[[R], Context | Awaitable[Context]]
"""A plain or coroutine function that returns the context of a request."""


class RequestFlags(Generic[R]):
    """Pins the flags of requests, on one client.

    Raises:
        ConfigError: ``context`` is not a function.
    """

    __slots__ = ("_context", "_pinning", "client")

    def __init__(self, client: BaseClient, context: ContextOf[R] | None) -> None:
        self.client: BaseClient = require("client", client, BaseClient, expected="Client")
        self._context = _checked_function(context)
        self._pinning = SingleFlight()

    async def pin_once(self, request: R, kept: MutableMapping[Any, Any], key: object) -> Flags:
        """:meth:`pin` for a request that has no flags yet. It keeps them as ``kept[key]``.

        Tasks of the request that call this at the same time get the same flags, or the same exception. If the first one is
        cancelled, another one pins the flags. After an exception the next call tries again.
        """
        __tracebackhide__ = True

        async def pin() -> Flags:
            flags: Flags = kept.setdefault(key, await self.pin(request))  # plain code of another thread may have pinned some
            return flags

        return await self._pinning.share(id(kept), pin)

    async def pin(self, request: R) -> Flags:
        """The flags for the context of ``request``, on the current data.

        Raises:
            ConfigError: there is no context: no function of the request returned one, and none is ambient.
        """
        __tracebackhide__ = True
        context: Any = None if self._context is None else self._context(request)
        if not isinstance(context, Context) and isawaitable(context):
            context = await context
        return _with_context(await self.client.flags(context))

    def pin_nowait(self, request: R, wait_for: Callable[[Awaitable[Context]], Context]) -> Flags:
        """:meth:`pin` for plain code, from any thread. ``wait_for`` runs what a coroutine function of the request returns."""
        __tracebackhide__ = True
        context: Any = None if self._context is None else self._context(request)
        if not isinstance(context, Context) and isawaitable(context):
            context = wait_for(context)
        return _with_context(self.client.flags_nowait(context))


class ApplicationClient(Generic[R]):
    """The client of an application, or a function that makes one for each run, and the function for the contexts of requests.

    ``remedy`` is example code for the error message: how to pass a function that makes clients in this framework.

    Raises:
        ConfigError: an argument of the wrong type.
    """

    def __init__(self, client: ClientOrMaker, context: ContextOf[R] | None, *, remedy: str) -> None:
        if not callable(client):
            require("client", client, BaseClient, expected="a Client, or a function that makes one")
        self._client = client
        self._context = _checked_function(context)
        self._remedy = remedy

    def not_started(self) -> RequestFlags[R] | None:
        """Pins flags on a client that the program starts itself; ``None`` if a function makes a client for each run."""
        return RequestFlags(self._client, self._context) if isinstance(self._client, BaseClient) else None

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[RequestFlags[R], None]:
        """Start the client, and close it at the end of the block.

        Raises:
            LifecycleError: the client was used for an earlier run, or belongs to another event loop.
        """
        given = self._client
        client = given if isinstance(given, BaseClient) else require("client", given(), BaseClient, expected="Client")
        if client in _USED_CLIENTS:
            raise LifecycleError(
                "this client belongs to an earlier run of the application, which closes it at its end. Pass a function that makes"
                f" a client for each run: {self._remedy}"
            )
        _USED_CLIENTS.add(client)
        try:
            await client.start()
            yield RequestFlags(client, self._context)
        finally:
            await client.aclose()


_USED_CLIENTS: Final[WeakSet[BaseClient]] = WeakSet()


def _with_context(flags: Flags) -> Flags:
    __tracebackhide__ = True
    if flags.context is None:
        raise ConfigError(
            "context: this request has none. Pass context=function_of_the_request, or enter use_context around"
            ' the request. For a request without a user, use Context("anyone", anonymous=True)'
        )
    return flags


def _checked_function(context: ContextOf[R] | None) -> ContextOf[R] | None:
    if context is not None and not callable(context):
        raise ConfigTypeError(f"context: expected a function of the request, got {class_name(context)}")
    return context
