"""What a harness says about the client it wants, and the configuration of ours that this is.

What is absent may also be ``null``, and means the SDK's default. Numbers are milliseconds here, and seconds there.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import msgspec

from aioflags import Config, DataSystem, Http
from aioflags.hooks import Hook
from aioflags.model.defaults import BASE_URI, EVENTS_URI, STREAM_URI
from aioflags.sources import Fdv1FallbackOptions, Polling, SourceBuilder, Streaming

__all__ = ["Configuration", "HookParams", "Wire", "config_for"]


class Wire(msgspec.Struct, rename="camel"):
    """An object of the harness. What it says beyond these fields is none of our business."""


class PollingParams(Wire):
    base_uri: str | None = None
    poll_interval_ms: float | None = None


class StreamingParams(Wire):
    base_uri: str | None = None
    initial_retry_delay_ms: float | None = None


class SourceParams(Wire):
    """An initializer polls; a synchronizer does one of both."""

    streaming: StreamingParams | None = None
    polling: PollingParams | None = None


class DataSystemParams(Wire):
    initializers: list[SourceParams] | None = None
    synchronizers: list[SourceParams] | None = None
    fdv1_fallback: PollingParams | None = None


class ServiceEndpoints(Wire):
    streaming: str | None = None
    polling: str | None = None
    events: str | None = None


class Tags(Wire):
    application_id: str | None = None
    application_version: str | None = None


class Wrapper(Wire):
    name: str | None = None
    version: str | None = None


class Tls(Wire):
    skip_verify_peer: bool | None = None
    custom_ca_file: str | None = msgspec.field(default=None, name="customCAFile")


class Proxy(Wire):
    http_proxy: str | None = None


class HookParams(Wire):
    """``data``: what a stage passes on. ``errors``: the stages that fail, each with its message."""

    name: str
    callback_uri: str
    data: dict[str, dict[str, Any] | None] | None = None
    errors: dict[str, str | None] | None = None


class Hooks(Wire):
    hooks: list[HookParams] | None = None


class Configuration(Wire):
    """A client."""

    credential: str
    start_wait_time_ms: float | None = None
    init_can_fail: bool | None = None
    data_system: DataSystemParams | None = None
    service_endpoints: ServiceEndpoints | None = None
    tags: Tags | None = None
    wrapper: Wrapper | None = None
    tls: Tls | None = None
    proxy: Proxy | None = None
    hooks: Hooks | None = None


def config_for(wanted: Configuration, logger: logging.Logger, *, hooks: Sequence[Hook] = ()) -> Config:
    """The configuration of the client, with these hooks. Raises ``ConfigError`` where it cannot be had."""
    endpoints = wanted.service_endpoints or ServiceEndpoints()
    tags, wrapper = wanted.tags or Tags(), wanted.wrapper or Wrapper()
    return Config(
        base_uri=endpoints.polling or BASE_URI,
        stream_uri=endpoints.streaming or STREAM_URI,
        events_uri=endpoints.events or EVENTS_URI,
        application_id=tags.application_id,
        application_version=tags.application_version,
        wrapper_name=wrapper.name,
        wrapper_version=wrapper.version,
        start_wait=(wanted.start_wait_time_ms or 5000) / 1000,
        data_system=DataSystem.default() if wanted.data_system is None else _data_system(wanted.data_system),
        http=_http(wanted.tls or Tls(), wanted.proxy or Proxy()),
        hooks=hooks,
        logger=logger,
    )


def _data_system(wanted: DataSystemParams) -> DataSystem:
    fallback = wanted.fdv1_fallback
    return DataSystem.custom(
        initializers=[_source(source) for source in wanted.initializers or ()],
        synchronizers=[_source(source) for source in wanted.synchronizers or ()],
        fdv1_fallback=None
        if fallback is None
        else Fdv1FallbackOptions(base_uri=fallback.base_uri or None, interval=_seconds(fallback.poll_interval_ms)),
    )


def _source(wanted: SourceParams) -> SourceBuilder:
    if (stream := wanted.streaming) is not None:
        return Streaming(base_uri=stream.base_uri or None, initial_reconnect_delay=_seconds(stream.initial_retry_delay_ms))
    poll = wanted.polling or PollingParams()
    return Polling(base_uri=poll.base_uri or None, interval=_seconds(poll.poll_interval_ms))


def _http(tls: Tls, proxy: Proxy) -> Http:
    return Http(
        http_proxy=proxy.http_proxy or None,
        ca_certs=tls.custom_ca_file or None,
        disable_ssl_verification=bool(tls.skip_verify_peer),
    )


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000
