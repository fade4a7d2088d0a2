"""SimulatedNetwork: real clients and the real embedded server in one event loop, without sockets, in virtual time.

Requests go from httpx to the ASGI application. The network can be slow, reset connections, refuse them, and answer by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from copy import copy
from typing import Any

import anyio
import httpx
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aioflags.transport.settings import Http
from tests.support.canaries import WATCH
from tests.support.scripted_http import Answer, Body, wait


class SimulatedNetwork(httpx.AsyncBaseTransport):
    """The network between clients and one server. Make it in the test: it reads the loop's clock.

    ``attempts``: the times of the requests for flags. ``delay``: seconds that each request and each part of a response takes.
    ``intercept``: the answer to a request for flags in place of the server's; ``None`` for the server's.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.attempts: list[float] = []
        self.delay: Callable[[], float] = lambda: 0
        self.intercept: Callable[[httpx.Request], Answer | None] = lambda _: None
        self.is_up: bool = True
        self._app = app
        self._exchanges: set[_Exchange] = set()
        self._loop = asyncio.get_running_loop()

    def http(self, **options: Any) -> Http:
        """Options of a client that has its connections here."""
        return Http(client_factory=self._client, **options)

    def reset(self) -> int:
        """Reset every open connection. Returns their number."""
        exchanges = list(self._exchanges)
        for exchange in exchanges:
            exchange.reset()
        return len(exchanges)

    def silence(self) -> None:
        """Let every open connection be half open: nothing arrives on it, not even its end. New ones work."""
        for exchange in self._exchanges:
            exchange.is_silent = True

    def stop(self) -> None:
        """Reset every open connection, and refuse new ones."""
        self.is_up = False
        self.reset()

    def start(self) -> None:
        """Accept connections again."""
        self.is_up = True

    @property
    def open(self) -> int:
        """The responses that are open now."""
        return len(self._exchanges)

    def _client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=self, timeout=httpx.Timeout(10, read=15), trust_env=False)

    async def aclose(self) -> None:
        """Each HTTP client closes its transport: this one is shared."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        body = await request.aread()
        WATCH.request(request)
        is_analytics = request.url.path.endswith(("/bulk", "/diagnostic"))
        if not is_analytics:
            self.attempts.append(self._loop.time())
        await wait(self.delay())
        if is_analytics:
            return httpx.Response(202)
        if (answer := self.intercept(request)) is not None:
            if isinstance(answer.after, Exception):
                raise copy(answer.after)  # one that is raised again and again keeps every traceback
            await wait(answer.after)
        elif not self.is_up:
            raise httpx.ConnectError("connection refused")
        app = self._app if answer is None else _played(answer)
        return await _Exchange(self, self._exchanges).response(app, _scope(request), body)


class _Exchange(httpx.AsyncByteStream):
    """One request to the application, and the body of its response."""

    def __init__(self, network: SimulatedNetwork, exchanges: set[_Exchange]) -> None:
        self._network = network
        self._exchanges = exchanges
        self._parts: asyncio.Queue[Message | Exception | None] = asyncio.Queue()
        """Messages of the application; at the end ``None``, or the error that ended it."""
        self._gone = asyncio.Event()
        self.is_silent = False
        self._task: asyncio.Task[None] | None = None

    def reset(self) -> None:
        """End the response with an error. Parts that are on their way are lost."""
        while not self._parts.empty():
            self._parts.get_nowait()
        self._parts.put_nowait(httpx.ReadError("connection reset"))
        self._gone.set()

    async def response(self, app: ASGIApp, scope: Scope, body: bytes) -> httpx.Response:
        self._exchanges.add(self)
        self._task = asyncio.create_task(self._run(app, scope, body))
        try:
            start = await self._next()
            assert start is not None, "the application has not responded"
        except BaseException:
            await self.aclose()
            raise
        return httpx.Response(start["status"], headers=start["headers"], stream=self)

    async def _run(self, app: ASGIApp, scope: Scope, body: bytes) -> None:
        requests: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Message:
            if requests:
                return requests.pop()
            await self._gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            if not self._gone.is_set():  # as uvicorn: what is sent to a closed connection is lost
                self._parts.put_nowait(message)

        try:
            await app(scope, receive, send)
        except ConnectionAbortedError:  # a fault of the embedded server
            self._parts.put_nowait(httpx.ReadError("connection closed"))
        else:
            self._parts.put_nowait(None)

    async def _next(self) -> Message | None:
        part = await self._parts.get()
        if self.is_silent:
            await anyio.sleep_forever()
        if isinstance(part, Exception):
            raise part
        return part

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (part := await self._next()) is not None:
            with anyio.move_on_after(self._network.delay()):
                await self._gone.wait()
                raise httpx.ReadError("connection reset")
            yield part.get("body", b"")

    async def aclose(self) -> None:
        self._exchanges.discard(self)
        self._gone.set()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])


def _played(answer: Answer) -> ASGIApp:
    """An application that has one answer."""

    async def app(_: Scope, __: Receive, send: Send) -> None:
        headers = [(name.lower().encode(), value.encode()) for name, value in answer.headers.items()]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        async for part in Body(answer.body):
            await send({"type": "http.response.body", "body": part, "more_body": True})

    return app


def _scope(request: httpx.Request) -> Scope:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": request.method,
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
        "scheme": request.url.scheme,
        "path": request.url.path,
        "raw_path": request.url.raw_path.partition(b"?")[0],
        "query_string": request.url.query,
        "server": (request.url.host, request.url.port),
        "client": ("127.0.0.1", 1),
        "root_path": "",
    }
