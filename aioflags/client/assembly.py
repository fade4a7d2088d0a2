"""Assembly: creates the parts of a client and connects them."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING

from aioflags.client.data_updates import DataUpdates, first_snapshot
from aioflags.client_core.core import Core
from aioflags.client_core.service import ServiceConnection, common_configuration, deliver_events, environment_metadata
from aioflags.config.config import Config
from aioflags.events.diagnostics import describe_platform
from aioflags.model.defaults import BASE_URI, EVENTS_URI, STREAM_URI
from aioflags.model.secret import SdkKey
from aioflags.protocol.diagnostic_json import Configuration, Description, Sdk, millis, whole
from aioflags.protocol.requests import PRODUCT, identity_headers
from aioflags.runtime.logs import printable
from aioflags.runtime.version import __version__
from aioflags.stores.base import Described

if TYPE_CHECKING:
    from aioflags.persistence.big_segments import BigSegmentLookup

# -- The description of a client in diagnostic events: its configuration and platform, without addresses, proxies and keys.
# Source: ``events.md`` 12.2.


def describe_client(config: Config, environment: Mapping[str, str]) -> Description:
    """The description of a client with ``config``. ``environment`` (as ``os.environ``) may name proxies."""
    system, events = config.data_system, config.events
    data_store_type = "memory"
    if system.persistence is not None:
        store = system.persistence.store
        data_store_type = printable(store.description) if isinstance(store, Described) else "custom"
    builders = [*system.initializers, *system.synchronizers]
    common = common_configuration(
        config,
        builders,
        service=(BASE_URI, STREAM_URI, EVENTS_URI),
        poll_interval=system.poll_interval,
        reconnect_delay=system.initial_reconnect_delay,
        environment=environment,
    )
    return Description(
        sdk=Sdk(name=PRODUCT, version=__version__, wrapper_name=config.wrapper_name, wrapper_version=config.wrapper_version),
        configuration=Configuration(
            **common,
            using_relay_daemon=system.persistence is not None and not builders,
            user_keys_capacity=whole(events.context_keys_capacity),
            user_keys_flush_interval_millis=millis(events.context_keys_flush_interval),
            data_store_type=data_store_type,
        ),
        platform=describe_platform(),
    )


def assemble(config: Config, key: SdkKey) -> tuple[Core, DataUpdates]:
    """Creates the parts of one client with the SDK key ``key``."""
    logger = config.logger
    core = Core(
        first_snapshot(config),
        logger,
        environment_metadata(PRODUCT, key, config),
        hooks=config.hooks,
        plugins=config.plugins,
        start_wait=config.start_wait,
        close_timeout=config.close_timeout,
        events=config.events,
        defaults=config.defaults,
        is_offline=config.offline,
        big_segments=_big_segments(config),
    )
    headers = identity_headers(
        key,
        instance_id=str(uuid.uuid4()),
        application={"application_id": config.application_id, "application_version": config.application_version},
        wrapper_name=config.wrapper_name,
        wrapper_version=config.wrapper_version,
        logger=logger,
    )
    service = ServiceConnection(headers, config.http, logger)

    def describe() -> Description:
        return describe_client(config, os.environ)

    on_stream_attempt = deliver_events(core, service, config, key, describe, is_on=bool(key) and not config.offline)
    data_updates = DataUpdates(core, config, key, service, on_stream_attempt=on_stream_attempt)
    core.lifecycle.workload, core.store_session = data_updates, data_updates.store_session
    return core, data_updates


def _big_segments(config: Config) -> BigSegmentLookup | None:
    if config.big_segments is None or config.offline:
        return None
    from aioflags.persistence.big_segments import BigSegmentLookup  # noqa: PLC0415 - most clients have no big segments

    return BigSegmentLookup(config.big_segments, config.logger)
