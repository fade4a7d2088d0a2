"""A relay between the public address of a gRPC server and the server itself, so that faults can cut and slow down connections.

The gRPC library gives no access to its connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import struct
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import anyio

from aioflags.devserver.connections import lengthen_queue

_CHUNK: Final = 65536
_DRIPS_PER_SECOND: Final = 10
_NO_LINGER: Final = struct.pack("ii", 1, 0)
"""The value of SO_LINGER that makes closing a reset."""


class Relay:
    """Accepts connections, and copies bytes to and from the server, which has the port ``target``.

    ``find_rate``: at how many bytes a second the server's bytes are sent now; ``None`` for no limit.
    """

    def __init__(self, find_rate: Callable[[], float | None]) -> None:
        self.target: int = 0
        self._find_rate = find_rate
        self._connections: dict[asyncio.StreamWriter, asyncio.Task[None]] = {}
        self._servers: list[asyncio.Server] = []

    @asynccontextmanager
    async def listen(self, host: str, port: int) -> AsyncGenerator[int, None]:
        """Accept connections at an address until the block ends. Yields the port. Raises :class:`OSError`."""
        # Started only where it is stopped again: a cancelled start would leave its socket open.
        server = await asyncio.start_server(self._accept, host, port, start_serving=False, backlog=1)
        self._servers.append(server)
        try:
            await server.start_serving()
            lengthen_queue(server)
            yield server.sockets[0].getsockname()[1]
        finally:
            await self._stop(server)

    @asynccontextmanager
    async def listen_on_socket(self, path: str) -> AsyncGenerator[None, None]:
        """Accept connections at a Unix socket until the block ends; then remove it. Raises :class:`OSError`."""
        if not hasattr(socket, "AF_UNIX"):
            raise OSError(errno.EAFNOSUPPORT, "Python has no Unix sockets on this system", path)
        server = await asyncio.start_unix_server(self._accept, path, backlog=1)
        self._servers.append(server)
        bound: int | None = None
        try:
            lengthen_queue(server)
            bound = await asyncio.to_thread(_inode, path)
            yield
        finally:
            await self._stop(server)
            with anyio.CancelScope(shield=True):
                await asyncio.to_thread(_remove, path, bound)

    def refuse_connections(self) -> None:
        """Refuse new connections from now on. Those that are open stay."""
        for server in self._servers:
            server.close()

    def cut(self, *, reset: bool = False) -> int:
        """Close every connection, with a reset if asked for. Returns how many there were."""
        for writer in list(self._connections):
            if reset:
                self._reset(writer)
            writer.transport.abort()
        return len(self._connections)

    async def _stop(self, server: asyncio.Server) -> None:
        server.close()
        self.cut()
        tasks = list(self._connections.values())
        for task in tasks:
            task.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task: asyncio.Task[Any] | None = asyncio.current_task()
        assert task is not None  # noqa: S101 -- asyncio runs this function as a task
        self._connections[writer] = task
        # The stop of the server cancels the task; asyncio would report that as an error of the handler.
        with contextlib.suppress(OSError, asyncio.CancelledError):
            try:
                await self._relay(reader, writer)
            finally:
                del self._connections[writer]
                writer.transport.abort()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self.target)
        try:
            async with anyio.create_task_group() as tasks:

                async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter, *, dripping: bool) -> None:
                    # The end of one direction ends the connection: gRPC does not use half-closed connections.
                    with contextlib.suppress(OSError):
                        while chunk := await source.read(_CHUNK):
                            await self._send(chunk, target, dripping=dripping)
                    tasks.cancel_scope.cancel()

                async def to_server() -> None:
                    await copy(reader, server_writer, dripping=False)

                tasks.start_soon(to_server)
                await copy(server_reader, writer, dripping=True)
        finally:
            server_writer.transport.abort()

    async def _send(self, chunk: bytes, target: asyncio.StreamWriter, *, dripping: bool) -> None:
        while dripping and chunk and (rate := self._find_rate()) is not None:
            size = max(1, round(rate / _DRIPS_PER_SECOND))
            target.write(chunk[:size])
            await target.drain()
            chunk = chunk[size:]
            await anyio.sleep(size / rate)
        target.write(chunk)
        await target.drain()

    def _reset(self, writer: asyncio.StreamWriter) -> None:
        connection: socket.socket = writer.get_extra_info("socket")
        if connection.family in {socket.AF_INET, socket.AF_INET6}:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)


def _inode(path: str) -> int | None:
    try:
        return Path(path).stat().st_ino
    except OSError:
        return None


def _remove(path: str, inode: int | None) -> None:
    """Remove a Unix socket, as Python does from version 3.13 on. Another server may have bound the path by now."""
    if inode is not None and _inode(path) == inode:
        with contextlib.suppress(OSError):
            Path(path).unlink()
