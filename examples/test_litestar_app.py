"""Tests of the Litestar service, with the fixtures of aioflags' pytest plugin: no account, no network.

The last one has an outage: the flag server runs in the test's own event loop.
Tests of your own need: pip install "aioflags[server]" litestar pytest-asyncio
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, cast

import httpx
import pytest
from litestar import Litestar
from litestar.testing import TestClient

from aioflags import Status
from aioflags.devserver import Fault, FaultKind
from aioflags.testing import FlagsService, MemoryClient
from examples.litestar_app import create_app


@pytest.mark.parametrize(
    ("value", "page"), [pytest.param(True, "the new checkout", id="on"), pytest.param(False, "the old checkout", id="off")]
)
def test_the_checkout_follows_its_flag(flags: MemoryClient, value: bool, page: str) -> None:
    flags.set("new-checkout", value)
    with TestClient(create_app(flags)) as http:
        assert http.get("/checkout").text == page


def test_a_flag_may_change_while_the_service_runs(flags: MemoryClient) -> None:
    with TestClient(create_app(flags)) as http:
        assert http.get("/price").json() == 100
        flags.set("discount", 20)
        assert http.get("/price").json() == 80


def test_the_discount_is_for_the_pro_plan(flags: MemoryClient) -> None:
    flags.update(flags.flag("discount").variations(0, 10).fallthrough_variation(0).if_match("plan", "pro").then_return(1))
    with TestClient(create_app(flags)) as http:
        assert http.get("/price", headers={"x-user": "anna", "x-plan": "pro"}).json() == 90
        assert http.get("/price", headers={"x-user": "bert"}).json() == 100
        assert http.get("/price").json() == 100


def test_it_is_ready(flags: MemoryClient) -> None:
    with TestClient(create_app(flags)) as http:
        assert http.get("/ready").status_code == 200


@asynccontextmanager
async def running(app: Litestar) -> AsyncGenerator[httpx.AsyncClient, None]:
    """The application in the test's own event loop, and an HTTP client of it. Litestar's test clients use another event loop."""
    transport = httpx.ASGITransport(cast("Any", app))  # the types of ASGI differ
    async with app.lifespan(), httpx.AsyncClient(transport=transport, base_url="http://shop") as http:
        yield http


@pytest.mark.asyncio
async def test_the_checkout_works_through_an_outage(flags_service: FlagsService) -> None:
    flags_service.set("new-checkout", True)
    client = flags_service.client()
    async with running(create_app(client)) as http:
        await flags_service.until_streaming()
        assert (await http.get("/checkout")).text == "the new checkout"

        flags_service.state.inject(Fault(kind=FaultKind.STATUS, status=503))
        flags_service.drop_connections()
        await client.wait_until(Status.STALE)
        assert (await http.get("/checkout")).text == "the new checkout"  # from the data at hand
        assert (await http.get("/ready")).status_code == 200

        flags_service.state.faults.lift_all()
        flags_service.set("new-checkout", False)
        await client.wait_until(Status.READY)
        assert (await http.get("/checkout")).text == "the old checkout"
