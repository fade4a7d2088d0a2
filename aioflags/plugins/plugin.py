"""Plugin: an object that adds hooks to a client and gets the client before it has data. ``registration.py`` calls it.

Source: ``client-surface.md`` 7.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from aioflags.hooks.hook import Hook

if TYPE_CHECKING:
    from aioflags.client.client import Client

__all__ = ["ApplicationMetadata", "EnvironmentMetadata", "Plugin", "SdkMetadata"]


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
    """The environment of a plugin. ``application`` is ``None`` if no option names it. ``repr`` does not show the key."""

    sdk: SdkMetadata
    sdk_key: str = field(repr=False)
    application: ApplicationMetadata | None


@runtime_checkable
class Plugin(Protocol):
    """A plugin for ``Config(plugins=[…])``. Subclasses may leave out either method; other classes need both.

    If a method raises, it is logged with the plugin's ``name``; other plugins are not affected.
    """

    name: str

    def get_hooks(self, environment: EnvironmentMetadata) -> Sequence[Hook]:  # noqa: ARG002 -- subclasses use it
        """Returns the plugin's hooks. Called once, at the first start, for all plugins before the first is registered."""
        return ()

    def register(self, client: Client, environment: EnvironmentMetadata) -> Awaitable[None] | None:  # noqa: ARG002 -- as above
        """Called with the client at each start, before it has data. A coroutine function is awaited for at most 5 seconds."""
        return None
