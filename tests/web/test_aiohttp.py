"""Flags for aiohttp: in every kind of handler, and with aiohttp's test client."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from aioflags import Client, ConfigError, Context, FlagdClient, LifecycleError, Status, use_context
from aioflags.aiohttp import client_of, flags_of, setup
from aioflags.sources import MemorySource
from tests.web.flagd_document import DOCUMENT

pytestmark = pytest.mark.real_time
ANNA = {"user": "anna"}


def user_of(request: web.Request) -> Context:
    return Context(request.headers["user"])


async def authenticated(request: web.Request) -> Context:
    await asyncio.sleep(0)
    return Context(request.headers["user"])


async def plain(request: web.Request) -> web.Response:
    flags = await flags_of(request)
    return web.Response(text=flags.variation("colour", ""))


async def twice(request: web.Request) -> web.Response:
    return web.json_response([await flags_of(request) is await flags_of(request)])


async def at_once(request: web.Request) -> web.Response:
    first, second = await asyncio.gather(flags_of(request), flags_of(request))
    return web.json_response([first is second])


async def socket(request: web.Request) -> web.WebSocketResponse:
    connection = web.WebSocketResponse()
    await connection.prepare(request)
    await connection.send_str((await flags_of(request)).variation("colour", ""))
    return connection


async def other(request: web.Request) -> web.Response:
    return web.Response(text=await client_of(request).variation("colour", Context("bert"), ""))


async def ready(request: web.Request) -> web.Response:
    return web.Response(status=200 if client_of(request).is_initialized else 503)


ROUTES = [
    web.get("/plain", plain),
    web.get("/twice", twice),
    web.get("/at-once", at_once),
    web.get("/socket", socket),
    web.get("/other", other),
    web.get("/ready", ready),
]


def app_of(client: Any, **options: Any) -> web.Application:
    app = web.Application()
    app.add_routes(ROUTES)
    setup(app, client, **options)
    return app


def calling(app: web.Application) -> TestClient[web.Request, web.Application]:
    return TestClient(TestServer(app), headers=ANNA)


@pytest.mark.parametrize("context", [pytest.param(user_of, id="a plain function"), pytest.param(authenticated, id="a coroutine")])
@pytest.mark.parametrize(
    ("path", "answer"),
    [
        pytest.param("/plain", "red", id="flags"),
        pytest.param("/twice", "[true]", id="the same flags at each call"),
        pytest.param("/at-once", "[true]", id="the same flags for two tasks at once"),
        pytest.param("/other", "blue", id="the client itself"),
        pytest.param("/ready", "", id="a readiness probe"),
    ],
)
async def test_a_handler_gets_the_flags_of_its_request(client: Client, path: str, answer: str, context: Any) -> None:
    async with calling(app_of(client, context=context)) as http, http.get(path) as response:
        assert (response.status, await response.text()) == (200, answer)


async def test_a_websocket_has_flags(client: Client) -> None:
    async with calling(app_of(client, context=user_of)) as http, http.ws_connect("/socket") as connection:
        assert await connection.receive_str() == "red"


async def test_a_response_that_streams_keeps_the_flags_of_its_beginning(client: Client, source: MemorySource) -> None:
    async def streaming(request: web.Request) -> web.StreamResponse:
        flags = await flags_of(request)
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(flags.variation("colour", "").encode())
        with client.changes() as changes:
            source.set("colour", "green")
            await anext(changes)
        await response.write(f", still {flags.variation('colour', '')}".encode())
        return response

    app = app_of(client, context=user_of)
    app.router.add_get("/stream", streaming)
    async with calling(app) as http, http.get("/stream") as response:
        assert await response.text() == "red, still red"


async def test_the_client_runs_as_long_as_the_application(client: Client) -> None:
    seen: list[Status] = []
    async with calling(app_of(client)):
        seen.append(client.status)
    assert [*seen, client.status] == [Status.READY, Status.NOT_READY]


async def test_the_client_can_be_made_by_a_function() -> None:
    app = app_of(lambda: Client.local({"flagValues": {"colour": "green"}}), context=user_of)
    async with calling(app) as http, http.get("/plain") as response:
        assert await response.text() == "green"


async def test_a_subapplication_shares_the_flags_of_its_parent(client: Client) -> None:
    app, inner = app_of(client, context=user_of), web.Application()
    inner.add_routes(ROUTES)
    app.add_subapp("/inner", inner)
    async with calling(app) as http, http.get("/inner/plain") as response:
        assert await response.text() == "red"


async def test_a_subapplication_can_be_set_up_with_another_client(client: Client) -> None:
    app = app_of(Client.local({"flagValues": {"colour": "green"}}), context=user_of)
    app.add_subapp("/inner", app_of(client, context=user_of))
    async with calling(app) as http:
        texts: list[str] = []
        for path in ("/plain", "/inner/plain"):
            async with http.get(path) as response:
                texts.append(await response.text())
    assert texts == ["green", "red"]


async def test_without_a_function_the_ambient_context_is_used(client: Client) -> None:
    @web.middleware
    async def ambient(request: web.Request, handler: Any) -> web.StreamResponse:
        with use_context(Context("anna")):
            response: web.StreamResponse = await handler(request)
            return response

    app = app_of(client)
    app.middlewares.append(ambient)
    async with calling(app) as http, http.get("/plain") as response:
        assert await response.text() == "red"


def errors_of_handlers(app: web.Application, kind: type[Exception]) -> list[str]:
    """The messages of the exceptions of this kind that handlers of ``app`` raise."""
    seen: list[str] = []

    @web.middleware
    async def catching(request: web.Request, handler: Any) -> web.StreamResponse:
        try:
            response: web.StreamResponse = await handler(request)
        except kind as error:
            seen.append(str(error))
            raise web.HTTPInternalServerError from error
        return response

    app.middlewares.append(catching)
    return seen


async def test_a_request_without_a_context_is_refused(client: Client) -> None:
    app = app_of(client)
    messages = errors_of_handlers(app, ConfigError)
    async with calling(app) as http, http.get("/plain") as response:
        assert response.status == 500
    assert messages[0].startswith("context: this request has none")


@pytest.mark.parametrize("path", ["/plain", "/other"])
async def test_an_application_that_was_not_set_up_is_refused(path: str) -> None:
    app = web.Application()
    app.add_routes(ROUTES)
    messages = errors_of_handlers(app, LifecycleError)
    async with calling(app) as http, http.get(path) as response:
        assert response.status == 500
    assert "aioflags.aiohttp.setup(app, client)" in messages[0]


async def test_a_second_application_for_one_client_does_not_start(client: Client) -> None:
    async with calling(app_of(client)):
        second = web.AppRunner(app_of(client))
        with pytest.raises(LifecycleError, match=r"a function that makes a client for each run: setup\(app, lambda: Client"):
            await second.setup()
        await second.cleanup()
        assert client.status is Status.READY


def test_an_application_is_set_up_once(client: Client) -> None:
    app = app_of(client)
    with pytest.raises(ConfigError, match="it was set up before"):
        setup(app, client)


@pytest.mark.parametrize(
    ("client", "context", "message"),
    [
        pytest.param("sdk-key", None, "client: expected a Client", id="a key instead of a client"),
        pytest.param(
            lambda: None, Context("anna"), "context: expected a function of the request", id="a context instead of a function"
        ),
    ],
)
def test_a_wrong_argument_is_refused_at_setup(client: Any, context: Any, message: str) -> None:
    app = web.Application()
    with pytest.raises(ConfigError, match=message):
        setup(app, client, context=context)
    setup(app, Client.local({}))


def test_swapped_arguments_are_refused_with_an_example() -> None:
    with pytest.raises(ConfigError, match=r"app: expected an aiohttp Application, as in setup\(app, client\)"):
        setup(Client.local({}), web.Application())  # type: ignore[arg-type]  # what is tested


async def test_a_client_for_flagd_serves_an_application() -> None:
    async def colours(request: web.Request) -> web.Response:
        client = client_of(request, FlagdClient)
        return web.json_response([(await flags_of(request)).variation("colour", ""), await client.variation("colour", BERT, "")])

    async def wrong(request: web.Request) -> web.Response:
        with pytest.raises(ConfigError, match=r"the client of this application: expected Client, got aioflags\.FlagdClient"):
            client_of(request)
        return web.Response()

    app = web.Application()
    app.add_routes([web.get("/", colours), web.get("/wrong", wrong)])
    setup(app, FlagdClient.local(DOCUMENT), context=user_of)
    async with TestClient(TestServer(app)) as http:
        assert await (await http.get("/", headers=ANNA)).json() == ["red", "blue"]
        assert (await http.get("/wrong", headers=ANNA)).status == 200


BERT = Context("bert")
