"""Http: the network options of a client. The constructor checks them; certificates are read at first use.

Source: ``client-surface.md`` 10 and 13; ``architecture.md`` 11.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import SplitResult, urlsplit

from aioflags.errors import ConfigError, ConfigTypeError
from aioflags.model.defaults import CONNECT_TIMEOUT, MAX_EVENT_BYTES, MAX_RESPONSE_BYTES, READ_TIMEOUT
from aioflags.runtime.logs import logger
from aioflags.runtime.validation import TEXT, has_query, positive, public_address, require, set_all

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
        ConfigError: an option has the wrong type, or a URL is invalid.
    """

    connect_timeout: float = CONNECT_TIMEOUT
    read_timeout: float = READ_TIMEOUT
    http_proxy: str | None = field(default=None, repr=False)
    ca_certs: str | None = None
    cert_file: str | None = None
    disable_ssl_verification: bool = False
    ssl_context: ssl.SSLContext | None = None
    client_factory: Callable[[], HttpClient] | None = None
    redirect_origins: Sequence[str] = ()
    max_response_bytes: int = MAX_RESPONSE_BYTES
    max_event_bytes: int = MAX_EVENT_BYTES

    def __post_init__(self) -> None:
        for name in ("http_proxy", "ca_certs", "cert_file"):
            require(name, getattr(self, name), *TEXT)
        require("disable_ssl_verification", self.disable_ssl_verification, bool)
        require("ssl_context", self.ssl_context, ssl.SSLContext, type(None))
        if self.client_factory is not None and not callable(self.client_factory):
            raise ConfigTypeError("client_factory: expected a function that returns an httpx.AsyncClient or an httpx2.AsyncClient")
        if self.http_proxy and (not _is_proxy(_split("http_proxy", self.http_proxy)) or has_query(self.http_proxy)):
            raise ConfigError(
                "http_proxy: expected a URL such as http://user:password@proxy:8080; in a password ? is %3F, # is %23"
            )
        require("max_response_bytes", self.max_response_bytes, int)
        require("max_event_bytes", self.max_event_bytes, int)
        set_all(
            self,
            {
                "connect_timeout": positive("connect_timeout", self.connect_timeout, CONNECT_TIMEOUT, logger),
                "read_timeout": positive("read_timeout", self.read_timeout, READ_TIMEOUT, logger),
                "max_response_bytes": positive("max_response_bytes", self.max_response_bytes, MAX_RESPONSE_BYTES, logger),
                "max_event_bytes": positive("max_event_bytes", self.max_event_bytes, MAX_EVENT_BYTES, logger),
                "redirect_origins": _origins(self.redirect_origins),
            },
        )


def origin(scheme: str, host: str, port: int | None) -> str:
    """The origin of a URL, normalized, with its port: ``https://flags.example:443``."""
    return f"{scheme.lower()}://{host.lower()}:{port or DEFAULT_PORTS.get(scheme.lower(), 0)}"


def _origins(value: object) -> tuple[str, ...]:
    require("redirect_origins", value, Sequence, expected="a list of origins")
    if isinstance(value, str):
        raise ConfigTypeError("redirect_origins: expected a list of origins, got str")
    origins: list[str] = []
    for text in cast("Sequence[object]", value):
        parts = _split("redirect_origins", require("redirect_origins", text, str, expected="strings"))
        if (
            parts.scheme not in DEFAULT_PORTS
            or not parts.hostname
            or parts.path.strip("/")
            or has_query(str(text))
            or "@" in parts.netloc
        ):
            shown = public_address(str(text))
            raise ConfigError(f"redirect_origins: expected origins such as https://flags.example, got {shown!r}")
        origins.append(origin(parts.scheme, parts.hostname, parts.port))
    return tuple(origins)


def _split(option: str, text: object) -> SplitResult:
    """The parts of a URL with a valid port. The error does not repeat the text: it may have a password."""
    try:
        parts = urlsplit(str(text))
        _ = parts.port
    except ValueError:
        raise ConfigError(f"{option}: not a valid URL") from None
    return parts


def _is_proxy(parts: SplitResult) -> bool:
    return parts.scheme in _PROXY_SCHEMES and bool(parts.hostname)
