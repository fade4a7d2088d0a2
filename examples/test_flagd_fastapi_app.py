"""Tests of the FastAPI service with flags from flagd, which runs in the test's own event loop: no Docker, no network.

Run in a clone: pip install ".[dev]"; pytest examples/test_flagd_fastapi_app.py
Tests of your own need: pip install "aioflags[server,flagd,openfeature]" fastapi pytest-asyncio
"""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from aioflags import FlagdClient, FlagdConfig, Status
from aioflags.testing import FakeFlagd
from examples.flagd_fastapi_app import create_app

FLAGS = json.loads(Path(__file__).with_name("flagd_flags.json").read_text(encoding="utf-8"))


def client_of(flagd: FakeFlagd) -> FlagdClient:
    return FlagdClient(FlagdConfig(resolver="in-process", port=flagd.sync_port, retry_backoff=0.1, retry_backoff_max=0.1))


@asynccontextmanager
async def running(client: FlagdClient) -> AsyncGenerator[httpx.AsyncClient, None]:
    """The application between startup and shutdown, and an HTTP client of it. httpx alone does not run the lifespan."""
    app = create_app(lambda: client)
    transport = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://shop") as http:
        yield http


@pytest.mark.asyncio
async def test_the_new_checkout_is_for_the_pro_plan(fake_flagd: FakeFlagd) -> None:
    fake_flagd.replace(FLAGS)
    async with running(client_of(fake_flagd)) as http:
        assert (await http.get("/checkout", headers={"x-user": "anna", "x-plan": "pro"})).json() == "the new checkout"
        assert (await http.get("/checkout", headers={"x-user": "bert"})).json() == "the old checkout"
        assert (await http.get("/checkout")).json() == "the old checkout"


@pytest.mark.asyncio
async def test_the_checkout_works_while_flagd_is_away(fake_flagd: FakeFlagd) -> None:
    fake_flagd.set("new-checkout", True)
    client = client_of(fake_flagd)
    async with running(client) as http:
        await fake_flagd.stop()
        await client.wait_until(Status.STALE, timeout=5)
        assert (await http.get("/checkout")).json() == "the new checkout"  # from the data at hand
        ready = await http.get("/ready")
        assert (ready.status_code, ready.json()) == (200, {"flags": "STALE"})


@pytest.mark.asyncio
async def test_the_service_starts_without_flagd(fake_flagd: FakeFlagd) -> None:
    fake_flagd.set("new-checkout", True)
    await fake_flagd.stop()
    client = client_of(fake_flagd)
    async with running(client) as http:
        assert (await http.get("/checkout")).json() == "the old checkout"
        assert (await http.get("/ready")).status_code == 503
        await fake_flagd.start()
        async with asyncio.timeout(5):
            while (await http.get("/checkout")).json() == "the old checkout":
                await asyncio.sleep(0.01)
        assert (await http.get("/ready")).status_code == 200
