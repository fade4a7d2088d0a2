"""What a :class:`~aioflags.testing.FaultProxy` does to connections: one small value for each kind of fault.

The names are those of Toxiproxy where it has the same kind. Times are in seconds, rates in bytes a second. ``stream`` is the
direction: ``"downstream"`` to the client, ``"upstream"`` to the server, or ``"both"``.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final, Literal, TypeAlias, get_args

from aioflags.errors import ConfigError
from aioflags.runtime.validation import require

__all__ = [
    "HTTP",
    "TCP",
    "Bandwidth",
    "BlackHole",
    "Corrupt",
    "Duplicate",
    "HalfOpen",
    "Latency",
    "LimitData",
    "Redirect",
    "Refuse",
    "ResetPeer",
    "Slicer",
    "Stream",
    "TlsFailure",
    "Toxic",
    "WrongContentType",
    "WrongStatus",
]

Stream: TypeAlias = Literal["downstream", "upstream", "both"]
_STREAMS: Final[tuple[str, ...]] = get_args(Stream)
_TEXT: Final = frozenset({"content_type", "location", "stream"})
_AT_LEAST_1: Final = frozenset({"average_size", "every", "rate"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Toxic:
    """The base of all toxics. It does nothing.

    Raises:
        ConfigError: an option has the wrong type, or a number is too small.
    """

    def __post_init__(self) -> None:
        for option in fields(self):
            name, value = option.name, getattr(self, option.name)
            least = int(name in _AT_LEAST_1)
            if name not in _TEXT:
                if not require(name, value, int, float) >= least:  # true for NaN, too
                    raise ConfigError(f"{name}: expected {least} or more, got {value!r}")
            elif not require(name, value, str).isprintable():
                raise ConfigError(f"{name}: expected a value for a header, got {value!r}")
            elif name == "stream" and value not in _STREAMS:
                raise ConfigError(f"stream: expected one of {', '.join(_STREAMS)}, got {value!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse(Toxic):
    """Nothing listens: new connections are refused. Open ones stay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResetPeer(Toxic):
    """Connections are reset ``timeout`` seconds after they opened; open ones ``timeout`` seconds after the toxic was added."""

    timeout: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HalfOpen(Toxic):
    """The server is gone and the client does not learn it: its connection stays open, silent, also after the toxic is removed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlackHole(Toxic):
    """Connections open, and nothing comes through. What was held goes on when the toxic is removed: a partition that heals."""

    stream: Stream = "both"


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency(Toxic):
    """Bytes arrive ``latency`` seconds late, give or take ``jitter``."""

    latency: float
    jitter: float = 0.0
    stream: Stream = "downstream"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bandwidth(Toxic):
    """At most ``rate`` bytes a second. ``rate=1`` is a drip."""

    rate: float
    stream: Stream = "downstream"


@dataclass(frozen=True, slots=True, kw_only=True)
class Slicer(Toxic):
    """Bytes arrive in slices of ``average_size``, give or take ``size_variation``, with ``delay`` seconds in between."""

    average_size: int
    size_variation: int = 0
    delay: float = 0.0
    stream: Stream = "downstream"


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitData(Toxic):
    """A connection closes normally after ``bytes`` more bytes: what it carries is truncated."""

    bytes: int
    stream: Stream = "downstream"


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicate(Toxic):
    """Bytes arrive twice: each piece as it came from the network."""

    stream: Stream = "downstream"


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrupt(Toxic):
    """One byte of ``every`` so many has its highest bit flipped. ASCII text is then not valid UTF-8, so a client can notice it."""

    every: int = 1000
    stream: Stream = "downstream"


@dataclass(frozen=True, slots=True, kw_only=True)
class WrongStatus(Toxic):
    """Requests get an empty answer with this HTTP status, and do not reach the server."""

    status: int = 503


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirect(Toxic):
    """Requests are redirected to ``location``. By default that is an address whose name does not resolve."""

    location: str = "http://does-not-resolve.invalid/"
    status: int = 307


@dataclass(frozen=True, slots=True, kw_only=True)
class WrongContentType(Toxic):
    """Answers of the server have this content type."""

    content_type: str = "text/html"


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFailure(Toxic):
    """The first message of a connection is answered with TLS's alert that the handshake failed."""


TCP: Final[tuple[type[Toxic], ...]] = (
    Refuse, ResetPeer, HalfOpen, BlackHole, Latency, Bandwidth, Slicer, LimitData, Duplicate, Corrupt, TlsFailure,
)  # fmt: skip
"""The kinds for any protocol, gRPC included."""
HTTP: Final[tuple[type[Toxic], ...]] = (WrongStatus, Redirect, WrongContentType)
"""The kinds for HTTP/1.1 without TLS. While one is added, each connection serves one request."""
