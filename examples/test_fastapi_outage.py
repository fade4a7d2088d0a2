"""An outage of the flag service, in a test of the FastAPI service: async, with the lifespan of the application.

The flag server runs in the test's own event loop.

Run in a clone: pip install ".[dev]"; pytest examples/test_fastapi_outage.py
Tests of your own need: pip install "aioflags[server]" fastapi pytest-asyncio
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import httpx
import pytest
from fastapi import FastAPI

from aioflags import Status
from aioflags.devserver import Fault, FaultKind
from aioflags.testing import FlagsService
from examples.fastapi_app import create_app


@asynccontextmanager
async def running(app: FastAPI) -> AsyncGenerator[httpx.AsyncClient, None]:
    """The application between startup and shutdown, and an HTTP client of it. httpx alone does not run the lifespan."""
    transport = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://shop") as http:
        yield http


@pytest.mark.asyncio
async def test_the_checkout_works_through_an_outage(flags_service: FlagsService) -> None:
    flags_service.set("new-checkout", True)
    client = flags_service.client()
    async with running(create_app(client)) as http:
        await flags_service.until_streaming()
        assert (await http.get("/checkout")).json() == "the new checkout"

        flags_service.inject(Fault(kind=FaultKind.STATUS, status=503))
        await client.wait_until(Status.STALE)
        assert (await http.get("/checkout")).json() == "the new checkout"  # from the data at hand
        assert (await http.get("/ready")).status_code == 200

        flags_service.lift()
        flags_service.set("new-checkout", False)
        await client.wait_until(Status.READY)
        assert (await http.get("/checkout")).json() == "the old checkout"


@pytest.mark.asyncio
async def test_a_start_during_an_outage_serves_defaults(flags_service: FlagsService) -> None:
    flags_service.set("new-checkout", True)
    flags_service.inject(Fault(kind=FaultKind.STATUS, status=503))
    client = flags_service.client(start_wait=0.2)
    async with running(create_app(client)) as http:
        assert (await http.get("/checkout")).json() == "the old checkout"  # the default of the code
        assert (await http.get("/ready")).status_code == 503
