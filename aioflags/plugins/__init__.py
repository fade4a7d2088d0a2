"""Plugins: what brings hooks to a client, and is handed the client before it starts."""

from aioflags.plugins.plugin import ApplicationMetadata, EnvironmentMetadata, Plugin, SdkMetadata
from aioflags.runtime.lazy import publish

__all__ = ["ApplicationMetadata", "EnvironmentMetadata", "Plugin", "SdkMetadata"]

publish(__name__, globals(), __all__)
