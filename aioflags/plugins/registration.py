"""Registration: how the plugins of one client are asked for their hooks and shown the client.

Source: ``client-surface.md`` 7.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import anyio

from aioflags.hooks.hook import Hook
from aioflags.model.defaults import GUEST_LIMIT
from aioflags.plugins.plugin import ApplicationMetadata, EnvironmentMetadata, Plugin, SdkMetadata
from aioflags.protocol.requests import PRODUCT, usable_tag
from aioflags.runtime.cancellation import Contained
from aioflags.runtime.logs import display_name
from aioflags.runtime.validation import each
from aioflags.runtime.version import __version__

if TYPE_CHECKING:
    from aioflags.client.client import Client
    from aioflags.config.config import Config
    from aioflags.model.secret import SdkKey

__all__ = ["Registration", "environment_metadata"]


class Registration:
    """The plugins of one client. One that raises or hangs is logged, and the next one has its turn."""

    def __init__(self, plugins: Sequence[Plugin], environment: EnvironmentMetadata, logger: logging.Logger) -> None:
        self._plugins = plugins
        self._environment = environment
        self._logger = logger

    def hooks(self) -> list[Hook]:
        """Those that the plugins bring, in order."""
        found: list[Hook] = []
        for plugin in self._plugins:
            try:
                with Contained():
                    found += each("get_hooks", plugin.get_hooks(self._environment), Hook)
            except Exception as error:  # noqa: BLE001 -- a plugin is no reason for a client not to start
                self._failed(plugin, "get_hooks", error)
        return found

    async def register(self, client: Client) -> None:
        """Shows every plugin the client, one after the other."""
        for plugin in self._plugins:
            try:
                with Contained(), anyio.move_on_after(GUEST_LIMIT) as scope:
                    registering = plugin.register(client, self._environment)
                    if inspect.isawaitable(registering):
                        await registering
            except Exception as error:  # noqa: BLE001 -- as above
                self._failed(plugin, "register", error)
            else:
                if scope.cancelled_caught:
                    self._logger.error(
                        "plugin %s: register took longer than %g s, and was cancelled", display_name(plugin), GUEST_LIMIT
                    )

    def _failed(self, plugin: Plugin, method: str, error: Exception) -> None:
        self._logger.error("plugin %s: %s failed", display_name(plugin), method, exc_info=error)


def environment_metadata(key: SdkKey, config: Config) -> EnvironmentMetadata:
    """What plugins are told about a client."""
    application = ApplicationMetadata(id=usable_tag(config.application_id), version=usable_tag(config.application_version))
    return EnvironmentMetadata(
        sdk=SdkMetadata(
            name=PRODUCT, version=__version__, wrapper_name=config.wrapper_name, wrapper_version=config.wrapper_version
        ),
        sdk_key=key.value,
        application=application if application.id or application.version else None,
    )
