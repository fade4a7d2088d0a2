"""Flags for Litestar: in every kind of handler, in guards, and with its test client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from litestar import Litestar, Request, Router, WebSocket, get, websocket
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.di import NamedDependency, Provide
from litestar.exceptions import NotAuthorizedException
from litestar.handlers import BaseRouteHandler
from litestar.response import Stream
from litestar.testing import TestClient

from aioflags import (
    Client,
    ConfigError,
    Context,
    EvaluationDetail,
    FlagdClient,
    FlagsState,
    LifecycleError,
    Status,
    current_context,
    use_context,
)
from aioflags.litestar import CurrentClient, CurrentFlags, FlagsPlugin, client_of, flags_of
from aioflags.model.detail import FlagMetadata
from aioflags.sources import MemorySource
from tests.web.flagd_document import DOCUMENT

pytestmark = pytest.mark.real_time

Connection = ASGIConnection[Any, Any, Any, Any]
ANNA = {"user": "anna"}


def user_of(connection: Connection) -> Context:
    return Context(connection.headers["user"])


async def authenticated(connection: Connection) -> Context:
    await asyncio.sleep(0)
    return Context(connection.headers["user"])


@get("/awaiting")
async def awaiting(flags: CurrentFlags) -> str:
    return flags.variation("colour", "")


@get("/threaded", sync_to_thread=True)
def threaded(flags: CurrentFlags, flags_client: CurrentClient) -> str:
    return f"{flags.variation('colour', '')}, ready: {flags_client.is_initialized}"


@get("/other")
async def other(flags_client: CurrentClient) -> str:
    return await flags_client.variation("colour", Context("bert"), "")


@get("/same")
async def same(flags: CurrentFlags, request: Request[Any, Any, State]) -> bool:
    return flags is await flags_of(request) and client_of(request).is_initialized


@get("/at-once")
async def at_once(request: Request[Any, Any, State]) -> bool:
    first, second = await asyncio.gather(flags_of(request), flags_of(request))
    return first is second is request.state.flags


@get("/stream")
async def stream(flags: CurrentFlags, flags_client: CurrentClient, source: NamedDependency[MemorySource]) -> Stream:
    async def parts() -> AsyncGenerator[str, None]:
        yield flags.variation("colour", "")
        with flags_client.changes() as changes:
            source.set("colour", "green")
            await anext(changes)
        yield f", still {flags.variation('colour', '')}"

    return Stream(parts())


@websocket("/socket")
async def socket(socket: WebSocket[Any, Any, State], flags: CurrentFlags) -> None:
    await socket.accept()
    await socket.send_text(flags.variation("colour", ""))
    await socket.close()


async def only_red(connection: Connection, _handler: BaseRouteHandler) -> None:
    if (await flags_of(connection)).variation("colour", "") != "red":
        raise NotAuthorizedException


@get("/guarded", guards=[only_red])
async def guarded() -> str:
    return "come in"


@get("/ambient")
async def ambient(request: Request[Any, Any, State], flags_client: CurrentClient) -> str:
    if (context := current_context()) is None:
        return "None"
    return f"{context.key}: {flags_client.variation_nowait('colour', default='')}, {request.state.flags.variation('colour', '')}"


@get("/detail")
async def detail(flags: CurrentFlags) -> EvaluationDetail[str]:
    return flags.variation_detail("colour", "")


@get("/unnamed")
async def unnamed(flags: CurrentFlags) -> Any:
    return flags.variation_detail("colour", "")


@get("/state")
async def state(flags_client: CurrentClient, request: Request[Any, Any, State]) -> FlagsState:
    return await flags_client.all_flags_state(user_of(request))


HANDLERS: list[Any] = [awaiting, threaded, other, same, at_once, socket, guarded]


def app_of(client: Any, *handlers: Any, context: Any = user_of, **options: Any) -> Litestar:
    return Litestar([*HANDLERS, *handlers], plugins=[FlagsPlugin(client, context=context)], logging_config=None, **options)


@pytest.mark.parametrize("context", [pytest.param(user_of, id="a plain function"), pytest.param(authenticated, id="a coroutine")])
@pytest.mark.parametrize(
    ("path", "answer"),
    [
        pytest.param("/awaiting", "red", id="a coroutine function"),
        pytest.param("/threaded", "red, ready: True", id="a plain function, in a thread"),
        pytest.param("/other", "blue", id="the client itself"),
        pytest.param("/same", "true", id="the functions for a connection"),
        pytest.param("/at-once", "true", id="two tasks of a handler, with the same flags"),
        pytest.param("/guarded", "come in", id="a guard"),
    ],
)
def test_a_handler_gets_the_flags_of_its_request(client: Client, path: str, answer: str, context: Any) -> None:
    with TestClient(app_of(client, context=context)) as http:
        response = http.get(path, headers=ANNA)
        assert (response.status_code, response.text) == (200, answer)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        pytest.param("/detail", {"value": "red", "metadata": {}}, id="an evaluation detail"),
        pytest.param("/unnamed", {"value": "red", "metadata": {}}, id="where no type names it"),
        pytest.param("/state", {"colour": "red", "$valid": True}, id="the state of all flags"),
    ],
)
def test_a_handler_can_return_what_a_client_returns(client: Client, path: str, expected: dict[str, Any]) -> None:
    with TestClient(app_of(client, detail, unnamed, state)) as http:
        assert http.get(path, headers=ANNA).json().items() >= expected.items()


def test_an_application_can_write_what_a_client_returns_in_its_own_way(client: Client) -> None:
    @get("/")
    async def own(flags: CurrentFlags) -> EvaluationDetail[str]:
        return flags.variation_detail("colour", "")

    with TestClient(app_of(client, own, type_encoders={FlagMetadata: len})) as http:
        assert http.get("/", headers=ANNA).json()["metadata"] == 0


def test_a_guard_can_refuse_by_a_flag(client: Client) -> None:
    with TestClient(app_of(client)) as http:
        assert http.get("/guarded", headers={"user": "bert"}).status_code == 401


def test_a_websocket_has_flags(client: Client) -> None:
    with TestClient(app_of(client)) as http, http.websocket_connect("/socket", headers=ANNA) as connection:
        assert connection.receive_text() == "red"


def test_a_response_that_streams_keeps_the_flags_of_its_beginning(client: Client, source: MemorySource) -> None:
    app = app_of(client, stream, dependencies={"source": Provide(lambda: source, sync_to_thread=False)})
    with TestClient(app) as http:
        assert http.get("/stream", headers=ANNA).text == "red, still red"


@pytest.mark.parametrize(
    ("is_ambient", "answer"), [pytest.param(True, "anna: red, red", id="on"), pytest.param(False, "None", id="off, the default")]
)
def test_the_context_of_a_request_can_be_ambient(client: Client, is_ambient: bool, answer: str) -> None:
    app = Litestar([ambient], plugins=[FlagsPlugin(client, context=user_of, ambient=is_ambient)], logging_config=None)
    with TestClient(app) as http:
        assert http.get("/ambient", headers=ANNA).text == answer
    assert current_context() is None


def test_without_a_function_the_ambient_context_is_used(client: Client) -> None:
    def in_context(app: Any) -> Any:
        async def called(scope: Any, receive: Any, send: Any) -> None:
            with use_context(Context("anna")):
                await app(scope, receive, send)

        return called

    with TestClient(app_of(client, context=None, middleware=[in_context])) as http:
        assert http.get("/awaiting").text == "red"


def test_flags_are_not_parameters_of_the_documented_api(client: Client) -> None:
    paths = app_of(client).openapi_schema.to_schema()["paths"]
    assert [name for name, item in paths.items() if item["get"].get("parameters")] == []


@pytest.mark.parametrize("own", [pytest.param("lifespan"), pytest.param("on_startup")])
def test_the_client_starts_before_the_application_and_ends_after_it(client: Client, own: str) -> None:
    seen: list[Status] = []

    @asynccontextmanager
    async def block(_app: Litestar) -> AsyncGenerator[None, None]:
        seen.append(client.status)
        yield
        seen.append(client.status)

    def hook() -> None:
        seen.append(client.status)

    hooks = {"lifespan": [block]} if own == "lifespan" else {"on_startup": [hook], "on_shutdown": []}
    with TestClient(app_of(client, **hooks)):
        seen.append(client.status)
    assert {*seen} == {Status.READY}
    seen.append(client.status)
    assert seen[-1] is Status.NOT_READY


def test_an_application_runs_again_with_a_function_that_makes_its_client() -> None:
    app = app_of(lambda: Client.local({"flagValues": {"colour": "green"}}))
    for _ in range(2):
        with TestClient(app) as http:
            assert http.get("/awaiting", headers=ANNA).text == "green"


def test_a_second_run_of_one_client_is_refused_with_a_remedy(client: Client) -> None:
    app = app_of(client)
    with TestClient(app):
        pass
    with pytest.raises(Exception) as raised, TestClient(app):  # noqa: PT011 -- the test client wraps it
        pass
    assert "FlagsPlugin(lambda: Client(...))" in messages_of(raised.value)


def test_a_router_can_have_a_dependency_of_its_own_with_that_name(client: Client) -> None:
    @get("/country")
    async def country(flags: NamedDependency[str]) -> str:
        return flags

    router = Router("/own", route_handlers=[country], dependencies={"flags": Provide(lambda: "a flag", sync_to_thread=False)})
    with TestClient(app_of(client, router)) as http:
        assert http.get("/own/country").text == "a flag"


@pytest.mark.parametrize(
    ("dependencies", "plugins"),
    [
        pytest.param({"flags": Provide(lambda: "", sync_to_thread=False)}, 1, id="a dependency of the application"),
        pytest.param({}, 2, id="a second plugin"),
    ],
)
def test_a_name_that_is_taken_is_refused(client: Client, dependencies: Any, plugins: int) -> None:
    with pytest.raises(ConfigError, match="dependencies: the application has 'flags' already"):
        Litestar([], dependencies=dependencies, plugins=[FlagsPlugin(client) for _ in range(plugins)])


@pytest.mark.parametrize(
    ("client", "context", "message"),
    [
        pytest.param("sdk-key", None, "client: expected a Client", id="a key instead of a client"),
        pytest.param(
            lambda: None, Context("anna"), "context: expected a function of the request", id="a context instead of a function"
        ),
    ],
)
def test_a_wrong_argument_is_refused(client: Any, context: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FlagsPlugin(client, context=context)


def test_a_handler_without_the_plugin_is_refused_when_the_application_is_made() -> None:
    with pytest.raises(Exception, match="flags"):
        Litestar([awaiting])


def test_an_application_whose_lifespan_does_not_run_is_refused_with_a_remedy(client: Client) -> None:
    errors: list[Exception] = []
    app = app_of(client, after_exception=[recorded_in(errors)])
    assert TestClient(app).get("/awaiting", headers=ANNA).status_code == 500
    assert isinstance(errors[0], LifecycleError)
    assert "app.lifespan() with Litestar" in str(errors[0])


def test_a_request_without_a_context_is_refused(client: Client) -> None:
    errors: list[Exception] = []
    with TestClient(app_of(client, context=None, after_exception=[recorded_in(errors)])) as http:
        assert http.get("/awaiting").status_code == 500
    assert isinstance(errors[0], ConfigError)
    assert "context: this request has none" in str(errors[0])


def test_a_client_for_flagd_serves_an_application() -> None:
    @get("/both")
    async def both(flags: CurrentFlags, flags_client: NamedDependency[FlagdClient]) -> list[str]:
        return [flags.variation("colour", ""), await flags_client.variation("colour", Context("bert"), "")]

    @get("/wrong")
    async def wrong(request: Request[Any, Any, State]) -> str:
        with pytest.raises(ConfigError, match=r"the client of this application: expected Client, got aioflags\.FlagdClient"):
            client_of(request)
        return str(type(client_of(request, FlagdClient)).__name__)

    app = app_of(FlagdClient.local(DOCUMENT), both, wrong)
    with TestClient(app) as http:
        assert http.get("/both", headers=ANNA).json() == ["red", "blue"]
        assert http.get("/wrong").text == "FlagdClient"


def recorded_in(errors: list[Exception]) -> Callable[[Exception, Any], None]:
    """A hook of Litestar that records the exceptions of requests."""

    def record(error: Exception, _scope: Any) -> None:
        errors.append(error)

    return record


def messages_of(error: BaseException | None) -> str:
    """The messages of an error and of those in it."""
    if error is None:
        return ""
    inner = [*getattr(error, "exceptions", ()), error.__cause__]
    return "\n".join([str(error), *map(messages_of, inner)])
