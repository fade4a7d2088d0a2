"""Parts of clients of LaunchDarkly's service: connection, analytics, descriptions; and what integrations may read.

What integrations and test helpers of this package read of a client beside its public methods.

Only this module reads private names of clients, apart from their own classes.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import msgspec

from aioflags.client_core.lifecycle import Background
from aioflags.events.options import Events, MobileEvents
from aioflags.events.outbox import Outbox
from aioflags.events.recorder import Recorder
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
    from aioflags.client_core.client_methods import SendingMethods
    from aioflags.client_core.core_client import CoreClient
    from aioflags.client_core.evaluator import Evaluator
    from aioflags.client_core.lifecycle import Lifecycle
    from aioflags.client_core.status import StatusCell
    from aioflags.model.context import Context
    from aioflags.persistence.session import StoreSession
    from aioflags.protocol.diagnostic_json import Description
    from aioflags.supervisor.next_snapshot import SnapshotHolder


# -- EnvironmentMetadata of one client of LaunchDarkly's service, for its plugins.


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
        """In the child of a fork: changes the instance id in place, because sources and events hold the same dictionary."""
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


# -- Analytics: the parts of one client that send events and diagnostics to the service.


class Analytics:
    """Sends the events of ``recorder``, and diagnostics; nothing if it is off, or if the options say so.

    Args:
        settings: The options of events.
        service: The headers and connections of requests.
        recorder: Has the events.
        is_on: Whether the client can send events.
        events_uri: The address of the service for events.
        key_suffix: The part of the key that may be shown.
        describe: Describes the client, for diagnostics.
        cell: The status, which says whether an outage is logged already.
        logger: The client's logger.
    """

    def __init__(
        self,
        settings: Events | MobileEvents,
        service: ServiceConnection,
        recorder: Recorder,
        *,
        is_on: bool,
        events_uri: str,
        key_suffix: str,
        describe: Callable[[], Description],
        cell: StatusCell,
        logger: logging.Logger,
    ) -> None:
        self.background: list[Background] = []
        """The tasks that send events and diagnostics."""
        self.outbox: Outbox | None = None
        """Where events wait to be sent; ``None`` if nothing is sent."""
        self.on_stream_attempt: Callable[[StreamAttempt], object] = lambda _: None
        """To be called for each attempt to establish a stream: diagnostics count them."""
        if not (is_on and settings.send_events):
            return
        gate = SendGate()
        sender = Sender(
            service.post,
            events_uri,
            service.headers,
            gate=gate,
            policy=settings.policy,
            compress=settings.enable_event_compression,
            set_server_time=recorder.set_server_time,
            is_outage_logged=lambda: cell.is_outage_logged,
            logger=logger,
        )
        self.outbox = Outbox(recorder, settings, sender, gate, logger)
        self.background.append(self.outbox)
        if not settings.diagnostic_opt_out:
            from aioflags.events.diagnostics import Diagnostics  # noqa: PLC0415 - not imported if diagnostics are off

            diagnostics = Diagnostics(
                recorder,
                sender,
                gate,
                interval=settings.diagnostic_recording_interval,
                key_suffix=key_suffix,
                describe=describe,
                logger=logger,
            )
            self.on_stream_attempt = diagnostics.attempted
            self.background.append(diagnostics)


# The one place that reads them.
# pyright: reportPrivateUsage=false
# ruff: noqa: SLF001


class Internals(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of a client that other modules of this package read. Not public: they may change in any release.

    None of them holds the client, so ``recorder`` and ``status`` can be read after the client was collected.
    ``store_session`` reads a persistent store, if there is one.
    """

    recorder: Recorder
    status: StatusCell
    lifecycle: Lifecycle
    evaluator: Evaluator
    holder: SnapshotHolder
    store_session: StoreSession | None


def internals_of(client: CoreClient) -> Internals:
    """The parts of ``client`` for integrations and test helpers of this package."""
    return Internals(
        recorder=client._recorder,
        status=client._cell,
        lifecycle=client._lifecycle,
        evaluator=client._evaluator,
        holder=client._holder,
        store_session=client._store_session,
    )


def loop_of(client: CoreClient) -> asyncio.AbstractEventLoop | None:
    """The event loop that started the client; ``None`` before the start. From any thread."""
    return client._lifecycle.loop


def record_tracked(client: SendingMethods, name: str, context: Context, data: Any, metric_value: float | None) -> None:
    """Records an event of ``context``, also if it is not the context that the client has by now. From any thread."""
    client._record_tracked(name, context, data, metric_value)
