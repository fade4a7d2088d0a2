"""Registration: collects the hooks of one client's plugins, and hands the client to them.

Source: ``client-surface.md`` 7.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import anyio

from aioflags.hooks import Hook
from aioflags.model.defaults import GUEST_LIMIT
from aioflags.plugins import AnyPlugin, EnvironmentMetadata
from aioflags.runtime.event_loops import contain_cancellation
from aioflags.runtime.logs import display_name
from aioflags.runtime.validation import require_items

P = TypeVar("P", bound=AnyPlugin)


class Registration(Generic[P]):
    """The plugins of one client. A plugin that raises or hangs is logged and skipped."""

    def __init__(self, plugins: Sequence[P], environment: EnvironmentMetadata, logger: logging.Logger) -> None:
        self._plugins = plugins
        self._environment = environment
        self._logger = logger
        self._has_hooks = False

    def hooks(self) -> list[Hook]:
        """The hooks of all plugins, in order, at the first call; no hooks at others."""
        hooks: list[Hook] = []
        plugins = () if self._has_hooks else self._plugins
        self._has_hooks = True
        for plugin in plugins:
            try:
                with contain_cancellation():
                    hooks += require_items("get_hooks", plugin.get_hooks(self._environment), Hook)
            except Exception as error:  # noqa: BLE001 -- the client starts without the plugin
                self._failed(plugin, "get_hooks", error)
        return hooks

    async def register(self, register: Callable[[P, EnvironmentMetadata], Awaitable[None] | None]) -> None:
        """Calls ``register`` for every plugin, one after the other. That function hands the client to the plugin."""
        for plugin in self._plugins:
            try:
                with contain_cancellation(), anyio.move_on_after(GUEST_LIMIT) as scope:
                    registering = register(plugin, self._environment)
                    if inspect.isawaitable(registering):
                        await registering
            except Exception as error:  # noqa: BLE001 -- as above
                self._failed(plugin, "register", error)
            else:
                if scope.cancelled_caught:
                    self._logger.error(
                        "plugin %s: register took longer than %g s, and was cancelled", display_name(plugin), GUEST_LIMIT
                    )

    def _failed(self, plugin: AnyPlugin, method: str, error: Exception) -> None:
        self._logger.error("plugin %s: %s failed", display_name(plugin), method, exc_info=error)
