"""The parameters of a client, as the harness sends them.

An absent property may also be ``null``, and means the default of the SDK. Durations are in milliseconds.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec


class Params(msgspec.Struct, rename="camel"):
    """A JSON object of the harness. Unknown properties are ignored."""


class PollingParams(Params):
    """``extended_initial_delay_ms``: the first delay after a refusal, here and for streaming. Sources of FDv1 use it."""

    base_uri: str | None = None
    poll_interval_ms: float | None = None
    extended_initial_delay_ms: float | None = None
    filter: str | None = None


class StreamingParams(Params):
    base_uri: str | None = None
    initial_retry_delay_ms: float | None = None
    extended_initial_delay_ms: float | None = None
    filter: str | None = None


class StoreParams(Params):
    """The location of a persistent store: its type, address and prefix."""

    type: str
    dsn: str
    prefix: str | None = None


class CacheParams(Params):
    """``ttl`` is in seconds."""

    mode: Literal["off", "ttl", "infinite"]
    ttl: float | None = None


class PersistentStoreParams(Params):
    store: StoreParams
    cache: CacheParams


class PersistentStoreLocation(Params):
    persistent_data_store: PersistentStoreParams | None = None


class SourceParams(Params):
    """The properties of one source. An initializer polls; a synchronizer polls or streams."""

    streaming: StreamingParams | None = None
    polling: PollingParams | None = None


class ModeParams(Params):
    """The sources of one connection mode."""

    initializers: list[SourceParams] | None = None
    synchronizers: list[SourceParams] | None = None


class ConnectionModeParams(Params):
    """The connection modes of a client with a mobile key, by name."""

    initial_connection_mode: str | None = None
    custom_connection_modes: dict[str, ModeParams] | None = None


class DataSystemParams(Params):
    initializers: list[SourceParams] | None = None
    synchronizers: list[SourceParams] | None = None
    fdv1_fallback: PollingParams | None = None
    store: PersistentStoreLocation | None = None
    store_mode: Literal[0, 1] = 0
    connection_mode_config: ConnectionModeParams | None = None


class ServiceEndpointsParams(Params):
    streaming: str | None = None
    polling: str | None = None
    events: str | None = None


class TagsParams(Params):
    application_id: str | None = None
    application_version: str | None = None


class WrapperParams(Params):
    name: str | None = None
    version: str | None = None


class TlsParams(Params):
    skip_verify_peer: bool | None = None
    custom_ca_file: str | None = msgspec.field(default=None, name="customCAFile")


class ProxyParams(Params):
    http_proxy: str | None = None


class HookParams(Params):
    """``data``: what a stage passes on. ``errors``: the stages that fail, each with its message."""

    name: str
    callback_uri: str
    data: dict[str, dict[str, object] | None] | None = None
    errors: dict[str, str | None] | None = None


class BigSegmentsParams(Params):
    callback_uri: str
    user_cache_size: int | None = None
    user_cache_time_ms: float | None = None
    status_poll_interval_ms: float | None = None
    stale_after_ms: float | None = None


class Hooks(Params):
    hooks: list[HookParams] | None = None


class OverridesParams(Params):
    """Files with overrides. ``watch`` is true if it is absent; ``pollIntervalMs`` counts only with ``poll``."""

    file_paths: list[str]
    duplicate_keys_handling: Literal["fail", "ignore"] | None = None
    watch: bool | None = None
    poll: bool | None = None
    poll_interval_ms: float | None = None


class EventsParams(Params):
    """Without these a client sends no events."""

    base_uri: str | None = None
    capacity: int | None = None
    enable_diagnostics: bool | None = None
    all_attributes_private: bool | None = None
    global_private_attributes: list[str] | None = None
    flush_interval_ms: float | None = None
    omit_anonymous_contexts: bool | None = None
    enable_gzip: bool | None = None


class ClientSideParams(Params):
    """What only a client with one context has. ``initial_user`` is its context as a legacy user.

    ``bootstrap``: flags that a server-side SDK evaluated, for that context.
    """

    initial_context: dict[str, Any] | None = None
    initial_user: dict[str, Any] | None = None
    evaluation_reasons: bool | None = None
    use_report: bool | None = None
    include_environment_attributes: bool | None = None
    hash: str | None = None
    bootstrap: dict[str, Any] | None = None


class SdkConfigParams(Params):
    """A client. ``streaming``, ``polling`` and ``persistentDataStore`` beside the credential: for FDv1, in branch ``v2``."""

    credential: str
    start_wait_time_ms: float | None = None
    init_can_fail: bool | None = None
    data_system: DataSystemParams | None = None
    streaming: StreamingParams | None = None
    polling: PollingParams | None = None
    persistent_data_store: PersistentStoreParams | None = None
    service_endpoints: ServiceEndpointsParams | None = None
    tags: TagsParams | None = None
    wrapper: WrapperParams | None = None
    client_side: ClientSideParams | None = None
    tls: TlsParams | None = None
    proxy: ProxyParams | None = None
    hooks: Hooks | None = None
    big_segments: BigSegmentsParams | None = None
    events: EventsParams | None = None
    overrides: OverridesParams | None = None
