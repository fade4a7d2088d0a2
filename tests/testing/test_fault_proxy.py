"""FaultProxy: what a client sees of a server behind each toxic."""

from __future__ import annotations

import asyncio
import gc
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

import anyio
import httpx
import pytest
from anyio.lowlevel import checkpoint

from aioflags import ConfigError, LifecycleError
from aioflags.testing import FaultProxy, VirtualTimeLoop, toxics
from aioflags.testing.toxics import Toxic
from tests.support.full_loop import no_free_descriptor

pytestmark = pytest.mark.real_time

BODY = b"0123456789" * 10
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\n"


class Upstream:
    """A server that answers every request with ``BODY``, and echoes lines that begin with "echo"."""

    def __init__(self) -> None:
        self.address = ""
        self.requests = 0
        self.open = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            while line := await reader.readline():
                if line.startswith(b"echo"):
                    writer.write(line)
                elif line == b"\r\n":
                    self.requests += 1
                    writer.write(HEAD + BODY)
        except ConnectionError:
            pass
        finally:
            self.open -= 1
            writer.close()

    async def until(self, count: int) -> None:
        """Wait until so many connections are open."""
        with anyio.fail_after(5):
            while self.open != count:
                await anyio.sleep(0.001)


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    """A server without toxics."""
    made = Upstream()
    server = await asyncio.start_server(made.handle, "127.0.0.1", 0)
    made.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield made


@pytest.fixture
async def proxy(upstream: Upstream) -> AsyncIterator[FaultProxy]:
    """A proxy in front of it."""
    async with FaultProxy(upstream.address) as running:
        yield running


async def get(proxy: FaultProxy, limit: float = 5) -> httpx.Response:
    """One request on a new connection."""
    async with httpx.AsyncClient(timeout=limit, trust_env=False) as http:
        return await http.get(proxy.url)


class Line:
    """An open connection that echoes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def to(cls, proxy: FaultProxy) -> Line:
        line = cls(*await asyncio.open_connection(proxy.host, proxy.port))
        assert await line.echo() == b"echo\n"
        return line

    async def echo(self, limit: float = 5) -> bytes | None:
        """What comes back; None for nothing within the limit."""
        self.writer.write(b"echo\n")
        try:
            return await asyncio.wait_for(self.reader.readline(), limit)
        except TimeoutError:
            return None

    async def close(self) -> None:
        self.writer.transport.abort()
        await asyncio.wait([asyncio.ensure_future(self.writer.wait_closed())])


@pytest.fixture
async def line(proxy: FaultProxy) -> AsyncIterator[Line]:
    """A connection through the proxy."""
    opened = await Line.to(proxy)
    yield opened
    await opened.close()


@pytest.mark.parametrize("refuses_then", [False, True], ids=["accepts again", "refuses then"])
def test_without_free_descriptors_the_proxy_tries_once_a_second(caplog: pytest.LogCaptureFixture, refuses_then: bool) -> None:
    async def connect() -> list[int]:
        counts: list[int] = []
        with socket.socket() as client:
            client.setblocking(False)
            async with FaultProxy("127.0.0.1:1") as proxy:
                with no_free_descriptor():
                    await asyncio.get_running_loop().sock_connect(client, (proxy.host, proxy.port))
                    await asyncio.sleep(2.5)
                    counts.append(proxy.accepted)
                if refuses_then:
                    proxy.add(toxics.Refuse())
                await asyncio.sleep(1)
                counts.append(proxy.accepted)
        return counts

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        assert runner.run(connect()) == [0, 0 if refuses_then else 1]
    lines = [record.getMessage() for record in caplog.records]
    assert lines == ["FaultProxy: no connection is accepted for 1 s: Too many open files"] * 3


@pytest.mark.parametrize("upstream", ["http://127.0.0.1:80/?a", "http://127.0.0.1:80/#a", "127.0.0.1:80#a", "http://127.0.0.1:80?"])
def test_an_upstream_with_a_query_or_a_fragment_is_refused(upstream: str) -> None:
    with pytest.raises(ConfigError, match=r"^upstream: .*without query and fragment"):
        FaultProxy(upstream)


async def test_without_toxics_all_comes_through(proxy: FaultProxy) -> None:
    assert (await get(proxy)).content == BODY
    assert proxy.accepted == 1


@pytest.mark.parametrize(
    ("toxic", "error"),
    [
        pytest.param(toxics.Refuse(), httpx.ConnectError, id="refuse"),
        pytest.param(toxics.ResetPeer(), httpx.NetworkError, id="reset"),
        pytest.param(toxics.ResetPeer(timeout=0.05), httpx.NetworkError, id="reset later"),
        pytest.param(toxics.HalfOpen(), httpx.ReadTimeout, id="half-open"),
        pytest.param(toxics.BlackHole(), httpx.ReadTimeout, id="black hole"),
        pytest.param(toxics.BlackHole(stream="upstream"), httpx.ReadTimeout, id="black hole of requests"),
        pytest.param(toxics.Latency(latency=60), httpx.ReadTimeout, id="latency above the limit"),
        pytest.param(toxics.Bandwidth(rate=1), httpx.ReadTimeout, id="drip"),
        pytest.param(toxics.LimitData(bytes=0), httpx.RemoteProtocolError, id="nothing"),
        pytest.param(toxics.LimitData(bytes=len(HEAD) + 50), httpx.RemoteProtocolError, id="truncated body"),
        pytest.param(toxics.TlsFailure(), httpx.RemoteProtocolError, id="TLS alert, to plain HTTP"),
        pytest.param(toxics.Corrupt(every=10), httpx.RemoteProtocolError, id="corrupt head"),
    ],
)
async def test_a_request_fails_and_the_next_works_without_the_toxic(
    proxy: FaultProxy, toxic: Toxic, error: type[Exception]
) -> None:
    if isinstance(toxic, toxics.ResetPeer) and toxic.timeout:
        proxy.add(toxics.BlackHole())
    proxy.add(toxic)
    with pytest.raises(error):
        await get(proxy, 0.2)
    proxy.clear()
    assert (await get(proxy)).content == BODY
    assert proxy.toxics == ()


@pytest.mark.parametrize(
    "toxic",
    [
        pytest.param(toxics.Latency(latency=0.02, jitter=0.01, stream="both"), id="latency"),
        pytest.param(toxics.Bandwidth(rate=2_000), id="bandwidth"),
        pytest.param(toxics.Slicer(average_size=7, size_variation=6, stream="both"), id="slices"),
        pytest.param(toxics.LimitData(bytes=1_000), id="a limit that is not reached"),
        pytest.param(toxics.Corrupt(every=1_000), id="a corrupt byte that is not reached"),
    ],
)
async def test_what_arrives_late_or_in_pieces_arrives_whole(proxy: FaultProxy, toxic: Toxic) -> None:
    proxy.add(toxic)
    assert (await get(proxy)).content == BODY


@pytest.mark.speed
async def test_bandwidth_takes_its_time(proxy: FaultProxy) -> None:
    proxy.add(toxics.Bandwidth(rate=1_000))
    start = time.perf_counter()
    await get(proxy)
    assert time.perf_counter() - start >= (len(HEAD) + len(BODY)) / 1_000 * 0.9


async def test_a_corrupt_byte_is_the_nth_of_the_connection(proxy: FaultProxy) -> None:
    proxy.add(toxics.Corrupt(every=len(HEAD) + 50))
    assert (await get(proxy)).content == BODY[:49] + bytes([ord("9") ^ 0x80]) + BODY[50:]


async def test_duplicates_arrive_twice(line: Line, proxy: FaultProxy) -> None:
    proxy.add(toxics.Duplicate())
    assert await line.echo() == b"echo\n"
    assert await line.reader.readline() == b"echo\n"


@pytest.mark.parametrize("status", [206, 301, 404, 429, 503, 599])
async def test_a_wrong_status_is_answered_without_the_server(proxy: FaultProxy, upstream: Upstream, status: int) -> None:
    proxy.add(toxics.WrongStatus(status=status))
    assert (await get(proxy)).status_code == status
    assert upstream.requests == 0


async def test_a_redirect_has_its_location(proxy: FaultProxy) -> None:
    proxy.add(toxics.Redirect(location="http://other.invalid/x", status=302))
    response = await get(proxy)
    assert (response.status_code, response.headers["Location"]) == (302, "http://other.invalid/x")


async def test_a_wrong_content_type_has_the_true_body(proxy: FaultProxy) -> None:
    proxy.add(toxics.WrongContentType(content_type="text/html"))
    async with httpx.AsyncClient(trust_env=False) as http:
        for _ in range(2):  # the second on a connection of its own: the first is not kept
            response = await http.get(proxy.url)
            assert (response.headers["Content-Type"], response.content) == ("text/html", BODY)
    assert proxy.accepted == 2


async def test_a_toxic_of_http_affects_a_connection_that_was_kept(proxy: FaultProxy) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        assert (await http.get(proxy.url)).status_code == 200
        proxy.add(toxics.WrongStatus(status=500))
        await anyio.sleep(0.02)  # the client sees the end of its connection
        assert (await http.get(proxy.url)).status_code == 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Louder(Toxic):
    """Bytes arrive in capitals, each piece with the number of bytes before it, and with a last word."""

    stream: toxics.Stream = "downstream"

    async def filter(self, wire: toxics.Wire, data: bytes, send: toxics.Send) -> None:
        await send(b"%d:%b " % (wire.passed, data.upper() or b"end of " + wire.direction.encode()))
        if not data:
            await send(data)


async def test_a_program_can_have_its_own_toxics(proxy: FaultProxy) -> None:
    proxy.add(Louder())
    reader, writer = await asyncio.open_connection(proxy.host, proxy.port)
    for said in (b"echo a\n", b"echo b\n"):
        writer.write(said)
        await reader.readuntil(b"\n ")
    writer.write(b"echo c\n")
    writer.write_eof()
    assert await reader.read(-1) == b"14:ECHO C\n 21:end of downstream "
    writer.close()


async def test_times_counts_connections(proxy: FaultProxy) -> None:
    proxy.add(toxics.WrongStatus(status=503), times=2)
    assert [(await get(proxy)).status_code for _ in range(4)] == [503, 503, 200, 200]


async def test_times_leaves_open_connections_alone(line: Line, proxy: FaultProxy) -> None:
    proxy.add(toxics.BlackHole(), times=1)
    assert await line.echo() == b"echo\n"
    with pytest.raises(httpx.ReadTimeout):
        await get(proxy, 0.1)
    assert (await get(proxy)).content == BODY


async def test_an_open_connection_survives_a_black_hole(line: Line, proxy: FaultProxy) -> None:
    toxic = proxy.add(toxics.BlackHole())
    assert await line.echo(0.05) is None
    assert proxy.remove(toxic)
    assert await asyncio.wait_for(line.reader.readline(), 5) == b"echo\n"


async def test_a_half_open_connection_stays_silent_and_the_server_has_lost_it(
    line: Line, proxy: FaultProxy, upstream: Upstream
) -> None:
    proxy.add(toxics.HalfOpen())
    await upstream.until(0)
    proxy.clear()
    assert await line.echo(0.05) is None
    assert proxy.connections == 1
    await line.close()
    with anyio.fail_after(5):
        while proxy.connections:
            await anyio.sleep(0.001)


@pytest.mark.parametrize("toxic", [toxics.ResetPeer(), toxics.ResetPeer(timeout=0.02)], ids=str)
async def test_an_open_connection_is_reset(line: Line, proxy: FaultProxy, upstream: Upstream, toxic: Toxic) -> None:
    proxy.add(toxic)
    with pytest.raises(ConnectionResetError):
        await line.reader.readline()
    await upstream.until(0)


async def test_an_open_connection_stays_while_others_are_refused(line: Line, proxy: FaultProxy) -> None:
    proxy.add(toxics.Refuse())
    assert await line.echo() == b"echo\n"
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(proxy.host, proxy.port)
    proxy.clear()
    assert (await get(proxy)).content == BODY


async def test_the_port_is_kept_while_connections_are_refused(proxy: FaultProxy) -> None:
    proxy.add(toxics.Refuse())
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind((proxy.host, proxy.port))


@pytest.mark.parametrize("cycles", range(6))
@pytest.mark.parametrize("stops", [False, True], ids=["refuses", "stops"])
async def test_no_connection_is_lost_when_the_listener_closes(upstream: Upstream, cycles: int, stops: bool) -> None:
    async with FaultProxy(upstream.address) as proxy:
        await anyio.sleep(0.01)
        with socket.create_connection((proxy.host, proxy.port), timeout=5) as client:
            for _ in range(cycles):
                await checkpoint()
            if not stops:
                proxy.add(toxics.Refuse())
                await anyio.sleep(0.01)
                assert proxy.connections == proxy.accepted
            await proxy.__aexit__()
            with suppress(ConnectionResetError):
                assert client.recv(1) == b""
    gc.collect()  # warns of a socket that was not closed


async def test_connections_are_dropped(line: Line, proxy: FaultProxy, upstream: Upstream) -> None:
    assert proxy.drop_connections() == 1
    assert await line.reader.read() == b""
    await upstream.until(0)
    assert (await get(proxy)).content == BODY


async def test_a_server_that_is_down_resets(proxy: FaultProxy) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    async with FaultProxy(address) as nowhere:
        with pytest.raises(httpx.NetworkError):
            await get(nowhere)


async def test_toxics_combine_in_their_order(line: Line, proxy: FaultProxy) -> None:
    proxy.add(toxics.Duplicate())
    proxy.add(toxics.LimitData(bytes=7))
    assert await line.echo() == b"echo\n"
    assert await line.reader.read() == b"ec"
    assert proxy.toxics == (toxics.Duplicate(), toxics.LimitData(bytes=7))


async def test_a_toxic_can_be_added_while_a_connection_closes(line: Line, proxy: FaultProxy) -> None:
    proxy.add(toxics.LimitData(bytes=1))
    line.writer.write(b"echo\n")
    with anyio.fail_after(5):
        while proxy.connections:
            proxy.remove(proxy.add(toxics.Latency(latency=0)))
            await checkpoint()


async def test_nothing_is_left_after_the_block(upstream: Upstream) -> None:
    before = asyncio.all_tasks()
    async with FaultProxy(upstream.address) as proxy:
        lines = [await Line.to(proxy) for _ in range(5)]
        proxy.add(toxics.BlackHole())
        for line in lines:
            line.writer.write(b"echo\n")
        await anyio.sleep(0.01)
    assert [await line.reader.read() for line in lines] == [b""] * 5
    await upstream.until(0)
    for line in lines:
        await line.close()
    assert {task for task in asyncio.all_tasks() - before if "fault" in repr(task)} == set()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(proxy.host, proxy.port)
    with pytest.raises(LifecycleError, match="make a new FaultProxy"):
        await proxy.__aenter__()


@pytest.mark.parametrize(
    ("upstream_url", "url", "unresolvable"),
    [
        ("127.0.0.1:80", "http://127.0.0.1:{}", "http://does-not-resolve.invalid:{}"),
        ("http://localhost/relay/", "http://127.0.0.1:{}/relay", "http://does-not-resolve.invalid:{}/relay"),
        ("https://flags.example", "https://127.0.0.1:{}", "https://does-not-resolve.invalid:{}"),
        ("[::1]:80", "http://127.0.0.1:{}", "http://does-not-resolve.invalid:{}"),
    ],
)
async def test_the_address_keeps_scheme_and_path(upstream_url: str, url: str, unresolvable: str) -> None:
    async with FaultProxy(upstream_url) as proxy:
        assert proxy.url == url.format(proxy.port)
        assert proxy.unresolvable_url == unresolvable.format(proxy.port)


@pytest.mark.parametrize("upstream_url", ["", "localhost", "//", "http://", "localhost:99999", "[::1", "ftp://x", cast("str", 5)])
def test_an_upstream_without_host_and_port_is_refused(upstream_url: str) -> None:
    with pytest.raises(ConfigError, match="upstream"):
        FaultProxy(upstream_url)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(lambda: toxics.Latency(latency=-1), "latency: expected 0 or more", id="negative"),
        pytest.param(lambda: toxics.Latency(latency=float("nan")), "latency: expected 0 or more", id="NaN"),
        pytest.param(lambda: toxics.Latency(latency=cast("float", "1")), "latency: expected int or float", id="text"),
        pytest.param(lambda: toxics.Bandwidth(rate=0), "rate: expected 1 or more", id="no bandwidth"),
        pytest.param(lambda: toxics.Slicer(average_size=0), "average_size: expected 1 or more", id="empty slices"),
        pytest.param(lambda: toxics.Corrupt(every=0), "every: expected 1 or more", id="every 0"),
        pytest.param(
            lambda: toxics.BlackHole(stream=cast("toxics.Stream", "up")), "stream: expected one of downstream", id="direction"
        ),
        pytest.param(lambda: toxics.Redirect(location="a\r\nb: c"), "location: expected a value for a header", id="line break"),
        pytest.param(lambda: FaultProxy("a:1").add(cast("Toxic", "reset")), "toxic: expected Toxic", id="not a toxic"),
        pytest.param(lambda: FaultProxy("a:1").add(toxics.ResetPeer(), times=0), "times: expected 1", id="no times"),
        pytest.param(lambda: FaultProxy("a:1").add(toxics.Refuse(), times=1), "cannot be counted", id="refuse once"),
    ],
)
def test_a_wrong_option_is_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_the_kinds_are_complete() -> None:
    made = {getattr(toxics, name) for name in toxics.__all__ if isinstance(getattr(toxics, name), type)}
    assert {*toxics.TCP, *toxics.HTTP} == {kind for kind in made if issubclass(kind, Toxic)} - {Toxic}
    assert not set(toxics.TCP) & set(toxics.HTTP)
