"""Clients of every kind, and servers that cannot prove who they are: the client sends them no request, and reports why."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest
import trustme

from aioflags import Http
from tests.reliability.peers import KINDS, Peer, client_for
from tests.support.raw_server import raw_server, saying

pytestmark = [
    pytest.mark.real_time,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated:DeprecationWarning"),
]

HTTP_KINDS: Final = [kind for kind in KINDS if kind not in {"flagd in-process", "flagd rpc"}]
Certify = Callable[[ssl.SSLContext, trustme.CA, Path], object]


def trusted(context: ssl.SSLContext, authority: trustme.CA, _: Path) -> None:
    authority.issue_cert("127.0.0.1").configure_cert(context)


def expired(context: ssl.SSLContext, authority: trustme.CA, _: Path) -> None:
    years = datetime(2020, 1, 1, tzinfo=UTC), datetime(2021, 1, 1, tzinfo=UTC)
    authority.issue_cert("127.0.0.1", not_before=years[0], not_after=years[1]).configure_cert(context)


def not_valid_yet(context: ssl.SSLContext, authority: trustme.CA, _: Path) -> None:
    years = datetime(2090, 1, 1, tzinfo=UTC), datetime(2091, 1, 1, tzinfo=UTC)
    authority.issue_cert("127.0.0.1", not_before=years[0], not_after=years[1]).configure_cert(context)


def for_another_name(context: ssl.SSLContext, authority: trustme.CA, _: Path) -> None:
    authority.issue_cert("elsewhere.test").configure_cert(context)


def of_an_unknown_authority(context: ssl.SSLContext, _: trustme.CA, __: Path) -> None:
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)


def self_signed(context: ssl.SSLContext, _: trustme.CA, folder: Path) -> None:
    own, file = trustme.CA(), folder / "own.pem"
    file.write_bytes(own.private_key_pem.bytes() + own.cert_pem.bytes())
    context.load_cert_chain(file)


def old_tls(context: ssl.SSLContext, authority: trustme.CA, folder: Path) -> None:
    trusted(context, authority, folder)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1


class TlsServer(threading.Thread):
    """A server in a thread. ``requests``: the first bytes of each connection after its handshake."""

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__()
        self.requests: list[bytes] = []
        self._tls, self._stopped = context, threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.settimeout(0.05)
        self.port: int = self._listening.getsockname()[1]

    def __enter__(self) -> TlsServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self.join()

    def run(self) -> None:
        """Serves one connection after another."""
        with self._listening:
            while not self._stopped.is_set():
                with contextlib.suppress(OSError):
                    connection, _ = self._listening.accept()
                    with connection:
                        connection.settimeout(5)
                        with self._tls.wrap_socket(connection, server_side=True) as encrypted:
                            self.requests += filter(None, [encrypted.recv(4096)])


@pytest.mark.holds("RB-R26")
@pytest.mark.parametrize(
    ("certify", "is_trusted"),
    [
        (trusted, True),
        (expired, False),
        (not_valid_yet, False),
        (for_another_name, False),
        (of_an_unknown_authority, False),
        (self_signed, False),
        (old_tls, False),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
async def test_only_a_trusted_server_gets_a_request(
    kind: str, certify: Certify, is_trusted: bool, authority: trustme.CA, ca_file: str, tmp_path: Path
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["h2", "http/1.1"] if kind not in HTTP_KINDS else ["http/1.1"])
    certify(context, authority, tmp_path)
    with TlsServer(context) as server:
        client = client_for(kind, Peer(port=server.port, tls=True), ca_file)
        await client.start(0)
        async with asyncio.timeout(30):
            while not server.requests and client.report.last_error is None and client.report.error is None:
                await asyncio.sleep(0.01)
        await client.aclose()
    assert bool(server.requests) is is_trusted


@pytest.mark.holds("RB-R26")
@pytest.mark.parametrize("status", [403, 407, 502])
@pytest.mark.parametrize("kind", HTTP_KINDS)
async def test_a_proxy_that_refuses_a_tunnel_gets_no_key(kind: str, status: int, ca_file: str) -> None:
    refusal = f"HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n".encode()
    async with raw_server(saying(refusal)) as proxy:
        http = Http(http_proxy=f"http://127.0.0.1:{proxy.port}", ca_certs=ca_file)
        client = client_for(kind, Peer(host="flags.invalid", port=443, tls=True), http=http)
        await client.start(0)
        async with asyncio.timeout(30):
            while client.report.last_error is None and client.report.error is None:
                await asyncio.sleep(0.01)
        await client.aclose()
    assert proxy.heads
    for head in proxy.heads:
        assert head.startswith("CONNECT flags.invalid:443 ")
        assert "authorization" not in head.lower()
