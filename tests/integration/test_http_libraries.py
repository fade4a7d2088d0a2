"""Whole clients on the embedded server, with HTTP clients of httpx and of httpx2."""

from __future__ import annotations

import asyncio

import pytest

from aioflags import FlagdClient, FlagdConfig, Status
from aioflags.testing import FakeFlagd, FlagsService
from tests.support.canaries import secretive
from tests.support.http_libraries import LIBRARIES, HttpLibrary, http_of

pytestmark = pytest.mark.real_time

USER = secretive("anna")
SOON = 60.0
FLAGS = {"flagValues": {"theme": "dark"}}


@pytest.mark.parametrize("library", LIBRARIES)
async def test_a_client_streams_and_sends_events(library: HttpLibrary) -> None:
    async with FlagsService(FLAGS) as service, asyncio.timeout(SOON):
        async with service.client(http=http_of(library)) as client:
            assert await client.variation("theme", USER, "") == "dark"
            await service.until_streaming(timeout=SOON)
            with client.changes("theme", USER) as changes:
                service.set("theme", "light")
                assert (await anext(changes)).new_value == "light"
            client.track("bought", USER)
        await service.wait_for_event("custom", key="bought", timeout=SOON)


@pytest.mark.parametrize("library", LIBRARIES)
async def test_a_mobile_client_follows_its_context_and_sends_events(library: HttpLibrary) -> None:
    async with FlagsService(FLAGS) as service, asyncio.timeout(SOON):
        async with service.mobile_client(USER, http=http_of(library)) as client:
            assert client.variation("theme", "") == "dark"
            await client.identify(secretive("ben"))
            assert client.variation("theme", "") == "dark"
            client.track("bought")
        await service.wait_for_event("custom", key="bought", timeout=SOON)


@pytest.mark.parametrize("library", LIBRARIES)
async def test_a_client_of_flagd_evaluates_over_ofrep(library: HttpLibrary) -> None:
    async with FakeFlagd({"flags": {}}) as flagd, asyncio.timeout(SOON):
        flagd.set("theme", "dark")
        config = FlagdConfig(resolver="ofrep", ofrep_base_url=flagd.ofrep_url, http=http_of(library), deadline=5, environment={})
        async with FlagdClient(config) as client:
            assert client.status is Status.READY
            assert await client.variation("theme", USER, "") == "dark"
