"""FaultyMobileService: a service for mobile keys below httpx, which answers for each endpoint, and follows which requests are open.

The flag ``f`` has the value ``[key of the context, number]`` for every context, so that a test sees whose value it is and how new.
"""

from __future__ import annotations

import asyncio
import json
from base64 import urlsafe_b64decode
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

import anyio
import httpx

from aioflags.transport.settings import Http
from tests.support.scripted_http import DIRECTED, poll_body, sse, transfer_of, wait

Endpoint: TypeAlias = Literal["poll", "stream", "fdv1", "events"]
"""The polls and the streams of FDv2, the polls of FDv1, and what receives events."""

_ENDPOINTS: Final[Mapping[str, Endpoint]] = {
    "/sdk/poll/eval": "poll",
    "/sdk/stream/eval": "stream",
    "/msdk/evalx/contexts": "fdv1",
    "/mobile/events": "events",
}


@dataclass(frozen=True)
class Behaviour:
    """How an endpoint answers. ``after``: seconds until the headers. ``pause``: seconds from the headers to the body."""

    status: int = 200
    after: float = 0.0
    pause: float = 0.0
    directed: bool = False
    """The headers have the fallback directive."""
    breaks: bool = False
    """The body cannot be read."""
    refuses: bool = False
    """There is no connection."""
    closing: float = 0.0
    """Seconds that the client needs to close it."""


@dataclass(eq=False)
class OpenRequest:
    """A request, or the connection of a stream, that the client has not closed."""

    endpoint: Endpoint
    context: str
    has_pinged: bool = False
    """It is a stream that has sent a ping."""
    messages: asyncio.Queue[bytes | None] = field(default_factory=asyncio.Queue[bytes | None])
    """What a stream sends; ``None`` ends it."""
    is_directed: bool = False


class _Body(httpx.AsyncByteStream):
    def __init__(self, service: FaultyMobileService, request: OpenRequest, behaviour: Behaviour) -> None:
        self._service, self._request, self._behaviour = service, request, behaviour

    async def __aiter__(self) -> AsyncIterator[bytes]:
        await wait(self._behaviour.pause)
        service, request = self._service, self._request
        if self._behaviour.breaks:
            yield b"event: put-object\ndata: {oops\n\n" if request.endpoint == "stream" else b"{oops"
        elif request.endpoint == "fdv1":
            yield json.dumps({"f": {"value": service.value(request), "version": service.number}}).encode()
        elif request.endpoint == "poll":
            yield poll_body(*service.payload(request))
        else:
            yield service.events(request)
            while (message := await request.messages.get()) is not None:
                yield message

    async def aclose(self) -> None:
        if self._behaviour.closing:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(self._behaviour.closing)
        self._service.close(self._request)


class FaultyMobileService:
    """One service. ``behaviours`` may change at any time; ``number`` is the newest data. ``problems`` has what must not happen."""

    def __init__(self) -> None:
        self.behaviours: dict[Endpoint, Behaviour] = {}
        self.number = 1
        self.open: list[OpenRequest] = []
        self.seen: list[tuple[Endpoint, str, float]] = []
        """Every request: the endpoint, the key of the context, and the time on the loop's clock."""
        self.is_directed = False
        """Whether headers with the directive were sent."""
        self.clients: list[httpx.AsyncClient] = []

    def http(self) -> Http:
        return Http(client_factory=self.client)

    def client(self) -> httpx.AsyncClient:
        self.clients.append(httpx.AsyncClient(transport=httpx.MockTransport(self.answer), timeout=15, trust_env=False))
        return self.clients[-1]

    def opened(self, request: OpenRequest) -> None:
        """Called with every request. For subclasses."""

    def close(self, request: OpenRequest) -> None:
        """The client has closed it."""
        if request in self.open:
            self.open.remove(request)

    @property
    def endpoints(self) -> list[Endpoint]:
        """The endpoints of all requests, in order."""
        return [endpoint for endpoint, _, _ in self.seen]

    # -- streams

    def push(self, *events: tuple[str, object]) -> None:
        """Send events on the streams that are open."""
        for request in self.open:
            if request.endpoint == "stream":
                request.has_pinged = request.has_pinged or any(name == "ping" for name, _ in events)
                request.messages.put_nowait(sse(*events))

    def push_payload(self) -> None:
        """Send the newest data on the streams that are open."""
        for request in self.open:
            if request.endpoint == "stream":
                request.messages.put_nowait(self.events(request))

    def end_streams(self) -> None:
        for request in self.open:
            request.messages.put_nowait(None)

    # -- answers

    async def answer(self, request: httpx.Request) -> httpx.Response:
        endpoint: Endpoint = next(name for path, name in _ENDPOINTS.items() if request.url.path.startswith(path))
        if endpoint == "events":
            self.seen.append(("events", "", asyncio.get_running_loop().time()))
            return httpx.Response(202)
        opened = OpenRequest(endpoint, _context_key(request))
        self.open.append(opened)
        self.seen.append((endpoint, opened.context, asyncio.get_running_loop().time()))
        self.opened(opened)
        behaviour = self.behaviours.get(endpoint, Behaviour())
        try:
            await wait(behaviour.after)
            if behaviour.refuses:
                raise httpx.ConnectError("refused")
        except BaseException:
            self.close(opened)
            raise
        # From here on no wait: the client gets these headers.
        opened.is_directed = behaviour.directed
        self.is_directed = self.is_directed or (behaviour.directed and endpoint != "fdv1")
        headers = DIRECTED if behaviour.directed else {}
        if behaviour.status != 200:
            self.close(opened)
            return httpx.Response(behaviour.status, headers=headers)
        content_type = "text/event-stream" if endpoint == "stream" else "application/json"
        return httpx.Response(200, headers={**headers, "Content-Type": content_type}, stream=_Body(self, opened, behaviour))

    def value(self, request: OpenRequest) -> Any:
        """The newest value for the context of a request."""
        return [request.context, self.number]

    def payload(self, request: OpenRequest) -> list[tuple[str, object]]:
        """The events of a full transfer."""
        return transfer_of("flag-eval", {"f": {"value": self.value(request)}}, state=f"s{self.number}", version=self.number)

    def events(self, request: OpenRequest) -> bytes:
        """The same as a stream sends them."""
        return sse(*self.payload(request))


def _context_key(request: httpx.Request) -> str:
    encoded = request.url.path.rpartition("/")[2]
    return str(json.loads(urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))["key"])
