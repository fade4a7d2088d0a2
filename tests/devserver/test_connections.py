"""Limits of connections, on real sockets: late requests, answers that are not read, too many connections."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, Final

import anyio
import pytest

from aioflags.devserver import ServerState, create_app
from aioflags.devserver.connections import ConnectionLimits, connections_for
from aioflags.devserver.serve import RunningServer, serve

pytestmark = pytest.mark.real_time

POLL: Final = b"GET /sdk/poll HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
STREAM: Final = b"GET /sdk/stream HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
POST: Final = b"POST /bulk HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1001\r\n\r\n["
POST_CHUNKS: Final = b"POST /bulk HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
SHORT: Final = 0.3
SOON: Final = 30.0
"""Much longer than any test takes: only a connection that is never cut reaches it."""


@asynccontextmanager
async def server(value: object = True, **given: Any) -> AsyncGenerator[RunningServer]:
    """``given``: limits of :class:`ConnectionLimits`; the times are short if they are not given."""
    short: dict[str, Any] = {"header_timeout": SHORT, "body_timeout": SHORT, "write_timeout": SHORT}
    limits = ConnectionLimits(**{**short, **given})
    async with serve(create_app(ServerState.of({"flagValues": {"a": value}})), limits=limits) as serving:
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

    async def is_open_while_it_sends(self, piece: bytes) -> bool:
        """Whether it stays open while it sends that piece again and again. Answers are read."""
        with contextlib.suppress(ConnectionError), anyio.move_on_after(SOON):
            while True:
                self.send(piece)
                with contextlib.suppress(TimeoutError):
                    if not await asyncio.wait_for(self._reader.read(65536), SHORT / 10):
                        return False
        return self._reader.exception() is None

    async def read_slowly(self, pause: float) -> int:
        """Read an answer in pieces up to its end or a second without data. Returns how many bytes came."""
        count = 0
        with contextlib.suppress(TimeoutError):
            while data := await asyncio.wait_for(self._reader.read(65536), 1):
                count += len(data)
                await asyncio.sleep(pause)
        return count


@asynccontextmanager
async def connected(serving: RunningServer) -> AsyncGenerator[Connection]:
    reader, writer = await asyncio.open_connection(serving.host, serving.port)
    try:
        yield Connection(reader, writer)
    finally:
        writer.close()


async def until(condition: Callable[[], bool]) -> None:
    """Wait until the server is in that condition."""
    with anyio.fail_after(SOON):
        while not condition():
            await asyncio.sleep(SHORT / 30)


def has_requests(serving: RunningServer, count: int) -> bool:
    return len(serving.server.server_state.tasks) == count


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


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        pytest.param(POST, b"", id="events that do not come"),
        pytest.param(POST, b" ", id="events that come byte by byte"),
        pytest.param(POST_CHUNKS, b"1\r\n \r\n", id="events in endless chunks"),
        pytest.param(POLL[:-2] + b"Content-Length: 1000\r\n\r\n", b" ", id="an endless body that no handler reads"),
        pytest.param(STREAM[:-2] + b"Content-Length: 1000\r\n\r\n", b" ", id="an endless body beside an open stream"),
        pytest.param(POLL + POST, b"", id="a second request that came with the first"),
    ],
)
async def test_a_request_without_a_complete_body_is_cut(head: bytes, piece: bytes) -> None:
    async with server() as serving, connected(serving) as connection:
        connection.send(head)
        assert not await connection.is_open_while_it_sends(piece)


async def test_a_slow_body_that_ends_in_time_is_accepted() -> None:
    async with server(body_timeout=SOON) as serving, connected(serving) as post:
        post.send(POST)
        assert await post.is_open(3 * SHORT)
        post.send(b" " * 999)
        post.send(b"]")
        assert await post.status() == b"HTTP/1.1 202 Accepted"


@pytest.mark.parametrize(
    ("size", "end", "status"),
    [(60_000, b"\r\n\r\n", b"HTTP/1.1 404 Not Found"), (66_000, b"", b"HTTP/1.1 400 Bad Request")],
)
async def test_a_header_may_have_64_kilobytes_in_any_number_of_pieces(size: int, end: bytes, status: bytes) -> None:
    async with server(header_timeout=SOON) as serving, connected(serving) as connection:
        text = b"GET /" + b"a" * size + b" HTTP/1.1\r\nHost: 127.0.0.1" + end
        for start in range(0, len(text), 10_000):
            connection.send(text[start : start + 10_000])
            await asyncio.sleep(SHORT / 30)
        assert await connection.status() == status


async def test_open_streams_are_not_limited() -> None:
    async with server() as serving, connected(serving) as stream:
        stream.send(STREAM)
        assert await stream.status() == b"HTTP/1.1 200 OK"
        assert await stream.is_open(3 * SHORT)


@pytest.mark.parametrize(
    "request_text",
    [
        pytest.param(POLL, id="poll"),
        pytest.param(POLL[:-2] + b"Connection: close\r\n\r\n", id="the last one"),
        pytest.param(STREAM, id="stream"),
    ],
)
async def test_an_answer_that_the_client_does_not_read_is_cut(request_text: bytes) -> None:
    async with server("x" * 20_000_000, header_timeout=SHORT * 2) as serving, connected(serving) as connection:
        connection.send(request_text)
        await until(lambda: len(serving.server.server_state.connections) == 1)
        await until(lambda: not serving.server.server_state.connections)


@pytest.mark.slow
async def test_an_answer_that_is_read_slowly_is_complete() -> None:
    async with server("x" * 20_000_000) as serving, connected(serving) as connection:
        connection.send(POLL)
        assert await connection.read_slowly(pause=SHORT / 100) > 20_000_000


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


@pytest.mark.parametrize(
    ("request_text", "answered"),
    [pytest.param(POLL, True, id="idle after an answer"), pytest.param(POST, False, id="in the middle of a body")],
)
async def test_beyond_the_limit_the_connection_that_has_waited_longest_for_its_client_is_cut(
    request_text: bytes, answered: bool
) -> None:
    async with server(header_timeout=SOON, body_timeout=SOON, connections=2) as serving, AsyncExitStack() as stack:
        first, second = [await stack.enter_async_context(connected(serving)) for _ in range(2)]
        for number, connection in enumerate((first, second), 1):
            connection.send(request_text)
            if answered:
                assert await connection.status() == b"HTTP/1.1 200 OK"
            else:
                await until(partial(has_requests, serving, number))
        poll = await stack.enter_async_context(connected(serving))
        poll.send(POLL)
        assert await poll.status() == b"HTTP/1.1 200 OK"
        assert await first.cut()
        assert await second.is_open(0.05)


async def test_the_limit_holds_for_connections_that_come_at_once() -> None:
    async with server(header_timeout=SOON * 10, connections=5) as serving:
        for _ in range(2):
            with contextlib.ExitStack() as stack:
                clients = [stack.enter_context(socket.socket()) for _ in range(40)]
                for client in clients:  # the loop accepts them in one turn
                    client.setblocking(False)
                    client.connect_ex(("127.0.0.1", serving.port))
                await until(partial(are_open, clients, 5))
                assert len(serving.server.server_state.connections) == 5
            await until(partial(has_no_connections, serving))


def are_open(clients: list[socket.socket], count: int) -> bool:
    """Whether the server has closed all connections but that many."""
    return sum(map(is_open, clients)) == count


def is_open(client: socket.socket) -> bool:
    try:
        return client.recv(1, socket.MSG_PEEK) != b""
    except BlockingIOError:
        return True
    except ConnectionError:
        return False


def has_no_connections(serving: RunningServer) -> bool:
    return not serving.server.server_state.connections


@pytest.mark.skipif(sys.platform == "win32", reason="has no limit of descriptors")
@pytest.mark.parametrize(("descriptors", "connections"), [(100, 50), (256, 128), (100_000, 1000)])
def test_half_of_the_descriptors_of_the_process_are_for_connections(descriptors: int, connections: int) -> None:
    assert connections_for(descriptors) == connections
