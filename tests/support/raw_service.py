"""RawService: a flag service of plain sockets that records requests and closed connections in order."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.support.canaries import WATCH


def flag(key: str, value: object, version: int = 1) -> dict[str, object]:
    """A flag that serves one value to all contexts."""
    return {"key": key, "version": version, "on": True, "variations": [value], "fallthrough": {"variation": 0}}


def sse(name: str, data: object) -> bytes:
    """One server-sent event."""
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()


def transfer(values: Mapping[str, object], state: str = "s1", intent: str = "xfer-full") -> bytes:
    """The events of one completed FDv2 transfer."""
    events = [sse("server-intent", {"payloads": [{"id": "p", "target": 1, "intentCode": intent, "reason": "test"}]})]
    events += [
        sse("put-object", {"version": 1, "kind": "flag", "key": key, "object": flag(key, value)}) for key, value in values.items()
    ]
    return b"".join([*events, sse("payload-transferred", {"state": state, "version": 1})])


@dataclass
class RawService:
    """The responses of the service, and its record: ``log`` has ``(event, loop time)`` in order."""

    stream_headers: str = ""
    stream_body: bytes = b""
    fdv1_values: Mapping[str, object] = field(default_factory=dict[str, object])
    log: list[tuple[str, float]] = field(default_factory=list[tuple[str, float]])
    seen: dict[str, asyncio.Event] = field(default_factory=dict[str, asyncio.Event])
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def order(self) -> list[str]:
        """What happened, without the times."""
        return [what for what, _ in self.log]

    def when(self, what: str) -> float:
        """The loop time at which that happened first."""
        return next(time for event, time in self.log if event == what)

    def note(self, what: str) -> None:
        self.log.append((what, asyncio.get_running_loop().time()))
        self.seen.setdefault(what, asyncio.Event()).set()

    async def wait_for(self, what: str) -> None:
        """Until that has happened."""
        await self.seen.setdefault(what, asyncio.Event()).wait()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                WATCH.head(head)
                path = head.split(b" ", 2)[1].decode().partition("?")[0]
                if path == "/sdk/stream":
                    await self._stream(reader, writer)
                    return
                self.note("fdv1 request")
                body = json.dumps({"flags": {key: flag(key, value, version=2) for key, value in self.fdv1_values.items()}}).encode()
                writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.note("stream request")
        head = f"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{self.stream_headers}Transfer-Encoding: chunked\r\n\r\n"
        writer.write(head.encode())
        if self.stream_body:
            writer.write(b"%x\r\n%s\r\n" % (len(self.stream_body), self.stream_body))
        await writer.drain()
        self.note("stream written")
        while await reader.read(1024):
            pass
        self.note("stream closed by the client")


@asynccontextmanager
async def raw_service(service: RawService) -> AsyncGenerator[RawService, None]:
    """Run the service on a free port until the block ends."""
    server = await asyncio.start_server(service.answer, "127.0.0.1", 0)
    service.port = server.sockets[0].getsockname()[1]
    try:
        yield service
    finally:
        server.close()
