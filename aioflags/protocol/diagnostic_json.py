"""The JSON of diagnostic events: the SDK, its configuration and its statistics. They contain no data about contexts.

This module has the names and units of the fields; other modules collect the values.

Source: ``events.md`` 12.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from aioflags.model.event import StreamAttempt
from aioflags.protocol.event_json import as_json

_MAX_INTEGER: Final = 2**53 - 1
"""The largest integer that every JSON parser reads exactly."""


class Identity(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Identifies a client during one run. ``sdk_key_suffix``: the last six characters of its SDK key."""

    diagnostic_id: str
    sdk_key_suffix: str = ""

    def __repr__(self) -> str:
        return f"Identity({self.diagnostic_id})"


class Sdk(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The SDK, and the library that wraps it, if any."""

    name: str
    version: str
    wrapper_name: str | None = None
    wrapper_version: str | None = None


class Platform(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The operating system and the Python interpreter."""

    name: str = "python"
    os_name: str
    os_version: str
    os_arch: str
    python_version: str
    python_implementation: str


class CommonConfiguration(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Options that all clients have, without confidential data: of addresses and proxies only whether they are configured."""

    custom_base_uri: bool = msgspec.field(name="customBaseURI")
    custom_stream_uri: bool = msgspec.field(name="customStreamURI")
    custom_events_uri: bool = msgspec.field(name="customEventsURI")
    events_capacity: int
    connect_timeout_millis: int
    socket_timeout_millis: int
    events_flush_interval_millis: int | msgspec.UnsetType
    polling_interval_millis: int
    reconnect_time_millis: int
    start_wait_millis: int
    streaming_disabled: bool
    using_proxy: bool
    using_proxy_authenticator: bool
    all_attributes_private: bool
    diagnostic_recording_interval_millis: int


class Configuration(CommonConfiguration, frozen=True, kw_only=True):
    """Options of a client with an SDK key."""

    using_relay_daemon: bool
    user_keys_capacity: int
    user_keys_flush_interval_millis: int
    data_store_type: str


class MobileConfiguration(CommonConfiguration, frozen=True, kw_only=True):
    """Options of a client with a mobile key. LaunchDarkly's SDK for iOS has the same names.

    ``using_secure_mode``: the first context has a secure-mode hash. ``mobile_key_count``: the environments of the client.
    """

    background_polling_interval_millis: int
    background_polling_disabled: bool
    use_report: bool
    evaluation_reasons_requested: bool
    max_cached_users: int
    mobile_key_count: int
    using_secure_mode: bool


class Description(msgspec.Struct, frozen=True, kw_only=True):
    """The part of diagnostics that does not change while a client runs."""

    sdk: Sdk
    configuration: CommonConfiguration
    platform: Platform


def whole(number: float) -> int:
    """The number as an integer, limited to ±(2**53 - 1)."""
    return int(min(max(number, -_MAX_INTEGER), _MAX_INTEGER))


def millis(seconds: float) -> int:
    """Seconds as whole milliseconds."""
    return whole(seconds * 1000)


def init_event(identity: Identity, description: Description, *, at_ms: int) -> bytes:
    """The first diagnostic event of a client."""
    return _encoded({**_head("diagnostic-init", identity, at_ms), **msgspec.to_builtins(description)})


def periodic_event(
    identity: Identity,
    *,
    at_ms: int,
    since_ms: int,
    dropped: int,
    deduplicated: int,
    last_batch: int,
    attempts: Sequence[StreamAttempt],
) -> bytes:
    """The statistics of one period. ``since_ms``: when the previous diagnostic event was made."""
    return _encoded(
        {
            **_head("diagnostic", identity, at_ms),
            "dataSinceDate": since_ms,
            "droppedEvents": dropped,
            "deduplicatedUsers": deduplicated,
            "eventsInLastBatch": last_batch,
            "streamInits": [
                {"timestamp": attempt.at_ms, "durationMillis": attempt.took_ms, "failed": attempt.is_failed} for attempt in attempts
            ],
        }
    )


def _head(kind: str, identity: Identity, at_ms: int) -> dict[str, Any]:
    return {"kind": kind, "creationDate": at_ms, "id": msgspec.to_builtins(identity)}


def _encoded(event: dict[str, Any]) -> bytes:
    # Not msgspec alone: as_json escapes lone surrogates, which names of the operating system may contain.
    return bytes(as_json(event))
