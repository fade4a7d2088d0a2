"""What a :class:`~aioflags.testing.FaultProxy` does to connections: one small value for each kind of fault.

A toxic is a filter: each piece of bytes goes through :meth:`Toxic.filter`, and the end of the bytes is an empty piece. Some toxics
affect a connection as a whole, or answer in place of the server.

Toxiproxy has the same names, where it has the same kind. Times are in seconds, rates in bytes a second. ``stream`` is the
direction: ``"downstream"`` to the client, ``"upstream"`` to the server, or ``"both"``.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, fields
from random import Random
from typing import ClassVar, Final, Literal, TypeAlias, get_args

from aioflags.errors import ConfigError
from aioflags.runtime.fork import ProcessBound
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
    "Send",
    "Slicer",
    "Stream",
    "TlsFailure",
    "Toxic",
    "Wire",
    "WrongContentType",
    "WrongStatus",
]

Stream: TypeAlias = Literal["downstream", "upstream", "both"]
_STREAMS: Final[tuple[str, ...]] = get_args(Stream)
_TEXT: Final = frozenset({"content_type", "location", "stream"})
_AT_LEAST_1: Final = frozenset({"average_size", "every", "rate"})
_PER_SECOND: Final = 20
"""Pieces a second into which a limited bandwidth cuts what it lets through."""

_Bytes: TypeAlias = bytes
Send: TypeAlias = Callable[[bytes], Awaitable[None]]
"""What a filter calls with the bytes that go on."""


@dataclass(slots=True, eq=False)
class Wire(ProcessBound):
    """One direction of one connection, as one toxic sees it.

    Args:
        direction: Where its bytes go: ``"downstream"`` to the client, ``"upstream"`` to the server.
        random: For what happens by chance; it depends on the seed of the proxy.
        sleep: Waits so many seconds, or until the toxic is removed.
        close: Closes the connection normally.
        passed: How many bytes have come to the toxic before.
        kept: Bytes that the toxic keeps until more come.
    """

    direction: Literal["downstream", "upstream"]
    random: Random
    sleep: Callable[[float], Awaitable[None]]
    close: Callable[[], object]
    passed: int = 0
    kept: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Toxic:
    """The base of all toxics. It does nothing. A class with a field ``stream`` filters the bytes in that direction.

    Raises:
        ConfigError: an option has the wrong type, or a number is too small.
    """

    async def filter(self, wire: Wire, data: bytes, send: Send) -> None:  # noqa: ARG002 -- for subclasses
        """Send ``data`` on, or what becomes of it. Empty ``data`` are the end of the bytes."""
        await send(data)

    @property
    def answer(self) -> bytes:
        """What the client gets in place of the server's answer, if anything."""
        return b""

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

    async def filter(self, wire: Wire, data: bytes, send: Send) -> None:
        await wire.sleep(float("inf"))
        await send(data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency(Toxic):
    """Bytes arrive ``latency`` seconds late, give or take ``jitter``."""

    latency: float
    jitter: float = 0.0
    stream: Stream = "downstream"

    async def filter(self, wire: Wire, data: bytes, send: Send) -> None:
        await wire.sleep(self.latency + wire.random.uniform(-self.jitter, self.jitter))
        await send(data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bandwidth(Toxic):
    """At most ``rate`` bytes a second. ``rate=1`` is a drip."""

    rate: float
    stream: Stream = "downstream"

    async def filter(self, wire: Wire, data: bytes, send: Send) -> None:
        for piece in _pieces(data, lambda: int(self.rate / _PER_SECOND)):
            await wire.sleep(len(piece) / self.rate)
            await send(piece)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slicer(Toxic):
    """Bytes arrive in slices of ``average_size``, give or take ``size_variation``, with ``delay`` seconds in between."""

    average_size: int
    size_variation: int = 0
    delay: float = 0.0
    stream: Stream = "downstream"

    async def filter(self, wire: Wire, data: bytes, send: Send) -> None:
        variation = self.size_variation
        for piece in _pieces(data, lambda: self.average_size + wire.random.randint(-variation, variation)):
            await send(piece)
            await wire.sleep(self.delay)


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitData(Toxic):
    """A connection closes normally after ``bytes`` more bytes: what it carries is truncated."""

    bytes: int
    stream: Stream = "downstream"

    async def filter(self, wire: Wire, data: _Bytes, send: Send) -> None:
        left = self.bytes - wire.passed
        await send(data[: max(0, left)])
        if len(data) >= left:
            wire.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicate(Toxic):
    """Bytes arrive twice: each piece as it came from the network."""

    stream: Stream = "downstream"

    async def filter(self, wire: Wire, data: bytes, send: Send) -> None:  # noqa: ARG002 -- as every filter
        await send(data + data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrupt(Toxic):
    """One byte of ``every`` so many has its highest bit flipped. ASCII text is then not valid UTF-8, so a client can notice it."""

    every: int = 1000
    stream: Stream = "downstream"

    async def filter(self, wire: Wire, data: bytes, send: Send) -> None:
        changed = bytearray(data)
        for position in range((-wire.passed - 1) % self.every, len(data), self.every):
            changed[position] ^= 0x80
        await send(bytes(changed))


@dataclass(frozen=True, slots=True, kw_only=True)
class WrongStatus(Toxic):
    """Requests get an empty answer with this HTTP status, and do not reach the server."""

    status: int = 503

    @property
    def answer(self) -> bytes:
        return _response(self.status)


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirect(Toxic):
    """Requests are redirected to ``location``. By default that is an address whose name does not resolve."""

    location: str = "http://does-not-resolve.invalid/"
    status: int = 307

    @property
    def answer(self) -> bytes:
        return _response(self.status, f"Location: {self.location}\r\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class WrongContentType(Toxic):
    """Answers of the server have this content type."""

    content_type: str = "text/html"
    stream: ClassVar[Stream] = "both"

    async def filter(self, wire: Wire, data: bytes, send: Send) -> None:
        if not data or wire.passed > len(wire.kept):  # the head has passed
            await send(data)
            return
        wire.kept += data
        head, end, body = wire.kept.partition(b"\r\n\r\n")
        if end:
            wire.kept = b""
            headers = {b"Connection": b"close"}
            if wire.direction == "downstream":
                headers[b"Content-Type"] = self.content_type.encode("latin-1")
            for name, value in headers.items():
                head = re.sub(rb"(?i)\r\n%b:[^\r]*" % name, b"", head) + b"\r\n%b: %b" % (name, value)
            await send(head + end + body)


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFailure(Toxic):
    """The first message of a connection is answered with TLS's alert that the handshake failed."""

    @property
    def answer(self) -> bytes:
        return bytes.fromhex("15 03 01 00 02 02 28")  # a record: fatal alert, handshake_failure


TCP: Final[tuple[type[Toxic], ...]] = (
    Refuse, ResetPeer, HalfOpen, BlackHole, Latency, Bandwidth, Slicer, LimitData, Duplicate, Corrupt, TlsFailure,
)  # fmt: skip
"""The kinds for any protocol, gRPC included."""
HTTP: Final[tuple[type[Toxic], ...]] = (WrongStatus, Redirect, WrongContentType)
"""The kinds for HTTP/1.1 without TLS. While one is added, each connection serves one request."""


def _pieces(data: bytes, size: Callable[[], int]) -> Iterator[bytes]:
    """``data`` in pieces of these sizes, of 1 at least; empty data are one empty piece."""
    start = 0
    while True:
        end = start + max(1, size())
        yield data[start:end]
        if (start := end) >= len(data):
            return


def _response(status: int, headers: str = "") -> bytes:
    return f"HTTP/1.1 {status} Fault\r\n{headers}Content-Length: 0\r\nConnection: close\r\n\r\n".encode("latin-1")
