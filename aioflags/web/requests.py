"""What every framework's integration shares: a client for as long as an application runs, and the flags of one request.

How a framework says "it starts", "it ends" and "this is the request" is left to the module that is named after it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from inspect import isawaitable
from typing import Any, Final, Generic, TypeAlias, TypeVar
from weakref import WeakSet

from aioflags.client.client import Client
from aioflags.client.flags import Flags
from aioflags.errors import ConfigError, ConfigTypeError, LifecycleError
from aioflags.model.context import Context
from aioflags.runtime.validation import require

__all__ = ["ClientOrMaker", "ContextOf", "RequestFlags", "Service"]

R = TypeVar("R")

ClientOrMaker: TypeAlias = Client | Callable[[], Client]
"""A client for one run of an application, or a function that makes one for each run."""

ContextOf: TypeAlias = Callable[[R], Context | Awaitable[Context]]
"""Whom a request is for: a plain or a coroutine function of the request."""


class RequestFlags(Generic[R]):
    """Pins the flags of requests, on one client.

    Raises:
        ConfigError: ``context`` is no function.
    """

    __slots__ = ("_context", "client")

    def __init__(self, client: Client, context: ContextOf[R] | None) -> None:
        self.client: Client = require("client", client, Client)
        self._context = _function(context)

    async def pin(self, request: R) -> Flags:
        """The flags for whom ``request`` is for, on the data of this moment.

        Raises:
            ConfigError: the function of the request made no context, or there is none, and nothing is ambient either.
        """
        __tracebackhide__ = True
        context: Any = None
        if self._context is not None:
            context = self._context(request)
            if not isinstance(context, Context) and isawaitable(context):
                context = await context
        flags = await self.client.flags(context)
        if flags.context is None:
            raise ConfigError(
                "context: this request has none. Say whom requests are for, by context=function_of_the_request where the client is"
                ' given, or by use_context around the request; Context("anyone", anonymous=True) will do for one without a user'
            )
        return flags


class Service(Generic[R]):
    """What an application was given: a client, or a function that makes one for each run, and whom its requests are for.

    ``remedy``: how a function is given in this framework, for a message.

    Raises:
        ConfigError: an argument of the wrong type.
    """

    def __init__(self, client: ClientOrMaker, context: ContextOf[R] | None, *, remedy: str) -> None:
        if not callable(client):
            require("client", client, Client, expected="a Client, or a function that makes one")
        self._client = client
        self._context = _function(context)
        self._remedy = remedy

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[RequestFlags[R], None]:
        """Starts the client, and closes it in the end.

        Raises:
            LifecycleError: the client has had its run, or belongs to another event loop.
        """
        client = self._client if isinstance(self._client, Client) else require("client", self._client(), Client)
        if client in _HAD_THEIRS:
            raise LifecycleError(
                "this client has been given to an application's run before, and is closed when that ends: give each run its own,"
                f" by a function that makes one, as in {self._remedy}"
            )
        _HAD_THEIRS.add(client)
        try:
            await client.start()
            yield RequestFlags(client, self._context)
        finally:
            await client.aclose()


_HAD_THEIRS: Final[WeakSet[Client]] = WeakSet()


def _function(context: ContextOf[R] | None) -> ContextOf[R] | None:
    if context is not None and not callable(context):
        raise ConfigTypeError(f"context: expected a function of the request, got {type(context).__name__}")
    return context
