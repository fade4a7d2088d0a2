"""RawMobileService: a service for mobile keys of plain sockets, which records requests and closed streams in order."""

from __future__ import annotations

import asyncio
import json
from base64 import urlsafe_b64decode
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aioflags.events.options import MobileEvents
from aioflags.mobile.client import MobileClient
from aioflags.mobile.config import MobileConfig
from aioflags.mobile.modes import ConnectionMode, ModeDefinition
from aioflags.model.context import Context
from aioflags.sources import Polling, Streaming
from aioflags.sources.polling import Cache
from tests.support.canaries import WATCH


@dataclass
class RawMobileService:
    """``log`` has ``(event, loop time)`` in order: ``poll``, ``stream``, ``fdv1``, ``events``, and ``stream closed``.

    The flag ``f`` has the key of the context as its value; ``flags`` is how many further flags there are.
    """

    flags: int = 0
    is_directed: bool = False
    """Streams have the fallback directive in their headers."""
    log: list[tuple[str, float]] = field(default_factory=list[tuple[str, float]])
    connections: set[asyncio.StreamWriter] = field(default_factory=set[asyncio.StreamWriter])
    streams: list[asyncio.StreamWriter] = field(default_factory=list[asyncio.StreamWriter])
    port: int = 0
    prepared: dict[str, bytes] = field(default_factory=dict[str, bytes])
    """The bodies of responses by path, so that a client that is measured does not wait for the service to write them."""
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def order(self) -> list[str]:
        """What happened, without the times."""
        return [what for what, _ in self.log]

    def note(self, what: str) -> None:
        self.log.append((what, asyncio.get_running_loop().time()))
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait_for(self, what: str, times: int = 1) -> float:
        """Until that has happened so many times; returns the loop time of the last one."""
        while len(at := [time for event, time in self.log if event == what]) < times:
            await self._changed.wait()
        return at[times - 1]

    def direct(self) -> None:
        """Send the directive and a payload on the streams that are open."""
        for writer in self.streams:
            writer.write(_chunk(b'event: goodbye\ndata: {"reason":"test","protocolFallbackTTL":60}\n\n'))

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.connections.add(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                WATCH.head(head)
                path = head.split(b" ", 2)[1].decode().partition("?")[0]
                if path.startswith("/sdk/stream"):
                    await self._stream(path, reader, writer)
                    return
                await self._respond(path, head, reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.connections.discard(writer)
            writer.close()

    async def _respond(self, path: str, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = b""
        if path.startswith("/mobile"):
            self.note("events")
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(int(length.partition(b":")[2]))
        elif path.startswith("/msdk"):
            self.note("fdv1")
            body = self._body(path)
        else:
            self.note("poll")
            body = self._body(path)
        writer.write(b"HTTP/1.1 %d OK\r\nContent-Length: %d\r\n\r\n%b" % (200 if body else 202, len(body), body))
        await writer.drain()

    async def _stream(self, path: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.note("stream")
        self.streams.append(writer)
        directive = b"X-LD-FD-Fallback: true\r\n" if self.is_directed else b""
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n%bTransfer-Encoding: chunked\r\n\r\n%b"
            % (directive, _chunk(self._body(path)))
        )
        await writer.drain()
        while await reader.read(1024):
            pass
        self.streams.remove(writer)
        self.note("stream closed")

    def _body(self, path: str) -> bytes:
        body = self.prepared.get(path)
        if body is None:
            if path.startswith("/msdk"):
                text = json.dumps({name: {"value": value, "version": 1} for name, value in self._values(path).items()})
            elif path.startswith("/sdk/poll"):
                text = json.dumps({"events": [{"event": name, "data": data} for name, data in self._payload(path)]})
            else:
                text = "".join(f"event: {name}\ndata: {json.dumps(data)}\n\n" for name, data in self._payload(path))
            body = self.prepared[path] = text.encode()
        return body

    def _values(self, path: str) -> dict[str, Any]:
        encoded = path.rpartition("/")[2]
        key = json.loads(urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))["key"]
        return {"f": key, **{f"flag-{number}": {"a": number} for number in range(self.flags)}}

    def _payload(self, path: str) -> list[tuple[str, object]]:
        puts = [
            ("put-object", {"version": 1, "kind": "flag-eval", "key": key, "object": {"value": value, "variation": 0}})
            for key, value in self._values(path).items()
        ]
        return [
            ("server-intent", {"payloads": [{"id": "p", "target": 1, "intentCode": "xfer-full", "reason": "test"}]}),
            *puts,
            ("payload-transferred", {"state": "s1", "version": 1}),
        ]


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@asynccontextmanager
async def raw_mobile_service(*, flags: int = 0, is_directed: bool = False) -> AsyncGenerator[RawMobileService, None]:
    """Run the service on a free port until the block ends."""
    service = RawMobileService(flags=flags, is_directed=is_directed)
    server = await asyncio.start_server(service.answer, "127.0.0.1", 0)
    service.port = server.sockets[0].getsockname()[1]
    try:
        yield service
    finally:
        server.close()


def mobile_client(service: RawMobileService, *, send_events: bool = False, **options: Any) -> MobileClient:
    """A client of the service. Its mode ``streaming`` has the flags that were kept, and the stream. Modes change at once."""
    url = f"http://127.0.0.1:{service.port}"
    config = MobileConfig(
        base_uri=url,
        stream_uri=url,
        events_uri=url,
        debounce=0,
        modes={ConnectionMode.STREAMING: ModeDefinition(initializers=[Cache()], synchronizers=[Streaming(), Polling()])},
        events=MobileEvents(send_events=send_events),
        **options,
    )
    return MobileClient("mob-key", Context("a"), config)
