"""RawService: flag services of plain sockets, for both kinds of keys, which record requests and closed streams in order."""

from __future__ import annotations

import asyncio
import json
from abc import ABC, abstractmethod
from base64 import urlsafe_b64decode
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Self

from aioflags.events.options import MobileEvents
from aioflags.mobile.client import MobileClient
from aioflags.mobile.config import MobileConfig
from aioflags.mobile.modes import ConnectionMode, ModeDefinition
from aioflags.model.context import Context
from aioflags.sources import Polling, Streaming
from aioflags.sources.polling import Cache
from tests.support.canaries import WATCH
from tests.support.scripted_http import flag, poll_body, sse, transfer_of


class RawService(ABC):
    """``log`` has ``(event, loop time)`` in order: ``poll``, ``stream``, ``fdv1``, ``events``, and ``stream closed``.

    ``stream_headers``: further headers of streams, each with its line break.
    """

    def __init__(self, stream_headers: bytes = b"") -> None:
        self.stream_headers = stream_headers
        self.log: list[tuple[str, float]] = []
        self.connections: set[asyncio.StreamWriter] = set()
        self.streams: list[asyncio.StreamWriter] = []
        self.port = 0
        self._changed = asyncio.Event()

    @abstractmethod
    def stream_body(self, path: str) -> bytes:
        """The events at the start of a stream."""

    @abstractmethod
    async def respond(self, path: str, head: bytes, reader: asyncio.StreamReader) -> bytes:
        """The body of the response to a request that opens no stream."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

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

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[Self]:
        """The service on a free port until the block ends."""
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
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
                body = await self.respond(path, head, reader)
                writer.write(b"HTTP/1.1 %d OK\r\nContent-Length: %d\r\n\r\n%b" % (200 if body else 202, len(body), body))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.connections.discard(writer)
            writer.close()

    async def _stream(self, path: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.note("stream")
        self.streams.append(writer)
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n%bTransfer-Encoding: chunked\r\n\r\n%b"
            % (self.stream_headers, _chunk(self.stream_body(path)))
        )
        await writer.drain()
        while await reader.read(1024):
            pass
        self.streams.remove(writer)
        self.note("stream closed")


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


DIRECTIVE = b"X-LD-FD-Fallback: true\r\n"


class RawServerService(RawService):
    """A service for SDK keys. ``body``: what streams send; by default a transfer of ``values``. ``fdv1``: the values of polls."""

    def __init__(
        self,
        stream_headers: bytes = b"",
        *,
        body: bytes | None = None,
        values: Mapping[str, object] | None = None,
        fdv1: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(stream_headers)
        flags = {key: flag(key, value) for key, value in (values or {}).items()}
        self._body = sse(*transfer_of("flag", flags)) if body is None else body
        self._fdv1 = {key: flag(key, value, version=2) for key, value in (fdv1 or {}).items()}

    def stream_body(self, path: str) -> bytes:
        return self._body

    async def respond(self, path: str, head: bytes, reader: asyncio.StreamReader) -> bytes:
        self.note("fdv1")
        return json.dumps({"flags": self._fdv1}).encode()


class RawMobileService(RawService):
    """A service for mobile keys. The flag ``f`` has the key of the context as its value; ``flags`` is how many further flags exist.

    ``is_directed``: streams have the fallback directive in their headers.
    """

    def __init__(self, *, flags: int = 0, is_directed: bool = False) -> None:
        super().__init__(DIRECTIVE if is_directed else b"")
        self._flags = flags
        self._prepared: dict[str, bytes] = {}
        """The bodies of responses by path, so that a client that is measured does not wait for the service to write them."""

    def direct(self) -> None:
        """Send the directive on the streams that are open."""
        for writer in self.streams:
            writer.write(_chunk(b'event: goodbye\ndata: {"reason":"test","protocolFallbackTTL":60}\n\n'))

    async def respond(self, path: str, head: bytes, reader: asyncio.StreamReader) -> bytes:
        if path.startswith("/mobile"):
            self.note("events")
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(int(length.partition(b":")[2]))
            return b""
        self.note("fdv1" if path.startswith("/msdk") else "poll")
        return self.stream_body(path)

    def stream_body(self, path: str) -> bytes:
        body = self._prepared.get(path)
        if body is None:
            values = self._values(path)
            events = transfer_of("flag-eval", {key: {"value": value, "variation": 0} for key, value in values.items()})
            if path.startswith("/msdk"):
                body = json.dumps({key: {"value": value, "version": 1} for key, value in values.items()}).encode()
            else:
                body = poll_body(*events) if path.startswith("/sdk/poll") else sse(*events)
            self._prepared[path] = body
        return body

    def _values(self, path: str) -> dict[str, Any]:
        encoded = path.rpartition("/")[2]
        key = json.loads(urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))["key"]
        return {"f": key, **{f"flag-{number}": {"a": number} for number in range(self._flags)}}


def mobile_client(service: RawMobileService, *, send_events: bool = False, **options: Any) -> MobileClient:
    """A client of the service. Its mode ``streaming`` has the flags that were kept, and the stream. Modes change at once."""
    config = MobileConfig(
        base_uri=service.url,
        stream_uri=service.url,
        events_uri=service.url,
        debounce=0,
        modes={ConnectionMode.STREAMING: ModeDefinition(initializers=[Cache()], synchronizers=[Streaming(), Polling()])},
        events=MobileEvents(send_events=send_events),
        **options,
    )
    return MobileClient("mob-key", Context("a"), config)
