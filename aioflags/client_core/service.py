"""What the clients of LaunchDarkly's service share: their connection, the delivery of events, and how they describe themselves."""

from __future__ import annotations

import logging
import uuid
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import msgspec

from aioflags.events.diagnostics import Diagnostics
from aioflags.events.options import Events, MobileEvents
from aioflags.events.outbox import Outbox
from aioflags.events.sender import Sender, SendGate
from aioflags.model.event import StreamAttempt
from aioflags.model.secret import SdkKey
from aioflags.plugins import ApplicationMetadata, EnvironmentMetadata, SdkMetadata
from aioflags.protocol.diagnostic_json import millis, whole
from aioflags.protocol.requests import INSTANCE_ID, Headers, usable_tag
from aioflags.runtime.fork import reset_after_fork
from aioflags.runtime.version import __version__
from aioflags.sources.base import SourceBuilder
from aioflags.sources.event_streams import StreamOptions
from aioflags.sources.polling import PollOptions
from aioflags.transport.http import HttpTransport
from aioflags.transport.http_client import Response
from aioflags.transport.proxies import proxy_for
from aioflags.transport.settings import Http

if TYPE_CHECKING:
    from aioflags.client_core.core import Core
    from aioflags.protocol.diagnostic_json import Description


class SharedOptions(Protocol):
    """The options that :class:`Config` and :class:`MobileConfig` share, as far as this module reads them."""

    @property
    def base_uri(self) -> str: ...
    @property
    def stream_uri(self) -> str: ...
    @property
    def events_uri(self) -> str: ...
    @property
    def application_id(self) -> str | None: ...
    @property
    def application_version(self) -> str | None: ...
    @property
    def wrapper_name(self) -> str | None: ...
    @property
    def wrapper_version(self) -> str | None: ...
    @property
    def http(self) -> Http: ...
    @property
    def events(self) -> Events | MobileEvents: ...
    @property
    def start_wait(self) -> float: ...


def environment_metadata(product: str, key: SdkKey, config: SharedOptions) -> EnvironmentMetadata:
    """What plugins get: the SDK, which is called ``product``, the key, and the application that the options name."""
    application = ApplicationMetadata(id=usable_tag(config.application_id), version=usable_tag(config.application_version))
    return EnvironmentMetadata(
        sdk=SdkMetadata(
            name=product, version=__version__, wrapper_name=config.wrapper_name, wrapper_version=config.wrapper_version
        ),
        sdk_key=key.value,
        application=application if application.id or application.version else None,
    )


# -- ServiceConnection: the headers that identify one client to the service, and its connections while it runs.


class ServiceConnection:
    """The headers and connections of one client. Sources and events share them.

    ``headers`` come from :func:`~aioflags.protocol.requests.identity_headers`.
    """

    transport: HttpTransport
    """Sends requests. Set while :meth:`open` is entered."""

    def __init__(self, headers: Headers, http: Http, logger: logging.Logger) -> None:
        self.headers: Headers = headers
        self._http = http
        self._logger = logger
        reset_after_fork(self)

    def after_fork(self) -> None:
        """After a fork, in the child: changes the instance id in place, because sources and events hold the same dictionary."""
        self.headers[INSTANCE_ID] = str(uuid.uuid4())

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None, None]:
        """The connections, open inside the block."""
        async with HttpTransport(self._http, self._logger) as self.transport:
            yield

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Response:
        """Sends exactly these headers. See :meth:`HttpTransport.post <aioflags.transport.http.HttpTransport.post>`."""
        return await self.transport.post(url, headers, body)


# -- The part of a client's description that all clients of LaunchDarkly's service share, for diagnostic events.
# Source: ``events.md`` 12.2.


def common_configuration(
    config: SharedOptions,
    builders: Sequence[SourceBuilder],
    *,
    service: tuple[str, str, str],
    poll_interval: float,
    reconnect_delay: float,
    environment: Mapping[str, str],
) -> dict[str, Any]:
    """The fields of :class:`~aioflags.protocol.diagnostic_json.CommonConfiguration`.

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
    addresses = {*polled, *streamed, config.events_uri}
    proxies = [proxy for address in addresses if (proxy := proxy_for(config.http, address, environment)) is not None]
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


# -- The delivery of events and diagnostics.


def deliver_events(
    core: Core,
    service: ServiceConnection,
    config: SharedOptions,
    key: SdkKey,
    describe: Callable[[], Description],
    *,
    is_on: bool,
) -> Callable[[StreamAttempt], object]:
    """Adds the tasks to ``core`` that send its events and diagnostics, unless the options exclude them.

    ``describe`` describes the client, for diagnostics. ``is_on``: the client can send events.

    Returns:
        To be called for each attempt to establish a stream: diagnostics count them.
    """
    settings, gate, logger, background = config.events, SendGate(), core.logger, core.lifecycle.background
    if not (is_on and settings.send_events):
        return _uncounted
    sender = Sender(
        service.post,
        config.events_uri,
        service.headers,
        gate=gate,
        policy=settings.policy,
        compress=settings.enable_event_compression,
        set_server_time=core.recorder.set_server_time,
        is_outage_logged=lambda: core.cell.is_outage_logged,
        logger=logger,
    )
    core.outbox = Outbox(core.recorder, settings, sender, gate, logger)
    background.append(core.outbox)
    if settings.diagnostic_opt_out:
        return _uncounted
    diagnostics = Diagnostics(
        core.recorder,
        sender,
        gate,
        interval=settings.diagnostic_recording_interval,
        key_suffix=key.suffix,
        describe=describe,
        logger=logger,
    )
    background.append(diagnostics)
    return diagnostics.attempted


def _uncounted(_: StreamAttempt) -> None:
    """There are no diagnostics."""
