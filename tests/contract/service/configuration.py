"""Converts the parameters of the harness to the configuration of a client, and milliseconds to seconds."""

from __future__ import annotations

import logging
from typing import Any, Literal

from aioflags import BigSegments, Config, ConfigError, DataSystem, Events, Http, Persistence
from aioflags.model.defaults import BASE_URI, EVENTS_URI, STREAM_URI
from aioflags.sources import Fdv1FallbackOptions, Fdv1Polling, Fdv1Streaming, Polling, SourceBuilder, Streaming
from aioflags.stores import RedisStore
from tests.contract.service.big_segments import CallbackBigSegmentStore
from tests.contract.service.callbacks import Callbacks
from tests.contract.service.hooks import CallbackHook
from tests.contract.service.service_params import (
    BigSegmentsParams,
    DataSystemParams,
    EventsParams,
    Hooks,
    PersistentStoreLocation,
    PersistentStoreParams,
    PollingParams,
    ProxyParams,
    SdkConfigParams,
    ServiceEndpointsParams,
    SourceParams,
    TagsParams,
    TlsParams,
    WrapperParams,
)

__all__ = ["Protocol", "config_for"]

Protocol = Literal["fdv1", "fdv2"]
"""What a client speaks if its parameters name no data system: the harness's branch ``v2`` means FDv1, later ones FDv2."""


def config_for(params: SdkConfigParams, callbacks: Callbacks, logger: logging.Logger, protocol: Protocol = "fdv2") -> Config:
    """The configuration of the client. Raises ``ConfigError`` where it cannot be had."""
    endpoints = params.service_endpoints or ServiceEndpointsParams()
    tags, wrapper = params.tags or TagsParams(), params.wrapper or WrapperParams()
    return Config(
        base_uri=endpoints.polling or BASE_URI,
        stream_uri=endpoints.streaming or STREAM_URI,
        events_uri=(params.events and params.events.base_uri) or endpoints.events or EVENTS_URI,
        application_id=tags.application_id,
        application_version=tags.application_version,
        wrapper_name=wrapper.name,
        wrapper_version=wrapper.version,
        start_wait=(params.start_wait_time_ms or 5000) / 1000,
        payload_filter_key=(params.streaming and params.streaming.filter) or (params.polling and params.polling.filter) or None,
        data_system=_data_system(params, protocol),
        http=_http(params.tls or TlsParams(), params.proxy or ProxyParams()),
        events=Events(send_events=False) if params.events is None else _events(params.events),
        hooks=[CallbackHook(hook, callbacks) for hook in (params.hooks or Hooks()).hooks or ()],
        big_segments=None if params.big_segments is None else _big_segments(params.big_segments, callbacks),
        logger=logger,
    )


def _data_system(params: SdkConfigParams, protocol: Protocol) -> DataSystem:
    if params.data_system is not None:
        return _named_data_system(params.data_system)
    return _fdv1_data_system(params) if protocol == "fdv1" else DataSystem.default()


def _named_data_system(params: DataSystemParams) -> DataSystem:
    fallback = params.fdv1_fallback
    stored = (params.store or PersistentStoreLocation()).persistent_data_store
    return DataSystem(
        initializers=[_source(source) for source in params.initializers or ()],
        synchronizers=[_source(source) for source in params.synchronizers or ()],
        persistence=None if stored is None else _persistence(stored, "read_write" if params.store_mode == 1 else "read_only"),
        fdv1_fallback=None
        if fallback is None
        else Fdv1FallbackOptions(base_uri=fallback.base_uri or None, interval=_seconds(fallback.poll_interval_ms)),
    )


def _fdv1_data_system(params: SdkConfigParams) -> DataSystem:
    """A client of FDv1 writes what its source delivers to its store. With a store and no source it only reads."""
    stored = params.persistent_data_store
    source = _fdv1_source(params)
    if source is None and stored is None:
        return DataSystem.fdv1()
    return DataSystem(
        synchronizers=() if source is None else [source],
        persistence=None if stored is None else _persistence(stored, "read_only" if source is None else "read_write"),
    )


def _fdv1_source(params: SdkConfigParams) -> SourceBuilder | None:
    if (stream := params.streaming) is not None:
        return Fdv1Streaming(base_uri=stream.base_uri or None, initial_reconnect_delay=_seconds(stream.initial_retry_delay_ms))
    if (poll := params.polling) is not None:
        return Fdv1Polling(base_uri=poll.base_uri or None, interval=_seconds(poll.poll_interval_ms))
    return None


def _persistence(params: PersistentStoreParams, mode: Literal["read_only", "read_write"]) -> Persistence:
    store, cache = params.store, params.cache
    if store.type != "redis":
        raise ConfigError(f"store: this service cannot use a {store.type} store")
    redis = RedisStore(store.dsn, prefix=store.prefix or "")
    if cache.ttl is None:
        return Persistence(store=redis, mode=mode, cache=cache.mode)
    return Persistence(store=redis, mode=mode, cache=cache.mode, cache_ttl=cache.ttl)


def _source(params: SourceParams) -> SourceBuilder:
    if (stream := params.streaming) is not None:
        return Streaming(base_uri=stream.base_uri or None, initial_reconnect_delay=_seconds(stream.initial_retry_delay_ms))
    poll = params.polling or PollingParams()
    return Polling(base_uri=poll.base_uri or None, interval=_seconds(poll.poll_interval_ms))


def _events(params: EventsParams) -> Events:
    default = Events()
    return Events(
        events_max_pending=params.capacity or default.events_max_pending,
        flush_interval=_seconds(params.flush_interval_ms) or default.flush_interval,
        all_attributes_private=bool(params.all_attributes_private),
        private_attributes=params.global_private_attributes or (),
        omit_anonymous_contexts=bool(params.omit_anonymous_contexts),
        enable_event_compression=bool(params.enable_gzip),
        diagnostic_opt_out=not params.enable_diagnostics,
    )


def _http(tls: TlsParams, proxy: ProxyParams) -> Http:
    return Http(
        http_proxy=proxy.http_proxy or None,
        ca_certs=tls.custom_ca_file or None,
        disable_ssl_verification=bool(tls.skip_verify_peer),
    )


def _big_segments(params: BigSegmentsParams, callbacks: Callbacks) -> BigSegments:
    options = {
        "context_cache_size": params.user_cache_size,
        "context_cache_time": _seconds(params.user_cache_time_ms),
        "status_poll_interval": _seconds(params.status_poll_interval_ms),
        "stale_after": _seconds(params.stale_after_ms),
    }
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    return BigSegments(store=CallbackBigSegmentStore(params.callback_uri, callbacks), **given)


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000
