"""The recipes for servers with several processes, run by the commands of their pages."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import httpx
import pytest

from aioflags.devserver import Endpoint
from aioflags.testing import FlagsService
from tests.recipes.recipe import PATIENCE, PAUSE, Program, Recipe, page, until_tracked

pytestmark = [
    pytest.mark.real_time,
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork"),
]

ASGI, WSGI = "servers.md", "synchronous-programs.md"
DJANGO = """
import os

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse
from django.urls import path

from aioflags import Context
from flags import client


def checkout(request):
    user = Context(request.GET["user"])
    is_new = client.variation_nowait("new-checkout", user, False)
    client.track("checkout seen", user)
    return JsonResponse({"checkout": "new" if is_new else "old", "process": os.getpid()})


urlpatterns = [path("", checkout)]
settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="only for this test")
app = get_wsgi_application()
"""
"""What a view of Django needs around it."""
AIOHTTP = """
import os

from aiohttp import web

from aioflags import Client, Context
from aioflags.aiohttp import setup

client = Client.from_env()


async def checkout(request):
    user = Context(request.query["user"])
    is_new = await client.variation("new-checkout", user, False)
    client.track("checkout seen", user)
    return web.json_response({"checkout": "new" if is_new else "old", "process": os.getpid()})


async def app():
    application = web.Application()
    application.router.add_get("/", checkout)
    setup(application, client)
    return application
"""
"""What gunicorn's worker of aiohttp loads."""
CHANGE = 5.0
"""Seconds until every worker has a change."""
of_the_scoreboard = pytest.mark.holds("RB-R23")

SERVERS = [
    pytest.param(
        ASGI, "uvicorn shop:app --workers 2 --timeout-graceful-shutdown 10", "shop", id="RB-R23 uvicorn", marks=of_the_scoreboard
    ),
    pytest.param(ASGI, "gunicorn shop:app -k uvicorn_worker.UvicornWorker -w 2", "shop", id="gunicorn, ASGI"),
    pytest.param(ASGI, "gunicorn shop:app -k uvicorn_worker.UvicornWorker -w 2 --preload", "shop", id="preloaded, ASGI"),
    pytest.param(ASGI, "gunicorn shop:app -k aiohttp.GunicornWebWorker -w 2", "aiohttp_shop", id="gunicorn, aiohttp"),
    pytest.param(ASGI, "hypercorn shop:app -w 2", "shop", id="hypercorn"),
    pytest.param(WSGI, "gunicorn shop:app -k gthread --threads 4 -w 2", "shop", id="gunicorn, Flask"),
    pytest.param(
        WSGI,
        "gunicorn shop:app -k gthread --threads 4 -w 2 --preload",
        "plain_shop",
        id="RB-R23 preloaded, WSGI",
        marks=of_the_scoreboard,
    ),
    pytest.param(WSGI, "uwsgi --module uwsgi_shop:app --master --processes 2 --enable-threads --die-on-term", "shop", id="uWSGI"),
    pytest.param(WSGI, "gunicorn shop:app -k gthread --threads 4 -w 2 --preload", "django_shop", id="preloaded, Django"),
]


async def ask(http: httpx.AsyncClient, user: str) -> tuple[int, str]:
    """The process that answers, and its checkout."""
    answer = (await http.get("/", params={"user": user})).raise_for_status().json()
    return answer["process"], answer["checkout"]


async def until(http: httpx.AsyncClient, checkout: str, processes: int, limit: float = PATIENCE) -> set[int]:
    """The processes, as soon as so many have this checkout."""
    seen: set[int] = set()
    async with asyncio.timeout(limit):
        while len(seen) < processes:
            answers = await asyncio.gather(*(ask(http, "anna") for _ in range(4)))
            seen |= {process for process, shown in answers if shown == checkout}
            await asyncio.sleep(PAUSE)
    return seen


async def record(http: httpx.AsyncClient, recipe: Recipe, program: Program) -> None:
    """Record events, end the server at once, and see that all of them were sent."""
    users = [f"user-{number}" for number in range(12)]
    await asyncio.gather(*(ask(http, user) for user in users))
    await program.end()
    await until_tracked(recipe.service, users)
    assert recipe.service.state.open_streams[Endpoint.STREAM] == 0


@pytest.mark.parametrize(("name", "command", "module"), SERVERS)
async def test_each_worker_has_a_client_that_follows_flags_and_sends_its_events(
    name: str, command: str, module: str, flags_service: FlagsService, tmp_path: Path, unused_tcp_port: int
) -> None:
    assert f"| `{command}` |" in page(name)
    recipe = Recipe(tmp_path, flags_service, name)
    (tmp_path / "django_shop.py").write_text(DJANGO)
    (tmp_path / "aiohttp_shop.py").write_text(AIOHTTP)
    flags_service.set("new-checkout", False)
    async with recipe.serving(command.replace("shop", module, 1), unused_tcp_port) as (program, http):
        await flags_service.until_streaming(2, timeout=PATIENCE)
        before = await until(http, "old", 2)
        flags_service.set("new-checkout", True)
        assert await until(http, "new", 2, CHANGE) == before
        assert flags_service.state.open_streams[Endpoint.STREAM] == 2  # one for each worker, none for their parent
        await record(http, recipe, program)


@of_the_scoreboard
async def test_a_reload_closes_the_old_client_and_starts_a_new_one(
    flags_service: FlagsService, tmp_path: Path, unused_tcp_port: int
) -> None:
    command = "uvicorn shop:app --reload"
    assert f"| `{command}` |" in page(ASGI)
    recipe = Recipe(tmp_path, flags_service, ASGI)
    flags_service.set("new-checkout", True)
    async with recipe.serving(command, unused_tcp_port) as (program, http):
        await flags_service.until_streaming(1, timeout=PATIENCE)
        before, _ = await ask(http, "before the reload")
        with (tmp_path / "shop.py").open("a") as source:
            source.write("# edited\n")
        # The old client has sent its events; the new one is ready when its process answers.
        await until_tracked(flags_service, ["before the reload"])
        async with asyncio.timeout(PATIENCE):
            while (after := await process_of(http)) in {None, before}:
                await asyncio.sleep(0.05)
        assert await ask(http, "anna") == (after, "new")
        await flags_service.until_streaming(1, timeout=PATIENCE)
        assert flags_service.state.open_streams[Endpoint.STREAM] == 1
        await record(http, recipe, program)


async def process_of(http: httpx.AsyncClient) -> int | None:
    """The process that answers. A process that ends for a reload breaks its connections."""
    try:
        return (await ask(http, "anna"))[0]
    except httpx.TransportError:
        return None
