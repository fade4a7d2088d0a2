"""Service: a scripted flag service below httpx or httpx2, so that everything except the sockets is real."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, TypeVar

import anyio
import httpx
import httpx2

from aioflags.model.change import Selector, Update
from aioflags.sources.base import SourceContext, Synchronizer, closing
from aioflags.transport.settings import Http
from tests.support.canaries import WATCH
from tests.support.http_libraries import HttpLibrary

T = TypeVar("T")
Step: TypeAlias = "bytes | float | Exception | anyio.Event"
"""A step of a body: bytes to send, seconds to wait, an exception to raise, or an event to wait for."""

HANG: Final = float("inf")
DIRECTED: Final = {"X-LD-FD-Fallback": "true"}


class Body(httpx.AsyncByteStream, httpx2.AsyncByteStream):
    """The body of a response, for both libraries. ``on_close`` is called once, when the client closes it."""

    def __init__(self, steps: Sequence[Step], on_close: Callable[[], object] = lambda: None) -> None:
        self.steps = steps
        self.closed = False
        self._on_close = on_close

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for step in self.steps:
            match step:
                case bytes():
                    yield step
                case Exception():
                    raise step
                case anyio.Event():
                    await step.wait()
                case _:
                    await wait(step)

    async def aclose(self) -> None:
        if not self.closed:
            self.closed = True
            self._on_close()


async def wait(seconds: float) -> None:
    """Sleep; for ever with :data:`HANG`."""
    if seconds == HANG:
        await anyio.sleep_forever()
    await anyio.sleep(seconds)


@dataclass(frozen=True)
class Answer:
    """One response. ``after``: seconds until its headers arrive, or an exception to raise instead."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: Sequence[Step] = ()
    after: float | Exception = 0.0

    def directed(self, **more: str) -> Answer:
        """The same with the directive."""
        return Answer(self.status, {**self.headers, **DIRECTED, **more}, self.body, self.after)

    def with_headers(self, headers: Mapping[str, str]) -> Answer:
        return Answer(self.status, {**self.headers, **headers}, self.body, self.after)


class Service:
    """Sends its answers in order, and then the last one again; records the requests and their times.

    This applies to requests for flags. Requests with events are recorded in ``posts`` and answered with ``takes``.
    Clients are of ``library``, and so are the exceptions that they raise: tables of answers have those of httpx.
    """

    def __init__(self, *answers: Answer, library: HttpLibrary = httpx) -> None:
        self.answers = answers
        self.library = library
        self.requests: list[httpx.Request] = []
        self.times: list[float] = []
        self.bodies: list[Body] = []
        self.clients: list[httpx.AsyncClient] = []
        self.takes: Sequence[Answer] = (Answer(202),)
        self.posts: list[httpx.Request] = []
        self.post_times: list[float] = []

    async def answer(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        WATCH.request(request)
        if request.method == "POST":
            answer = self.takes[min(len(self.posts), len(self.takes) - 1)]
            self.posts.append(request)
            self.post_times.append(asyncio.get_running_loop().time())
        else:
            answer = self.answers[min(len(self.requests), len(self.answers) - 1)]
            self.requests.append(request)
            self.times.append(asyncio.get_running_loop().time())
        if isinstance(answer.after, Exception):
            raise self._own(answer.after)
        await wait(answer.after)
        self.bodies.append(Body([self._own(step) if isinstance(step, Exception) else step for step in answer.body]))
        response: httpx.Response = self.library.Response(answer.status, headers=answer.headers, stream=self.bodies[-1])
        return response

    def client(self) -> httpx.AsyncClient:
        timeout, transport = self.library.Timeout(10, read=15), self.library.MockTransport(self.answer)
        self.clients.append(self.library.AsyncClient(transport=transport, timeout=timeout, trust_env=False))
        return self.clients[-1]

    def http(self, **options: Any) -> Http:
        return Http(client_factory=self.client, **options)

    def context(self, **options: Any) -> SourceContext:
        defaults: dict[str, Any] = {"http": self.http(), "base_uri": "https://poll.test", "stream_uri": "https://stream.test"}
        return SourceContext(**{**defaults, **options})

    def _own(self, error: Exception) -> Exception:
        """The library's own exception in place of one of httpx."""
        own: Exception = getattr(self.library, type(error).__name__)(str(error)) if isinstance(error, httpx.HTTPError) else error
        return own

    @property
    def pauses(self) -> list[float]:
        """Seconds between requests."""
        return [later - earlier for earlier, later in zip(self.times, self.times[1:], strict=False)]

    @property
    def queries(self) -> list[dict[str, str]]:
        return [dict(request.url.params) for request in self.requests]

    @property
    def all_closed(self) -> bool:
        return all(body.closed for body in self.bodies) and all(client.is_closed for client in self.clients)


# -- messages


def flag(key: str, value: object = 1, version: int = 1) -> dict[str, object]:
    """A flag that serves one value to all contexts."""
    return {"key": key, "version": version, "on": True, "variations": [value], "fallthrough": {"variation": 0}}


def intent(code: str) -> tuple[str, object]:
    return "server-intent", {"payloads": [{"id": "p", "target": 1, "intentCode": code, "reason": "test"}]}


def transfer_of(
    kind: str, objects: Mapping[str, object], *, state: str = "s1", version: int = 1, code: str = "xfer-full"
) -> list[tuple[str, object]]:
    """The events of one FDv2 transfer that puts objects of a kind, by key."""
    puts = [("put-object", {"version": version, "kind": kind, "key": key, "object": item}) for key, item in objects.items()]
    return [intent(code), *puts, ("payload-transferred", {"state": state, "version": version})]


def payload(*keys: str, state: str = "s1", code: str = "xfer-full") -> list[tuple[str, object]]:
    """The events of one transfer that puts these flags."""
    return transfer_of("flag", {key: flag(key) for key in keys}, state=state, code=code)


def sse(*events: tuple[str, object]) -> bytes:
    """Events of a stream. Data that is a string is sent unchanged."""
    shown = [(name, data if isinstance(data, str) else json.dumps(data)) for name, data in events]
    return "".join(f"event: {name}\ndata: {data}\n\n" for name, data in shown).encode()


def poll_body(*events: tuple[str, object]) -> bytes:
    return json.dumps({"events": [{"event": name, "data": data} for name, data in events]}).encode()


def stream_of(*steps: Step, **headers: str) -> Answer:
    """An event stream that hangs after its last step."""
    named = {name.replace("_", "-").title(): value for name, value in headers.items()}
    return Answer(200, {"Content-Type": "text/event-stream", **named}, [*steps, HANG])


def poll_of(*events: tuple[str, object], **headers: str) -> Answer:
    named = {name.replace("_", "-").title(): value for name, value in headers.items()}
    return Answer(200, {"Content-Type": "application/json", **named}, [poll_body(*events)])


# -- helpers for sources


def nothing_selected() -> Selector:
    return Selector.none()


def selecting(*states: str) -> Callable[[], Selector]:
    """A function that returns selectors with these states in order, and then the last one again."""
    left = list(states)
    return lambda: Selector(left.pop(0) if len(left) > 1 else left[0], 1)


@asynccontextmanager
async def updates_of(
    source: Synchronizer, selector: Callable[[], Selector] = nothing_selected
) -> AsyncGenerator[AsyncGenerator[Update, None], None]:
    async with closing(source.sync(selector)) as updates:
        yield updates


async def first(results: AsyncGenerator[T, None], count: int) -> list[T]:
    """The first ``count`` results, or as many as there are."""
    items: list[T] = []
    while len(items) < count and (item := await anext(results, None)) is not None:
        items.append(item)
    return items


async def updates_from(source: Synchronizer, count: int, selector: Callable[[], Selector] = nothing_selected) -> list[Update]:
    """The first ``count`` updates of a source, or as many as there are. Then the source is closed."""
    async with updates_of(source, selector) as news:
        return await first(news, count)
