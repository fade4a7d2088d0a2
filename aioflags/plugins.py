"""Plugins: objects that add hooks to a client and get the client before it has data."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

from aioflags.hooks import Hook
from aioflags.runtime.validation import require_methods, require_name, require_sequence

if TYPE_CHECKING:
    from aioflags.client.client import Client
    from aioflags.flagd.client import FlagdClient
    from aioflags.mobile.environment import MobileEnvironment

__all__ = ["ApplicationMetadata", "EnvironmentMetadata", "FlagdPlugin", "MobilePlugin", "Plugin", "SdkMetadata"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SdkMetadata:
    """The name and version of the SDK, and of the library that wraps it, if there is one."""

    name: str
    version: str
    wrapper_name: str | None
    wrapper_version: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationMetadata:
    """The application that the options name. ``None``: the option is not set or not valid."""

    id: str | None
    version: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentMetadata:
    """The environment of a plugin. ``application`` is ``None`` if no option names it. ``repr`` does not show the key.

    ``sdk_key`` is the mobile key for a client with such a key, and ``""`` for a client for flagd, which has no key.
    """

    sdk: SdkMetadata
    sdk_key: str = field(repr=False)
    application: ApplicationMetadata | None


class AnyPlugin(Protocol):
    """What plugins of all clients have in common."""

    name: str

    def get_hooks(self, environment: EnvironmentMetadata) -> Sequence[Hook]:  # noqa: ARG002 -- subclasses use it
        """Returns the plugin's hooks. Called once, at the first start, for all plugins before the first is registered."""
        return ()


@runtime_checkable
class Plugin(AnyPlugin, Protocol):
    """A plugin for ``Config(plugins=[…])``. Subclasses may leave out either method; other classes need both.

    If a method raises, it is logged with the plugin's ``name``; other plugins are not affected. A plugin whose ``register`` takes
    ``client: Client | FlagdClient | MobileEnvironment`` is one for ``FlagdConfig`` and ``MobileConfig``, too.
    """

    def register(self, client: Client, environment: EnvironmentMetadata) -> Awaitable[None] | None:  # noqa: ARG002 -- subclasses use it
        """Called with the client at each start, before it has data. A coroutine function is awaited for at most 5 seconds."""
        return None


@runtime_checkable
class FlagdPlugin(AnyPlugin, Protocol):
    """A plugin for ``FlagdConfig(plugins=[…])``: as :class:`Plugin`, with another client."""

    def register(self, client: FlagdClient, environment: EnvironmentMetadata) -> Awaitable[None] | None:  # noqa: ARG002 -- subclasses use it
        """Called with the client at each start, before it has data. A coroutine function is awaited for at most 5 seconds."""
        return None


@runtime_checkable
class MobilePlugin(AnyPlugin, Protocol):
    """A plugin for ``MobileConfig(plugins=[…])``: as :class:`Plugin`, with another client.

    A :class:`MobileClient` is registered as its environment ``"default"``, and then each of its further environments.
    """

    def register(
        self,
        client: MobileEnvironment,  # noqa: ARG002 -- subclasses use it
        environment: EnvironmentMetadata,  # noqa: ARG002 -- subclasses use it
    ) -> Awaitable[None] | None:
        """Called with the environment at its start, before it has data. A coroutine function is awaited for at most 5 seconds."""
        return None


P = TypeVar("P", bound=AnyPlugin)


def require_plugins(option: str, plugins: Sequence[P]) -> tuple[P, ...]:
    """The check of the option ``plugins``, which becomes a tuple.

    Raises:
        ConfigTypeError: it is not a sequence, or an item has no name or lacks a method. The message names it.
    """
    for plugin in require_sequence(option, plugins, "Plugin"):
        for protocol in (AnyPlugin, Plugin):
            require_methods(option, plugin, protocol, "plugin")
        require_name(option, plugin, "plugin")
    return tuple(plugins)
