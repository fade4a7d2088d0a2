"""One connection through a :class:`~aioflags.testing.FaultProxy`: two pumps, and what toxics do to them."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from random import Random
from typing import Final, Literal, TypeAlias

import anyio

from aioflags.testing import toxics

__all__ = ["ActiveToxic", "ProxiedConnection"]

_CHUNK: Final = 65536
_FLUSH_TIMEOUT: Final = 1.0
"""Seconds for the last bytes of a connection to leave."""
_PER_SECOND: Final = 20
"""Pieces a second into which a limited bandwidth cuts what it lets through."""
_RESET: Final = struct.pack("ii", 1, 0)
"""The value of SO_LINGER that makes closing a reset."""
_TLS_ALERT: Final = bytes.fromhex("15 03 01 00 02 02 28")
"""A record of TLS: fatal alert, handshake_failure."""

_Direction: TypeAlias = Literal["downstream", "upstream"]
_Send: TypeAlias = Callable[[bytes], Awaitable[None]]
_Headers: TypeAlias = Mapping[str, str]


class ActiveToxic:
    """A toxic that was added. ``remaining``: how many more connections it affects; ``None``: all, open ones included."""

    __slots__ = ("_removed", "remaining", "toxic")

    def __init__(self, toxic: toxics.Toxic, remaining: int | None) -> None:
        self.toxic: toxics.Toxic = toxic
        self.remaining: int | None = remaining
        self._removed = anyio.Event()

    @property
    def is_removed(self) -> bool:
        """Whether it was removed: it does nothing more, to open connections either."""
        return self._removed.is_set()

    def remove(self) -> None:
        """End it, and all that waits in it."""
        self._removed.set()

    async def sleep(self, seconds: float = float("inf")) -> None:
        """Wait so many seconds, or until it is removed."""
        with anyio.move_on_after(seconds):
            await self._removed.wait()


class ProxiedConnection:
    """A connection of a client, and the one to the server that belongs to it."""

    def __init__(self, client: socket.socket, actives: Iterable[ActiveToxic], random: Random) -> None:
        self._client = client
        self._random = random
        self._actives: list[ActiveToxic] = []
        self._ends: list[asyncio.StreamWriter] = []
        self._scope = anyio.CancelScope()
        self._timers: list[asyncio.TimerHandle] = []
        self._is_half_open = False
        for active in actives:
            self.add(active)

    async def run(self, upstream: tuple[str, int]) -> None:
        """Forward what client and server send, until both have ended or a toxic closes the connection."""
        try:
            with self._scope:
                reader, writer = await asyncio.open_connection(sock=self._client)
                self._ends.append(writer)
                if not await self._answer(reader, writer):
                    await self._forward(reader, writer, upstream)
            with anyio.move_on_after(_FLUSH_TIMEOUT):
                for end in self._ends:
                    end.close()
                    await end.wait_closed()
        except* OSError:
            pass  # the client or the server ended the connection
        finally:
            self.abort()
            for end in self._ends:
                with suppress(OSError):
                    await end.wait_closed()
            self._client.close()
            for timer in self._timers:
                timer.cancel()

    def add(self, active: ActiveToxic) -> None:
        """Let a toxic affect this connection from now on."""
        self._actives.append(active)
        match active.toxic:
            case toxics.ResetPeer(timeout=timeout):
                self._timers.append(asyncio.get_running_loop().call_later(timeout, self._reset, active))
            case toxics.HalfOpen():
                self._is_half_open = True
                for end in self._ends[1:]:
                    end.transport.abort()
            case _:
                pass

    def abort(self) -> None:
        """Close both connections at once."""
        self._scope.cancel()
        for end in self._ends:
            end.transport.abort()

    def _reset(self, cause: ActiveToxic | None = None) -> None:
        """Close both connections at once, the client's with a reset; not if its cause was removed."""
        if cause is None or not cause.is_removed:
            with suppress(OSError):  # it is closed already
                self._client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.abort()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer in place of the server, if a toxic says so."""
        for active in self._actives:
            match active.toxic:
                case toxics.WrongStatus(status=status):
                    answer = _response(status)
                case toxics.Redirect(location=location, status=status):
                    answer = _response(status, f"Location: {location}\r\n")
                case toxics.TlsFailure():
                    answer = _TLS_ALERT
                case _:
                    continue
            if await reader.read(_CHUNK):
                writer.write(answer)
                writer.write_eof()
                while await reader.read(_CHUNK):
                    pass  # a connection with unread bytes would be closed by a reset, and the answer be lost
            return True
        return False

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, upstream: tuple[str, int]) -> None:
        if self._is_half_open:
            await self._pump(reader, None, "upstream", {})
            return
        requests: _Headers = {}
        answers: _Headers = {}
        for active in self._actives:
            if isinstance(active.toxic, toxics.WrongContentType):
                requests = {"Connection": "close"}
                answers = {"Connection": "close", "Content-Type": active.toxic.content_type}
        try:
            server_reader, server_writer = await asyncio.open_connection(*upstream)
        except OSError:
            self._reset()
            return
        self._ends.append(server_writer)
        if self._is_half_open:
            server_writer.transport.abort()
        async with anyio.create_task_group() as pumps:
            pumps.start_soon(self._pump, reader, server_writer, "upstream", requests)
            pumps.start_soon(self._pump, server_reader, writer, "downstream", answers)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter | None, direction: _Direction, headers: _Headers
    ) -> None:
        """Carry bytes in one direction. ``headers`` replace those of the first message."""
        passed: dict[ActiveToxic, int] = {}

        async def deliver(data: bytes) -> None:
            if writer is not None and not self._is_half_open:
                writer.write(data)
                await writer.drain()

        try:
            while data := await (reader.readuntil(b"\r\n\r\n") if headers else reader.read(_CHUNK)):
                if headers:
                    data = _with_headers(headers, data)
                    headers = {}
                send: _Send = deliver
                for active in reversed(self._in_force(direction)):
                    send = partial(self._apply, active, passed, send)
                await send(data)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            await self._hold(direction)
            if not self._is_half_open or direction == "upstream":
                self.abort()
            return
        await self._hold(direction)
        if direction == "upstream" and self._is_half_open:
            self.abort()
        elif writer is not None and not self._is_half_open:
            with suppress(OSError, RuntimeError):  # it is closed already
                writer.write_eof()

    async def _hold(self, direction: _Direction) -> None:
        """A black hole holds the end of a connection, too."""
        for active in self._in_force(direction):
            if isinstance(active.toxic, toxics.BlackHole):
                await active.sleep()

    def _in_force(self, direction: _Direction) -> list[ActiveToxic]:
        """The toxics for bytes in that direction."""
        self._actives = [active for active in self._actives if not active.is_removed]
        return [active for active in self._actives if getattr(active.toxic, "stream", None) in {direction, "both"}]

    async def _apply(self, active: ActiveToxic, passed: dict[ActiveToxic, int], send: _Send, data: bytes) -> None:
        """Send ``data`` as the toxic says. ``passed``: how many bytes came to each toxic before."""
        start = passed.get(active, 0)
        passed[active] = start + len(data)
        match active.toxic:
            case toxics.BlackHole():
                await active.sleep()
            case toxics.Latency(latency=latency, jitter=jitter):
                await active.sleep(latency + self._random.uniform(-jitter, jitter))
            case toxics.Bandwidth(rate=rate):
                for piece in _pieces(data, lambda: int(rate / _PER_SECOND)):
                    await active.sleep(len(piece) / rate)
                    await send(piece)
                return
            case toxics.Slicer(average_size=size, size_variation=variation, delay=delay):
                for piece in _pieces(data, lambda: size + self._random.randint(-variation, variation)):
                    await send(piece)
                    await active.sleep(delay)
                return
            case toxics.LimitData(bytes=limit):
                await send(data[: max(0, limit - start)])
                if start + len(data) >= limit:
                    self._scope.cancel()
                return
            case toxics.Duplicate():
                await send(data)
            case toxics.Corrupt(every=every):
                data = _corrupted(data, start, every)
            case _:
                pass
        await send(data)


def _pieces(data: bytes, size: Callable[[], int]) -> list[bytes]:
    pieces: list[bytes] = []
    while data:
        length = max(1, size())
        pieces.append(data[:length])
        data = data[length:]
    return pieces


def _corrupted(data: bytes, start: int, every: int) -> bytes:
    changed = bytearray(data)
    for position in range((-start - 1) % every, len(data), every):
        changed[position] ^= 0x80
    return bytes(changed)


def _response(status: int, headers: str = "") -> bytes:
    return f"HTTP/1.1 {status} Fault\r\n{headers}Content-Length: 0\r\nConnection: close\r\n\r\n".encode("latin-1")


def _with_headers(headers: _Headers, head: bytes) -> bytes:
    """The head of a message with these headers in place of its own."""
    replaced = tuple(f"{name}:".lower().encode() for name in headers)
    first, *lines = head.split(b"\r\n")
    kept = [line for line in lines if not line.lower().startswith(replaced)]
    return b"\r\n".join([first, *(f"{name}: {value}".encode("latin-1") for name, value in headers.items()), *kept])
