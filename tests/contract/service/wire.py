"""What a harness says about the client it wants, as it says it.

What is absent may also be ``null``, and means the SDK's default. Durations are in milliseconds.
"""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = [
    "BigSegmentsParams",
    "Configuration",
    "DataSystemParams",
    "EventsParams",
    "HookParams",
    "Hooks",
    "PersistentStoreParams",
    "PollingParams",
    "Proxy",
    "ServiceEndpoints",
    "SourceParams",
    "StorePlace",
    "StreamingParams",
    "Tags",
    "Tls",
    "Wire",
    "Wrapper",
]


class Wire(msgspec.Struct, rename="camel"):
    """An object of the harness. What it says beyond these fields is none of our business."""


class PollingParams(Wire):
    base_uri: str | None = None
    poll_interval_ms: float | None = None
    filter: str | None = None


class StreamingParams(Wire):
    base_uri: str | None = None
    initial_retry_delay_ms: float | None = None
    filter: str | None = None


class StoreParams(Wire):
    """Where the store is: its type, and what names it there."""

    type: str
    dsn: str
    prefix: str | None = None


class CacheParams(Wire):
    """``ttl`` is in seconds."""

    mode: Literal["off", "ttl", "infinite"]
    ttl: float | None = None


class PersistentStoreParams(Wire):
    store: StoreParams
    cache: CacheParams


class StorePlace(Wire):
    persistent_data_store: PersistentStoreParams | None = None


class SourceParams(Wire):
    """An initializer polls; a synchronizer does one of both."""

    streaming: StreamingParams | None = None
    polling: PollingParams | None = None


class DataSystemParams(Wire):
    initializers: list[SourceParams] | None = None
    synchronizers: list[SourceParams] | None = None
    fdv1_fallback: PollingParams | None = None
    store: StorePlace | None = None
    store_mode: Literal[0, 1] = 0


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
    data: dict[str, dict[str, object] | None] | None = None
    errors: dict[str, str | None] | None = None


class BigSegmentsParams(Wire):
    callback_uri: str
    user_cache_size: int | None = None
    user_cache_time_ms: float | None = None
    status_poll_interval_ms: float | None = None
    stale_after_ms: float | None = None


class Hooks(Wire):
    hooks: list[HookParams] | None = None


class EventsParams(Wire):
    """Without these a client sends no events."""

    base_uri: str | None = None
    capacity: int | None = None
    enable_diagnostics: bool | None = None
    all_attributes_private: bool | None = None
    global_private_attributes: list[str] | None = None
    flush_interval_ms: float | None = None
    omit_anonymous_contexts: bool | None = None
    enable_gzip: bool | None = None


class Configuration(Wire):
    """A client. ``streaming`` and ``polling`` beside the credential are FDv1, as the harness's branch ``v2`` has it."""

    credential: str
    start_wait_time_ms: float | None = None
    init_can_fail: bool | None = None
    data_system: DataSystemParams | None = None
    streaming: StreamingParams | None = None
    polling: PollingParams | None = None
    service_endpoints: ServiceEndpoints | None = None
    tags: Tags | None = None
    wrapper: Wrapper | None = None
    tls: Tls | None = None
    proxy: Proxy | None = None
    hooks: Hooks | None = None
    big_segments: BigSegmentsParams | None = None
    events: EventsParams | None = None
