"""Limits of connections, on real sockets: late headers and too many connections."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import anyio
import pytest

from aioflags.devserver import ServerState, create_app
from aioflags.devserver.connections import ConnectionLimits
from aioflags.devserver.serve import RunningServer, serve

pytestmark = pytest.mark.real_time

POLL: Final = b"GET /sdk/poll HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
STREAM: Final = b"GET /sdk/stream HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
SHORT: Final = 0.3
SOON: Final = 30.0
"""Much longer than any test takes: only a connection that is never cut reaches it."""


@asynccontextmanager
async def server(*, header_timeout: float = SHORT, connections: int = 1000) -> AsyncGenerator[RunningServer]:
    limits = ConnectionLimits(header_timeout=header_timeout, connections=connections)
    async with serve(create_app(ServerState.of({"flagValues": {"a": True}})), limits=limits) as serving:
        yield serving


class Connection:
    """A connection to a server, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    async def status(self) -> bytes:
        """The status line of the next answer, whose headers and body are read."""
        head = await asyncio.wait_for(self._reader.readuntil(b"\r\n\r\n"), SOON)
        for line in head.lower().splitlines():
            if line.startswith(b"content-length:"):
                await asyncio.wait_for(self._reader.readexactly(int(line.partition(b":")[2])), SOON)
        return head.partition(b"\r\n")[0]

    async def cut(self) -> bool:
        """Wait until the server closes the connection. Returns False if data came first."""
        try:
            return not await asyncio.wait_for(self._reader.read(), SOON)
        except ConnectionError:
            return True

    async def is_open(self, seconds: float) -> bool:
        """Whether it stays open for that many seconds."""
        with anyio.move_on_after(seconds):
            while await self._reader.read(65536):
                pass
            return False
        return True


@asynccontextmanager
async def connected(serving: RunningServer) -> AsyncGenerator[Connection]:
    reader, writer = await asyncio.open_connection(serving.host, serving.port)
    try:
        yield Connection(reader, writer)
    finally:
        writer.close()


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([], id="nothing"),
        pytest.param([b"G"], id="one byte"),
        pytest.param([b"GET /sdk/poll HTTP/1.1\r\nHost: 127.0.0.1\r\n"], id="a header without its end"),
        pytest.param([b"GET /sdk/poll HTTP/1.1\r\n", *[b"X-Slow: 1\r\n"] * 1000], id="one line after the other"),
    ],
)
async def test_a_connection_without_a_complete_header_is_cut(pieces: list[bytes]) -> None:
    async with server() as serving, connected(serving) as connection:

        async def drip() -> None:
            for piece in pieces:
                connection.send(piece)
                await asyncio.sleep(SHORT / 10)

        async with anyio.create_task_group() as group:
            group.start_soon(drip)
            assert await connection.cut()
            group.cancel_scope.cancel()


async def test_an_incomplete_second_request_is_cut() -> None:
    async with server() as serving, connected(serving) as connection:
        connection.send(POLL)
        assert await connection.status() == b"HTTP/1.1 200 OK"
        connection.send(b"GET /sdk")
        assert await connection.cut()


async def test_streams_and_slow_bodies_are_not_limited() -> None:
    async with server() as serving, connected(serving) as stream, connected(serving) as post:
        stream.send(STREAM)
        post.send(b"POST /bulk HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\n\r\n[")
        assert await stream.status() == b"HTTP/1.1 200 OK"
        assert await stream.is_open(3 * SHORT)
        post.send(b"]")
        assert await post.status() == b"HTTP/1.1 202 Accepted"


async def test_many_requests_on_one_connection_are_answered() -> None:
    async with server() as serving, connected(serving) as connection:
        for _ in range(5):
            await asyncio.sleep(SHORT / 3)
            connection.send(POLL)
            assert await connection.status() == b"HTTP/1.1 200 OK"


async def test_the_network_does_not_delay_a_small_answer() -> None:
    async with server() as serving, connected(serving) as connection:
        connection.send(POLL)
        assert await connection.status() == b"HTTP/1.1 200 OK"
        (open_connection,) = serving.server.server_state.connections
        accepted = open_connection.transport.get_extra_info("socket")
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_beyond_the_limit_the_oldest_connection_without_a_header_is_cut() -> None:
    async with server(header_timeout=SOON * 10, connections=3) as serving, AsyncExitStack() as stack:
        stream, first, second = [await stack.enter_async_context(connected(serving)) for _ in range(3)]
        stream.send(STREAM)
        assert await stream.status() == b"HTTP/1.1 200 OK"
        poll = await stack.enter_async_context(connected(serving))
        assert await first.cut()
        poll.send(POLL)
        assert await poll.status() == b"HTTP/1.1 200 OK"
        assert await second.is_open(0.05)
        assert len(serving.server.server_state.connections) == 3


async def test_beyond_the_limit_a_new_connection_is_cut_if_all_others_are_in_use() -> None:
    async with server(header_timeout=SOON * 10, connections=2) as serving, AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(connected(serving)) for _ in range(2)]
        for stream in streams:
            stream.send(STREAM)
            assert await stream.status() == b"HTTP/1.1 200 OK"
        assert await (await stack.enter_async_context(connected(serving))).cut()
        assert [await stream.is_open(0.05) for stream in streams] == [True, True]
