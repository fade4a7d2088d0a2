"""EnvironmentMetadata of one client, for its plugins."""

from __future__ import annotations

from aioflags.config.config import Config
from aioflags.model.secret import SdkKey
from aioflags.plugins.plugin import ApplicationMetadata, EnvironmentMetadata, SdkMetadata
from aioflags.protocol.requests import PRODUCT, usable_tag
from aioflags.runtime.version import __version__

__all__ = ["environment_metadata"]


def environment_metadata(key: SdkKey, config: Config) -> EnvironmentMetadata:
    """The SDK, the key and the application of a client."""
    application = ApplicationMetadata(id=usable_tag(config.application_id), version=usable_tag(config.application_version))
    return EnvironmentMetadata(
        sdk=SdkMetadata(
            name=PRODUCT, version=__version__, wrapper_name=config.wrapper_name, wrapper_version=config.wrapper_version
        ),
        sdk_key=key.value,
        application=application if application.id or application.version else None,
    )
