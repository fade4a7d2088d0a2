"""A server with faults, and raw connections to it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx
from anyio.abc import SocketStream

from aioflags.devserver import Endpoint, RunningServer, ServerState
from aioflags.devserver.decode import decode
from aioflags.devserver.faults import Fault
from tests.devserver.endpoint_requests import request_to

STREAMS = [Endpoint.STREAM, Endpoint.FDV1_STREAM, Endpoint.CLIENT_STREAM, Endpoint.MOBILE_STREAM]
DOCUMENT = {"flagValues": {"a": "x" * 200}}
SOON = 60.0


def fault(written: dict[str, Any]) -> Fault:
    return decode(Fault, written)


def path_of(path: str) -> str:
    """The path of a request to an endpoint; other paths as they are."""
    return request_to(path)[1] if isinstance(path, Endpoint) else path


def flipped(endpoint: Endpoint) -> bytes:
    """What a stream sends when the flag is turned off."""
    return b'"on":false' if endpoint in {Endpoint.STREAM, Endpoint.FDV1_STREAM} else b'"value":null'


class RawConnection:
    """A raw connection: the bytes received, and how it ends."""

    def __init__(self, socket: SocketStream) -> None:
        self._socket = socket
        self.received = b""

    async def ask(self, path: str, body: bytes | None = None) -> None:
        method, length = ("GET", b"") if body is None else ("POST", b"Content-Length: %d\r\n" % len(body))
        head = f"{method} {path_of(path)} HTTP/1.1\r\nHost: localhost\r\n".encode() + length + b"\r\n"
        await self._socket.send(head + (body or b""))

    async def until(self, text: bytes) -> bytes:
        """Wait for the text, and remove and return the bytes up to it."""
        with anyio.fail_after(SOON):
            while text not in self.received:
                self.received += await self._socket.receive()
        before, _, self.received = self.received.partition(text)
        return before + text

    async def end(self) -> str:
        """Wait for the end of the connection, and return how it ended. Keeps the bytes received."""
        with anyio.fail_after(SOON):
            while True:
                try:
                    self.received += await self._socket.receive()
                except anyio.EndOfStream:
                    return "closed"
                except anyio.BrokenResourceError:
                    return "reset"

    async def is_silent(self, within: float = 0.15) -> bool:
        with anyio.move_on_after(within):
            self.received += await self._socket.receive()
        return not self.received


class FaultyServer:
    """A development server, and connections to it."""

    def __init__(self, state: ServerState, serving: RunningServer) -> None:
        self.state, self.serving = state, serving

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[RawConnection, None]:
        async with await anyio.connect_tcp("127.0.0.1", self.serving.port) as socket:
            yield RawConnection(socket)

    @asynccontextmanager
    async def stream(self, endpoint: Endpoint) -> AsyncGenerator[RawConnection, None]:
        """A stream that has sent its data."""
        async with self.connection() as wire:
            await wire.ask(endpoint)
            await wire.until(b"payload-transferred" if endpoint.is_fdv2 else b"event: put")
            await wire.until(b"\n\n")
            await wire.until(b"\r\n")
            yield wire

    @asynccontextmanager
    async def response(self, endpoint: Endpoint) -> AsyncGenerator[httpx.Response, None]:
        """A response whose body is not read yet."""
        client = httpx.AsyncClient(base_url=self.serving.url, trust_env=False, timeout=SOON)
        async with client, client.stream("GET", path_of(endpoint)) as response:
            yield response

    async def get(self, path: str) -> httpx.Response:
        async with httpx.AsyncClient(base_url=self.serving.url, trust_env=False, timeout=SOON) as client:
            return await client.get(path_of(path))


async def until_fault_recorded(server: FaultyServer) -> None:
    """Wait until the only client is affected by a fault."""
    with anyio.fail_after(SOON):
        while (client := server.state.clients.all[0]).fault is None:
            await anyio.sleep(0.001)
    assert client.is_connected
