"""The description of a client in diagnostic events: its configuration and platform, without addresses, proxies and keys.

Source: ``events.md`` 12.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from aioflags.client_core.diagnostics import common_configuration
from aioflags.config.config import Config
from aioflags.config.data_system import DataSystem
from aioflags.events.surroundings import describe_platform
from aioflags.model.defaults import BASE_URI, EVENTS_URI, STREAM_URI
from aioflags.protocol.diagnostics import Configuration, Description, Sdk, millis, whole
from aioflags.protocol.requests import PRODUCT
from aioflags.runtime.logs import printable
from aioflags.runtime.version import __version__
from aioflags.stores.base import Described

__all__ = ["describe_client"]

_MEMORY: Final = "memory"
_CUSTOM: Final = "custom"


def describe_client(config: Config, environment: Mapping[str, str]) -> Description:
    """The description of a client with ``config``. ``environment`` (as ``os.environ``) may name proxies."""
    return Description(
        sdk=Sdk(name=PRODUCT, version=__version__, wrapper_name=config.wrapper_name, wrapper_version=config.wrapper_version),
        configuration=_configuration(config, environment),
        platform=describe_platform(),
    )


def _configuration(config: Config, environment: Mapping[str, str]) -> Configuration:
    system, events = config.data_system, config.events
    builders = [*system.initializers, *system.synchronizers]
    common = common_configuration(
        config,
        builders,
        service=(BASE_URI, STREAM_URI, EVENTS_URI),
        poll_interval=system.poll_interval,
        reconnect_delay=system.initial_reconnect_delay,
        environment=environment,
    )
    return Configuration(
        **common,
        using_relay_daemon=system.persistence is not None and not builders,
        user_keys_capacity=whole(events.context_keys_capacity),
        user_keys_flush_interval_millis=millis(events.context_keys_flush_interval),
        data_store_type=_store_type(system),
    )


def _store_type(system: DataSystem) -> str:
    if system.persistence is None:
        return _MEMORY
    store = system.persistence.store
    return printable(store.description) if isinstance(store, Described) else _CUSTOM
