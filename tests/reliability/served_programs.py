"""Applications that servers with several processes load: ASGI, WSGI and aiohttp. All answer with their process and the flag.

Their client is made at import, so that with ``--preload`` it is made before the fork. ``FLAGS_URL`` in the environment is the
address of the flags. gunicorn takes this module as its configuration, too.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any

from aiohttp import web
from anyio.from_thread import start_blocking_portal
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from aioflags import Client, Config, Context, Events
from aioflags.aiohttp import setup
from aioflags.asgi import lifespan

_PAUSE = 0.05
"""Seconds of a request: the server gives the next one to another process meanwhile."""
_url = os.environ["FLAGS_URL"]
_client = Client("sdk-workers", Config(base_uri=_url, stream_uri=_url, events_uri=_url, events=Events(diagnostic_opt_out=True)))


def _text() -> str:
    return f"{os.getpid()} {_client.variation_nowait('f', Context('anna'), -1)}"


async def _answer(_: Request) -> PlainTextResponse:
    await asyncio.sleep(_PAUSE)
    return PlainTextResponse(_text())


asgi = Starlette(lifespan=lifespan(_client), routes=[Route("/", _answer)])


async def _web_answer(_: web.Request) -> web.Response:
    await asyncio.sleep(_PAUSE)
    return web.Response(text=_text())


async def aiohttp() -> web.Application:
    """For aiohttp's worker of gunicorn."""
    application = web.Application()
    application.router.add_get("/", _web_answer)
    setup(application, _client)
    return application


def wsgi(_: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """For workers with threads."""
    time.sleep(_PAUSE)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [_text().encode()]


def post_worker_init(worker: Any) -> None:
    """gunicorn calls this in a worker, after the fork. One with threads needs an event loop beside them."""
    if worker.cfg.worker_class_str == "gthread":
        stack = ExitStack()
        atexit.register(stack.close)
        portal = stack.enter_context(start_blocking_portal())
        stack.enter_context(portal.wrap_async_context_manager(_client))
