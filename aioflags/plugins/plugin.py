"""Plugin: what brings hooks to a client, and sees it before its data system starts. How they are called: ``registration.py``.

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
    """Which SDK it is, and which library wraps it, if one does."""

    name: str
    version: str
    wrapper_name: str | None
    wrapper_version: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationMetadata:
    """Which application it is, as far as its options can be used: ``None`` stands for what cannot."""

    id: str | None
    version: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentMetadata:
    """Where a plugin is. ``application`` is ``None`` where no option says anything about it. The key is not shown by ``repr``."""

    sdk: SdkMetadata
    sdk_key: str = field(repr=False)
    application: ApplicationMetadata | None


@runtime_checkable
class Plugin(Protocol):
    """Something for ``Config(plugins=[…])``. Subclasses may leave out either method; a class of its own needs both.

    What raises is logged with the plugin's ``name``, and harms no other plugin.
    """

    name: str

    def get_hooks(self, environment: EnvironmentMetadata) -> Sequence[Hook]:  # noqa: ARG002 -- for those who override it
        """Its hooks. Asked once, when the client first starts, of all plugins before the first is registered."""
        return ()

    def register(self, client: Client, environment: EnvironmentMetadata) -> Awaitable[None] | None:  # noqa: ARG002 -- as above
        """Shows it the client, once a start, before there is data. A coroutine function is waited for, at most 5 seconds."""
        return None
