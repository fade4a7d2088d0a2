"""HttpTransport with real sockets: closing, certificates, proxies, gzip bombs."""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
import struct
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

from aioflags.model.status import FailureKind
from aioflags.transport.http import HttpTransport
from aioflags.transport.http_client import RequestFailed
from aioflags.transport.ofrep import OfrepRequests
from aioflags.transport.settings import Http
from tests.support.flagd_parts import ofrep_endpoint
from tests.support.full_loop import no_free_descriptor
from tests.support.http_libraries import HttpLibrary, http_of
from tests.support.leaks import on_the_loop
from tests.support.raw_server import RawServer, answering, ok, raw_server, saying, tunnel_to

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
    pytest.param(
        Http(client_factory=lambda: httpx.AsyncClient(verify=False, trust_env=False)), id="httpx client that keeps idle connections"
    ),
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


async def test_the_message_of_a_silent_server_names_the_time_out_and_the_server(library: HttpLibrary) -> None:
    # Not how the HTTP library ended its wait: that has an address, so each failure of an outage would be logged as a new cause.
    async with raw_server(saying()) as server, HttpTransport(http_of(library, read_timeout=0.05)) as transport:
        with pytest.raises(RequestFailed) as caught:
            await transport.post(f"http://127.0.0.1:{server.port}/", {}, b"{}")
        assert caught.value.error.message == f"ReadTimeout (127.0.0.1:{server.port})"


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


@pytest.mark.slow
@pytest.mark.parametrize(("pause", "connections"), [pytest.param(0.5, 1, id="used"), pytest.param(2.0, 2, id="closed in time")])
async def test_an_idle_connection_is_used_again_only_before_servers_close_it(pause: float, connections: int) -> None:
    """gunicorn closes an idle connection after two seconds, and loses a request that reaches it at that moment."""
    async with raw_server(answering(ok(), ok())) as server, HttpTransport(Http(), idle_connections=4) as transport:
        requests = OfrepRequests(ofrep_endpoint(f"http://127.0.0.1:{server.port}"), transport)
        for wait in (0, pause):
            await asyncio.sleep(wait)
            assert (await requests.post(f"http://127.0.0.1:{server.port}/", b"")).body == b"{}"
        assert server.connections == connections


@pytest.mark.parametrize("loses", ["close", "abort"])
@pytest.mark.holds("FL-83")
async def test_a_request_whose_kept_connection_is_lost_is_sent_once_more(library: HttpLibrary, loses: str) -> None:
    sent: list[bytes] = []

    async def talk(server: RawServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            await reader.readuntil(b"\r\n\r\n")
            sent.append(await reader.readexactly(4))
            if len(sent) in losing:
                getattr(writer.transport, loses)()
                return
            writer.write(ok())
            await writer.drain()

    async def post() -> bytes:
        async with transport.exchange("POST", f"http://127.0.0.1:{server.port}/", {}, b"body") as reply:
            return await reply.read()

    async with raw_server(talk) as server, HttpTransport(http_of(library), idle_connections=4) as transport:
        losing = {2}
        assert [await post(), await post()] == [b"{}", b"{}"]
        assert (sent, server.connections) == ([b"body"] * 3, 2)
        losing = {4, 5}
        with pytest.raises(RequestFailed) as caught:
            await post()
        assert caught.value.error.kind is FailureKind.NETWORK_ERROR
        assert len(sent) == 5


async def test_a_request_whose_response_is_malformed_is_sent_once(library: HttpLibrary) -> None:
    async with raw_server(answering(b"no status line\r\n\r\n")) as server:
        async with HttpTransport(http_of(library), idle_connections=4) as transport:
            with pytest.raises(RequestFailed, match="RemoteProtocolError"):
                await transport.post(f"http://127.0.0.1:{server.port}/", {}, b"")
        assert server.connections == 1


async def test_a_request_of_a_transport_that_keeps_no_connection_is_sent_once(library: HttpLibrary) -> None:
    async def talk(server: RawServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())

    async with raw_server(talk) as server, HttpTransport(http_of(library)) as transport:
        with pytest.raises(RequestFailed):
            await transport.post(f"http://127.0.0.1:{server.port}/", {}, b"")
        assert len(server.heads) == 1


# -- threads


async def test_no_idle_thread_remains() -> None:
    before = set(threading.enumerate())
    async with raw_server(answering(ok())) as server, HttpTransport(Http()) as transport:
        async with transport.get(f"http://127.0.0.1:{server.port}/", {}):
            pass
        with anyio.fail_after(60):
            while set(threading.enumerate()) - before:
                await anyio.sleep(0.01)


@pytest.mark.parametrize("times", [1, 2, 3])
async def test_a_caller_that_is_cancelled_more_than_once_leaves_no_connection(times: int) -> None:
    async with raw_server(saying()) as server, HttpTransport(Http(), idle_connections=4) as transport:
        requests = OfrepRequests(ofrep_endpoint(f"http://127.0.0.1:{server.port}"), transport)
        caller = asyncio.create_task(requests.post(f"http://127.0.0.1:{server.port}/", b""))
        await server.asked.wait()
        for _ in range(times):
            caller.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await caller
        await gone(server, 5)


async def test_a_request_that_runs_while_the_transport_closes_says_so() -> None:
    messages: set[str] = set()
    async with raw_server(saying(ok())) as server:  # the second request of a connection gets no answer
        for steps in range(20):
            async with HttpTransport(Http(), idle_connections=4) as transport:
                requests = OfrepRequests(ofrep_endpoint(f"http://127.0.0.1:{server.port}"), transport)
                assert (await requests.post(f"http://127.0.0.1:{server.port}/", b"")).body == b"{}"
                caller = asyncio.create_task(requests.post(f"http://127.0.0.1:{server.port}/", b""))
                for _ in range(steps):
                    await asyncio.sleep(0)
            with pytest.raises(RequestFailed) as failure:
                await caller
            messages.add(failure.value.error.message)
    assert messages == {"the connections are closed"}


@pytest.mark.parametrize("steps", [0, 1, 3, 7])
async def test_a_body_that_arrives_while_the_transport_closes_says_so(library: HttpLibrary, steps: int) -> None:
    begun = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"
    async with raw_server(saying(begun)) as server:
        async with HttpTransport(http_of(library), idle_connections=4) as transport:
            requests = OfrepRequests(ofrep_endpoint(f"http://127.0.0.1:{server.port}"), transport)
            caller = asyncio.create_task(requests.post(f"http://127.0.0.1:{server.port}/", b""))
            await server.asked.wait()
            for _ in range(steps):
                await asyncio.sleep(0)
        with pytest.raises(RequestFailed) as failure:
            await caller
        await gone(server)
    assert failure.value.error.message == "the connections are closed"


async def test_a_line_separator_of_unicode_ends_no_line_of_an_event(library: HttpLibrary) -> None:
    data = '{"a": "Ä\u2028b\u2029c\x85d\x0ce\x1cf"}'
    async with (
        raw_server(saying(STREAM, chunk(f"data: {data}\n\n".encode()))) as server,
        HttpTransport(http_of(library)) as transport,
        transport.open_stream(f"http://127.0.0.1:{server.port}/", {}) as stream,
    ):
        assert (await anext(stream.events())).data == data


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
        async with raw_server(tunnel_to(target)) as proxy:
            settings = proxied(f"http://127.0.0.1:{proxy.port}", ca_certs=ca_file)
            async with HttpTransport(settings) as transport, transport.get("https://flags.invalid/", {}) as reply:
                assert await reply.read() == b"secret"
        assert proxy.heads[0].startswith("CONNECT flags.invalid:443 ")


@pytest.mark.parametrize(
    ("host", "certified_name"),
    [
        pytest.param("flags.invalid.", "flags.invalid", id="a full name"),
        pytest.param("[2001:db8::1]", "2001:db8::1", id="an IPv6 address"),
    ],
)
@pytest.mark.parametrize("proxy_is_encrypted", [False, True])
async def test_a_tunnel_leads_to_a_full_name_and_to_an_ipv6_address(
    authority: trustme.CA, certified: ssl.SSLContext, ca_file: str, host: str, certified_name: str, *, proxy_is_encrypted: bool
) -> None:
    named = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(certified_name).configure_cert(named)
    scheme, tls = ("https", certified) if proxy_is_encrypted else ("http", None)
    async with raw_server(answering(ok(b"secret")), named) as target, raw_server(tunnel_to(target), tls) as proxy:
        settings = Http(http_proxy=f"{scheme}://127.0.0.1:{proxy.port}", ca_certs=ca_file)
        async with HttpTransport(settings) as transport, transport.get(f"https://{host}/", {}) as reply:
            assert await reply.read() == b"secret"
    assert proxy.heads[0].startswith(f"CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n")


async def test_a_proxy_gets_an_ipv6_address_in_brackets_also_after_a_redirect() -> None:
    moved = b"HTTP/1.1 302 Found\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n"
    async with raw_server(answering(moved, ok(b"via"))) as proxy:
        settings = Http(http_proxy=f"http://127.0.0.1:{proxy.port}")
        async with HttpTransport(settings) as transport, transport.get("http://[2001:db8::1]:8080/a", {}) as reply:
            assert await reply.read() == b"via"
    lines = [head.partition("\r\n")[0] for head in proxy.heads]
    assert lines == [f"GET http://[2001:db8::1]:8080/{path} HTTP/1.1" for path in "ab"]


async def test_a_host_in_no_proxy_is_reached_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    async with raw_server(answering(ok(b"direct"))) as server:
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        monkeypatch.setenv("no_proxy", f"127.0.0.1:{server.port}")
        async with HttpTransport(Http()) as transport, transport.get(f"http://127.0.0.1:{server.port}/", {}) as reply:
            assert await reply.read() == b"direct"


@pytest.mark.parametrize(
    ("no_proxy", "is_direct"),
    [("127.0.0.0/8", True), ("x 127.0.0.1", True), ("10.0.0.0/8, localhost", False)],
)
async def test_a_network_in_no_proxy_counts(monkeypatch: pytest.MonkeyPatch, no_proxy: str, is_direct: bool) -> None:
    async with raw_server(answering(ok(b"direct"))) as server, raw_server(answering(ok(b"proxied"))) as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("no_proxy", no_proxy)
        async with HttpTransport(Http()) as transport, transport.get(f"http://127.0.0.1:{server.port}/", {}) as reply:
            assert await reply.read() == (b"direct" if is_direct else b"proxied")


# -- who was contacted, and why that failed


async def failure_of(url: str, settings: Http) -> str:
    async with HttpTransport(settings) as transport:
        with pytest.raises(RequestFailed) as polled:
            async with transport.get(url, {}):
                pass
        with pytest.raises(RequestFailed) as posted:
            await transport.post(url, {}, b"{}")
        with pytest.raises(RequestFailed) as streamed:
            async with transport.open_stream(url, {}):
                pass
    assert polled.value.error.message == posted.value.error.message == streamed.value.error.message
    return polled.value.error.message


@pytest.mark.parametrize(
    ("url", "proxy", "message"),
    [
        pytest.param("http://127.0.0.1:1/x", None, "ConnectError: 127.0.0.1:1: Connection refused", id="a closed port"),
        pytest.param(
            "http://localhost:1/x",
            None,
            "ConnectError: 127.0.0.1:1: Connection refused (localhost:1)",
            id="a closed port of a name",
        ),
        pytest.param(
            "https://flags.invalid/x",
            "http://127.0.0.1:1",
            "ConnectError: 127.0.0.1:1: Connection refused (the proxy 127.0.0.1:1 for flags.invalid)",
            id="a dead proxy, for https",
        ),
        pytest.param(
            "http://flags.invalid:81/x",
            "http://anna:secret@localhost:1",
            "ConnectError: 127.0.0.1:1: Connection refused (the proxy localhost:1 for flags.invalid:81)",
            id="a dead proxy with a password, for http",
        ),
        pytest.param(
            "http://flags.invalid/x",
            "https://127.0.0.1:1",
            "ConnectError: 127.0.0.1:1: Connection refused (the proxy 127.0.0.1:1 for flags.invalid)",
            id="a dead proxy with TLS",
        ),
    ],
)
async def test_a_failure_to_connect_names_the_peer_and_the_cause(
    monkeypatch: pytest.MonkeyPatch, url: str, proxy: str | None, message: str
) -> None:
    assert await failure_of(url, Http(http_proxy=proxy)) == message
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, proxy or "")
    assert await failure_of(url, Http()) == message


async def test_the_name_of_a_proxy_that_is_unknown_is_named() -> None:
    message = await failure_of("https://flags.invalid/x", Http(http_proxy="http://proxy.invalid:3128"))
    assert message.startswith("ConnectError: no address of proxy.invalid: ")
    assert message.endswith(" (the proxy proxy.invalid:3128 for flags.invalid)")


@pytest.mark.parametrize("proxy", [None, "http://127.0.0.1:1"])
async def test_a_client_of_a_factory_names_the_peer_by_its_address(library: HttpLibrary, proxy: str | None) -> None:
    def client() -> httpx.AsyncClient:
        made: httpx.AsyncClient = library.AsyncClient(trust_env=False, verify=False, proxy=proxy)
        return made

    expected = "ConnectError: 127.0.0.1:1: Connection refused"
    url, peer = ("http://127.0.0.1:1/", "") if proxy is None else ("https://flags.invalid/", " (flags.invalid)")
    assert await failure_of(url, Http(client_factory=client)) == expected + peer


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_that_closes_connections_is_named(scheme: str) -> None:
    async def close(_: RawServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")

    async with raw_server(close) as proxy:
        message = await failure_of(f"{scheme}://flags.invalid/", Http(http_proxy=f"http://127.0.0.1:{proxy.port}"))
        assert message.endswith(f" (flags.invalid through the proxy 127.0.0.1:{proxy.port})")


async def test_a_proxy_that_refuses_a_tunnel_is_named() -> None:
    refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
    async with raw_server(answering(refusal, refusal, refusal)) as proxy:
        message = await failure_of("https://flags.invalid/", Http(http_proxy=f"http://127.0.0.1:{proxy.port}"))
    assert message == f"ProxyError: 407 Proxy Authentication Required (the proxy 127.0.0.1:{proxy.port} for flags.invalid)"


async def test_a_certificate_that_is_not_trusted_is_called_so(certified: ssl.SSLContext) -> None:
    async with raw_server(answering(ok()), certified) as server:
        message = await failure_of(f"https://127.0.0.1:{server.port}/", Http())
    assert message.startswith("ConnectError: the certificate is not trusted: ")
    assert message.endswith(f" (127.0.0.1:{server.port})")


async def test_a_connection_that_is_lost_within_tls_is_not_a_failure_of_tls(certified: ssl.SSLContext, ca_file: str) -> None:
    async def reset(_: RawServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        raw: socket.socket = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async with raw_server(reset, certified) as server:
        message = await failure_of(f"https://127.0.0.1:{server.port}/", Http(ca_certs=ca_file))
    assert message == f"ReadError: Connection reset by peer (127.0.0.1:{server.port})"


async def test_the_failure_of_a_redirect_names_its_target() -> None:
    head = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/x\r\nContent-Length: 0\r\n\r\n"
    settings = Http(redirect_origins=["http://127.0.0.1:1"])
    async with raw_server(answering(head)) as server, HttpTransport(settings) as transport:
        with pytest.raises(RequestFailed, match=r"^ConnectError: 127\.0\.0\.1:1: Connection refused$"):
            async with transport.get(f"http://127.0.0.1:{server.port}/", {}):
                pass


def test_a_process_without_free_descriptors_says_so() -> None:
    async def connect(settings: Http) -> str:
        async with HttpTransport(settings) as transport:
            await failed_poll(transport)  # httpx is imported
            with no_free_descriptor():
                return await failed_poll(transport)

    async def failed_poll(transport: HttpTransport) -> str:
        with pytest.raises(RequestFailed) as caught:
            async with transport.get("http://127.0.0.1:1/", {}):
                pass
        return caught.value.error.message

    assert asyncio.run(connect(Http())) == "ConnectError: Too many open files (127.0.0.1:1)"


# -- environment variables of OpenSSL

UNUSABLE = [
    ("SSL_CERT_FILE", "absent.pem"),
    ("SSL_CERT_DIR", "absent"),
    ("SSLKEYLOGFILE", "absent/keys.log"),
    ("SSL_CERT_FILE", "."),
]


@pytest.mark.parametrize(("variable", "path"), UNUSABLE)
@pytest.mark.parametrize("through", [None, "a plain proxy"])
async def test_plain_http_needs_no_certificates(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path, variable: str, path: str, through: str | None
) -> None:
    monkeypatch.setenv(variable, str(tmp_path / path))
    async with raw_server(answering(ok(b"here"))) as server:
        address = f"http://127.0.0.1:{server.port}"
        settings, url = (Http(), address) if through is None else (Http(http_proxy=address), "http://flags.invalid")
        async with HttpTransport(settings) as transport, transport.get(url, {}) as reply:
            assert await reply.read() == b"here"
    assert variable not in caplog.text


@pytest.mark.parametrize("settings", [Http(ca_certs="absent.pem"), Http(cert_file="absent.pem")], ids=["ca_certs", "cert_file"])
async def test_plain_http_reads_no_certificate_of_an_option(settings: Http) -> None:
    async with raw_server(answering(ok(b"here"))) as server, HttpTransport(settings) as transport:
        async with transport.get(f"http://127.0.0.1:{server.port}/", {}) as reply:
            assert await reply.read() == b"here"
        with pytest.raises(RequestFailed, match=r"^ConfigError: c[a-z_]+: absent\.pem cannot be read"):
            await transport.post(f"https://127.0.0.1:{server.port}/", {}, b"")


@pytest.mark.parametrize(("variable", "path"), UNUSABLE)
async def test_https_goes_on_with_a_variable_that_cannot_be_used(
    monkeypatch: pytest.MonkeyPatch, certified: ssl.SSLContext, ca_file: str, tmp_path: Path, variable: str, path: str
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", ca_file)
    monkeypatch.setenv(variable, str(tmp_path / path))
    async with raw_server(answering(ok()), certified) as server:
        if variable == "SSL_CERT_FILE":
            message = await failure_of(f"https://127.0.0.1:{server.port}/", Http())
            assert "the certificate is not trusted" in message  # those of certifi were read
        else:
            assert await poll(server, Http()) == b"{}"


async def test_a_redirect_from_http_to_https_verifies_the_server(certified: ssl.SSLContext, ca_file: str) -> None:
    async with raw_server(answering(ok(b"secret"), ok(b"secret")), certified) as server:
        target = f"https://127.0.0.1:{server.port}"
        head = f"HTTP/1.1 302 Found\r\nLocation: {target}/x\r\nContent-Length: 0\r\n\r\n".encode()
        async with raw_server(answering(head, head)) as first:
            for settings, is_trusted in (
                (Http(redirect_origins=[target], ca_certs=ca_file), True),
                (Http(redirect_origins=[target]), False),
            ):
                async with HttpTransport(settings) as transport:
                    url = f"http://127.0.0.1:{first.port}/"
                    if is_trusted:
                        async with transport.get(url, {}) as reply:
                            assert await reply.read() == b"secret"
                    else:
                        with pytest.raises(RequestFailed, match="the certificate is not trusted"):
                            async with transport.get(url, {}):
                                pass
