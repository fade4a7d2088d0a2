"""Tests of the aiohttp service, with the fixtures of aioflags' pytest plugin: no account, no network."""

from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from aioflags.testing import MemoryClient
from examples.aiohttp_app import create_app

Http = TestClient[web.Request, web.Application]


@pytest.fixture
async def http(flags: MemoryClient) -> AsyncIterator[Http]:
    """The service, and somebody who calls it."""
    async with TestClient(TestServer(create_app(flags))) as client:
        yield client


@pytest.mark.parametrize(
    ("value", "page"), [pytest.param(True, "the new checkout", id="on"), pytest.param(False, "the old checkout", id="off")]
)
async def test_the_checkout_follows_its_flag(http: Http, flags: MemoryClient, value: bool, page: str) -> None:
    flags.set("new-checkout", value)
    async with http.get("/checkout") as response:
        assert await response.text() == page


async def test_the_discount_is_for_the_pro_plan(http: Http, flags: MemoryClient) -> None:
    flags.update(flags.flag("discount").variations(0, 10).fallthrough_variation(0).if_match("plan", "pro").then_return(1))
    prices: list[int] = []
    for headers in ({"x-user": "anna", "x-plan": "pro"}, {"x-user": "bert"}, {"x-user": ""}, {}):
        async with http.get("/price", headers=headers) as response:
            prices.append(await response.json())
    assert prices == [90, 100, 100, 100]


async def test_it_is_ready(http: Http) -> None:
    async with http.get("/ready") as response:
        assert response.status == 200
