"""Flags for Django: in async and plain views, templates and commands, under ASGI, WSGI and Django's test clients."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import ExitStack
from typing import Any, cast

import httpx
import pytest
from anyio.from_thread import start_blocking_portal
from asgiref.sync import async_to_sync
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import render
from django.template import engines
from django.test import AsyncClient, RequestFactory, override_settings
from django.test import Client as SyncClient
from django.urls import path
from django.utils.decorators import async_only_middleware, sync_only_middleware

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
from aioflags.django import FlagsRequest, RequestFlagsMiddleware, asgi, current_client, running
from aioflags.sources import MemorySource
from aioflags.testing import MemoryClient
from examples.django_app import urlpatterns as _configured  # the example configures Django, which a process can do only once
from tests.web.flagd_document import DOCUMENT

pytestmark = pytest.mark.real_time
assert _configured
ANNA = {"user": "anna"}
MIDDLEWARE = ["aioflags.django.RequestFlagsMiddleware"]
PAGES = {
    "page": "{% flag 'colour' '' as colour %}{{ colour }}, {% flag 'size' 3 %}, {% flag 'no' %}, {% flag 'html' '<' %}",
    "attribute": "{% with flags=request.flags.all %}{{ flags.colour }}{% endwith %}",
}
TEMPLATE_OPTIONS: dict[str, Any] = {
    "builtins": ["aioflags.django"],
    "loaders": [("django.template.loaders.locmem.Loader", PAGES)],
    "context_processors": ["django.template.context_processors.request"],
}
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "OPTIONS": TEMPLATE_OPTIONS}]


def user_of(request: HttpRequest) -> Context:
    return Context(request.headers["user"])


async def authenticated(request: HttpRequest) -> Context:
    await asyncio.sleep(0)
    return Context(request.headers["user"])


async def awaiting(request: FlagsRequest) -> HttpResponse:
    return HttpResponse((await request.aflags()).variation("colour", ""))


async def attribute(request: FlagsRequest) -> HttpResponse:
    return HttpResponse(request.flags.variation("colour", ""))


def plain(request: FlagsRequest) -> HttpResponse:
    return HttpResponse(request.flags.variation("colour", ""))


async def same(request: FlagsRequest) -> HttpResponse:
    pinned, again = await asyncio.gather(request.aflags(), request.aflags())
    return HttpResponse(str(pinned is again is request.flags))


async def pinned_in_plain_code(request: FlagsRequest) -> HttpResponse:
    lazy = request.flags
    assert isinstance(lazy, Flags)
    return HttpResponse(str(await request.aflags() is request.flags))


def page(request: HttpRequest) -> HttpResponse:
    return render(request, "page")


async def page_of_an_async_view(request: FlagsRequest) -> HttpResponse:
    await request.aflags()
    return render(request, "page")


async def other(_request: HttpRequest) -> HttpResponse:
    return HttpResponse(await current_client().variation("colour", Context("bert"), ""))


def other_in_plain_code(_request: HttpRequest) -> HttpResponse:
    variation: Any = current_client().variation
    return HttpResponse(async_to_sync(variation)("colour", Context("bert"), ""))


async def ambient(_request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"{(current_context() or NOBODY).key} {await current_client().variation('colour', default='')}")


def ambient_in_plain_code(_request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"{(current_context() or NOBODY).key} {current_client().variation_nowait('colour', default='')}")


async def stream(request: FlagsRequest) -> StreamingHttpResponse:
    flags = await request.aflags()

    async def parts() -> AsyncGenerator[str, None]:
        yield flags.variation("colour", "")
        cast("MemoryClient", current_client()).set("colour", "green")
        yield f", still {flags.variation('colour', '')}"

    return StreamingHttpResponse(parts())


NOBODY = Context("nobody")
VIEWS: dict[str, Any] = {
    view.__name__: view
    for view in (
        awaiting,
        attribute,
        plain,
        same,
        pinned_in_plain_code,
        page,
        page_of_an_async_view,
        other,
        other_in_plain_code,
        ambient,
        ambient_in_plain_code,
        stream,
    )
}
urlpatterns = [path(name, view) for name, view in VIEWS.items()]
ALL = [pytest.param(name, id=name.replace("_", " ")) for name in ("awaiting", "attribute", "plain")]


@pytest.fixture
def memory() -> MemoryClient:
    """A client with the same flag, and others for templates, that needs no start."""
    flags = MemoryClient({"flagValues": {"size": 4, "html": "<b>"}})
    flags.update(flags.flag("colour").variations("blue", "red").fallthrough_variation(0).variation_for_user("anna", 1))
    return flags


@pytest.fixture
def site() -> Iterator[Callable[..., None]]:
    """Gives the site its settings: site(client, CONTEXT=user_of)."""
    with ExitStack() as stack:

        def use(client: Any, *, middleware: Any = MIDDLEWARE, **options: Any) -> None:
            options = {"CONTEXT": user_of, "CLIENT": client} | options
            places: dict[str, Any] = {
                "ROOT_URLCONF": __name__,
                "ALLOWED_HOSTS": ["*"],
                "MIDDLEWARE": middleware,
                "TEMPLATES": TEMPLATES,
            }
            stack.enter_context(override_settings(**places, AIOFLAGS=options))

        yield use


# -- under Django's test clients


async def response_to(kind: str, address: str) -> Any:
    """Anna's request with the one test client or the other."""
    if kind == "async":
        return await AsyncClient().get(address, headers=ANNA)
    return await asyncio.to_thread(SyncClient().get, address, headers=ANNA)


@pytest.mark.parametrize("context", [pytest.param(user_of, id="a plain function"), pytest.param(authenticated, id="a coroutine")])
@pytest.mark.parametrize(
    ("name", "answer"),
    [
        pytest.param("awaiting", "red", id="a coroutine function"),
        pytest.param("plain", "red", id="a plain function"),
        pytest.param("same", "True", id="the same flags at each call"),
        pytest.param("page", "red, 4, None, &lt;b&gt;", id="a template"),
        pytest.param("page_of_an_async_view", "red, 4, None, &lt;b&gt;", id="a template of an async view"),
        pytest.param("other", "blue", id="the client itself"),
        pytest.param("other_in_plain_code", "blue", id="the client itself, awaited in plain code"),
    ],
)
@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_a_view_gets_the_flags_of_its_request(
    site: Any, memory: MemoryClient, name: str, answer: str, context: Any, kind: str
) -> None:
    site(memory, CONTEXT=context)
    response = await response_to(kind, f"/{name}")
    assert (response.status_code, response.content.decode()) == (200, answer)


@pytest.mark.parametrize("name", ["attribute", "pinned_in_plain_code"])
async def test_an_async_view_may_use_the_attribute_if_the_context_is_a_plain_function(
    site: Any, memory: MemoryClient, name: str
) -> None:
    site(memory)
    assert (await AsyncClient().get(f"/{name}", headers=ANNA)).content in {b"red", b"True"}


@pytest.mark.filterwarnings("error")
async def test_the_attribute_in_an_async_view_is_refused_if_the_context_is_a_coroutine(site: Any, memory: MemoryClient) -> None:
    site(memory, CONTEXT=authenticated)
    with pytest.raises(ConfigError, match=r"call `await request.aflags\(\)` first"):
        await AsyncClient().get("/attribute", headers=ANNA)


def test_an_event_loop_for_each_call_of_the_test_client_is_no_hindrance(site: Any, memory: MemoryClient) -> None:
    """asgiref runs each async view of a sync test client on a new event loop."""
    site(memory)
    http = SyncClient()
    for user, colour in (("anna", b"red"), ("bert", b"blue")):
        assert http.get("/awaiting", headers={"user": user}).content == colour
    memory.set("colour", "green")
    assert http.get("/awaiting", headers=ANNA).content == b"green"


async def test_a_client_that_runs_answers_on_other_event_loops_from_its_data(site: Any, client: Client) -> None:
    site(client)
    async with running():
        response = await asyncio.to_thread(SyncClient().get, "/awaiting", headers=ANNA)
    assert response.content == b"red"


async def test_a_stream_keeps_the_flags_of_its_beginning(site: Any, memory: MemoryClient) -> None:
    site(memory)
    response: Any = await AsyncClient().get("/stream", headers=ANNA)
    assert [part async for part in response.streaming_content] == [b"red", b", still red"]


async def test_the_context_is_not_computed_for_a_request_that_asks_no_flag(site: Any, memory: MemoryClient) -> None:
    site(memory)
    assert (await AsyncClient().get("/other")).content == b"blue"  # user_of would raise a KeyError


@pytest.mark.parametrize(
    ("is_ambient", "answer"), [pytest.param(True, b"anna red", id="on"), pytest.param(False, b"nobody blue", id="off, the default")]
)
@pytest.mark.parametrize("name", ["ambient", "ambient_in_plain_code"])
@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_the_context_of_a_request_can_be_ambient(
    site: Any, memory: MemoryClient, is_ambient: bool, answer: bytes, name: str, kind: str
) -> None:
    site(memory, AMBIENT=is_ambient, CONTEXT=authenticated)
    with use_context(NOBODY):
        response = await response_to(kind, f"/{name}")
        assert response.content == answer
        assert current_context() is NOBODY


@sync_only_middleware
def in_plain_code(get_response: Any) -> Any:
    def called(request: HttpRequest) -> Any:
        with use_context(Context("anna")):
            return get_response(request)

    return called


@async_only_middleware
def in_async_code(get_response: Any) -> Any:
    async def called(request: HttpRequest) -> Any:
        with use_context(Context("anna")):
            return await get_response(request)

    return called


@pytest.mark.parametrize("name", ["awaiting", "plain"])
@pytest.mark.parametrize("middleware", ["in_plain_code", "in_async_code"])
async def test_without_a_function_the_ambient_context_is_used(site: Any, memory: MemoryClient, name: str, middleware: str) -> None:
    site(memory, CONTEXT=None, middleware=[f"{__name__}.{middleware}", *MIDDLEWARE])
    assert (await AsyncClient().get(f"/{name}")).content == b"red"


@pytest.mark.parametrize("name", ["awaiting", "plain"])
async def test_a_request_without_a_context_is_refused(site: Any, memory: MemoryClient, name: str) -> None:
    site(memory, CONTEXT=None)
    with pytest.raises(ConfigError, match="context: this request has none"):
        await AsyncClient().get(f"/{name}")


def test_a_template_without_a_request_is_refused(site: Any, memory: MemoryClient) -> None:
    site(memory)
    with pytest.raises(ConfigError, match="flag %}: this template has no request"):
        engines["django"].from_string("{% flag 'colour' %}").render({})


def test_a_template_may_use_the_attribute(site: Any, memory: MemoryClient) -> None:
    site(memory)
    request = RequestFactory().get("/", headers=ANNA)
    RequestFlagsMiddleware(lambda _request: HttpResponse())(request)
    assert render(request, "attribute").content == b"red"


# -- under ASGI


def served(app: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://site", headers=ANNA)


class Server:
    """Sends the messages of the lifespan to an application, as a server does."""

    def __init__(self, app: Any) -> None:
        self._messages: asyncio.Queue[Any] = asyncio.Queue()
        self._sent: asyncio.Queue[Any] = asyncio.Queue()
        self._task = asyncio.create_task(app({"type": "lifespan"}, self._messages.get, self._sent.put))

    async def do(self, phase: str) -> str:
        self._messages.put_nowait({"type": f"lifespan.{phase}"})
        return cast("str", (await self._sent.get())["type"])


@pytest.mark.parametrize("name", ALL)
async def test_the_client_lives_as_long_as_the_server(site: Any, client: Client, name: str) -> None:
    site(client)
    app = asgi(ASGIHandler())
    server = Server(app)
    assert await server.do("startup") == "lifespan.startup.complete"
    seen = [client.status]
    async with served(app) as http:
        assert (await http.get(f"/{name}")).text == "red"
    assert await server.do("shutdown") == "lifespan.shutdown.complete"
    assert [*seen, client.status] == [Status.READY, Status.NOT_READY]


@pytest.mark.leaves("generators", reason="without a lifespan nothing tells the application that the server ends")
async def test_a_server_without_a_lifespan_starts_the_client_at_the_first_request(site: Any, client: Client) -> None:
    site(client)
    async with served(asgi(ASGIHandler())) as http:
        answers = await asyncio.gather(http.get("/awaiting"), http.get("/plain"))
    assert [answer.text for answer in answers] == ["red", "red"]
    assert client.status is Status.READY
    await client.aclose()


async def test_flags_change_while_the_site_runs(site: Any, source: MemorySource) -> None:
    site(lambda: client_of(source))
    async with running() as started, served(ASGIHandler()) as http:
        assert (await http.get("/awaiting")).text == "red"
        with started.changes() as changes:
            source.set("colour", "green")
            await anext(changes)
        assert (await http.get("/awaiting")).text == "green"


def client_of(source: MemorySource) -> Client:
    return Client("", Config(data_system=DataSystem.custom(synchronizers=[source])))


async def test_a_client_for_flagd_serves_a_site(site: Any) -> None:
    site(FlagdClient.local(DOCUMENT))
    async with running(), served(ASGIHandler()) as http:
        assert [(await http.get(f"/{name}")).text for name in ("awaiting", "plain")] == ["red", "red"]
        assert await current_client(FlagdClient).variation("colour", Context("bert"), "") == "blue"
        with pytest.raises(ConfigError, match=r"the client of settings.AIOFLAGS: expected Client, got aioflags.FlagdClient"):
            current_client()


# -- under WSGI and in commands


def test_under_wsgi_the_client_runs_in_a_portal(site: Any, client: Client) -> None:
    site(client, CONTEXT=authenticated)
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(running()):
        http = httpx.Client(transport=httpx.WSGITransport(WSGIHandler()), base_url="http://site", headers=ANNA)
        assert [http.get(f"/{name}").text for name in ("plain", "awaiting")] == ["red", "red"]
    assert client.status is Status.NOT_READY


async def test_an_async_command_runs_the_client(site: Any, client: Client) -> None:
    site(client)
    async with running() as started:
        assert started is client is current_client()
        assert await client.variation("colour", Context("anna"), "") == "red"


@pytest.mark.parametrize("name", [*ALL, "other"])
async def test_a_client_that_does_not_run_is_refused_with_its_remedies(site: Any, source: MemorySource, name: str) -> None:
    site(lambda: client_of(source))
    with pytest.raises(LifecycleError, match=r"wrap the application in asgi.py.*not.*running\(\):`.*fixture flags"):
        await AsyncClient().get(f"/{name}", headers=ANNA)


def test_a_client_that_does_not_run_is_refused_under_wsgi(site: Any, source: MemorySource) -> None:
    site(lambda: client_of(source))
    with pytest.raises(LifecycleError, match=r"which `manage\.py runserver` is not"):
        SyncClient().get("/plain", headers=ANNA)


async def test_a_process_runs_one_client(site: Any, source: MemorySource) -> None:
    site(lambda: client_of(source))
    async with running() as first:
        with pytest.raises(LifecycleError, match=r"runs in this process already; use current_client\(\)"):
            await running().__aenter__()
        assert current_client() is first
    async with running() as second:
        assert second is not first


async def test_a_second_run_of_one_client_is_refused_with_a_remedy(site: Any, client: Client) -> None:
    site(client)
    async with running():
        pass
    with pytest.raises(LifecycleError, match=r'a function that makes a client for each run: AIOFLAGS = {"CLIENT": "shop'):
        await running().__aenter__()


async def test_settings_of_a_test_do_not_end_the_client_that_runs(site: Any, source: MemorySource, memory: MemoryClient) -> None:
    site(lambda: client_of(source))
    async with running() as started:
        with override_settings(AIOFLAGS={"CLIENT": memory}):
            assert current_client() is memory
        assert current_client() is started


# -- the settings


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param(["CLIENT"], "settings.AIOFLAGS: expected Mapping, got list", id="not a mapping"),
        pytest.param(
            {"CLIENTS": 1}, "settings.AIOFLAGS: unknown key 'CLIENTS'; it may have CLIENT, CONTEXT and AMBIENT", id="a key"
        ),
        pytest.param({"CLIENT": 7}, "client: expected a Client, or a function that makes one", id="the client"),
        pytest.param({"CLIENT": "no.module"}, r"settings.AIOFLAGS\[\"CLIENT\"\]: No module named 'no'", id="a module"),
        pytest.param({"CONTEXT": f"{__name__}.no"}, r"settings.AIOFLAGS\[\"CONTEXT\"\]: Module .* does not define a", id="a name"),
        pytest.param({"CONTEXT": Context("anna")}, "context: expected a function of the request", id="a context"),
        pytest.param({"AMBIENT": 1}, r"settings.AIOFLAGS\[\"AMBIENT\"\]: expected bool", id="the option"),
    ],
)
def test_a_mistake_in_the_settings_is_refused_when_the_application_is_made(options: Any, message: str) -> None:
    with override_settings(MIDDLEWARE=MIDDLEWARE, AIOFLAGS=options), pytest.raises(ConfigError, match=message):
        ASGIHandler()


async def test_functions_can_be_named_by_their_paths(site: Any) -> None:
    site(f"{__name__}.made", CONTEXT=f"{__name__}.user_of")
    async with running(), served(ASGIHandler()) as http:
        assert (await http.get("/awaiting")).text == "green"


def made() -> Client:
    return Client.local({"flagValues": {"colour": "green"}})


async def test_without_settings_the_client_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIOFLAGS_OFFLINE", "1")
    with override_settings():
        if hasattr(settings, "AIOFLAGS"):
            del settings.AIOFLAGS
        async with running() as client:
            assert cast("Client", client).is_offline
