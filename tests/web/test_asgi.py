"""Flags for ASGI applications: the lifespan, and the middleware, without a framework and under Starlette."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from aioflags import (
    Client,
    Config,
    ConfigError,
    Context,
    DataSystem,
    FlagdClient,
    Flags,
    LifecycleError,
    Status,
    current_context,
    use_context,
)
from aioflags.asgi import FlagsMiddleware, lifespan
from aioflags.sources import MemorySource
from tests.web.flagd_document import DOCUMENT


def user_of(scope: Any) -> Context:
    """The context of a connection, from its header."""
    return Context(dict(scope["headers"])[b"user"].decode())


ANNA = {"type": "http", "headers": [(b"user", b"anna")]}


class Handler:
    """An application that records the scopes it is called with, and runs a given function."""

    def __init__(self) -> None:
        self.scope: Any = None
        self.ambient: Context | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope, self.ambient = scope, current_context()
        await send({"handled": await receive()})

    @property
    def flags(self) -> Flags:
        found = self.scope["state"]["flags"]
        assert isinstance(found, Flags)
        return found


async def call(app: Any, scope: Any) -> list[Any]:
    """Call an application as a server does, and return the messages that it sent."""
    sent: list[Any] = []

    async def receive() -> str:
        return "message"

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent


# -- the lifespan, without a framework


@pytest.fixture
def handler() -> Handler:
    return Handler()


async def test_the_lifespan_starts_the_client_and_closes_it(client: Client) -> None:
    seen: list[Status] = []
    async with lifespan(client)(None) as state:
        assert state["flags_client"] is client
        seen.append(client.status)
    assert [*seen, client.status] == [Status.READY, Status.NOT_READY]


async def test_another_lifespan_runs_inside_that_of_the_client(client: Client) -> None:
    seen: list[Any] = []

    @asynccontextmanager
    async def own(app: str) -> AsyncGenerator[dict[str, str], None]:
        seen.append((app, client.status))
        yield {"database": "open"}
        seen.append(client.status)

    async with lifespan(client, around=own)("the application") as state:
        assert state["database"] == "open"
        assert state["flags_client"] is client
    assert seen == [("the application", Status.READY), Status.READY]


async def test_the_other_lifespan_has_the_client_in_the_state_of_the_application(client: Client) -> None:
    seen: list[Any] = []

    @asynccontextmanager
    async def own(app: Starlette) -> AsyncGenerator[None, None]:
        seen.append(app.state.flags_client)
        yield
        seen.append(app.state.flags_client)

    async with lifespan(client, around=own)(Starlette()):
        pass
    assert seen == [client, client]


async def test_the_other_lifespan_may_yield_no_state(client: Client) -> None:
    @asynccontextmanager
    async def own(_app: Any) -> AsyncGenerator[None, None]:
        yield

    async with lifespan(client, around=own)(None) as state:
        assert state["flags_client"] is client


async def test_the_client_is_closed_when_the_other_lifespan_fails(client: Client) -> None:
    @asynccontextmanager
    async def own(_app: Any) -> AsyncGenerator[None, None]:
        raise ConnectionError("no database")
        yield

    with pytest.raises(ConnectionError):
        await lifespan(client, around=own)(None).__aenter__()
    assert client.status is Status.NOT_READY


async def test_the_lifespan_can_be_entered_inside_another_lifespan(client: Client) -> None:
    flags = lifespan(client, context=user_of)

    @asynccontextmanager
    async def own(app: Any) -> AsyncGenerator[dict[str, Any], None]:
        async with flags(app) as state:
            yield {**state, "database": "open"}

    handler = Handler()
    async with own(None) as state:
        await call(FlagsMiddleware(handler), {**ANNA, "state": state})
    assert handler.flags.variation("colour", "") == "red"


# -- the middleware, without a framework


@pytest.mark.parametrize("kind", ["http", "websocket"])
async def test_the_middleware_pins_the_flags_of_a_request(
    handler: Handler, client: Client, source: MemorySource, kind: str
) -> None:
    async with lifespan(client, context=user_of)(None) as state:
        assert await call(FlagsMiddleware(handler), {**ANNA, "type": kind, "state": state}) == [{"handled": "message"}]
        with client.changes() as changes:
            source.set("colour", "green")
            await anext(changes)
        assert await client.variation("colour", Context("anna"), "") == "green"
    assert handler.flags.variation("colour", "") == "red"


async def test_the_context_of_a_request_is_ambient_during_the_request(handler: Handler, client: Client) -> None:
    await call(FlagsMiddleware(handler, client, context=user_of), {**ANNA})
    assert handler.ambient == Context("anna")
    assert current_context() is None


async def test_concurrent_requests_have_different_contexts(client: Client) -> None:
    met = asyncio.Barrier(2)

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        await met.wait()
        await send((scope["state"]["flags"].variation("colour", ""), current_context()))

    asked = FlagsMiddleware(app, client, context=user_of)
    users = ("anna", "bert")
    requests = [call(asked, {"type": "http", "headers": [(b"user", user.encode())]}) for user in users]
    assert await asyncio.gather(*requests) == [[("red", Context("anna"))], [("blue", Context("bert"))]]


async def test_a_client_that_the_program_starts_needs_no_lifespan(handler: Handler, client: Client) -> None:
    async with client:
        await call(FlagsMiddleware(handler, client, context=user_of), {**ANNA})
    assert handler.flags.variation("colour", "") == "red"


async def test_an_inner_middleware_keeps_the_flags_of_the_outer(client: Client) -> None:
    inner, handler = Handler(), Handler()

    async def both(scope: Any, receive: Any, send: Any) -> None:
        await handler(scope, receive, send)
        pinned = handler.flags
        await FlagsMiddleware(inner)(scope, receive, send)
        assert inner.flags is pinned

    await call(FlagsMiddleware(both, client, context=user_of), {**ANNA})
    assert inner.flags.variation("colour", "") == "red"


async def test_a_request_never_gets_the_flags_of_another_request(client: Client) -> None:
    """Not even if a server wrongly shares one state among all requests."""
    handler = Handler()
    async with lifespan(client, context=user_of)(None) as state:
        for user, colour in (("anna", "red"), ("bert", "blue")):
            await call(FlagsMiddleware(handler), {"type": "http", "headers": [(b"user", user.encode())], "state": state})
            assert handler.flags.variation("colour", "") == colour


async def test_without_a_function_the_ambient_context_is_used(handler: Handler, client: Client) -> None:
    with use_context(Context("anna")):
        await call(FlagsMiddleware(handler, client), {"type": "http"})
    assert handler.flags.variation("colour", "") == "red"


async def test_a_request_without_a_context_does_not_reach_the_application(handler: Handler, client: Client) -> None:
    with pytest.raises(ConfigError, match="this request has none"):
        await call(FlagsMiddleware(handler, client), {"type": "http"})
    assert handler.scope is None


async def test_a_scope_that_is_not_a_request_is_passed_on(client: Client) -> None:
    handler, scope = Handler(), {"type": "lifespan"}
    await call(FlagsMiddleware(handler, client), scope)
    assert handler.scope is scope == {"type": "lifespan"}


@pytest.mark.parametrize(
    ("client", "context", "message"),
    [
        pytest.param("sdk-key", None, "client: expected Client, got str", id="a key instead of a client"),
        pytest.param(None, user_of, "context: it needs a client", id="a context without a client"),
    ],
)
def test_a_wrong_argument_of_the_middleware_is_refused(client: Any, context: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FlagsMiddleware(Handler(), client, context=context)


async def test_a_missing_lifespan_is_reported_with_its_remedy() -> None:
    with pytest.raises(LifecycleError, match=r"have not started.*with TestClient\(app\).*lifespan_context"):
        await call(FlagsMiddleware(Handler()), {"type": "http"})


# -- under Starlette


async def awaiting(request: Request) -> PlainTextResponse:
    return PlainTextResponse(request.state.flags.variation("colour", ""))


def threaded(request: Request) -> PlainTextResponse:
    context = current_context()
    return PlainTextResponse(f"{request.state.flags.variation('colour', '')} for {context.key if context else None}")


async def streaming(request: Request) -> StreamingResponse:
    source: MemorySource = request.state.source

    async def parts() -> AsyncIterator[str]:
        yield request.state.flags.variation("colour", "")
        with request.state.flags_client.changes() as changes:
            source.set("colour", "green")
            await anext(changes)
        yield ", still " + request.state.flags.variation("colour", "")
        yield ", soon " + await request.state.flags_client.variation("colour", default="")

    return StreamingResponse(parts())


async def socket(connection: WebSocket) -> None:
    await connection.accept()
    async for asked in connection.iter_text():
        await connection.send_text(connection.state.flags.variation(asked, ""))


async def ready(request: Request) -> PlainTextResponse:
    return PlainTextResponse(status_code=200 if request.state.flags_client.is_initialized else 503)


@pytest.fixture
def app(client: Client, source: MemorySource) -> Starlette:
    """An application with a lifespan, and another application mounted in it."""

    @asynccontextmanager
    async def own(_app: Starlette) -> AsyncGenerator[dict[str, Any], None]:
        yield {"source": source}

    routes = [
        Route("/awaiting", awaiting),
        Route("/threaded", threaded),
        Route("/streaming", streaming),
        Route("/ready", ready),
        WebSocketRoute("/socket", socket),
        Mount("/inner", Starlette(routes=[Route("/awaiting", awaiting)], middleware=[Middleware(FlagsMiddleware)])),
    ]
    return Starlette(
        routes=routes, middleware=[Middleware(FlagsMiddleware)], lifespan=lifespan(client, context=user_of, around=own)
    )


@pytest.mark.real_time
@pytest.mark.parametrize(
    ("path", "answer"),
    [
        pytest.param("/awaiting", "red", id="a coroutine function"),
        pytest.param("/threaded", "red for anna", id="a plain function, in a thread"),
        pytest.param("/streaming", "red, still red, soon green", id="a response that streams while the flag changes"),
        pytest.param("/inner/awaiting", "red", id="a mounted application"),
        pytest.param("/ready", "", id="a readiness probe"),
    ],
)
def test_an_endpoint_has_flags(app: Starlette, path: str, answer: str) -> None:
    with TestClient(app, headers={"user": "anna"}) as http:
        response = http.get(path)
        assert (response.status_code, response.text) == (200, answer)


@pytest.mark.real_time
def test_a_websocket_has_flags(app: Starlette) -> None:
    with TestClient(app, headers={"user": "anna"}) as http, http.websocket_connect("/socket") as connection:
        connection.send_text("colour")
        assert connection.receive_text() == "red"


async def test_httpx_works_if_the_test_enters_the_lifespan(app: Starlette) -> None:
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://app", headers={"user": "anna"}) as http,
    ):
        assert (await http.get("/awaiting")).text == "red"


@pytest.mark.parametrize("first_out", [pytest.param(0, id="the first ends first"), pytest.param(1, id="the last ends first")])
async def test_runs_of_one_application_may_overlap(source: MemorySource, first_out: int) -> None:
    def new() -> Client:
        return Client("", Config(data_system=DataSystem.custom(synchronizers=[source])))

    app = Starlette(routes=[Route("/awaiting", awaiting)], middleware=[Middleware(FlagsMiddleware)])
    runs = [lifespan(new, context=user_of)(app) for _ in range(2)]
    states = [await run.__aenter__() for run in runs]
    assert states[0]["flags_client"] is not states[1]["flags_client"]
    await runs[first_out].__aexit__(None, None, None)
    await call(app, {**ANNA, "method": "GET", "path": "/awaiting", "query_string": b"", "state": states[1 - first_out]})
    await runs[1 - first_out].__aexit__(None, None, None)
    assert not any(hasattr(app.state, name) for name in ("aioflags", "flags_client"))


@pytest.mark.real_time
def test_a_lifespan_that_ended_leaves_nothing_in_the_state(app: Starlette) -> None:
    with TestClient(app, headers={"user": "anna"}) as http:
        http.get("/awaiting")
    with pytest.raises(LifecycleError, match="have not started"):
        TestClient(app, headers={"user": "anna"}).get("/awaiting")


@pytest.mark.real_time
def test_the_middleware_wraps_an_application_without_a_framework(client: Client) -> None:
    async def bare(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse(scope["state"]["flags"].variation("colour", ""))(scope, receive, send)

    wrapped = FlagsMiddleware(bare, client, context=user_of)
    assert TestClient(wrapped, headers={"user": "anna"}).get("/").text == "red"


def test_the_middleware_pins_the_flags_of_a_client_for_flagd() -> None:
    async def answer(request: Request) -> PlainTextResponse:
        ambient = await request.state.flags_client.variation("colour", None, "")
        return PlainTextResponse(f"{request.state.flags.variation('colour', '')} {ambient}")

    start = lifespan(lambda: FlagdClient.local(DOCUMENT), context=user_of)
    app = Starlette(routes=[Route("/", answer)], middleware=[Middleware(FlagsMiddleware)], lifespan=start)
    with TestClient(app) as http:
        assert [http.get("/", headers={"user": name}).text for name in ("anna", "bert")] == ["red red", "blue blue"]


async def test_the_middleware_takes_a_client_for_flagd(handler: Handler) -> None:
    async with FlagdClient.local(DOCUMENT) as client:
        await call(FlagsMiddleware(handler, client, context=user_of), {**ANNA})
    assert handler.flags.variation("colour", "") == "red"
