"""The options of FlagdConfig that have an environment variable or a rule: how each is read and checked.

Source: ``flagd.md`` 1.2 and 1.3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, cast

from aioflags.errors import ConfigError, ConfigTypeError
from aioflags.flagd.environment import Variables
from aioflags.model.defaults import MAX_RESPONSE_BYTES
from aioflags.protocol.requests import header_text
from aioflags.runtime.validation import TEXT, require, require_items

__all__ = ["OPTIONS", "Option", "port_of"]

_PORTS: Final = {"in-process": 8015}
_PORT: Final = 8013
_MAX_PORT: Final = 65535
_MAX_NUMBER: Final = 2**31 - 1
"""gRPC keeps numbers in 32 bits."""


@dataclass(frozen=True, slots=True)
class Option:
    """One option. ``check`` gets the name for its messages, and the value; it returns the final value, or raises."""

    name: str
    default: object
    check: Callable[[str, Any], object]
    read: Callable[[Variables], object] = lambda _: None
    variable: str | None = None

    def value(self, given: object, variables: Variables) -> object:
        """The argument, or the value of the variable, or the default."""
        if given is not None:
            return self.check(self.name, given)
        value = self.read(variables)
        return self.default if value is None else self.check(self.variable or self.name, value)


def port_of(given: object, resolver: str, variables: Variables) -> int:
    """The port: the argument, or the variables of the resolver, or the resolver's default.

    Raises:
        ConfigError: the argument is not a port.
    """
    if given is not None:
        port = cast("int", require("port", given, int))
        if not 1 <= port <= _MAX_PORT:
            raise ConfigError(f"port: expected a number from 1 to {_MAX_PORT}, got {port}")
        return port
    names = ("FLAGD_SYNC_PORT", "FLAGD_PORT") if resolver in {"in-process", "file"} else ("FLAGD_PORT",)
    return variables.port(*names) or _PORTS.get(resolver, _PORT)


def _text(name: str, value: object) -> object:
    return require(name, value, *TEXT)


def _header(name: str, value: object) -> object:
    """Text that is also sent as the value of a header."""
    require(name, value, *TEXT)
    header_text(name, cast("str | None", value))
    return value


def _boolean(name: str, value: object) -> object:
    return require(name, value, bool)


def _duration(name: str, value: object) -> object:
    seconds = cast("float", require(name, value, int, float))
    if not (math.isfinite(seconds) and seconds >= 0):
        raise ConfigError(f"{name}: expected a duration that is not negative, got {value!r}")
    return float(seconds)


def _interval(name: str, value: object) -> object:
    if _duration(name, value) == 0:
        raise ConfigError(f"{name}: expected a duration above 0")
    return float(cast("float", value))


def _count(minimum: int) -> Callable[[str, object], object]:
    def check(name: str, value: object) -> object:
        number = cast("int", require(name, value, int))
        if not minimum <= number <= _MAX_NUMBER:
            raise ConfigError(f"{name}: expected a number from {minimum} to {_MAX_NUMBER}, got {number}")
        return number

    return check


def _one_of(*values: object) -> Callable[[str, object], object]:
    def check(name: str, value: object) -> object:
        if value not in values or isinstance(value, bool):
            raise ConfigError(f"{name}: expected {' or '.join(repr(each) for each in values)}, got {value!r}")
        return value

    return check


def _function(name: str, value: object) -> object:
    if not callable(value):
        raise ConfigTypeError(f"{name}: expected a function, got {type(value).__name__}")
    return value


def _codes(name: str, value: object) -> object:
    return require_items(name, cast("Sequence[str]", value), str)


def _headers(name: str, value: object) -> object:
    if callable(value):
        return value
    headers = cast("Mapping[str, str]", require(name, value, Mapping, expected="a mapping of names to values, or a function"))
    for header, text in headers.items():
        require(name, header, str, expected="names that are strings")
        require(name, text, str, expected="values that are strings")
        header_text(name, text)
    return MappingProxyType(dict(headers))


def unchanged(sync_context: Mapping[str, Any]) -> Mapping[str, Any]:
    """The default of ``context_enricher``."""
    return sync_context


OPTIONS: Final = (
    Option("resolver", "rpc", _one_of("rpc", "in-process", "file", "ofrep"), lambda v: v.word("FLAGD_RESOLVER"), "FLAGD_RESOLVER"),
    Option("host", "localhost", _text, lambda v: v.text("FLAGD_HOST")),
    Option("target_uri", None, _text, lambda v: v.text("FLAGD_TARGET_URI")),
    Option("tls", False, _boolean, lambda v: v.boolean("FLAGD_TLS")),  # noqa: FBT003 -- a default
    Option("socket_path", None, _text, lambda v: v.text("FLAGD_SOCKET_PATH")),
    Option("cert_path", None, _text, lambda v: v.text("FLAGD_SERVER_CERT_PATH")),
    Option("default_authority", None, _header, lambda v: v.text("FLAGD_DEFAULT_AUTHORITY"), "FLAGD_DEFAULT_AUTHORITY"),
    Option("deadline", 0.5, _duration, lambda v: v.seconds("FLAGD_DEADLINE_MS"), "FLAGD_DEADLINE_MS"),
    Option("stream_deadline", 600.0, _duration, lambda v: v.seconds("FLAGD_STREAM_DEADLINE_MS"), "FLAGD_STREAM_DEADLINE_MS"),
    Option("retry_backoff", 1.0, _duration, lambda v: v.seconds("FLAGD_RETRY_BACKOFF_MS"), "FLAGD_RETRY_BACKOFF_MS"),
    Option("retry_backoff_max", 5.0, _duration, lambda v: v.seconds("FLAGD_RETRY_BACKOFF_MAX_MS"), "FLAGD_RETRY_BACKOFF_MAX_MS"),
    Option(
        "retry_grace_period",
        10.0,
        _duration,
        lambda v: v.seconds("FLAGD_RETRY_GRACE_PERIOD", per_second=1),
        "FLAGD_RETRY_GRACE_PERIOD",
    ),
    Option(
        "keep_alive_time",
        0.0,
        _duration,
        lambda v: v.seconds("FLAGD_KEEP_ALIVE_TIME_MS", "FLAGD_KEEP_ALIVE_TIME"),
        "FLAGD_KEEP_ALIVE_TIME_MS",
    ),
    Option("selector", None, _header, lambda v: v.text("FLAGD_SOURCE_SELECTOR"), "FLAGD_SOURCE_SELECTOR"),
    Option("provider_id", None, _text, lambda v: v.text("FLAGD_PROVIDER_ID", "FLAGD_SOURCE_PROVIDER_ID")),
    Option("cache", "lru", _one_of("lru", "disabled"), lambda v: v.word("FLAGD_CACHE"), "FLAGD_CACHE"),
    Option("max_cache_size", 1000, _count(0), lambda v: v.whole("FLAGD_MAX_CACHE_SIZE"), "FLAGD_MAX_CACHE_SIZE"),
    Option("offline_flag_source_path", None, _text, lambda v: v.text("FLAGD_OFFLINE_FLAG_SOURCE_PATH")),
    Option("offline_poll_interval", 5.0, _interval, lambda v: v.seconds("FLAGD_OFFLINE_POLL_MS"), "FLAGD_OFFLINE_POLL_MS"),
    Option("context_enricher", unchanged, _function),
    Option("fatal_status_codes", (), _codes, lambda v: v.words("FLAGD_FATAL_STATUS_CODES")),
    Option("fatal_codes_scope", "first-connection", _one_of("first-connection", "always")),
    Option("sync_metadata", "stream", _one_of("stream", "rpc", "off")),
    Option("fractional_version", 3, _one_of(2, 3)),
    Option("max_message_bytes", MAX_RESPONSE_BYTES, _count(1)),
    Option("ofrep_headers", MappingProxyType(dict[str, str]()), _headers, lambda v: v.headers("OFREP_HEADERS"), "OFREP_HEADERS"),
    Option("ofrep_timeout", 10.0, _interval, lambda v: v.seconds("OFREP_TIMEOUT_MS"), "OFREP_TIMEOUT_MS"),
    Option("ofrep_poll_interval", 0.0, _duration),
)
"""All options that are checked alike, in the order of FlagdConfig. The port depends on the resolver."""
