"""Flags for FastAPI: dependencies in every kind of endpoint, and with its test client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI, Request, Response, WebSocket
from fastapi.responses import StreamingResponse
from fastapi.testclient import TestClient

from aioflags import Client, Config, ConfigError, Context, DataSystem, FlagdClient, LifecycleError, use_context
from aioflags.asgi import FlagsMiddleware
from aioflags.fastapi import CurrentClient, CurrentFlags, current_client, current_flags, lifespan
from aioflags.sources import SourceContext, SourceState, Update, from_function
from tests.web.flagd_document import DOCUMENT

FLAGS: dict[str, Any] = {
    "flags": {
        "colour": {
            "on": True,
            "variations": ["blue", "red"],
            "fallthrough": {"variation": 0},
            "targets": [{"variation": 1, "values": ["anna"]}],
        }
    }
}
ANNA = {"user": "anna"}
router = APIRouter()


@router.get("/async")
async def awaiting(flags: CurrentFlags) -> str:
    return flags.variation("colour", "")


@router.get("/def")
def threaded(flags: CurrentFlags) -> str:
    return flags.variation("colour", "")


@router.get("/stream")
async def streaming(flags: CurrentFlags) -> StreamingResponse:
    async def parts() -> AsyncIterator[str]:
        yield "it is "
        yield flags.variation("colour", "")

    return StreamingResponse(parts())


@router.websocket("/socket")
async def socket(connection: WebSocket, flags: CurrentFlags) -> None:
    await connection.accept()
    await connection.send_text(flags.variation("colour", ""))
    await connection.close()


def colour(flags: CurrentFlags) -> str:
    return flags.variation("colour", "")


@router.get("/deep")
async def deep(found: Annotated[str, Depends(colour)], flags: CurrentFlags, request: Request) -> list[Any]:
    return [found, request.state.flags is flags]


@router.get("/at-once")
async def at_once(request: Request) -> bool:
    first, second = await asyncio.gather(current_flags(request), current_flags(request))
    return first is second is request.state.flags


@router.get("/for-another-context")
async def other(client: CurrentClient) -> str:
    return await client.variation("colour", Context("bert"), "")


@router.get("/ready")
async def ready(client: CurrentClient) -> Response:
    return Response(status_code=200 if client.is_initialized else 503)


def user_of(request: Request) -> Context:
    return Context(request.headers["user"])


async def authenticated(request: Request) -> Context:
    await asyncio.sleep(0)
    return Context(request.headers["user"])


def app_of(client: Any, **options: Any) -> FastAPI:
    app = FastAPI(lifespan=lifespan(client, **options))
    app.include_router(router)
    return app


@pytest.mark.real_time
@pytest.mark.parametrize("context", [pytest.param(user_of, id="a plain function"), pytest.param(authenticated, id="a coroutine")])
@pytest.mark.parametrize(
    ("path", "answer"),
    [
        pytest.param("/async", '"red"', id="a coroutine endpoint"),
        pytest.param("/def", '"red"', id="a plain endpoint, in a thread"),
        pytest.param("/stream", "it is red", id="a response that streams"),
        pytest.param("/deep", '["red",true]', id="a dependency of an endpoint, with the same flags"),
        pytest.param("/at-once", "true", id="two tasks of an endpoint, with the same flags"),
        pytest.param("/for-another-context", '"blue"', id="the client itself"),
        pytest.param("/ready", "", id="a readiness probe"),
    ],
)
def test_an_endpoint_has_flags(path: str, answer: str, context: Any) -> None:
    with TestClient(app_of(Client.local(FLAGS), context=context), headers=ANNA) as http:
        response = http.get(path)
        assert (response.status_code, response.text) == (200, answer)


@pytest.mark.real_time
@pytest.mark.parametrize("context", [pytest.param(user_of, id="a plain function"), pytest.param(authenticated, id="a coroutine")])
def test_a_websocket_has_flags(context: Any) -> None:
    app = app_of(Client.local(FLAGS), context=context)
    with TestClient(app, headers=ANNA) as http, http.websocket_connect("/socket") as connection:
        assert connection.receive_text() == "red"


@pytest.mark.real_time
def test_a_readiness_probe_fails_while_there_is_no_data() -> None:
    async def silent(_context: SourceContext, _selector: Any) -> AsyncGenerator[Update, None]:
        await asyncio.Event().wait()
        yield Update(state=SourceState.OFF, directive=None)

    system = DataSystem.custom(synchronizers=[from_function("silent", silent)])
    with TestClient(app_of(Client("", Config(data_system=system, start_wait=0)))) as http:
        assert http.get("/ready").status_code == 503


@pytest.mark.real_time
def test_other_lifespans_of_routers_and_applications_run() -> None:
    @asynccontextmanager
    async def database(_app: FastAPI) -> AsyncGenerator[dict[str, Any], None]:
        yield {"database": "open"}

    @asynccontextmanager
    async def queue(_app: Any) -> AsyncGenerator[dict[str, Any], None]:
        yield {"queue": "empty"}

    app = app_of(Client.local(FLAGS), context=user_of, around=database)
    jobs = APIRouter(lifespan=queue)

    @jobs.get("/state")
    async def state(request: Request, flags: CurrentFlags) -> list[str]:  # pyright: ignore[reportUnusedFunction] -- a route
        return [request.state.database, request.state.queue, flags.variation("colour", "")]

    app.include_router(jobs)
    with TestClient(app, headers=ANNA) as http:
        assert http.get("/state").json() == ["open", "empty", "red"]


@pytest.mark.real_time
def test_the_middleware_and_the_dependency_share_pinned_flags() -> None:
    asked: list[Request] = []

    def counted(request: Request) -> Context:
        asked.append(request)
        return user_of(request)

    app = app_of(Client.local(FLAGS), context=counted)
    app.add_middleware(FlagsMiddleware)
    with TestClient(app, headers=ANNA) as http:
        assert http.get("/deep").json() == ["red", True]
    assert len(asked) == 1


@pytest.mark.real_time
def test_a_mounted_application_has_flags() -> None:
    app, inner = app_of(Client.local(FLAGS), context=user_of), FastAPI()
    inner.include_router(router)
    app.mount("/inner", inner)
    with TestClient(app, headers=ANNA) as http:
        assert http.get("/inner/async").json() == "red"


@pytest.mark.real_time
def test_a_lifespan_of_a_mounted_application_is_reported_with_its_remedy() -> None:
    app, inner = FastAPI(), app_of(Client.local(FLAGS), context=user_of)
    app.mount("/inner", inner)
    with TestClient(app, headers=ANNA) as http, pytest.raises(LifecycleError, match="the one of the outermost application"):
        http.get("/inner/async")


@pytest.mark.real_time
def test_an_application_that_runs_again_makes_another_client() -> None:
    app = app_of(lambda: Client.local(FLAGS), context=user_of)
    for _ in range(2):
        with TestClient(app, headers=ANNA) as http:
            assert http.get("/async").json() == "red"


@pytest.mark.real_time
def test_a_second_run_with_one_client_is_refused_with_a_remedy() -> None:
    app = app_of(Client.local(FLAGS), context=user_of)
    with TestClient(app):
        pass
    with pytest.raises(LifecycleError, match=r"lifespan\(lambda: Client"), TestClient(app):
        pass


@pytest.mark.real_time
def test_dependencies_can_be_overridden() -> None:
    app = app_of(Client.local(FLAGS))
    elsewhere = Client.local({"flagValues": {"colour": "green"}})
    app.dependency_overrides[current_flags] = lambda: elsewhere.flags_nowait(Context("anna"))
    app.dependency_overrides[current_client] = lambda: elsewhere
    http = TestClient(app)
    assert [http.get(path).json() for path in ("/async", "/for-another-context")] == ["green", "green"]


async def test_httpx_works_if_the_test_enters_the_lifespan() -> None:
    app = app_of(Client.local(FLAGS), context=user_of)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://app", headers=ANNA) as http,
    ):
        assert (await http.get("/async")).json() == "red"


async def test_without_a_function_the_ambient_context_is_used() -> None:
    app = app_of(Client.local(FLAGS))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://app") as http,
    ):
        with use_context(Context("anna")):
            assert (await http.get("/async")).json() == "red"
        with pytest.raises(ConfigError, match="this request has none"):
            await http.get("/async")


async def ambient_for_the_endpoint(request: Request) -> AsyncGenerator[None, None]:
    with use_context(user_of(request)):
        yield


def ambient_in_a_thread(request: Request) -> Generator[None, None, None]:
    with use_context(user_of(request)):
        yield


@pytest.mark.real_time
@pytest.mark.parametrize(
    ("dependency", "answer"),
    [
        pytest.param(ambient_for_the_endpoint, "red", id="a coroutine function"),
        pytest.param(ambient_in_a_thread, "none", id="a plain function, which runs in threads"),
    ],
)
def test_a_dependency_may_enter_and_leave_an_ambient_context(dependency: Any, answer: str) -> None:
    app = FastAPI(lifespan=lifespan(Client.local(FLAGS)))

    @app.get("/", dependencies=[Depends(dependency)])
    async def endpoint(client: CurrentClient) -> str:
        return await client.variation("colour", default="none")

    with TestClient(app, headers=ANNA) as http:
        assert [http.get("/").json() for _ in range(2)] == [answer] * 2


@pytest.mark.real_time
def test_a_request_without_the_lifespan_is_refused() -> None:
    with pytest.raises(LifecycleError, match=r"with TestClient\(app\)"):
        TestClient(app_of(Client.local(FLAGS)), headers=ANNA).get("/async")


def test_the_openapi_schema_does_not_mention_flags() -> None:
    operation = app_of(Client.local(FLAGS)).openapi()["paths"]["/async"]["get"]
    assert "parameters" not in operation
    assert "requestBody" not in operation


def test_a_client_for_flagd_is_a_dependency_too() -> None:
    app = FastAPI(lifespan=lifespan(lambda: FlagdClient.local(DOCUMENT), context=lambda request: Context(request.headers["user"])))

    @app.get("/")
    async def colours(flags: CurrentFlags, client: Annotated[FlagdClient, Depends(current_client)]) -> list[str]:
        return [flags.variation("colour", ""), await client.variation("colour", Context("bert"), "")]

    with TestClient(app) as http:
        assert http.get("/", headers=ANNA).json() == ["red", "blue"]
