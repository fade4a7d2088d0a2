"""One connection through a :class:`~aioflags.testing.FaultProxy`: two pumps, and the toxics that filter what they carry."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterable
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
_RESET: Final = struct.pack("ii", 1, 0)
"""The value of SO_LINGER that makes closing a reset."""

_Direction: TypeAlias = Literal["downstream", "upstream"]


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

    async def sleep(self, seconds: float) -> None:
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
        self._scope: anyio.CancelScope | None = None  # made by the task: where sniffio is installed, a callback of the loop cannot
        self._is_aborted = False
        self._timers: list[asyncio.TimerHandle] = []
        self._is_half_open = False
        for active in actives:
            self.add(active)

    async def run(self, upstream: tuple[str, int]) -> None:
        """Forward what client and server send, until both have ended or a toxic closes the connection."""
        try:
            with anyio.CancelScope() as self._scope:
                if self._is_aborted:
                    self._scope.cancel()
                reader, writer = await asyncio.open_connection(sock=self._client)
                self._ends.append(writer)
                if answer := next(filter(None, (active.toxic.answer for active in self._actives)), None):
                    await self._answer(reader, writer, answer)
                else:
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
        self._is_aborted = True
        self._cancel()
        for end in self._ends:
            end.transport.abort()

    def _cancel(self) -> None:
        if self._scope is not None:
            self._scope.cancel()

    def _reset(self, cause: ActiveToxic | None = None) -> None:
        """Close both connections at once, the client's with a reset; not if its cause was removed."""
        if cause is None or not cause.is_removed:
            with suppress(OSError):  # it is closed already
                self._client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.abort()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: bytes) -> None:
        """Answer in place of the server."""
        if await reader.read(_CHUNK):
            writer.write(answer)
            writer.write_eof()
            while await reader.read(_CHUNK):
                pass  # a connection with unread bytes would be closed by a reset, and the answer be lost

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, upstream: tuple[str, int]) -> None:
        if self._is_half_open:
            await self._pump(reader, writer, "upstream")
            return
        try:
            server_reader, server_writer = await asyncio.open_connection(*upstream)
        except OSError:
            self._reset()
            return
        self._ends.append(server_writer)
        if self._is_half_open:
            server_writer.transport.abort()
        async with anyio.create_task_group() as pumps:
            pumps.start_soon(self._pump, reader, server_writer, "upstream")
            pumps.start_soon(self._pump, server_reader, writer, "downstream")

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: _Direction) -> None:
        """Carry bytes in one direction, through the toxics of that direction. Empty data are their end."""
        wires: dict[ActiveToxic, toxics.Wire] = {}
        is_broken = False

        async def deliver(data: bytes) -> None:
            if self._is_half_open:
                if not data and direction == "upstream":
                    self.abort()  # the client has ended the connection
            elif is_broken:
                self.abort()
            elif data:
                writer.write(data)
                await writer.drain()
            else:
                with suppress(RuntimeError):  # it is closed already
                    writer.write_eof()

        data = b"-"
        while data:
            try:
                data = await reader.read(_CHUNK)
            except OSError:
                data, is_broken = b"", True
            send: toxics.Send = deliver
            self._actives = [active for active in self._actives if not active.is_removed]
            for active in reversed(self._actives):
                if getattr(active.toxic, "stream", None) in {direction, "both"}:
                    wire = wires.setdefault(active, toxics.Wire(direction, self._random, active.sleep, self._cancel))
                    send = partial(_filter, active.toxic, wire, send)
            try:
                await send(data)
            except OSError:
                is_broken = True
                await deliver(b"")
                return


async def _filter(toxic: toxics.Toxic, wire: toxics.Wire, send: toxics.Send, data: bytes) -> None:
    await toxic.filter(wire, data, send)
    wire.passed += len(data)
