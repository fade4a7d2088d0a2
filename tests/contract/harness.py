"""A harness for tests of the service: it asks the service as the public one does, serves its clients, and hears its callbacks."""

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
from tests.contract.service.configuration import Protocol
from tests.support.canaries import KEY, WATCH

__all__ = ["Harness", "harnessing"]


class Harness:
    """``flags`` is what clients of the service get; ``heard`` are the callbacks: path and body.

    ``answers`` are those to callbacks, by path; one that is not there is empty.
    """

    def __init__(self, service: httpx.AsyncClient, flags: ServerState, flags_url: str) -> None:
        self.service = service
        self.flags = flags
        self.flags_url = flags_url
        self.heard: list[tuple[str, Any]] = []
        self.answers: dict[str, Response] = {}
        self.callbacks_url = ""
        self._news = anyio.Event()

    def streaming(self, **configuration: Any) -> dict[str, Any]:
        """A configuration whose client streams from here, written as the public harness writes them: with nulls."""
        source = {"streaming": {"baseUri": self.flags_url, "initialRetryDelayMs": None}, "polling": None}
        system = {"initializers": None, "synchronizers": [source], "fdv1Fallback": None, "store": None, "storeMode": 0}
        return {"credential": KEY, "startWaitTimeMs": None, "dataSystem": system, "tags": None, **configuration}

    async def post(self, configuration: dict[str, Any]) -> httpx.Response:
        """Ask for a client."""
        return await self.service.post("/", json={"tag": "a test", "configuration": configuration})

    async def create(self, **configuration: Any) -> str:
        """A client that streams from here; the address of its commands."""
        answer = await self.post(self.streaming(**configuration))
        assert answer.status_code == 201, answer.text
        return answer.headers["Location"]

    async def ask(self, client: str, command: str, **params: Any) -> Any:
        """What a command answers."""
        answer = await self.service.post(client, json={"command": command, command: params or None, "another": None})
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    async def value(self, client: str, key: str, default: Any = None, **params: Any) -> Any:
        """The value of a flag."""
        context = {"kind": "user", "key": "u"}
        asked = {"flagKey": key, "context": context, "defaultValue": default, "valueType": "any", "detail": False, **params}
        return (await self.ask(client, "evaluate", **asked))["value"]

    async def hear(self, request: Request) -> Response:
        """A callback."""
        path = request.url.path
        self.heard.append((path, await request.json()))
        self._news.set()
        self._news = anyio.Event()
        return self.answers.get(path) or Response()

    async def until_heard(self, count: int) -> list[tuple[str, Any]]:
        """The callbacks, when there are so many."""
        while len(self.heard) < count:
            await self._news.wait()
        return self.heard


@asynccontextmanager
async def harnessing(document: dict[str, object] | None = None, *, protocol: Protocol = "fdv2") -> AsyncGenerator[Harness, None]:
    """A service for that protocol, and a harness that serves that document to its clients."""
    state = ServerState.of(document or {"flagValues": {"greeting": "hello"}})
    async with running(protocol=protocol) as service, serve(WATCH.app(create_app(state))) as serving:
        transport = httpx.ASGITransport(service.app())
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            harness = Harness(client, state, serving.url)
            hearing = Starlette(routes=[Route("/{rest:path}", harness.hear, methods=["POST"])])
            async with serve(hearing) as callbacks:
                harness.callbacks_url = callbacks.url
                yield harness
