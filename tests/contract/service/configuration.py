"""What a harness wants, and the configuration of the client that this is. Milliseconds there are seconds here."""

from __future__ import annotations

import logging
from typing import Any, Literal

from aioflags import BigSegments, Config, ConfigError, DataSystem, Events, Http, Persistence
from aioflags.model.defaults import BASE_URI, EVENTS_URI, STREAM_URI
from aioflags.sources import Fdv1FallbackOptions, Fdv1Polling, Fdv1Streaming, Polling, SourceBuilder, Streaming
from aioflags.stores import RedisStore
from tests.contract.service.callbacks import Callbacks
from tests.contract.service.hooks import ToldHook
from tests.contract.service.memberships import AskedStore
from tests.contract.service.wire import (
    BigSegmentsParams,
    Configuration,
    DataSystemParams,
    EventsParams,
    Hooks,
    PollingParams,
    Proxy,
    ServiceEndpoints,
    SourceParams,
    StorePlace,
    Tags,
    Tls,
    Wrapper,
)

__all__ = ["config_for"]


def config_for(wanted: Configuration, callbacks: Callbacks, logger: logging.Logger) -> Config:
    """The configuration of the client. Raises ``ConfigError`` where it cannot be had."""
    endpoints = wanted.service_endpoints or ServiceEndpoints()
    tags, wrapper = wanted.tags or Tags(), wanted.wrapper or Wrapper()
    return Config(
        base_uri=endpoints.polling or BASE_URI,
        stream_uri=endpoints.streaming or STREAM_URI,
        events_uri=(wanted.events and wanted.events.base_uri) or endpoints.events or EVENTS_URI,
        application_id=tags.application_id,
        application_version=tags.application_version,
        wrapper_name=wrapper.name,
        wrapper_version=wrapper.version,
        start_wait=(wanted.start_wait_time_ms or 5000) / 1000,
        payload_filter_key=(wanted.streaming and wanted.streaming.filter) or (wanted.polling and wanted.polling.filter) or None,
        data_system=_fdv1(wanted) if wanted.data_system is None else _data_system(wanted.data_system),
        http=_http(wanted.tls or Tls(), wanted.proxy or Proxy()),
        events=Events(send_events=False) if wanted.events is None else _events(wanted.events),
        hooks=[ToldHook(hook, callbacks) for hook in (wanted.hooks or Hooks()).hooks or ()],
        big_segments=None if wanted.big_segments is None else _big_segments(wanted.big_segments, callbacks),
        logger=logger,
    )


def _fdv1(wanted: Configuration) -> DataSystem:
    if (stream := wanted.streaming) is not None:
        delay = _seconds(stream.initial_retry_delay_ms)
        return DataSystem.custom(synchronizers=[Fdv1Streaming(base_uri=stream.base_uri or None, initial_reconnect_delay=delay)])
    if (poll := wanted.polling) is not None:
        interval = _seconds(poll.poll_interval_ms)
        return DataSystem.custom(synchronizers=[Fdv1Polling(base_uri=poll.base_uri or None, interval=interval)])
    return DataSystem.default()


def _data_system(wanted: DataSystemParams) -> DataSystem:
    fallback = wanted.fdv1_fallback
    return DataSystem(
        initializers=[_source(source) for source in wanted.initializers or ()],
        synchronizers=[_source(source) for source in wanted.synchronizers or ()],
        persistence=_persistence(wanted),
        fdv1_fallback=None
        if fallback is None
        else Fdv1FallbackOptions(base_uri=fallback.base_uri or None, interval=_seconds(fallback.poll_interval_ms)),
    )


def _persistence(wanted: DataSystemParams) -> Persistence | None:
    persistent = (wanted.store or StorePlace()).persistent_data_store
    if persistent is None:
        return None
    if persistent.store.type != "redis":
        raise ConfigError(f"store: there is no {persistent.store.type} store")
    mode: Literal["read_only", "read_write"] = "read_write" if wanted.store_mode == 1 else "read_only"
    store = RedisStore(persistent.store.dsn, prefix=persistent.store.prefix or "")
    if persistent.cache.ttl is None:
        return Persistence(store=store, mode=mode, cache=persistent.cache.mode)
    return Persistence(store=store, mode=mode, cache=persistent.cache.mode, cache_ttl=persistent.cache.ttl)


def _source(wanted: SourceParams) -> SourceBuilder:
    if (stream := wanted.streaming) is not None:
        return Streaming(base_uri=stream.base_uri or None, initial_reconnect_delay=_seconds(stream.initial_retry_delay_ms))
    poll = wanted.polling or PollingParams()
    return Polling(base_uri=poll.base_uri or None, interval=_seconds(poll.poll_interval_ms))


def _events(wanted: EventsParams) -> Events:
    default = Events()
    return Events(
        events_max_pending=wanted.capacity or default.events_max_pending,
        flush_interval=_seconds(wanted.flush_interval_ms) or default.flush_interval,
        all_attributes_private=bool(wanted.all_attributes_private),
        private_attributes=wanted.global_private_attributes or (),
        omit_anonymous_contexts=bool(wanted.omit_anonymous_contexts),
        enable_event_compression=bool(wanted.enable_gzip),
        diagnostic_opt_out=not wanted.enable_diagnostics,
    )


def _http(tls: Tls, proxy: Proxy) -> Http:
    return Http(
        http_proxy=proxy.http_proxy or None,
        ca_certs=tls.custom_ca_file or None,
        disable_ssl_verification=bool(tls.skip_verify_peer),
    )


def _big_segments(wanted: BigSegmentsParams, callbacks: Callbacks) -> BigSegments:
    options = {
        "context_cache_size": wanted.user_cache_size,
        "context_cache_time": _seconds(wanted.user_cache_time_ms),
        "status_poll_interval": _seconds(wanted.status_poll_interval_ms),
        "stale_after": _seconds(wanted.stale_after_ms),
    }
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    return BigSegments(store=AskedStore(wanted.callback_uri, callbacks), **given)


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000
