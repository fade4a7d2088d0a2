"""The options of FlagdConfig that have an environment variable or a rule: how each is read and checked.

Source: ``flagd.md`` 1.2 and 1.3.
"""

from __future__ import annotations

import ipaddress
import logging
import math
import re
import sys
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast, get_args
from urllib.parse import unquote

from aioflags.errors import ConfigError, ConfigTypeError
from aioflags.model.context import Context
from aioflags.model.defaults import MAX_RESPONSE_BYTES, PORT_OF_OFREP, PORT_OF_RPC, PORT_OF_SYNC
from aioflags.model.flagd import CacheKind, FatalCodesScope, FractionalVersion, Resolver, SyncMetadata
from aioflags.protocol.ofrep import sendable_headers
from aioflags.protocol.requests import header_text, in_address
from aioflags.runtime.logs import class_name, printable
from aioflags.runtime.validation import (
    MAX_PORT,
    address,
    boolean,
    count,
    duration,
    function,
    has_query,
    interval,
    one_of,
    port,
    require,
    require_items,
    text_or_none,
    without_credentials,
)
from aioflags.runtime.value_classes import ReadOnlyMapping

# -- Options of a flagd client from environment variables, in the units of flagd's specification.
# Source: ``flagd.md`` 1.2, 1.3 and 9.


_WHOLE: Final = re.compile(r"[+-]?[0-9]{1,18}")
"""``int`` also reads underscores and the digits of other alphabets, and a number with more digits may not fit into a float."""


class Variables:
    """Reads environment variables, without white space around their texts. A variable that is empty counts as not set.

    Raises:
        ConfigError: a method finds an unusable value. The message names the variable.
    """

    def __init__(self, environment: Mapping[str, str], logger: logging.Logger) -> None:
        self._environment = environment
        self._logger = logger

    def text(self, name: str) -> str | None:
        """Any text that is not empty."""
        return self._environment.get(name, "").strip() or None

    def word(self, name: str) -> str | None:
        """One of several words, in lower case."""
        text = self.text(name)
        return None if text is None else text.lower()

    def boolean(self, name: str) -> bool | None:
        """``true`` in any case is true, all else false. A text that is neither is logged."""
        text = self.text(name)
        if text is not None and text.lower() not in {"true", "false"}:
            self._logger.warning("%s: %r counts as false; expected true or false", name, printable(text))
        return None if text is None else text.lower() == "true"

    def whole(self, name: str) -> int | None:
        """A whole number."""
        text = self.text(name)
        if text is None:
            return None
        if not _WHOLE.fullmatch(text):
            raise ConfigError(f"{name}: expected a whole number, got {printable(text)!r:.100}")
        return int(text)

    def seconds(self, name: str) -> float | None:
        """A duration, which the variable has as a whole number of milliseconds."""
        number = self.whole(name)
        return None if number is None else number / 1000

    def port(self, *names: str) -> int | None:
        """The first of these variables that is a port. Kubernetes sets them to addresses, which do not count."""
        for name in names:
            text = self.text(name) or ""
            if text.isascii() and text.isdecimal() and len(text) <= 5 and 1 <= int(text) <= MAX_PORT:
                return int(text)
        return None

    def words(self, name: str) -> list[str] | None:
        """The items of a list with commas, without empty ones."""
        text = self.text(name)
        return None if text is None else [item for part in text.split(",") if (item := part.strip())]

    def headers(self, name: str) -> dict[str, str] | None:
        """The HTTP headers of a text such as ``Authorization=Bearer%20abc,X-Env=prod``.

        Entries without ``=`` or without a name are left out, with a warning.
        """
        text = self.text(name)
        if text is None:
            return None
        headers: dict[str, str] = {}
        for position, entry in enumerate(unquote(text).split(","), start=1):
            header, separator, value = entry.partition("=")
            if separator and header.strip():
                headers[header.strip()] = value.strip()
            elif entry.strip():
                # The entry may be a credential.
                self._logger.warning("%s: entry %d is not a header; expected name=value", name, position)
        return headers


_MAX_NUMBER: Final = 2**31 - 1
"""gRPC keeps numbers in 32 bits."""
_LONGEST_SOCKET: Final = 107
"""Bytes that Linux allows."""


@dataclass(frozen=True, slots=True)
class Option:
    """One option. ``check`` gets the name for its messages, and the value; it returns the final value, or raises.
    ``read`` reads one of the ``variables``; the first that is set counts.

    ``unusual``: durations from here on are probably milliseconds.
    """

    name: str
    default: object
    check: Callable[[str, Any], object]
    read: Callable[[Variables, str], object] = Variables.text
    variables: tuple[str, ...] = ()
    unusual: float = math.inf

    def value(self, given: object, variables: Variables, logger: logging.Logger) -> object:
        """The argument ``given``, or the value of the variable, or the default."""
        if given is None:
            for variable in self.variables:
                if (value := self.read(variables, variable)) is not None:
                    return self.check(variable, value)
            return self.default
        value = self.check(self.name, given)
        if isinstance(value, float) and value >= self.unusual:
            logger.warning("%s: %.15g s is unusually long; expected seconds, not milliseconds", self.name, value)
        return value


def default_port(resolver: str, variables: Variables) -> int:
    """The port if the option ``port`` is not given: from the variables of the resolver, or the resolver's default."""
    if resolver == "in-process":
        return variables.port("FLAGD_SYNC_PORT", "FLAGD_PORT") or PORT_OF_SYNC
    return variables.port("FLAGD_PORT") or PORT_OF_RPC


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


def check_sendable(name: str, context: Context) -> None:
    """Check a context that is sent to a server.

    Raises:
        ConfigError: JSON cannot express it, or it has several kinds.
    """
    # Few clients have such a context.
    from aioflags.flagd.rpc import attributes_of  # noqa: PLC0415 - as above
    from aioflags.protocol.ofrep import request_body  # noqa: PLC0415 - as above

    try:
        request_body(attributes_of(context))
    except ValueError as error:
        raise ConfigError(f"{name}: {error}") from error


def _is_ipv6(text: str) -> bool:
    address_text, _, zone = text.partition("%")
    try:
        ipaddress.IPv6Address(address_text)
    except ValueError:
        return False
    return all(_is_of_a_name(character) for character in zone)


def grpc_object(name: str, value: object, path: str) -> object:
    """Check that ``value`` is an object of gRPC's class ``path``. gRPC is not imported: who has such an object has done that.

    Raises:
        ConfigTypeError: it is not.
    """
    module, _, name_in_module = path.rpartition(".")
    kind = getattr(sys.modules.get(module), name_in_module, _Absent)
    return require(name, value, kind, expected=path)


def grpc_objects(name: str, values: object, path: str) -> tuple[object, ...]:
    """Check that ``values`` is a sequence of such objects.

    Raises:
        ConfigTypeError: it is not.
    """
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise ConfigTypeError(f"{name}: expected a sequence of {path}, got {class_name(values)}")
    items = require_items(name, cast("Sequence[object]", values), object)
    return tuple(grpc_object(name, value, path) for value in items)


class _Absent:
    """No object has this class."""


def _header(name: str, value: object) -> object:
    """Text that is also sent as the value of a header."""
    header_text(name, cast("str | None", text_or_none(name, value)))
    return value


def _sendable_text(name: str, value: object) -> object:
    """Text that is written as UTF-8."""
    text = cast("str | None", text_or_none(name, value))
    if text is not None and not _is_utf8(text):
        raise ConfigError(f"{name}: expected Unicode text, got a lone surrogate in {printable(text)!r:.100}")
    return value


def _path(name: str, value: object) -> object:
    """The path of a file."""
    path = cast("str | None", text_or_none(name, value))
    if path is not None and (not path or "\0" in path or not _is_utf8(path, "surrogateescape")):
        raise ConfigError(f"{name}: expected the path of a file, got {printable(path)!r:.100}")
    return value


def _socket(name: str, value: object) -> object:
    """The path of a Unix socket."""
    path = cast("str | None", _sendable_text(name, _path(name, value)))
    if path is not None and len(path.encode()) > _LONGEST_SOCKET:
        raise ConfigError(f"{name}: a Unix socket has a path of at most {_LONGEST_SOCKET} bytes, got {printable(path)!r:.200}")
    return value


def _target(name: str, value: object) -> object:
    uri = cast("str | None", text_or_none(name, value))
    if uri is not None and not (uri and uri.isprintable() and " " not in uri):
        shown = without_credentials(uri)
        raise ConfigError(f"{name}: expected a name in gRPC's syntax, such as dns:///flagd:8013, got {shown!r:.100}")
    if uri is not None and has_query(uri):
        raise ConfigError(f"{name}: expected a name without query and fragment; in the path of a socket ? is %3F, and # is %23")
    return value


def _is_utf8(text: str, errors: str = "strict") -> bool:
    try:
        text.encode(errors=errors)
    except UnicodeEncodeError:  # a lone surrogate
        return False
    return True


def _address(name: str, value: object) -> object:
    return address(name, value, "")


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
    Option("resolver", "rpc", one_of(*get_args(Resolver)), Variables.word, ("FLAGD_RESOLVER",)),
    Option("host", "localhost", text_or_none, Variables.text, ("FLAGD_HOST",)),
    Option("port", None, port),
    Option("target_uri", None, _target, Variables.text, ("FLAGD_TARGET_URI",)),
    Option("tls", False, boolean, Variables.boolean, ("FLAGD_TLS",)),  # noqa: FBT003 -- a default
    Option("socket_path", None, _socket, Variables.text, ("FLAGD_SOCKET_PATH",)),
    Option("cert_path", None, _path, Variables.text, ("FLAGD_SERVER_CERT_PATH",)),
    Option("default_authority", None, _header, Variables.text, ("FLAGD_DEFAULT_AUTHORITY",)),
    Option("deadline", 0.5, duration, Variables.seconds, ("FLAGD_DEADLINE_MS",), unusual=60),
    Option(
        "stream_deadline",
        600.0,
        duration,
        Variables.seconds,
        ("FLAGD_STREAM_DEADLINE_MS",),
        unusual=100_000,
    ),
    Option("retry_backoff", 1.0, duration, Variables.seconds, ("FLAGD_RETRY_BACKOFF_MS",), unusual=500),
    Option(
        "retry_backoff_max",
        5.0,
        duration,
        Variables.seconds,
        ("FLAGD_RETRY_BACKOFF_MAX_MS",),
        unusual=1000,
    ),
    Option(
        "retry_grace_period",
        10.0,
        duration,
        Variables.whole,
        ("FLAGD_RETRY_GRACE_PERIOD",),
    ),
    Option(
        "keep_alive_time",
        0.0,
        duration,
        Variables.seconds,
        ("FLAGD_KEEP_ALIVE_TIME_MS", "FLAGD_KEEP_ALIVE_TIME"),
        unusual=5000,
    ),
    Option("selector", None, _header, Variables.text, ("FLAGD_SOURCE_SELECTOR",)),
    Option("provider_id", None, _sendable_text, Variables.text, ("FLAGD_PROVIDER_ID", "FLAGD_SOURCE_PROVIDER_ID")),
    Option("cache", "lru", one_of(*get_args(CacheKind)), Variables.word, ("FLAGD_CACHE",)),
    Option("max_cache_size", 1000, count(0, _MAX_NUMBER), Variables.whole, ("FLAGD_MAX_CACHE_SIZE",)),
    Option("offline_flag_source_path", None, _path, Variables.text, ("FLAGD_OFFLINE_FLAG_SOURCE_PATH",)),
    Option("offline_poll_interval", 5.0, interval, Variables.seconds, ("FLAGD_OFFLINE_POLL_MS",), unusual=1000),
    Option("context_enricher", unchanged, function),
    Option("fatal_status_codes", (), _codes, Variables.words, ("FLAGD_FATAL_STATUS_CODES",)),
    Option(
        "fatal_codes_scope", "first-connection", one_of(*get_args(FatalCodesScope)), Variables.word, ("FLAGD_FATAL_CODES_SCOPE",)
    ),
    Option("sync_metadata", "stream", one_of(*get_args(SyncMetadata)), Variables.word, ("FLAGD_SYNC_METADATA",)),
    Option("fractional_version", 3, one_of(*get_args(FractionalVersion)), Variables.whole, ("FLAGD_FRACTIONAL_VERSION",)),
    Option("max_message_bytes", MAX_RESPONSE_BYTES, count(1, _MAX_NUMBER)),
    Option("ofrep_base_url", None, _address, Variables.text, ("OFREP_ENDPOINT",)),
    Option("ofrep_headers", ReadOnlyMapping[str, str]({}), _headers, Variables.headers, ("OFREP_HEADERS",)),
    Option("ofrep_timeout", 10.0, interval, Variables.seconds, ("OFREP_TIMEOUT_MS",), unusual=1000),
    Option("ofrep_poll_interval", 0.0, duration),
)
"""All options that are checked alike, in the order of FlagdConfig."""
