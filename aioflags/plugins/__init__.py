"""Plugins: objects that add hooks to a client and get the client before it has data."""

from aioflags.plugins.plugin import ApplicationMetadata, EnvironmentMetadata, FlagdPlugin, MobilePlugin, Plugin, SdkMetadata
from aioflags.runtime.lazy import publish

__all__ = ["ApplicationMetadata", "EnvironmentMetadata", "FlagdPlugin", "MobilePlugin", "Plugin", "SdkMetadata"]

publish(__name__, globals(), __all__)
