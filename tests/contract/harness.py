"""A harness for tests of the service: it sends commands like LaunchDarkly's, serves flags to the clients, and records callbacks."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from aioflags.devserver import ServerState, create_app, serve
from tests.contract.service.app import running
from tests.contract.service.server_side import server_side
from tests.contract.service.side import Side
from tests.support.canaries import KEY, WATCH


class Harness:
    """``flags``: the flags that clients of the service get. ``callbacks``: the callbacks so far, each with its path and body.

    ``answers``: the answers to callbacks, by path. The answer of a path that is missing is empty.
    """

    def __init__(self, service: httpx.AsyncClient, flags: ServerState, flags_url: str) -> None:
        self.service = service
        self.flags = flags
        self.flags_url = flags_url
        self.callbacks: list[tuple[str, Any]] = []
        self.answers: dict[str, Response] = {}
        self.callbacks_url = ""
        self._news = anyio.Event()

    def streaming(self, **configuration: Any) -> dict[str, Any]:
        """A configuration whose client streams from this harness. It has nulls, as LaunchDarkly's harness writes them."""
        source = {"streaming": {"baseUri": self.flags_url, "initialRetryDelayMs": None}, "polling": None}
        system = {"initializers": None, "synchronizers": [source], "fdv1Fallback": None, "store": None, "storeMode": 0}
        return {"credential": KEY, "startWaitTimeMs": None, "dataSystem": system, "tags": None, **configuration}

    async def post(self, configuration: dict[str, Any]) -> httpx.Response:
        """Send a request for a client."""
        return await self.service.post("/", json={"tag": "a test", "configuration": configuration})

    async def create(self, **configuration: Any) -> str:
        """Create a client that streams from this harness, and return the address of its commands."""
        answer = await self.post(self.streaming(**configuration))
        assert answer.status_code == 201, answer.text
        return answer.headers["Location"]

    async def ask(self, client: str, command: str, **params: Any) -> Any:
        """The answer to a command."""
        answer = await self.service.post(client, json={"command": command, command: params or None, "another": None})
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    async def value(self, client: str, key: str, default: Any = None, **params: Any) -> Any:
        """The value of a flag."""
        context = {"kind": "user", "key": "u"}
        asked = {"flagKey": key, "context": context, "defaultValue": default, "valueType": "any", "detail": False, **params}
        return (await self.ask(client, "evaluate", **asked))["value"]

    async def receive(self, request: Request) -> Response:
        """Record a callback, and answer it."""
        path = request.url.path
        self.callbacks.append((path, await request.json()))
        self._news.set()
        self._news = anyio.Event()
        return self.answers.get(path) or Response()

    async def until_callbacks(self, count: int) -> list[tuple[str, Any]]:
        """The callbacks, as soon as there are ``count`` of them."""
        while len(self.callbacks) < count:
            await self._news.wait()
        return self.callbacks


@asynccontextmanager
async def running_harness(document: dict[str, object] | None = None, *, side: Side | None = None) -> AsyncGenerator[Harness, None]:
    """A service for that SDK, the server-side one by default, and a harness that serves that document to its clients."""
    state = ServerState.of(document or {"flagValues": {"greeting": "hello"}})
    async with running(side or server_side()) as service, serve(WATCH.app(create_app(state))) as serving:
        transport = httpx.ASGITransport(service.app())
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            harness = Harness(client, state, serving.url)
            receiver = Starlette(routes=[Route("/{rest:path}", harness.receive, methods=["POST"])])
            async with serve(receiver) as callbacks:
                harness.callbacks_url = callbacks.url
                yield harness


@asynccontextmanager
async def running_client(
    document: dict[str, object] | None = None, **configuration: Any
) -> AsyncGenerator[tuple[Harness, str], None]:
    """A harness with that document, and the address of the commands of a client that streams from it."""
    async with running_harness(document) as harness:
        yield harness, await harness.create(**configuration)
