"""HttpTransport with real sockets: closing, certificates, proxies, gzip bombs."""

from __future__ import annotations

import asyncio
import base64
import ssl
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from time import thread_time
from typing import TypeAlias

import anyio
import httpx
import httpx2
import pytest
import trustme

from aioflags.model.source_state import FailureKind
from aioflags.transport.http import HttpTransport
from aioflags.transport.responses import RequestFailed
from aioflags.transport.settings import Http
from tests.support.http_libraries import HttpLibrary, http_of
from tests.support.leaks import on_the_loop
from tests.support.raw_server import RawServer, answering, ok, raw_server, saying

pytestmark = pytest.mark.real_time

Proxied: TypeAlias = "Callable[..., Http]"

STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


@pytest.fixture(autouse=True)
def _no_proxy_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


async def gone(server: RawServer, seconds: float = 60.0) -> None:
    """The server saw the end of a connection."""
    with anyio.fail_after(seconds):
        await server.ended.wait()


# -- closing


@pytest.mark.parametrize("pieces", [[], [STREAM], [STREAM, chunk(b"data: 1\n\n")]], ids=["no head", "no event", "an event"])
@pytest.mark.holds("FB-14")
async def test_a_stream_that_is_cancelled_closes_its_socket(library: HttpLibrary, pieces: list[bytes]) -> None:
    async with raw_server(saying(*pieces)) as server, HttpTransport(http_of(library)) as transport:
        sent = [server.asked, asyncio.Event(), asyncio.Event()]

        async def listen() -> None:
            async with transport.open_stream(f"http://127.0.0.1:{server.port}/", {}) as stream:
                sent[1].set()
                async for _ in stream.events():
                    sent[2].set()

        async with anyio.create_task_group() as group:
            group.start_soon(listen)
            await sent[len(pieces)].wait()
            group.cancel_scope.cancel()
        await gone(server)


@pytest.mark.holds("FB-14")
async def test_leaving_a_stream_closes_its_socket(library: HttpLibrary) -> None:
    async with raw_server(saying(STREAM, chunk(b"data: 1\n\n"))) as server, HttpTransport(http_of(library)) as transport:
        async with transport.open_stream(f"http://127.0.0.1:{server.port}/", {}) as stream:
            assert (await anext(stream.events())).data == "1"
        await gone(server)


async def test_a_post_that_fails_leaves_no_generator_of_its_body(library: HttpLibrary) -> None:
    async def reset(_: RawServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()

    async with raw_server(reset) as server, HttpTransport(http_of(library)) as transport:
        before = on_the_loop()
        with pytest.raises(RequestFailed) as failure:
            await transport.post(f"http://127.0.0.1:{server.port}/", {}, b"x" * 4_000_000)
        assert failure.value.__cause__ is not None  # it has the request, which has the body
        assert on_the_loop()["generators"] == before["generators"]


KEEPING = [
    pytest.param(Http(), id="default client"),
    pytest.param(Http(client_factory=lambda: httpx.AsyncClient(trust_env=False)), id="httpx client that keeps idle connections"),
    pytest.param(http_of(httpx2), id="httpx2 client that keeps idle connections"),
]


@pytest.mark.parametrize("settings", KEEPING)
@pytest.mark.holds("FB-14")
async def test_a_stream_read_to_its_end_closes_its_socket(settings: Http) -> None:
    whole = STREAM + chunk(b"data: 1\n\n") + chunk(b"")
    async with raw_server(saying(whole)) as server, HttpTransport(settings) as transport:
        async with transport.open_stream(f"http://127.0.0.1:{server.port}/", {}) as stream:
            assert [event.data async for event in stream.events()] == ["1"]
        await gone(server)


@pytest.mark.holds("FB-14")
async def test_a_refused_stream_closes_its_socket(library: HttpLibrary) -> None:
    refusal = b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno"
    async with raw_server(answering(refusal, refusal)) as server, HttpTransport(http_of(library)) as transport:
        with pytest.raises(RequestFailed):
            async with transport.open_stream(f"http://127.0.0.1:{server.port}/", {}):
                pass
        await gone(server)


@pytest.mark.parametrize("settings", KEEPING)
@pytest.mark.holds("FB-14")
async def test_a_poll_closes_its_socket_when_it_has_been_read(settings: Http) -> None:
    async with raw_server(answering(ok(), ok())) as server, HttpTransport(settings) as transport:
        for count in (1, 2):
            server.ended.clear()
            async with transport.get(f"http://127.0.0.1:{server.port}/", {}) as reply:
                assert await reply.read() == b"{}"
            await gone(server)
            assert server.connections == count


async def failed(server: RawServer, settings: Http) -> RequestFailed:
    """Why a poll's body cannot be read."""
    async with HttpTransport(settings) as transport, transport.get(f"http://127.0.0.1:{server.port}/", {}) as reply:
        with pytest.raises(RequestFailed) as caught:
            await reply.read()
    return caught.value


@pytest.mark.holds("FB-8")
@pytest.mark.parametrize(
    ("idle", "connections"),
    [pytest.param(0, 2, id="not by default"), pytest.param(4, 1, id="if the transport is asked to")],
)
async def test_a_second_post_uses_the_connection_of_the_first(library: HttpLibrary, idle: int, connections: int) -> None:
    async with raw_server(answering(ok(b"one"), ok(b"two"))) as server:
        async with HttpTransport(http_of(library), idle_connections=idle) as transport:
            bodies: list[bytes] = []
            for _ in range(2):
                async with transport.exchange("POST", f"http://127.0.0.1:{server.port}/", {}, b"") as reply:
                    bodies.append(await reply.read())
        assert bodies == [b"one", b"two"]
        assert server.connections == connections
        assert ["connection: close" in head.lower() for head in server.heads] == [idle == 0] * 2
        await gone(server)


async def test_a_truncated_body_is_a_network_error(library: HttpLibrary) -> None:
    async def talk(server: RawServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nX-LD-FD-Fallback: true\r\nContent-Length: 100\r\n\r\n{")

    async with raw_server(talk) as server:
        failure = await failed(server, http_of(library))
    assert failure.error.kind is FailureKind.NETWORK_ERROR
    assert failure.headers["x-ld-fd-fallback"] == "true"


async def test_a_read_timeout_is_a_network_error(library: HttpLibrary) -> None:
    async with raw_server(saying(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")) as server:
        failure = await failed(server, http_of(library, read_timeout=0.2))
    assert failure.error.kind is FailureKind.NETWORK_ERROR


@pytest.mark.speed
async def test_a_gzip_bomb_is_refused_without_blocking_the_loop(library: HttpLibrary) -> None:
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join([*(packer.compress(bytes(1_000_000)) for _ in range(200)), packer.flush()])
    longest = [0.0]

    async def watch() -> None:
        while True:
            before = thread_time()
            await asyncio.sleep(0.001)
            longest.append(thread_time() - before)

    async with raw_server(saying(ok(bomb, "Content-Encoding: gzip"))) as server:
        watching = asyncio.create_task(watch())
        failure = await failed(server, http_of(library))
        watching.cancel()
    assert "after inflation" in failure.error.message
    assert failure.error.kind is FailureKind.INVALID_DATA
    assert max(longest) < 0.5


# -- threads


async def test_no_idle_thread_remains() -> None:
    before = set(threading.enumerate())
    async with raw_server(answering(ok())) as server, HttpTransport(Http()) as transport:
        async with transport.get(f"http://127.0.0.1:{server.port}/", {}):
            pass
        with anyio.fail_after(60):
            while set(threading.enumerate()) - before:
                await anyio.sleep(0.01)


# -- certificates


async def poll(server: RawServer, settings: Http, host: str = "127.0.0.1") -> bytes:
    async with HttpTransport(settings) as transport, transport.get(f"https://{host}:{server.port}/", {}) as reply:
        return await reply.read()


@pytest.mark.holds("DS-21")
async def test_an_untrusted_server_gets_no_request(library: HttpLibrary, certified: ssl.SSLContext) -> None:
    settings = Http() if library is httpx else http_of(library, tls=ssl.create_default_context())
    async with raw_server(answering(ok()), certified) as server:
        with pytest.raises(RequestFailed) as caught:
            await poll(server, settings)
    assert server.heads == []
    assert caught.value.error.kind is FailureKind.NETWORK_ERROR
    assert "certificate" in caught.value.error.message.lower()


@pytest.mark.holds("DS-21")
async def test_a_server_of_the_given_authority_is_trusted_and_verification_can_be_turned_off(
    certified: ssl.SSLContext, ca_file: str
) -> None:
    ready = ssl.create_default_context(cafile=ca_file)
    trusting = http_of(httpx2, tls=ready)
    for settings in (Http(ca_certs=ca_file), Http(disable_ssl_verification=True), Http(ssl_context=ready), trusting):
        async with raw_server(answering(ok()), certified) as server:
            assert await poll(server, settings) == b"{}"


async def test_a_certificate_for_another_name_is_refused(library: HttpLibrary, authority: trustme.CA, ca_file: str) -> None:
    tls = ssl.create_default_context(cafile=ca_file)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("elsewhere.test").configure_cert(context)
    async with raw_server(answering(ok()), context) as server:
        with pytest.raises(RequestFailed):
            await poll(server, http_of(library, tls=tls))
    assert server.heads == []


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated:DeprecationWarning")
async def test_the_error_of_an_old_server_names_the_version_of_tls(
    library: HttpLibrary, certified: ssl.SSLContext, ca_file: str
) -> None:
    tls = ssl.create_default_context(cafile=ca_file)
    certified.set_ciphers("ALL:@SECLEVEL=0")
    certified.minimum_version = certified.maximum_version = ssl.TLSVersion.TLSv1_1
    async with raw_server(answering(ok()), certified) as server:
        with pytest.raises(
            RequestFailed, match=r"ConnectError: the server ended the TLS handshake, so it may be older than TLS 1.2"
        ):
            await poll(server, http_of(library, tls=tls))


async def test_a_client_certificate_is_sent(authority: trustme.CA, certified: ssl.SSLContext, ca_file: str, tmp_path: Path) -> None:
    certified.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(certified)
    own = tmp_path / "client.pem"
    authority.issue_cert("client@flags.test").private_key_and_cert_chain_pem.write_to_path(str(own))
    async with raw_server(answering(ok(), ok()), certified) as server:
        assert await poll(server, Http(ca_certs=ca_file, cert_file=str(own))) == b"{}"
        with pytest.raises(RequestFailed):
            await poll(server, Http(ca_certs=ca_file))


async def test_streams_over_tls_are_closed_in_time(library: HttpLibrary, certified: ssl.SSLContext, ca_file: str) -> None:
    tls = ssl.create_default_context(cafile=ca_file)
    async with (
        raw_server(saying(STREAM, chunk(b"data: 1\n\n")), certified) as server,
        HttpTransport(http_of(library, tls=tls)) as transport,
    ):
        async with transport.open_stream(f"https://127.0.0.1:{server.port}/", {}) as stream:
            assert (await anext(stream.events())).data == "1"
        await gone(server)


async def test_a_request_that_is_cancelled_during_the_handshake_closes_its_socket() -> None:
    """A client of a factory closes it later: neither httpx nor httpx2 closes it."""

    async def hear_and_say_nothing(server: RawServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.read(1)
        server.asked.set()
        while await reader.read(4096):
            pass

    async with raw_server(hear_and_say_nothing) as server:
        polling = asyncio.create_task(poll(server, Http()))
        await server.asked.wait()
        polling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await polling
        await gone(server)


# -- cookies


async def test_cookies_are_not_kept() -> None:
    """A balancer that names a new one in every answer would have the requests grow until they are refused."""
    cookies = [ok(b"{}", f"Set-Cookie: balancer{n}={'x' * 100}") for n in range(3)]
    async with raw_server(answering(*cookies)) as server, HttpTransport(Http()) as transport:
        for _ in cookies:
            async with transport.get(f"http://127.0.0.1:{server.port}/", {}) as reply:
                await reply.read()
    assert len(server.heads) == 3
    assert "cookie" not in "".join(server.heads).lower()


# -- proxies


@pytest.fixture(
    params=["option", "environment", "httpx2"],
    ids=["DS-20 CS-C17 by the option", "DS-20 by the environment", "of a client of httpx2"],
)
def proxied(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Http]:
    """Settings with a proxy: from the option, from the environment, or from a client of httpx2."""

    def settings(url: str, ca_certs: str | None = None) -> Http:
        if request.param == "httpx2":
            return http_of(httpx2, proxy=url, tls=ssl.create_default_context(cafile=ca_certs))
        if request.param == "option":
            monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
            monkeypatch.setenv("no_proxy", "*")
            return Http(http_proxy=url, ca_certs=ca_certs)
        monkeypatch.setenv("http_proxy", url)
        monkeypatch.setenv("https_proxy", url)
        return Http(ca_certs=ca_certs)

    return settings


async def test_a_proxy_resolves_the_host_of_a_request(proxied: Proxied) -> None:
    async with raw_server(answering(ok(b"via"))) as proxy:
        settings = proxied(f"http://us%40er:pass%20word@127.0.0.1:{proxy.port}")
        async with HttpTransport(settings) as transport, transport.get("http://flags.invalid/sdk/poll", {}) as reply:
            assert await reply.read() == b"via"
    assert proxy.heads[0].startswith("GET http://flags.invalid/sdk/poll HTTP/1.1")
    credentials = base64.b64encode(b"us@er:pass word").decode()
    assert f"proxy-authorization: basic {credentials}".lower() in proxy.heads[0].lower()


async def test_streams_go_through_the_proxy_too(proxied: Proxied) -> None:
    async with raw_server(saying(STREAM, chunk(b"data: 1\n\n"))) as proxy:
        settings = proxied(f"http://127.0.0.1:{proxy.port}")
        async with HttpTransport(settings) as transport:
            async with transport.open_stream("http://flags.invalid/sdk/stream", {}) as stream:
                assert (await anext(stream.events())).data == "1"
            await gone(proxy)


async def test_https_targets_are_reached_through_a_tunnel(
    proxied: Proxied, certified: ssl.SSLContext, authority: trustme.CA, ca_file: str
) -> None:
    named = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("flags.invalid").configure_cert(named)
    async with raw_server(answering(ok(b"secret")), named) as target:

        async def tunnel(server: RawServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            server.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
            there, back = await asyncio.open_connection("127.0.0.1", target.port)
            writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
            async with asyncio.TaskGroup() as group:
                group.create_task(_pipe(reader, back))
                group.create_task(_pipe(there, writer))

        async with raw_server(tunnel) as proxy:
            settings = proxied(f"http://127.0.0.1:{proxy.port}", ca_certs=ca_file)
            async with HttpTransport(settings) as transport, transport.get("https://flags.invalid/", {}) as reply:
                assert await reply.read() == b"secret"
        assert proxy.heads[0].startswith("CONNECT flags.invalid:443 ")


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(4096):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def test_a_host_in_no_proxy_is_reached_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    async with raw_server(answering(ok(b"direct"))) as server:
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        monkeypatch.setenv("no_proxy", f"127.0.0.1:{server.port}")
        async with HttpTransport(Http()) as transport, transport.get(f"http://127.0.0.1:{server.port}/", {}) as reply:
            assert await reply.read() == b"direct"
