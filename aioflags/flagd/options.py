"""The options of FlagdConfig that have an environment variable or a rule: how each is read and checked.

Source: ``flagd.md`` 1.2 and 1.3.
"""

from __future__ import annotations

import ipaddress
import logging
import re
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast, get_args
from urllib.parse import unquote

from aioflags.errors import ConfigError
from aioflags.hooks import Hook
from aioflags.model.context import Context
from aioflags.model.defaults import MAX_RESPONSE_BYTES, PORT_OF_OFREP, PORT_OF_RPC, PORT_OF_SYNC
from aioflags.model.flagd import CacheKind, FatalCodesScope, FractionalVersion, Resolver, SyncMetadata
from aioflags.plugins import require_plugins
from aioflags.protocol.requests import check_header, in_address, sendable_headers
from aioflags.runtime.logs import class_name, printable
from aioflags.runtime.validation import (
    MAX_PORT,
    Check,
    Option,
    boolean,
    count,
    duration,
    function,
    has_query,
    http_address,
    instance,
    interval,
    items_of,
    one_of,
    optional,
    path,
    port,
    require,
    require_items,
    require_sequence,
    text_or_none,
    without_credentials,
)
from aioflags.runtime.value_classes import ReadOnlyMapping
from aioflags.transport.settings import Http

# -- Options of a flagd client from environment variables, in the units of flagd's specification.
# Source: ``flagd.md`` 1.2, 1.3 and 9.


_WHOLE: Final = re.compile(r"[+-]?[0-9]{1,18}")
"""``int`` also reads underscores and the digits of other alphabets, and a number with more digits may not fit into a float."""


def _word(_variable: str, text: str, _logger: logging.Logger) -> str:
    return text.lower()


def _true(variable: str, text: str, logger: logging.Logger) -> bool:
    """``true`` in any case is true, all else false. A text that is neither is logged."""
    if text.lower() not in {"true", "false"}:
        logger.warning("%s: %r counts as false; expected true or false", variable, printable(text))
    return text.lower() == "true"


def _whole(variable: str, text: str, _logger: logging.Logger) -> int:
    if not _WHOLE.fullmatch(text):
        raise ConfigError(f"{variable}: expected a whole number, got {printable(text)!r:.100}")
    return int(text)


def _milliseconds(variable: str, text: str, logger: logging.Logger) -> float:
    return _whole(variable, text, logger) / 1000


def _words(_variable: str, text: str, _logger: logging.Logger) -> list[str]:
    """The items of a list with commas, without empty ones."""
    return [item for part in text.split(",") if (item := part.strip())]


def _header_list(variable: str, text: str, logger: logging.Logger) -> dict[str, str]:
    """The HTTP headers of a text such as ``Authorization=Bearer%20abc,X-Env=prod``.

    Entries without ``=`` or without a name are left out, with a warning.
    """
    headers: dict[str, str] = {}
    for position, entry in enumerate(unquote(text).split(","), start=1):
        header, separator, value = entry.partition("=")
        if separator and header.strip():
            headers[header.strip()] = value.strip()
        elif entry.strip():
            # The entry may be a credential.
            logger.warning("%s: entry %d is not a header; expected name=value", variable, position)
    return headers


def port_in(environment: Mapping[str, str], *names: str) -> int | None:
    """The first of these variables that is a port. Kubernetes sets them to addresses, which do not count."""
    for name in names:
        text = environment.get(name, "").strip()
        if text.isascii() and text.isdecimal() and len(text) <= 5 and 1 <= int(text) <= MAX_PORT:
            return int(text)
    return None


_MAX_NUMBER: Final = 2**31 - 1
"""gRPC keeps numbers in 32 bits."""
_LONGEST_SOCKET: Final = 107
"""Bytes that Linux allows."""


def default_port(resolver: str, environment: Mapping[str, str]) -> int:
    """The port if the option ``port`` is not given: from the variables of the resolver, or the resolver's default."""
    if resolver == "in-process":
        return port_in(environment, "FLAGD_SYNC_PORT", "FLAGD_PORT") or PORT_OF_SYNC
    return port_in(environment, "FLAGD_PORT") or PORT_OF_RPC


def default_address(host: str, *, tls: bool) -> str:
    """The address of OFREP if neither the option nor its variable is given."""
    return f"{'https' if tls else 'http'}://{in_address(host)}:{PORT_OF_OFREP}"


def check_host(host: str) -> None:
    """Check the host of an address that is about to be used.

    Raises:
        ConfigError: it is not the name of a host, nor an IP address.
    """
    # Characters that look like "?" or "/" become these in the name that is resolved.
    is_name = bool(host) and all(_is_of_a_name(character) for character in unicodedata.normalize("NFKC", host))
    if not is_name and not _is_ipv6(host[1:-1] if host.startswith("[") and host.endswith("]") else host):
        shown = without_credentials(host)
        raise ConfigError(f"host: expected a name or an IP address, without scheme and port, got {shown!r:.100}")


def _is_of_a_name(character: str) -> bool:
    return character.isalnum() or character in "-_." or (not character.isascii() and character.isprintable())


def _context(name: str, value: object) -> Context:
    """A context that is sent to a server: JSON can express it, and it has one kind."""
    context = cast("Context", require(name, value, Context, type(None)))
    # Few clients have such a context.
    from aioflags.flagd.rpc import attributes_of  # noqa: PLC0415 - few clients need it
    from aioflags.protocol.ofrep import request_body  # noqa: PLC0415 - few clients need it

    try:
        request_body(attributes_of(context))
    except ValueError as error:
        raise ConfigError(f"{name}: {error}") from error
    return context


def _is_ipv6(text: str) -> bool:
    address_text, _, zone = text.partition("%")
    try:
        ipaddress.IPv6Address(address_text)
    except ValueError:
        return False
    return all(_is_of_a_name(character) for character in zone)


def _grpc_object(class_path: str) -> Check:
    """The check of an object of a class of gRPC, which is not imported: the program that has such an object has done that."""

    def check(option: str, value: object) -> object:
        module, _, name = class_path.rpartition(".")
        return require(option, value, getattr(sys.modules.get(module), name, _Absent), expected=class_path)

    return check


def _interceptors(option: str, value: object) -> tuple[object, ...]:
    class_path = "grpc.aio.ClientInterceptor"
    require_sequence(option, value, class_path)
    items = tuple(_grpc_object(class_path)(option, item) for item in require_items(option, cast("Sequence[object]", value), object))
    kinds = [getattr(sys.modules.get("grpc.aio"), name, _Absent) for name in _INTERCEPTED]
    for item in items:
        if all(isinstance(item, kind) for kind in kinds):
            # Without an error the streams would lack what it adds.
            raise ConfigError(f"{option}: {class_name(item)} is for calls and streams, of which gRPC uses one; make two classes")
    return items


_INTERCEPTED: Final = ("UnaryUnaryClientInterceptor", "UnaryStreamClientInterceptor")
"""The kinds of interceptors for the calls of a client."""


class _Absent:
    """No object has this class."""


def _sendable_text(name: str, value: object) -> object:
    text = cast("str | None", text_or_none(name, value))
    try:
        (text or "").encode()
    except UnicodeEncodeError:  # a lone surrogate
        raise ConfigError(f"{name}: expected Unicode text, got a lone surrogate in {printable(text)!r:.100}") from None
    return value


def _socket(name: str, value: object) -> str:
    text = path(name, value)
    _sendable_text(name, text)
    if len(text.encode()) > _LONGEST_SOCKET:
        raise ConfigError(f"{name}: a Unix socket has a path of at most {_LONGEST_SOCKET} bytes, got {printable(text)!r:.200}")
    return text


def _target(name: str, value: object) -> object:
    uri = cast("str | None", text_or_none(name, value))
    if uri is not None and not (uri and uri.isprintable() and " " not in uri):
        shown = without_credentials(uri)
        raise ConfigError(f"{name}: expected a name in gRPC's syntax, such as dns:///flagd:8013, got {shown!r:.100}")
    if uri is not None and has_query(uri):
        raise ConfigError(f"{name}: expected a name without query and fragment; in the path of a socket ? is %3F, and # is %23")
    return value


def _codes(name: str, value: object) -> object:
    return tuple(code.strip().upper() for code in require_items(name, cast("Sequence[str]", value), str))


def _headers(name: str, value: object) -> object:
    if callable(value):
        return function(name, value)
    sendable_headers(name, value)
    return ReadOnlyMapping(dict(cast("Mapping[str, str]", value)))


def unchanged(sync_context: Mapping[str, Any]) -> Mapping[str, Any]:
    """The default of ``context_enricher``."""
    return sync_context


OPTIONS: Final = (
    Option("resolver", one_of(*get_args(Resolver)), ("FLAGD_RESOLVER",), _word, default="rpc"),
    Option("host", text_or_none, ("FLAGD_HOST",), default="localhost"),
    Option("port", port),
    Option("target_uri", _target, ("FLAGD_TARGET_URI",)),
    Option("tls", boolean, ("FLAGD_TLS",), _true, default=False),
    Option("socket_path", _socket, ("FLAGD_SOCKET_PATH",)),
    Option("cert_path", path, ("FLAGD_SERVER_CERT_PATH",)),
    Option("default_authority", check_header, ("FLAGD_DEFAULT_AUTHORITY",)),
    Option("deadline", duration, ("FLAGD_DEADLINE_MS",), _milliseconds, default=0.5, unusual=60),
    Option("stream_deadline", duration, ("FLAGD_STREAM_DEADLINE_MS",), _milliseconds, default=600.0, unusual=100_000),
    Option("retry_backoff", duration, ("FLAGD_RETRY_BACKOFF_MS",), _milliseconds, default=1.0, unusual=500),
    Option("retry_backoff_max", duration, ("FLAGD_RETRY_BACKOFF_MAX_MS",), _milliseconds, default=5.0, unusual=1000),
    Option("retry_grace_period", duration, ("FLAGD_RETRY_GRACE_PERIOD",), _whole, default=10.0),
    Option(
        "keep_alive_time", duration, ("FLAGD_KEEP_ALIVE_TIME_MS", "FLAGD_KEEP_ALIVE_TIME"), _milliseconds, default=0.0, unusual=5000
    ),
    Option("selector", check_header, ("FLAGD_SOURCE_SELECTOR",)),
    Option("provider_id", _sendable_text, ("FLAGD_PROVIDER_ID", "FLAGD_SOURCE_PROVIDER_ID")),
    Option("cache", one_of(*get_args(CacheKind)), ("FLAGD_CACHE",), _word, default="lru"),
    Option("max_cache_size", count(0, _MAX_NUMBER), ("FLAGD_MAX_CACHE_SIZE",), _whole, default=1000),
    Option("offline_flag_source_path", path, ("FLAGD_OFFLINE_FLAG_SOURCE_PATH",)),
    Option("offline_poll_interval", interval, ("FLAGD_OFFLINE_POLL_MS",), _milliseconds, default=5.0, unusual=1000),
    Option("context_enricher", function, default=unchanged),
    Option("fatal_status_codes", _codes, ("FLAGD_FATAL_STATUS_CODES",), _words, default=()),
    Option(
        "fatal_codes_scope", one_of(*get_args(FatalCodesScope)), ("FLAGD_FATAL_CODES_SCOPE",), _word, default="first-connection"
    ),
    Option("sync_metadata", one_of(*get_args(SyncMetadata)), ("FLAGD_SYNC_METADATA",), _word, default="stream"),
    Option("fractional_version", one_of(*get_args(FractionalVersion)), ("FLAGD_FRACTIONAL_VERSION",), _whole, default=3),
    Option("headers", _headers, ("FLAGD_HEADERS",), _header_list, default=ReadOnlyMapping[str, str]({})),
    Option("max_message_bytes", count(1, _MAX_NUMBER), default=MAX_RESPONSE_BYTES),
    Option("ofrep_base_url", http_address(), ("OFREP_ENDPOINT",)),
    Option("ofrep_timeout", interval, ("OFREP_TIMEOUT_MS",), _milliseconds, default=10.0, unusual=1000),
    Option("ofrep_poll_interval", duration, default=0.0),
)
"""The options that are derived from their variable or their default if they are ``None``, in the order of FlagdConfig."""
PLAIN_OPTIONS: Final = (
    Option("logger", instance(logging.Logger)),
    Option("http", instance(Http)),
    Option("ofrep_context", optional(_context)),
    Option("channel_credentials", optional(_grpc_object("grpc.ChannelCredentials"))),
    Option("interceptors", _interceptors),
    Option("hooks", items_of(Hook)),
    Option("plugins", require_plugins),
    Option("close_timeout", interval),
)
"""The others."""
OFREP_HEADERS: Final = Option("headers", _headers, ("OFREP_HEADERS",), _header_list)
"""The variable of OFREP for the headers, which no other server gets."""
