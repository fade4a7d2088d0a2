"""A relay between the public address of a gRPC server and the server itself, so that faults can cut and slow down its connections.

The gRPC library gives no access to its connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import anyio
import grpc
import grpc.aio

from aioflags.devserver.connections import lengthen_queue, reset_when_closed
from aioflags.devserver.endpoints import Endpoint
from aioflags.devserver.faults import FaultKind, GrpcCode, InjectedFault
from aioflags.devserver.injection import DRIPS_PER_SECOND, STREAM_LASTING, ResponseFaults
from aioflags.devserver.state import ServerState

# -- Applies faults to gRPC calls.
#
# ``injection.py`` decides when a fault applies.


if TYPE_CHECKING:
    ServicerContext = grpc.aio.ServicerContext[Any, Any]
else:
    ServicerContext = grpc.aio.ServicerContext


Cut: TypeAlias = Callable[..., object]
"""Closes all connections of the port of a call: ``cut(reset=True)``, or without a reset."""
_CUT_TIMEOUT: Final = 1.0
"""Seconds after which a call ends whose connection was cut. Its cancellation normally comes first."""
_SEND_GRACE: Final = 1.0
"""Seconds for a message that is on its way when a fault ends the stream. A client that reads gets it in milliseconds."""


class CallFaults(ResponseFaults):
    """One gRPC call, with the faults that affect it."""

    def __init__(self, state: ServerState, endpoint: Endpoint, context: ServicerContext, cut: Cut) -> None:
        headers = {name: value for name, value in context.invocation_metadata() or () if isinstance(value, str)}
        super().__init__(state, endpoint, headers, "gRPC")
        self._context, self._cut = context, cut
        self._write_lock = anyio.Lock()
        self._ending: InjectedFault | None = None

    def record_sent(self, what: str) -> None:
        """Record what was sent to the client."""
        self._state.clients.record_sent(self.client, self._endpoint, what, self._state.version)

    @property
    def is_malformed(self) -> bool:
        """Whether the first message must be malformed."""
        return any(injected.fault.kind is FaultKind.MALFORMED for injected in self._matching)

    async def begin(self) -> bool:
        """Apply the faults that come before a response. False: the fault has the code OK, and the stream must end.

        Raises what :meth:`grpc.aio.ServicerContext.abort` raises.
        """
        for injected in self._matching:
            if injected.fault.kind is FaultKind.DRIP:
                self._add_lasting(injected)
        for injected in self._before_response():
            match injected.fault.kind:
                case FaultKind.DELAY:
                    await self._delay_response(injected)
                case FaultKind.SILENCE:
                    self._add_lasting(injected)
                    await self._faults.wait_until_lifted(injected)
                case _:
                    await self._end(injected)
                    return False
        return True

    async def stream(self, messages: AsyncGenerator[Any, None], malformed: Callable[[], Any]) -> None:
        """Send the messages until they end, the client goes away, or a fault ends the stream."""
        state = self._state
        with state.count_stream(self._endpoint), state.clients.record_stream(self.client, self._endpoint):
            async with anyio.create_task_group() as tasks:

                async def apply(injected: InjectedFault) -> None:
                    if injected.fault.kind in STREAM_LASTING:
                        self._add_lasting(injected)
                    elif injected.fault.kind is FaultKind.MALFORMED:
                        await self._send(malformed())
                    else:
                        self._ending = self._ending or injected
                        tasks.cancel_scope.cancel()

                tasks.start_soon(self._watch, apply)
                async with aclosing(messages):
                    async for message in messages:
                        await self._write(message)
                tasks.cancel_scope.cancel()
        if self._ending is not None:
            await self._end(self._ending)

    async def _write(self, message: Any) -> None:
        await self._wait_while_silent()
        for injected in self._lasting:
            if injected.fault.kind is FaultKind.DELAY and not injected.is_lifted:
                await anyio.sleep(injected.fault.delay)
        await self._send(message)

    async def _send(self, message: Any) -> None:
        """Send a message. If that is cancelled, it still has some time: gRPC sends no status before the last message is sent."""
        async with self._write_lock:
            sending = asyncio.ensure_future(self._context.write(message))
            try:
                await asyncio.shield(sending)
            finally:
                with anyio.move_on_after(_SEND_GRACE, shield=True):
                    await asyncio.wait([sending])
                if not sending.cancel() and not sending.cancelled():
                    sending.exception()  # it is raised above, unless this was cancelled: then it has no meaning

    async def _end(self, injected: InjectedFault) -> None:
        """End the call with a status, or with its connection."""
        fault = injected.fault
        if fault.kind is not FaultKind.STATUS:
            self._cut(reset=fault.kind is FaultKind.RESET)
            await anyio.sleep(_CUT_TIMEOUT)
            await self._context.abort(grpc.StatusCode.UNAVAILABLE, "an injected fault cut this connection")
        if fault.code is not GrpcCode.OK:
            await self._context.abort(grpc.StatusCode[fault.code or GrpcCode.UNAVAILABLE], "an injected fault")


_CHUNK: Final = 65536


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
                reset_when_closed(writer.transport)
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

                tasks.start_soon(partial(copy, reader, server_writer, dripping=False))
                await copy(server_reader, writer, dripping=True)
        finally:
            server_writer.transport.abort()

    async def _send(self, chunk: bytes, target: asyncio.StreamWriter, *, dripping: bool) -> None:
        while dripping and chunk and (rate := self._find_rate()) is not None:
            size = max(1, round(rate / DRIPS_PER_SECOND))
            target.write(chunk[:size])
            await target.drain()
            chunk = chunk[size:]
            await anyio.sleep(size / rate)
        target.write(chunk)
        await target.drain()


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
