"""Converts those parameters of the harness that the clients of both sides have, and milliseconds to seconds."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from aioflags import Http
from aioflags.sources import Fdv1FallbackOptions, Polling, SourceBuilder, Streaming
from tests.contract.service.service_params import (
    EventsParams,
    PollingParams,
    ProxyParams,
    SdkConfigParams,
    ServiceEndpointsParams,
    SourceParams,
    TagsParams,
    TlsParams,
    WrapperParams,
)

_START_WAIT_MS = 5000


def seconds(milliseconds: float | None) -> float | None:
    """A duration in the unit of the options."""
    return None if milliseconds is None else milliseconds / 1000


def common_options(params: SdkConfigParams, logger: logging.Logger) -> dict[str, Any]:
    """The options that the configurations of both sides have, by name. An address that is not given is left out."""
    endpoints = params.service_endpoints or ServiceEndpointsParams()
    tags, wrapper = params.tags or TagsParams(), params.wrapper or WrapperParams()
    addresses = {
        "base_uri": endpoints.polling,
        "stream_uri": endpoints.streaming,
        "events_uri": (params.events and params.events.base_uri) or endpoints.events,
    }
    return {
        **{name: address for name, address in addresses.items() if address},
        "application_id": tags.application_id,
        "application_version": tags.application_version,
        "wrapper_name": wrapper.name,
        "wrapper_version": wrapper.version,
        "start_wait": (params.start_wait_time_ms or _START_WAIT_MS) / 1000,
        "http": _http(params.tls or TlsParams(), params.proxy or ProxyParams()),
        "logger": logger,
    }


def event_options(params: EventsParams | None) -> dict[str, Any]:
    """The options of events, by name. Without parameters no events are sent; an option that is not given is left out."""
    if params is None:
        return {"send_events": False}
    given = {"events_max_pending": params.capacity or None, "flush_interval": seconds(params.flush_interval_ms)}
    return {
        **{name: value for name, value in given.items() if value is not None},
        "all_attributes_private": bool(params.all_attributes_private),
        "private_attributes": params.global_private_attributes or (),
        "omit_anonymous_contexts": bool(params.omit_anonymous_contexts),
        "enable_event_compression": bool(params.enable_gzip),
        "diagnostic_opt_out": not params.enable_diagnostics,
    }


def sources(params: Sequence[SourceParams] | None) -> list[SourceBuilder]:
    """The sources, in order."""
    return [_source(each) for each in params or ()]


def fdv1_fallback(params: PollingParams | None) -> Fdv1FallbackOptions | None:
    """What takes the place of FDv2 after a directive; ``None`` if the harness names nothing."""
    if params is None:
        return None
    return Fdv1FallbackOptions(base_uri=params.base_uri or None, interval=seconds(params.poll_interval_ms))


def _source(params: SourceParams) -> SourceBuilder:
    if (stream := params.streaming) is not None:
        return Streaming(base_uri=stream.base_uri or None, initial_reconnect_delay=seconds(stream.initial_retry_delay_ms))
    poll = params.polling or PollingParams()
    return Polling(base_uri=poll.base_uri or None, interval=seconds(poll.poll_interval_ms))


def _http(tls: TlsParams, proxy: ProxyParams) -> Http:
    return Http(
        http_proxy=proxy.http_proxy or None,
        ca_certs=tls.custom_ca_file or None,
        disable_ssl_verification=bool(tls.skip_verify_peer),
    )
