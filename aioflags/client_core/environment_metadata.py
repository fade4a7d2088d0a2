"""EnvironmentMetadata of one client of LaunchDarkly's service, for its plugins."""

from __future__ import annotations

from typing import Protocol

from aioflags.model.secret import SdkKey
from aioflags.plugins.plugin import ApplicationMetadata, EnvironmentMetadata, SdkMetadata
from aioflags.protocol.requests import usable_tag
from aioflags.runtime.version import __version__

__all__ = ["environment_metadata"]


class _Options(Protocol):
    """The options that :class:`Config` and :class:`MobileConfig` share."""

    @property
    def application_id(self) -> str | None: ...
    @property
    def application_version(self) -> str | None: ...
    @property
    def wrapper_name(self) -> str | None: ...
    @property
    def wrapper_version(self) -> str | None: ...


def environment_metadata(product: str, key: SdkKey, config: _Options) -> EnvironmentMetadata:
    """The SDK, which is called ``product``, the key, and the application that the options name."""
    application = ApplicationMetadata(id=usable_tag(config.application_id), version=usable_tag(config.application_version))
    return EnvironmentMetadata(
        sdk=SdkMetadata(
            name=product, version=__version__, wrapper_name=config.wrapper_name, wrapper_version=config.wrapper_version
        ),
        sdk_key=key.value,
        application=application if application.id or application.version else None,
    )
