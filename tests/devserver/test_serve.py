"""The server on a real socket: starting, dropped connections, and closing."""

from __future__ import annotations

import asyncio
import logging
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from starlette.types import Receive, Scope, Send

from aioflags.devserver import Endpoint, RunningServer, ServerState, create_app, serve
from aioflags.devserver.flagd.relay import Relay
from aioflags.runtime.clock import now
from tests.support.full_loop import no_free_descriptor

pytestmark = pytest.mark.real_time

SOON = 60.0


async def read_to_the_end(url: str) -> Exception | None:
    """How a stream ended: with an error, or well."""
    async with httpx.AsyncClient(timeout=SOON) as client:
        try:
            async with client.stream("GET", url) as answer:
                async for _ in answer.aiter_raw():
                    pass
        except httpx.TransportError as error:
            return error
    return None


@pytest.fixture
def state() -> ServerState:
    return ServerState.of({"flagValues": {"a": 1}})


@pytest.fixture
async def serving(state: ServerState) -> AsyncGenerator[RunningServer, None]:
    async with serve(create_app(state)) as serving:
        yield serving


async def test_each_server_gets_a_free_port(state: ServerState) -> None:
    async with serve(create_app(state)) as one, serve(create_app(state)) as other, httpx.AsyncClient() as client:
        assert one.port != other.port
        for serving in (one, other):
            assert (await client.get(f"{serving.url}/sdk/poll")).status_code == 200
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", one.port))


async def test_responses_have_a_date(state: ServerState) -> None:
    before = now()
    async with serve(create_app(state)) as serving, httpx.AsyncClient() as client:
        there = parsedate_to_datetime((await client.get(f"{serving.url}/sdk/poll")).headers["Date"]).timestamp()
    assert int(before) <= there <= now()


@pytest.mark.parametrize("kind", ["HTTP", "gRPC", "gRPC on a Unix socket"])
async def test_without_free_descriptors_each_attempt_is_reported_once(state: ServerState, tmp_path: Path, kind: str) -> None:
    loop, problems, path = asyncio.get_running_loop(), list[str](), str(tmp_path / "flagd.sock")
    family = socket.AF_UNIX if "Unix" in kind else socket.AF_INET
    async with AsyncExitStack() as stack:
        address: Any = path
        if kind == "HTTP":
            serving = await stack.enter_async_context(serve(create_app(state)))
            address = (serving.host, serving.port)
        elif kind == "gRPC":
            address = ("127.0.0.1", await stack.enter_async_context(Relay(lambda: None).listen("127.0.0.1", 0)))
        else:
            await stack.enter_async_context(Relay(lambda: None).listen_on_socket(path))
        clients = [stack.enter_context(socket.socket(family)) for _ in range(3)]
        loop.set_exception_handler(lambda _, context: problems.append(context["message"]))
        with no_free_descriptor():
            for client in clients:
                client.setblocking(False)
                await loop.sock_connect(client, address)
            for _ in range(5):
                await asyncio.sleep(0)
    assert problems == ["socket.accept() out of system resource"]


async def test_a_port_in_use_raises(serving: RunningServer, state: ServerState) -> None:
    with pytest.raises(OSError, match="in use"):
        async with serve(create_app(state), port=serving.port):
            pass


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
async def test_an_ipv6_url_has_brackets(state: ServerState) -> None:
    try:
        async with serve(create_app(state), host="::1") as serving, httpx.AsyncClient() as client:
            assert serving.url == f"http://[::1]:{serving.port}"
            assert (await client.get(f"{serving.url}/sdk/poll")).status_code == 200
    except OSError as error:
        pytest.skip(f"the IPv6 loopback cannot be used: {error}")


async def test_the_url_of_a_wildcard_address_is_loopback(state: ServerState) -> None:
    async with serve(create_app(state), host="0.0.0.0") as serving:
        assert serving.url == f"http://127.0.0.1:{serving.port}"


@pytest.mark.parametrize("endpoint", [Endpoint.STREAM, Endpoint.FDV1_STREAM])
async def test_a_dropped_stream_ends_with_a_transport_error(
    serving: RunningServer, state: ServerState, endpoint: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    reading = asyncio.create_task(read_to_the_end(serving.url + endpoint))
    with anyio.fail_after(SOON):
        await state.until(lambda: state.open_streams[endpoint] == 1)
        assert serving.drop_connections() == 1
        assert isinstance(await reading, httpx.TransportError)
        await state.until(lambda: state.open_streams[endpoint] == 0)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_goodbye_ends_a_stream_without_an_error(serving: RunningServer, state: ServerState) -> None:
    reading = asyncio.create_task(read_to_the_end(f"{serving.url}/sdk/stream"))
    with anyio.fail_after(SOON):
        await state.until(lambda: state.open_streams[Endpoint.STREAM] == 1)
        state.send_goodbye()
        assert await reading is None


async def test_closing_with_open_streams_leaves_no_tasks(state: ServerState, caplog: pytest.LogCaptureFixture) -> None:
    before = asyncio.all_tasks()
    async with AsyncExitStack() as stack:
        serving = await stack.enter_async_context(serve(create_app(state)))
        readings = [asyncio.create_task(read_to_the_end(serving.url + path)) for path in ("/sdk/stream", "/all") for _ in range(5)]
        with anyio.fail_after(SOON):
            await state.until(lambda: state.open_streams.total() == 10)
        with anyio.fail_after(SOON):
            await stack.aclose()
    assert all(isinstance(ended, httpx.TransportError) for ended in await asyncio.gather(*readings))
    assert state.open_streams.total() == 0
    assert asyncio.all_tasks() == before
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_cancelled_block_leaves_no_tasks(state: ServerState, caplog: pytest.LogCaptureFixture) -> None:
    before, readings = asyncio.all_tasks(), list[asyncio.Task[Exception | None]]()
    with anyio.CancelScope() as scope:
        async with serve(create_app(state)) as serving:
            readings += [asyncio.create_task(read_to_the_end(f"{serving.url}/sdk/stream")) for _ in range(3)]
            with anyio.fail_after(SOON):
                await state.until(lambda: state.open_streams.total() == 3)
            scope.cancel()
            await anyio.sleep_forever()
    assert state.open_streams.total() == 0
    assert all(isinstance(ended, httpx.TransportError) for ended in await asyncio.gather(*readings))
    assert asyncio.all_tasks() == before
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_closing_with_300_streams_logs_no_warning(state: ServerState, caplog: pytest.LogCaptureFixture) -> None:
    async with AsyncExitStack() as sockets:
        async with serve(create_app(state)) as serving:
            for _ in range(300):
                socket = await sockets.enter_async_context(await anyio.connect_tcp("127.0.0.1", serving.port))
                await socket.send(b"GET /sdk/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
            with anyio.fail_after(SOON):
                await state.until(lambda: state.open_streams.total() == 300)
        assert state.open_streams.total() == 0
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_closing_while_the_event_loop_is_blocked_logs_no_warning(
    state: ServerState, caplog: pytest.LogCaptureFixture
) -> None:
    async with serve(create_app(state)) as serving:
        readings = [asyncio.create_task(read_to_the_end(f"{serving.url}/sdk/stream")) for _ in range(3)]
        with anyio.fail_after(SOON):
            await state.until(lambda: state.open_streams.total() == 3)
        asyncio.get_running_loop().call_soon(time.sleep, 0.5)
    assert all(isinstance(ended, httpx.TransportError) for ended in await asyncio.gather(*readings))
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_request_that_does_not_end_is_cancelled() -> None:
    asked, ended = anyio.Event(), anyio.Event()

    async def stubborn(scope: Scope, receive: Receive, send: Send) -> None:
        asked.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()

    with anyio.fail_after(SOON):
        async with serve(stubborn) as serving:
            reading = asyncio.create_task(read_to_the_end(serving.url))
            await asked.wait()
        assert ended.is_set()
        assert isinstance(await reading, httpx.TransportError)


@pytest.mark.parametrize(
    "request_text",
    [
        pytest.param(b"\x00\xff\r\n\r\n", id="not HTTP"),
        pytest.param(b"GET /sdk/poll HTTP/1.1\r\n\r\n", id="without a Host header"),
        pytest.param(b"GET /%ff%fe?basis=%ff%00 HTTP/1.1\r\nHost: localhost\r\n\r\n", id="bytes that are not UTF-8"),
        pytest.param(b"POST /bulk HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n", id="an impossible length"),
        pytest.param(b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", id="an endless path"),
    ],
)
async def test_invalid_http_gets_a_4xx(serving: RunningServer, state: ServerState, request_text: bytes) -> None:
    async with await anyio.connect_tcp("127.0.0.1", serving.port) as connection:
        await connection.send(request_text)
        with anyio.fail_after(SOON):
            answer = await connection.receive()
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 404", b"HTTP/1.1 431"))


async def test_an_incomplete_body_logs_no_warning(
    serving: RunningServer, state: ServerState, caplog: pytest.LogCaptureFixture
) -> None:
    connection = await anyio.connect_tcp("127.0.0.1", serving.port)
    await connection.send(b"POST /bulk HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhalf")
    with anyio.fail_after(SOON):
        await state.until(lambda: state.requests[Endpoint.EVENTS] == 1)
    await connection.aclose()
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"{serving.url}/sdk/poll")).status_code == 200
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("absent", ["starlette", "uvicorn"])
def test_a_missing_extra_is_named_in_the_error(absent: str) -> None:
    code = f"import sys; sys.modules[{absent!r}] = None; import aioflags.devserver"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.stderr.splitlines()[-1] == (
        f'ModuleNotFoundError: the development server needs {absent}: pip install "aioflags[server]"'
    )
