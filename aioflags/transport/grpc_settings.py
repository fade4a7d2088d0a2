"""GrpcSettings: where a gRPC channel to flagd leads, and its arguments. Functions of values; nothing here imports gRPC.

Source: ``flagd.md`` 1.4 and 1.5.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import TYPE_CHECKING, Final, TypeAlias
from urllib.parse import quote

from aioflags.errors import ConfigError
from aioflags.protocol.requests import GivenHeaders, in_address
from aioflags.runtime.validation import without_credentials

if TYPE_CHECKING:
    import grpc
    import grpc.aio

    ChannelCredentials: TypeAlias = grpc.ChannelCredentials
    ClientInterceptor: TypeAlias = grpc.aio.ClientInterceptor
else:  # names for typing.get_type_hints, without an import of gRPC
    ChannelCredentials = ClientInterceptor = object


EVALUATION_V1: Final = "flagd.evaluation.v1.Service"
EVALUATION_V2: Final = "flagd.evaluation.v2.Service"
SYNC: Final = "flagd.sync.v1.FlagSyncService"

CODES: Final = frozenset(
    (
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    )
)
"""The names of gRPC's codes."""

SHORTEST_USUAL_PING: Final = 30.0
"""Servers of flagd end a connection with more frequent pings."""

_ATTEMPTS: Final = 4
_MULTIPLIER: Final = 2.0
_RETRIED: Final = ("UNAVAILABLE", "UNKNOWN")
_SHORTEST_BACKOFF: Final = 0.001
"""gRPC refuses a policy with a backoff of 0, and then every call."""
_SHORTEST_ATTEMPT: Final = 1.0
"""Seconds that one attempt to connect has at least."""
_SCHEMES: Final = frozenset({"dns", "unix", "ipv4", "ipv6", "xds"})
_MAY_HAVE_AT: Final = frozenset({"unix", "unix-abstract", "xds"})
"""Schemes of which the rest is not the name of a host."""
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://|(dns|unix|unix-abstract|ipv4|ipv6|xds):")
_SPECIAL: Final = re.compile(r"[%?#]")
"""Characters that have another meaning in a URI."""
_ENVOY: Final = re.compile(r"envoy://([^/]+:\d+)/([^/?#]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpcTarget:
    """What a channel connects to: a name in gRPC's syntax, and the authority that it asks for, if that differs."""

    name: str
    authority: str | None = None
    is_local: bool = False
    """The path of a Unix socket, which is never encrypted."""


def read_target(*, host: str, port: int, target_uri: str | None, socket_path: str | None) -> GrpcTarget:
    """Where to connect: to the socket, or else to the name, or else to the host.

    Raises:
        ConfigError: the name has a scheme that gRPC does not know, or a user name or a password. The message does not repeat these.
    """
    if socket_path is not None:
        path = _SPECIAL.sub(lambda special: quote(special[0]), socket_path)
        return GrpcTarget(name=f"unix://{path}" if PurePath(socket_path).is_absolute() else f"unix:{path}", is_local=True)
    if target_uri is None:
        return GrpcTarget(name=f"{in_address(host)}:{port}")
    prefix = _SCHEME.match(target_uri)
    scheme = "" if prefix is None else (prefix[1] or prefix[2]).lower()
    shown = without_credentials(target_uri)
    if "@" in target_uri and scheme not in _MAY_HAVE_AT:
        # gRPC does not use them, and its errors have the whole name.
        raise ConfigError(f"target_uri: remove the user name and password from {shown!r}; gRPC's syntax has none")
    if scheme == "envoy":
        if (envoy := _ENVOY.fullmatch(target_uri)) is None:
            raise ConfigError(f"target_uri: expected envoy://host:port/authority, got {shown!r}")
        return GrpcTarget(name=envoy[1], authority=envoy[2])
    if scheme and scheme not in _SCHEMES:
        expected = ", ".join(sorted(_SCHEMES | {"envoy"}))
        raise ConfigError(f"target_uri: unknown scheme {scheme!r}; expected one of {expected}, or host:port")
    return GrpcTarget(name=target_uri)


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpcSettings:
    """What a channel needs. Durations are in seconds; ``FlagdConfig`` describes the options."""

    target: GrpcTarget
    tls: bool
    cert_path: str | None
    credentials: ChannelCredentials | None = field(repr=False)
    authority: str | None
    selector: str | None
    deadline: float
    retry_backoff: float
    retry_backoff_max: float
    keep_alive_time: float
    max_message_bytes: int
    interceptors: Sequence[ClientInterceptor] = field(repr=False)
    headers: GivenHeaders = field(repr=False)


def service_config(settings: GrpcSettings) -> str:
    """The retry policy of all calls, as the JSON text that gRPC accepts.

    gRPC wants the names in lower camel case and durations like ``"1.5s"``. With any other spelling it fails every call.
    """
    policy = {
        "maxAttempts": _ATTEMPTS,
        "initialBackoff": _duration(settings.retry_backoff),
        "maxBackoff": _duration(settings.retry_backoff_max),
        "backoffMultiplier": _MULTIPLIER,
        "retryableStatusCodes": list(_RETRIED),
    }
    services = [{"service": name} for name in (EVALUATION_V1, EVALUATION_V2, SYNC)]
    return json.dumps({"methodConfig": [{"name": services, "retryPolicy": policy}]})


def channel_arguments(settings: GrpcSettings) -> tuple[tuple[str, str | int], ...]:
    """The arguments of a channel."""
    arguments: dict[str, str | int] = {
        "grpc.service_config": service_config(settings),
        "grpc.initial_reconnect_backoff_ms": _milliseconds(settings.retry_backoff),
        "grpc.max_reconnect_backoff_ms": _milliseconds(settings.retry_backoff_max),
        "grpc.min_reconnect_backoff_ms": _milliseconds(max(settings.deadline, _SHORTEST_ATTEMPT)),
        "grpc.max_receive_message_length": settings.max_message_bytes,
        # The backoff of one client delays no other client of this process.
        "grpc.use_local_subchannel_pool": 1,
    }
    if settings.keep_alive_time > 0:
        arguments["grpc.keepalive_time_ms"] = _milliseconds(settings.keep_alive_time)
        arguments["grpc.http2.max_pings_without_data"] = 0
    if (authority := settings.authority or settings.target.authority) is not None:
        arguments["grpc.default_authority"] = authority
    return tuple(arguments.items())


def _duration(seconds: float) -> str:
    text = f"{max(seconds, _SHORTEST_BACKOFF):.9f}".rstrip("0").rstrip(".")
    return f"{text}s"


def _milliseconds(seconds: float) -> int:
    return min(max(round(seconds * 1000), 1), 2**31 - 1)
