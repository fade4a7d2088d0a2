"""Converts the parameters of the harness to the configuration of a server-side client."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any, Literal

from aioflags import BigSegments, Config, ConfigError, DataSystem, Events, FileOverrides, Persistence
from aioflags.model.defaults import REFUSED_RETRY_DELAY
from aioflags.sources import Fdv1Polling, Fdv1Streaming, SourceBuilder
from aioflags.stores import ConsulStore, DynamoDBStore, RedisStore, StoreBuilder
from tests.contract.service.big_segments import CallbackBigSegmentStore
from tests.contract.service.callbacks import Callbacks
from tests.contract.service.conversions import common_options, event_options, fdv1_fallback, seconds, sources
from tests.contract.service.hooks import CallbackHook
from tests.contract.service.service_params import (
    BigSegmentsParams,
    DataSystemParams,
    Hooks,
    OverridesParams,
    PersistentStoreLocation,
    PersistentStoreParams,
    SdkConfigParams,
    StoreParams,
)

Protocol = Literal["fdv1", "fdv2"]
"""What a client speaks if its parameters name no data system: the harness's branch ``v2`` means FDv1, later ones FDv2."""

_POLL_INTERVAL_MS = 1000
_TABLE = "sdk-contract-tests"
"""The table that the harness fills."""
_REGION = "us-east-1"
"""Any region: a local DynamoDB has no others."""


def config_for(params: SdkConfigParams, callbacks: Callbacks, logger: logging.Logger, protocol: Protocol = "fdv2") -> Config:
    """The configuration of the client. Raises ``ConfigError`` where it cannot be had."""
    return Config(
        **common_options(params, logger),
        payload_filter_key=(params.streaming and params.streaming.filter) or (params.polling and params.polling.filter) or None,
        data_system=_data_system(params, protocol),
        events=Events(**event_options(params.events)),
        hooks=[CallbackHook(hook, callbacks) for hook in (params.hooks or Hooks()).hooks or ()],
        big_segments=None if params.big_segments is None else _big_segments(params.big_segments, callbacks),
    )


def _data_system(params: SdkConfigParams, protocol: Protocol) -> DataSystem:
    system = _sources_and_store(params, protocol)
    return system if params.overrides is None else system.with_overrides(_overrides(params.overrides))


def _sources_and_store(params: SdkConfigParams, protocol: Protocol) -> DataSystem:
    if params.data_system is not None:
        return _named_data_system(params.data_system)
    return _fdv1_data_system(params) if protocol == "fdv1" else DataSystem.default()


def _named_data_system(params: DataSystemParams) -> DataSystem:
    stored = (params.store or PersistentStoreLocation()).persistent_data_store
    return DataSystem(
        initializers=sources(params.initializers),
        synchronizers=sources(params.synchronizers),
        persistence=None if stored is None else _persistence(stored, "read_write" if params.store_mode == 1 else "read_only"),
        fdv1_fallback=fdv1_fallback(params.fdv1_fallback),
        _refused_delay=_refused_delay(*_extended_delays(params)),
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
        return Fdv1Streaming(
            base_uri=stream.base_uri or None,
            initial_reconnect_delay=seconds(stream.initial_retry_delay_ms),
            _refused_delay=_refused_delay(stream.extended_initial_delay_ms),
        )
    if (poll := params.polling) is not None:
        return Fdv1Polling(
            base_uri=poll.base_uri or None,
            interval=seconds(poll.poll_interval_ms),
            _refused_delay=_refused_delay(poll.extended_initial_delay_ms),
        )
    return None


def _refused_delay(*milliseconds: float | None) -> float:
    """The first one that is given, in seconds."""
    return next((each / 1000 for each in milliseconds if each is not None), REFUSED_RETRY_DELAY)


def _extended_delays(params: DataSystemParams) -> Iterator[float | None]:
    for source in params.synchronizers or ():
        for kind in (source.streaming, source.polling):
            if kind is not None:
                yield kind.extended_initial_delay_ms


def _persistence(params: PersistentStoreParams, mode: Literal["read_only", "read_write"]) -> Persistence:
    store, cache = _store(params.store), params.cache
    if cache.ttl is None:
        return Persistence(store=store, mode=mode, cache=cache.mode)
    return Persistence(store=store, mode=mode, cache=cache.mode, cache_ttl=cache.ttl)


def _store(location: StoreParams) -> StoreBuilder:
    prefix = location.prefix or ""
    match location.type:
        case "redis":
            return RedisStore(location.dsn, prefix=prefix)
        case "dynamodb":
            return DynamoDBStore(_TABLE, prefix=prefix, region=_REGION, endpoint_url=location.dsn)
        case "consul":
            # The harness names an agent by host and port.
            return ConsulStore(location.dsn if "://" in location.dsn else f"http://{location.dsn}", prefix=prefix)
        case other:
            raise ConfigError(f"store: this service cannot use a {other} store")


def _overrides(params: OverridesParams) -> FileOverrides:
    return FileOverrides(
        params.file_paths,
        on_duplicate=params.duplicate_keys_handling or "fail",
        watch=params.watch is not False,
        poll_interval=(params.poll_interval_ms or _POLL_INTERVAL_MS) / 1000 if params.poll else None,
    )


def _big_segments(params: BigSegmentsParams, callbacks: Callbacks) -> BigSegments:
    options = {
        "context_cache_size": params.user_cache_size,
        "context_cache_time": seconds(params.user_cache_time_ms),
        "status_poll_interval": seconds(params.status_poll_interval_ms),
        "stale_after": seconds(params.stale_after_ms),
    }
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    return BigSegments(store=CallbackBigSegmentStore(params.callback_uri, callbacks), **given)
