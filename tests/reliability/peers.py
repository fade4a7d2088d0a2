"""Peers that a client cannot get flags from, on real sockets, and clients that try."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import grpc

from aioflags import Client, Config, Context, FlagdClient, FlagdConfig, Http, MobileClient, MobileConfig
from aioflags.transport.grpc_settings import EVALUATION_V1, EVALUATION_V2, SYNC
from tests.reliability.kinds import AnyClient
from tests.support.canaries import KEY, WATCH
from tests.support.flagd_server import Fail, FlagdServer
from tests.support.name_lookups import HANGING
from tests.support.scripted_clients import all_tasks

KINDS: Final = ("server", "mobile", "flagd in-process", "flagd rpc", "flagd ofrep")
"""The kinds of clients."""
CLOSE_TIMEOUT: Final = 0.3


@dataclass
class Peer:
    """An address. ``name_server``: the port of a server for names that gRPC is to ask."""

    host: str = "127.0.0.1"
    port: int = 0
    tls: bool = False
    name_server: int = 0
    answered: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when an answer to a request has been sent."""

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.host}:{self.port}"


def client_for(kind: str, peer: Peer, ca_file: str | None = None, **options: Any) -> AnyClient:
    """A client that is not started. ``ca_file``: the authorities that it trusts."""
    options = {"close_timeout": CLOSE_TIMEOUT, "http": Http(connect_timeout=5, ca_certs=ca_file), **options}
    if kind.startswith("flagd"):
        name = f"dns://127.0.0.1:{peer.name_server}/{peer.host}:{peer.port}" if peer.name_server else None
        config = FlagdConfig(
            resolver=kind.removeprefix("flagd "),  # type: ignore[arg-type]  # one of KINDS
            host=peer.host,
            port=peer.port,
            target_uri=name,
            tls=peer.tls,
            cert_path=ca_file,
            ofrep_base_url=peer.url,
            ofrep_context=Context("anna") if kind == "flagd ofrep" else None,
            fatal_status_codes=("UNAUTHENTICATED",),
            environment={},
            **options,
        )
        return FlagdClient(config)
    uris: dict[str, Any] = {"base_uri": peer.url, "stream_uri": peer.url, "events_uri": peer.url}
    if kind == "mobile":
        return MobileClient(KEY, Context("anna"), MobileConfig(**uris, **options))
    return Client(KEY, Config(**uris, **options))


# -- tasks


def peer_tasks() -> set[asyncio.Task[Any]]:
    """The tasks of the servers here."""
    return {task for task in all_tasks() if any(name in repr(task) for name in ("_tcp.", "AioServer", "_cygrpc"))}


async def until_gone(tasks: Callable[[], set[asyncio.Task[Any]]]) -> None:
    """Waits until there are no such tasks."""
    async with asyncio.timeout(10):
        while found := tasks():
            await asyncio.wait(found, timeout=0.01)


# -- peers


@asynccontextmanager
async def _dead_port(_: str) -> AsyncGenerator[Peer]:
    """Connections are refused: the port is taken, and its socket does not listen."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield Peer(port=taken.getsockname()[1])


@asynccontextmanager
async def _black_hole(_: str) -> AsyncGenerator[Peer]:
    """Packets that open a connection are dropped: the queue of the listening socket is full."""
    async with AsyncExitStack() as stack:
        listening = stack.enter_context(socket.socket())
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _number in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listening.getsockname())
        yield Peer(port=listening.getsockname()[1])


@asynccontextmanager
async def _hanging_names(_: str) -> AsyncGenerator[Peer]:
    """No name server answers: that of gRPC is a socket that nothing reads, that of the system hangs."""
    with socket.socket(type=socket.SOCK_DGRAM) as unread:
        unread.bind(("127.0.0.1", 0))
        yield Peer(host=HANGING, port=9, name_server=unread.getsockname()[1])


_REFUSAL: Final = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


def _tcp(answer: bytes = b"", *, after: float = 0, tls: bool = False) -> Callable[[str], AbstractAsyncContextManager[Peer]]:
    """A peer that accepts connections, and after that many seconds answers each request with these bytes."""

    @asynccontextmanager
    async def running(_: str) -> AsyncGenerator[Peer]:
        peer, ended = Peer(tls=tls), asyncio.Event()

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, TimeoutError):
                if answer:
                    WATCH.head(await reader.readuntil(b"\r\n\r\n"))
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(after):
                            await ended.wait()
                    writer.write(answer)
                    await writer.drain()
                    peer.answered.set()
                await ended.wait()
            writer.close()

        listening = await asyncio.start_server(talk, "127.0.0.1", 0)
        peer.port = listening.sockets[0].getsockname()[1]
        try:
            yield peer
        finally:
            listening.close()
            ended.set()
            await until_gone(peer_tasks)

    return running


@asynccontextmanager
async def _refusal(kind: str) -> AsyncGenerator[Peer]:
    """The key, or the client, is refused."""
    if kind not in {"flagd in-process", "flagd rpc"}:
        async with _tcp(_REFUSAL)(kind) as peer:
            yield peer
        return
    peer, denied = Peer(), Fail(grpc.StatusCode.UNAUTHENTICATED, "no")

    def steps() -> Any:
        peer.answered.set()
        yield denied

    class Script:
        """Every stream ends with the refusal."""

        def __len__(self) -> int:
            return 1

        def __getitem__(self, _: int) -> Any:
            return steps()

    paths = [f"/{SYNC}/SyncFlags", f"/{EVALUATION_V1}/EventStream", f"/{EVALUATION_V2}/EventStream"]
    server = FlagdServer(scripts=dict.fromkeys(paths, Script()))  # type: ignore[arg-type]  # what the server uses of a sequence
    peer.port = await server.start()
    try:
        yield peer
    finally:
        await server.stop()
        await until_gone(peer_tasks)


PEERS: Final[dict[str, Callable[[str], AbstractAsyncContextManager[Peer]]]] = {
    "a port without a listener": _dead_port,
    "a black hole": _black_hole,
    "a name server that does not answer": _hanging_names,
    "a refusal": _refusal,
    "a server that accepts and says nothing": _tcp(),
    "TLS without a handshake": _tcp(tls=True),
    "a first byte after five seconds": _tcp(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", after=5),
}
"""What runs a peer for a kind of client, by what it is."""
