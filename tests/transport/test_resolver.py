"""DaemonResolver: names are resolved in daemon threads."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import subprocess
import sys
import threading
from types import SimpleNamespace
from typing import Any

import anyio
import httpcore
import httpx
import pytest
import trustme

from aioflags.testing.virtual_time import VirtualTimeLoop
from aioflags.transport.clients import client_maker
from aioflags.transport.resolver import DaemonResolver, Resolve, resolve_with
from aioflags.transport.settings import Http
from tests.support.full_loop import FullLoop, run_full
from tests.support.raw_server import answering, ok, raw_server

pytestmark = pytest.mark.real_time

LONG = 30.0
"""Seconds: longer than any step of these tests takes unless it hangs."""


@pytest.mark.parametrize("proxy", [None, "http://127.0.0.1:9", "https://127.0.0.1:9"])
def test_the_installed_httpx_takes_the_resolver(proxy: str | None) -> None:
    """If this fails, look in the installed httpx for the place of its network backend, and change ``resolve_with``."""
    transport = httpx.AsyncHTTPTransport(verify=False, trust_env=False, proxy=proxy)
    resolver = DaemonResolver()
    assert resolve_with(transport, resolver)
    assert transport._pool._network_backend is resolver


class LaterTransport(httpx.AsyncBaseTransport):
    """The transport of an httpx that keeps its network backend elsewhere."""

    def __init__(self, **options: Any) -> None:
        self._inner = httpx.AsyncHTTPTransport(**options)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self._inner.aclose()


class LaterPool(LaterTransport):
    """The same, with a pool that connects in another way."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._pool = SimpleNamespace(_network_backend=object())


@pytest.mark.parametrize("later", [LaterTransport, LaterPool])
async def test_another_httpx_resolves_names_itself(later: type[LaterTransport], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "aioflags")
    make = client_maker(Http(), logging.getLogger("aioflags.resolver"), later)
    client = make(None, None)
    assert isinstance(client, httpx.AsyncClient)
    async with raw_server(answering(ok(b"here"))) as server, client:
        assert (await client.get(f"http://localhost:{server.port}/")).content == b"here"
    assert [record.getMessage() for record in caplog.records if record.name == "aioflags.resolver"] == [
        f"httpx {httpx.__version__} resolves names itself: a look-up that hangs can delay the end of the program"
    ]


async def test_the_certificate_of_a_full_name_has_no_dot_at_its_end(authority: trustme.CA, ca_file: str) -> None:
    named, looked_up = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), list[str]()
    authority.issue_cert("flags.internal").configure_cert(named)

    def resolve(host: str, _: int) -> list[str]:
        looked_up.append(host)
        return ["127.0.0.1"]

    transport = httpx.AsyncHTTPTransport(verify=ssl.create_default_context(cafile=ca_file), trust_env=False)
    resolve_with(transport, DaemonResolver(resolve))
    async with raw_server(answering(ok(b"here")), named) as server, httpx.AsyncClient(transport=transport) as client:
        assert (await client.get(f"https://flags.internal.:{server.port}/")).content == b"here"
    assert looked_up == ["flags.internal."]  # the dot spares the search path


async def fetched(resolve: Resolve, port: int, connect_timeout: float = 5.0) -> bytes:
    transport = httpx.AsyncHTTPTransport(verify=False, trust_env=False)
    resolve_with(transport, DaemonResolver(resolve))
    async with httpx.AsyncClient(transport=transport, timeout=httpx.Timeout(connect_timeout)) as client:
        return (await client.get(f"http://flags.invalid:{port}/")).content


@pytest.mark.parametrize(
    "addresses",
    [
        pytest.param(["127.0.0.1"], id="one address"),
        pytest.param(["127.0.0.2", "127.0.0.1"], id="the first refuses"),
        pytest.param(["::1", "127.0.0.1"], id="the first is of the other family"),
    ],
)
async def test_the_first_address_that_answers_is_used(addresses: list[str]) -> None:
    async with raw_server(answering(ok(b"here"))) as server:
        assert await fetched(finding(*addresses), server.port) == b"here"
    assert f"Host: flags.invalid:{server.port}" in server.heads[0]


def finding(*addresses: str) -> Resolve:
    return lambda host, port: addresses


def failing(error: Exception) -> Resolve:
    def resolve(host: str, port: int) -> list[str]:
        raise error

    return resolve


@pytest.mark.parametrize(
    "resolve",
    [
        pytest.param(finding(), id="no address"),
        pytest.param(finding("127.0.0.2"), id="no address answers"),
        pytest.param(failing(socket.gaierror(-2, "unknown")), id="an unknown name"),
        pytest.param(failing(UnicodeError("label too long")), id="an invalid name"),
    ],
)
async def test_an_unreachable_host_is_a_connect_error(resolve: Resolve) -> None:
    with pytest.raises(httpx.ConnectError):
        await fetched(resolve, 9)


async def test_a_resolver_that_hangs_times_out_and_is_not_called_twice() -> None:
    asked: list[str] = []
    release = threading.Event()

    def hang(host: str, port: int) -> list[str]:
        asked.append(host)
        release.wait(LONG)
        return ["127.0.0.1"]

    resolver = DaemonResolver(hang)
    for _ in range(3):
        with pytest.raises(httpcore.ConnectTimeout):
            await resolver.connect_tcp("flags.invalid", 80, timeout=0.1)
    assert asked == ["flags.invalid"]
    assert resolver._pending
    async with raw_server(answering(ok())) as server:
        release.set()
        with anyio.fail_after(LONG):
            while resolver._pending:
                await anyio.sleep(0.01)
        stream = await resolver.connect_tcp("flags.invalid", server.port, timeout=LONG)
        await stream.aclose()
    assert len(asked) == 2


async def test_a_new_look_up_starts_if_the_last_one_hangs_for_long() -> None:
    asked: list[str] = []
    release = threading.Event()

    def hang_once(host: str, port: int) -> list[str]:
        asked.append(host)
        if len(asked) == 1:
            release.wait(LONG)
        return ["127.0.0.1"]

    resolver = DaemonResolver(hang_once, hung_after=0.1)
    async with raw_server(answering(ok())) as server:
        with pytest.raises(httpcore.ConnectTimeout):
            await resolver.connect_tcp("flags.invalid", server.port, timeout=0.15)
        stream = await resolver.connect_tcp("flags.invalid", server.port, timeout=LONG)
        await stream.aclose()
    assert len(asked) == 2
    assert resolver._pending == {}
    release.set()


async def test_an_ip_address_is_not_resolved() -> None:
    def never(host: str, port: int) -> list[str]:
        raise AssertionError(host)

    async with raw_server(answering(ok())) as server:
        stream = await DaemonResolver(never).connect_tcp("127.0.0.1", server.port, timeout=LONG)
        await stream.aclose()


def test_without_a_thread_the_addresses_of_the_last_look_up_are_used() -> None:
    async def connect() -> None:
        resolver = DaemonResolver(finding("127.0.0.2", "127.0.0.1"))
        async with raw_server(answering(ok())) as server:
            for loop.is_full in (False, True, True):
                stream = await resolver.connect_tcp("flags.invalid", server.port, timeout=LONG)
                await stream.aclose()
            with pytest.raises(httpcore.ConnectError, match="can't start new thread"):
                await resolver.connect_tcp("other.invalid", server.port, timeout=LONG)
            loop.is_full = False
            for number in range(200):
                with pytest.raises(httpcore.ConnectError):
                    await resolver.connect_tcp(f"redirected-{number}.invalid", 9, timeout=LONG)
            assert len(resolver._kept) < 100

    loop = FullLoop()
    run_full(connect(), loop)


def test_an_address_that_drops_packets_leaves_time_for_others() -> None:
    class Network(httpcore.AsyncNetworkBackend):
        def __init__(self) -> None:
            self.limits: list[float | None] = []

        async def connect_tcp(
            self, host: str, port: int, timeout: float | None = None, *_: object, **__: object
        ) -> httpcore.AsyncNetworkStream:
            self.limits.append(timeout)
            if host == "::9":
                await asyncio.sleep(timeout or 0)
                raise httpcore.ConnectTimeout("swallowed")
            return httpcore.AsyncMockStream([])

    network = Network()

    async def connect() -> None:
        resolver = DaemonResolver(finding("::9", "127.0.0.1", "::9"))
        resolver._network = network
        await resolver.connect_tcp("flags.invalid", 80, timeout=2)

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(connect())
    assert network.limits == [pytest.approx(1), pytest.approx(1)]


async def test_other_operations_are_those_of_httpcore() -> None:
    resolver = DaemonResolver()
    await resolver.sleep(0)
    with pytest.raises(httpcore.ConnectError):
        await resolver.connect_unix_socket("/nonexistent/socket", timeout=1)


def test_the_program_ends_although_the_resolver_hangs() -> None:
    script = """
import asyncio, time
from aioflags.transport.http import HttpTransport
from aioflags.transport.http_client import RequestFailed
from aioflags.transport.settings import Http
import aioflags.transport.resolver as resolver, socket
socket.getaddrinfo = lambda *_, **__: time.sleep(3600)
async def main():
    async with HttpTransport(Http(connect_timeout=0.2)) as transport:
        try:
            async with transport.get("http://flags.invalid/", {}):
                pass
        except RequestFailed as failed:
            print(failed.error.kind.value)
asyncio.run(main())
"""
    completed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=100)
    assert completed.stdout.strip() == "NETWORK_ERROR"
