"""R23: each worker of a server has a client that works, also if the application was loaded before the fork, and after a reload."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import httpx
import pytest

from aioflags.testing import FlagsService
from tests.reliability.plugin import Figures
from tests.reliability.scoreboard import FORM, Form

pytestmark = [
    pytest.mark.real_time,
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork"),
]

ROOT = Path(__file__).parents[2]
WORKERS: Final = 8 if FORM is Form.FULL else 2
LIMIT: Final = 5.0
"""Seconds until all workers have a change."""
PATIENCE: Final = 60.0
"""Seconds for what is not measured: the start of the processes and their end."""


def gunicorn(kind: str, application: str) -> tuple[str, ...]:
    config = ("-c", "python:tests.reliability.served_programs", "--graceful-timeout", "5")
    return ("gunicorn", *config, "--preload", "-k", kind, "-w", str(WORKERS), "-b", "fd://{fd}", application)


SERVERS: Final = {
    "uvicorn": ("uvicorn", "--workers", str(WORKERS), "--fd", "{fd}", "asgi"),
    "gunicorn, preloaded, ASGI": gunicorn("asgi", "asgi"),
    "gunicorn, preloaded, aiohttp": gunicorn("aiohttp.GunicornWebWorker", "aiohttp"),
    "gunicorn, preloaded, WSGI": gunicorn("gthread", "wsgi"),
}

CHOSEN: Final = ("uvicorn", "gunicorn, preloaded, WSGI") if FORM is Form.SMOKE else tuple(SERVERS)


@asynccontextmanager
async def served(command: tuple[str, ...], url: str) -> AsyncGenerator[httpx.AsyncClient]:
    """A client of the server that this command starts. It must end without an error."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(128)
        port, fd = listening.getsockname()[1], listening.fileno()
        *options, application = (part.format(fd=fd) for part in command)
        server = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", *options, f"tests.reliability.served_programs:{application}"),
            cwd=ROOT,
            env={**os.environ, "FLAGS_URL": url},
            pass_fds=[fd],
            stderr=asyncio.subprocess.PIPE,
        )
    ending = asyncio.create_task(server.communicate())
    try:
        # Without connections that are kept, so that the next request may reach another process.
        limits = httpx.Limits(max_keepalive_connections=0)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, limits=limits, timeout=10) as client:
            yield client
        server.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE):
            _, errors = await ending
    finally:
        if server.returncode is None:
            server.kill()
            await ending
    log = errors.decode()
    assert (server.returncode, "Traceback" in log, "unclosed" in log) == (0, False, False), log


async def answers(client: httpx.AsyncClient) -> dict[int, int]:
    """The flag in each process that answers now. A process that ends, for a reload, breaks its connections."""
    asked = await asyncio.gather(*(client.get("/") for _ in range(4 * WORKERS)), return_exceptions=True)
    texts = [answer.text.split() for answer in asked if isinstance(answer, httpx.Response)]
    return {int(process): int(value) for process, value in texts}


async def until(client: httpx.AsyncClient, holds: Callable[[dict[int, int]], bool], seconds: float) -> dict[int, int]:
    """The newest answer of each process, when they hold."""
    seen: dict[int, int] = {}
    async with asyncio.timeout(seconds):
        while not holds(seen):
            seen.update(await answers(client))
    return seen


@pytest.mark.holds("RB-R23")
@pytest.mark.parametrize("name", CHOSEN)
async def test_each_worker_of_a_server_sees_a_change(name: str, flags_service: FlagsService, figures: Figures) -> None:
    flags_service.set("f", 1)
    async with served(SERVERS[name], flags_service.url) as client:
        await until(client, lambda seen: list(seen.values()) == [1] * WORKERS, PATIENCE)
        flags_service.set("f", 2)
        await until(client, lambda seen: list(seen.values()) == [2] * WORKERS, LIMIT)
    figures.total("workers of servers", WORKERS)


@pytest.mark.holds("RB-R23")
async def test_a_server_that_reloads_has_a_new_client(flags_service: FlagsService, figures: Figures, tmp_path: Path) -> None:
    source = tmp_path / "changed.py"
    source.touch()
    command = ("uvicorn", "--reload", "--reload-dir", str(tmp_path), "--fd", "{fd}", "asgi")
    flags_service.set("f", 1)
    async with served(command, flags_service.url) as client:
        (before,) = await until(client, lambda seen: list(seen.values()) == [1], PATIENCE)
        source.write_text("changed = True")
        flags_service.set("f", 2)
        await until(client, lambda seen: 2 in {value for process, value in seen.items() if process != before}, PATIENCE)
    figures.total("reloads", 1)
