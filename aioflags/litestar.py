"""Flags for Litestar: a plugin that runs the client, and the flags of a request as a dependency.

::

    app = Litestar([checkout], plugins=[FlagsPlugin(Client("sdk-key"), context=context_of)])

    @get("/checkout")
    async def checkout(flags: CurrentFlags) -> str:
        return "new" if flags.variation("new-checkout", False) else "old"

Litestar is a dependency of the program; aioflags has no extra for it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias, TypeVar, cast, overload

try:
    from litestar.config.app import AppConfig
    from litestar.connection import ASGIConnection
    from litestar.di import NamedDependency, Provide
    from litestar.plugins import InitPlugin
    from litestar.types import Scope
except ModuleNotFoundError as _missing:
    _message = f"aioflags.litestar needs {(_missing.name or '').partition('.')[0]}: pip install litestar"
    raise ModuleNotFoundError(_message, name=_missing.name) from None

from aioflags import asgi
from aioflags.client.client import Client
from aioflags.client_core.application_client import ApplicationClient, ClientOrMaker, ContextOf
from aioflags.client_core.base_client import BaseClient
from aioflags.client_core.flags import Flags, FlagsState
from aioflags.errors import ConfigError
from aioflags.model.context import Context
from aioflags.model.detail import FlagMetadata
from aioflags.runtime.validation import require

__all__ = ["CurrentClient", "CurrentFlags", "FlagsPlugin", "client_of", "flags_of"]

C = TypeVar("C", bound=BaseClient)

Connection: TypeAlias = ASGIConnection[Any, Any, Any, Any]
"""A request or a websocket, as guards get it."""


class FlagsPlugin(InitPlugin):
    """For ``Litestar(plugins=[…])``: starts the client before everything else in the lifespan, and closes it last.

    It adds the dependencies ``flags`` and ``flags_client``: a parameter with one of these names, and the type :data:`CurrentFlags`
    or :data:`CurrentClient`, gets it.

    Args:
        client: a client, or a function that makes one. An application that runs more than once, as in tests, needs a function.
        context: a plain or coroutine function of the ``ASGIConnection`` that returns the context of a request. ``None``: the
            ambient context.
        ambient: computes the context of each request, after the middlewares of the application, and makes it ambient while the
            handler runs: evaluations need no ``context`` argument.

    Raises:
        ConfigError: an argument has the wrong type.
    """

    __slots__ = ("_is_ambient", "_lifespan")

    def __init__(self, client: ClientOrMaker, *, context: ContextOf[Connection] | None = None, ambient: bool = False) -> None:
        def of_scope(scope: asgi.Scope) -> Context | Awaitable[Context]:
            return cast("ContextOf[Connection]", context)(ASGIConnection(cast("Scope", scope)))

        of_request: Any = of_scope if callable(context) else context
        self._lifespan = asgi.lifespan_of(ApplicationClient(client, of_request, remedy="FlagsPlugin(lambda: Client(...))"))
        self._is_ambient = require("ambient", ambient, bool)

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        """Add the lifespan, the dependencies, and how values of flags are written.

        Raises:
            ConfigError: the application has dependencies with these names.
        """
        if taken := sorted(_DEPENDENCIES.keys() & app_config.dependencies.keys()):
            raise ConfigError(
                f"dependencies: the application has {taken[0]!r} already, which FlagsPlugin provides. One plugin serves an"
                " application. Give your own dependency another name, or pass it to a router, controller or handler"
            )
        app_config.dependencies.update(_DEPENDENCIES)
        app_config.type_encoders = {**_ENCODERS, **(app_config.type_encoders or {})}
        app_config.lifespan.insert(0, self._lifespan)  # pyright: ignore[reportUnknownMemberType] -- of what a lifespan yields
        if self._is_ambient:
            app_config.middleware.append(cast("Any", asgi.FlagsMiddleware))  # the types of ASGI differ
        return app_config


CurrentFlags: TypeAlias = NamedDependency[Flags]
"""For a parameter ``flags``: the flags of a request or websocket, pinned at first use. Every evaluation of the request sees the
same data."""

CurrentClient: TypeAlias = NamedDependency[Client]
"""For a parameter ``flags_client``: the client of the application, for its status, and for evaluations with another context than
the one of the request. A client of another class has the type ``NamedDependency[FlagdClient]``."""


async def flags_of(connection: Connection) -> Flags:
    """The flags of a request or websocket where nothing is injected: in guards, middlewares and hooks.

    Raises:
        LifecycleError: the application runs without the plugin, or its lifespan has not started.
        ConfigError: the request has no context.
    """
    __tracebackhide__ = True
    return await _flags(connection.scope)


@overload
def client_of(connection: Connection) -> Client: ...
@overload
def client_of(connection: Connection, kind: type[C]) -> C: ...
def client_of(connection: Connection, kind: type[BaseClient] = Client) -> BaseClient:
    """The client of the application where nothing is injected. ``kind`` is its class: ``client_of(request, FlagdClient)``.

    Raises:
        LifecycleError: the application runs without the plugin, or its lifespan has not started.
        ConfigTypeError: the application has a client of another class.
    """
    __tracebackhide__ = True
    return require("the client of this application", asgi.requests_of(cast("asgi.Scope", connection.scope)).client, kind)


async def _flags(scope: Scope) -> Flags:
    __tracebackhide__ = True
    return await asgi.flags_of(cast("asgi.Scope", scope))


async def _flags_client(scope: Scope) -> BaseClient:
    __tracebackhide__ = True
    return asgi.requests_of(cast("asgi.Scope", scope)).client


_DEPENDENCIES: Final = {"flags": Provide(_flags), "flags_client": Provide(_flags_client)}
_ENCODERS: Final[dict[type, Callable[[Any], Any]]] = {FlagMetadata: dict, FlagsState: FlagsState.to_json_dict}
"""How Litestar writes what clients return and msgspec does not know. An evaluation detail has metadata."""
