"""RawServer: a server of plain sockets that sends scripted bytes and records requests and closed connections."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

from tests.support.canaries import WATCH

Talk: TypeAlias = "Callable[[RawServer, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]"


@dataclass
class RawServer:
    """``heads``: request line and headers of every request. ``asked``: set when the scripted answer has been sent.

    ``ended``: set when the client has closed a connection.
    """

    heads: list[str] = field(default_factory=list[str])
    connections: int = 0
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0


def saying(*pieces: bytes) -> Talk:
    """Answer the first request of a connection with these bytes, then wait until the client closes it."""

    async def talk(server: RawServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        WATCH.head(head)
        server.heads.append(head.decode())
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        server.asked.set()
        while await reader.read(4096):
            pass

    return talk


def answering(*answers: bytes) -> Talk:
    """Answer each request with the next of these answers, on one connection or several."""

    async def talk(server: RawServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            WATCH.head(head)
            server.heads.append(head.decode())
            writer.write(answers[len(server.heads) - 1])
            await writer.drain()

    return talk


def ok(body: bytes = b"{}", *headers: str) -> bytes:
    """A complete response with status 200."""
    lines = ["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


@asynccontextmanager
async def raw_server(talk: Talk, tls: ssl.SSLContext | None = None) -> AsyncGenerator[RawServer, None]:
    """Run the server on a free port until the block ends."""
    server = RawServer()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.connections += 1
        try:
            await talk(server, reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            pass
        finally:
            server.ended.set()
            writer.close()

    listening = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        for _ in range(5):
            await asyncio.sleep(0)


def tunnel_to(target: RawServer) -> Talk:
    """A proxy that connects every CONNECT with ``target``."""

    async def talk(server: RawServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        there, back = await asyncio.open_connection("127.0.0.1", target.port)
        writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
        async with asyncio.TaskGroup() as group:
            group.create_task(_pipe(reader, back))
            group.create_task(_pipe(there, writer))

    return talk


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(4096):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()
