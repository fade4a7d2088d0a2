"""The description of a client in diagnostic events: its configuration and platform, without addresses, proxies and keys.

Source: ``events.md`` 12.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

import msgspec

from aioflags.config.config import Config
from aioflags.config.data_system import DataSystem
from aioflags.events.surroundings import describe_platform, used_proxies
from aioflags.model.defaults import BASE_URI, EVENTS_URI, STREAM_URI
from aioflags.protocol.diagnostics import Configuration, Description, Sdk, millis, whole
from aioflags.protocol.requests import PRODUCT
from aioflags.runtime.logs import printable
from aioflags.runtime.version import __version__
from aioflags.sources.poller import PollOptions
from aioflags.sources.stream_source import StreamOptions
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
    system = config.data_system
    builders = [*system.initializers, *system.synchronizers]
    polls = [builder for builder in builders if isinstance(builder, PollOptions)]
    streams = [builder for builder in builders if isinstance(builder, StreamOptions)]
    # The options of a source replace the client's.
    polled = {config.base_uri, *(poll.base_uri or config.base_uri for poll in polls)}
    streamed = {config.stream_uri, *(stream.base_uri or config.stream_uri for stream in streams)}
    interval = next((poll.interval for poll in polls if poll.interval is not None), system.poll_interval)
    delays = (stream.initial_reconnect_delay for stream in streams if stream.initial_reconnect_delay is not None)
    proxies = list(used_proxies(config.http, {*polled, *streamed, config.events_uri}, environment))
    events = config.events
    return Configuration(
        custom_base_uri=polled != {BASE_URI},
        custom_stream_uri=streamed != {STREAM_URI},
        custom_events_uri=config.events_uri != EVENTS_URI,
        events_capacity=whole(events.events_max_pending),
        connect_timeout_millis=millis(config.http.connect_timeout),
        socket_timeout_millis=millis(config.http.read_timeout),
        events_flush_interval_millis=msgspec.UNSET if events.flush_interval is None else millis(events.flush_interval),
        polling_interval_millis=millis(interval),
        reconnect_time_millis=millis(next(delays, system.initial_reconnect_delay)),
        start_wait_millis=millis(config.start_wait),
        streaming_disabled=not streams,
        using_relay_daemon=system.persistence is not None and not builders,
        using_proxy=bool(proxies),
        using_proxy_authenticator=any(urlsplit(proxy).username for proxy in proxies),
        all_attributes_private=events.all_attributes_private,
        user_keys_capacity=whole(events.context_keys_capacity),
        user_keys_flush_interval_millis=millis(events.context_keys_flush_interval),
        diagnostic_recording_interval_millis=millis(events.diagnostic_recording_interval),
        data_store_type=_store_type(system),
    )


def _store_type(system: DataSystem) -> str:
    if system.persistence is None:
        return _MEMORY
    store = system.persistence.store
    return printable(store.description) if isinstance(store, Described) else _CUSTOM
