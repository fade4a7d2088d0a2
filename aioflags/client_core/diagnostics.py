"""The part of a client's description that all clients of LaunchDarkly's service share, for diagnostic events.

Source: ``events.md`` 12.2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import msgspec

from aioflags.events.options import Events, MobileEvents
from aioflags.events.surroundings import used_proxies
from aioflags.protocol.diagnostics import millis, whole
from aioflags.sources.base import SourceBuilder
from aioflags.sources.poller import PollOptions
from aioflags.sources.stream_source import StreamOptions

if TYPE_CHECKING:
    from aioflags.transport.settings import Http

__all__ = ["DescribedOptions", "common_configuration"]


class DescribedOptions(Protocol):
    """The options that :class:`Config` and :class:`MobileConfig` share."""

    @property
    def base_uri(self) -> str: ...
    @property
    def stream_uri(self) -> str: ...
    @property
    def events_uri(self) -> str: ...
    @property
    def http(self) -> Http: ...
    @property
    def events(self) -> Events | MobileEvents: ...
    @property
    def start_wait(self) -> float: ...


def common_configuration(
    config: DescribedOptions,
    builders: Sequence[SourceBuilder],
    *,
    service: tuple[str, str, str],
    poll_interval: float,
    reconnect_delay: float,
    environment: Mapping[str, str],
) -> dict[str, Any]:
    """The fields of :class:`~aioflags.protocol.diagnostics.CommonConfiguration`.

    Args:
        config: The options of the client.
        builders: Its sources.
        service: LaunchDarkly's addresses for polls, streams and events.
        poll_interval: Of sources without one of their own, in seconds.
        reconnect_delay: As ``poll_interval``.
        environment: As ``os.environ``. It may name proxies.
    """
    polls = [builder for builder in builders if isinstance(builder, PollOptions)]
    streams = [builder for builder in builders if isinstance(builder, StreamOptions)]
    # The options of a source replace the client's.
    polled = {config.base_uri, *(poll.base_uri or config.base_uri for poll in polls)}
    streamed = {config.stream_uri, *(stream.base_uri or config.stream_uri for stream in streams)}
    interval = next((poll.interval for poll in polls if poll.interval is not None), poll_interval)
    delays = (stream.initial_reconnect_delay for stream in streams if stream.initial_reconnect_delay is not None)
    proxies = list(used_proxies(config.http, {*polled, *streamed, config.events_uri}, environment))
    events = config.events
    base_uri, stream_uri, events_uri = service
    return {
        "custom_base_uri": polled != {base_uri},
        "custom_stream_uri": streamed != {stream_uri},
        "custom_events_uri": config.events_uri != events_uri,
        "events_capacity": whole(events.events_max_pending),
        "connect_timeout_millis": millis(config.http.connect_timeout),
        "socket_timeout_millis": millis(config.http.read_timeout),
        "events_flush_interval_millis": msgspec.UNSET if events.flush_interval is None else millis(events.flush_interval),
        "polling_interval_millis": millis(interval),
        "reconnect_time_millis": millis(next(delays, reconnect_delay)),
        "start_wait_millis": millis(config.start_wait),
        "streaming_disabled": not streams,
        "using_proxy": bool(proxies),
        "using_proxy_authenticator": any(urlsplit(proxy).username for proxy in proxies),
        "all_attributes_private": events.all_attributes_private,
        "diagnostic_recording_interval_millis": millis(events.diagnostic_recording_interval),
    }
