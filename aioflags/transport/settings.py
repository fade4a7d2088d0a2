"""Http: the network options of a client. The constructor checks them; certificates are read at first use.

Source: ``client-surface.md`` 10 and 13; ``architecture.md`` 11.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import SplitResult, urlsplit

from aioflags.errors import ConfigError, ConfigTypeError
from aioflags.model.defaults import CONNECT_TIMEOUT, MAX_EVENT_BYTES, MAX_RESPONSE_BYTES, READ_TIMEOUT
from aioflags.runtime.validation import (
    Option,
    boolean,
    check_options,
    count,
    has_query,
    instance,
    interval,
    optional,
    path,
    public_address,
    require,
    require_sequence,
    text_or_none,
)

if TYPE_CHECKING:
    from aioflags.transport.http_client import HttpClient


DEFAULT_PORTS: Final = {"http": 80, "https": 443}
"""The port of a URL without one, by scheme."""
_PROXY_SCHEMES: Final = frozenset({"http", "https", "socks5", "socks5h"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Http:
    """Network options of a client, or of one source. Durations are in seconds.

    ``read_timeout`` applies to polls and to the headers of a stream; an open stream may be silent for 300 s.
    ``http_proxy`` is used for http and https targets and overrides the environment. ``ca_certs`` replaces the system's ones;
    ``cert_file`` is a client certificate with its key; ``ssl_context`` replaces these two and ``disable_ssl_verification``.
    ``client_factory`` returns a new ``AsyncClient`` of httpx or httpx2, and replaces all of these; each stream has its own client.
    ``redirect_origins`` lists other origins (``https://host``) that a redirect may lead to, without the key.
    ``max_response_bytes`` limits the body of a poll after inflation, ``max_event_bytes`` one event of a stream.

    Raises:
        ConfigError: an option has the wrong type or an invalid value.
    """

    connect_timeout: float = CONNECT_TIMEOUT
    read_timeout: float = READ_TIMEOUT
    http_proxy: str | None = field(default=None, repr=False)
    ca_certs: str | os.PathLike[str] | None = None
    cert_file: str | os.PathLike[str] | None = None
    disable_ssl_verification: bool = False
    ssl_context: ssl.SSLContext | None = None
    client_factory: Callable[[], HttpClient] | None = None
    redirect_origins: Sequence[str] = ()
    max_response_bytes: int = MAX_RESPONSE_BYTES
    max_event_bytes: int = MAX_EVENT_BYTES

    def __post_init__(self) -> None:
        check_options(self, _OPTIONS)


def origin(scheme: str, host: str, port: int | None) -> str:
    """The origin of a URL, normalized, with its port: ``https://flags.example:443``."""
    return f"{scheme.lower()}://{host.lower()}:{port or DEFAULT_PORTS.get(scheme.lower(), 0)}"


def _origins(option: str, value: object) -> tuple[str, ...]:
    origins: list[str] = []
    for each in require_sequence(option, value, "origins"):
        text = str(require(option, each, str, expected="strings"))
        parts = _split(option, text)
        is_more = bool(parts.path.strip("/")) or has_query(text) or "@" in parts.netloc
        if parts.scheme not in DEFAULT_PORTS or not parts.hostname or is_more:
            raise ConfigError(f"{option}: expected origins such as https://flags.example, got {public_address(text)!r}")
        origins.append(origin(parts.scheme, parts.hostname, parts.port))
    return tuple(origins)


def _split(option: str, text: str) -> SplitResult:
    """The parts of a URL with a valid port. The error does not repeat the text: it may have a password."""
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        raise ConfigError(f"{option}: not a valid URL") from None
    return parts


def _proxy(option: str, value: object) -> str | None:
    url = cast("str | None", text_or_none(option, value))
    if url and ((parts := _split(option, url)).scheme not in _PROXY_SCHEMES or not parts.hostname or has_query(url)):
        raise ConfigError(f"{option}: expected a URL such as http://user:password@proxy:8080; in a password ? is %3F, # is %23")
    return url


def _factory(option: str, value: object) -> object:
    if value is not None and not callable(value):
        raise ConfigTypeError(f"{option}: expected a function that returns an httpx.AsyncClient or an httpx2.AsyncClient")
    return value


_OPTIONS: Final = (
    Option("connect_timeout", interval),
    Option("read_timeout", interval),
    Option("http_proxy", _proxy),
    Option("ca_certs", optional(path)),
    Option("cert_file", optional(path)),
    Option("disable_ssl_verification", boolean),
    Option("ssl_context", instance(ssl.SSLContext, type(None))),
    Option("client_factory", _factory),
    Option("redirect_origins", _origins),
    Option("max_response_bytes", count(1)),
    Option("max_event_bytes", count(1)),
)
