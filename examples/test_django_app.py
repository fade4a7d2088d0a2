"""Tests of the Django site, with the fixtures of aioflags' pytest plugin: no account, no network, no database.

The last one has an outage: the flag server runs in the test's own event loop.
Tests of your own need: pip install "aioflags[server]" django pytest-asyncio
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager

import pytest
from django.test import AsyncClient, Client, override_settings

from aioflags import Client as FlagsClient
from aioflags import Status
from aioflags.devserver import Fault, FaultKind
from aioflags.django import running
from aioflags.testing import FlagsService, MemoryClient
from examples.django_app import user_of


def asking(client: FlagsClient) -> AbstractContextManager[object]:
    """The site with another client. With pytest-django, its fixture `settings` does the same."""
    return override_settings(ROOT_URLCONF="examples.django_app", AIOFLAGS={"CLIENT": client, "CONTEXT": user_of})


@pytest.fixture
def http(flags: MemoryClient) -> Iterator[Client]:
    """The site, which asks `flags`, and an HTTP client of it. Async views work, too."""
    with asking(flags):
        yield Client()


@pytest.mark.parametrize(
    ("value", "page"), [pytest.param(True, "the new checkout", id="on"), pytest.param(False, "the old checkout", id="off")]
)
def test_the_checkout_follows_its_flag(http: Client, flags: MemoryClient, value: bool, page: str) -> None:
    flags.set("new-checkout", value)
    assert http.get("/checkout").content.decode() == page


def test_the_discount_is_for_the_pro_plan(http: Client, flags: MemoryClient) -> None:
    flags.update(flags.flag("discount").variations(0, 10).fallthrough_variation(0).if_match("plan", "pro").then_return(1))
    assert http.get("/price", headers={"x-user": "anna", "x-plan": "pro"}).json() == 90
    assert http.get("/price", headers={"x-user": "bert"}).json() == 100
    assert http.get("/price").json() == 100


def test_it_is_ready(http: Client) -> None:
    assert http.get("/ready").status_code == 200


@pytest.mark.asyncio
async def test_the_checkout_works_through_an_outage(flags_service: FlagsService) -> None:
    flags_service.set("new-checkout", True)
    client, http = flags_service.client(), AsyncClient()
    with asking(client):
        async with running():
            await flags_service.until_streaming()
            assert (await http.get("/checkout")).content == b"the new checkout"

            flags_service.state.inject(Fault(kind=FaultKind.STATUS, status=503))
            flags_service.drop_connections()
            await client.wait_until(Status.STALE)
            assert (await http.get("/checkout")).content == b"the new checkout"  # from the data at hand
            assert (await http.get("/ready")).status_code == 200

            flags_service.state.faults.lift_all()
            flags_service.set("new-checkout", False)
            await client.wait_until(Status.READY)
            assert (await http.get("/checkout")).content == b"the old checkout"
