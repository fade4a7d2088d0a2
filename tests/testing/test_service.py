"""FlagsService: a handle for a server in the event loop of the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import httpx
import pytest

from aioflags import ConfigError, DataSystem, Status
from aioflags.devserver import Fault, FaultKind
from aioflags.testing import FlagChangeLog, FlagsService
from tests.support.canaries import secretive

pytestmark = pytest.mark.real_time

SOON = 5

USER = secretive("anna")


@pytest.fixture
async def service() -> AsyncIterator[FlagsService]:
    """A service with two flags."""
    async with FlagsService({"flagValues": {"checkout": True, "theme": "dark"}}) as running:
        yield running


async def test_a_client_gets_the_flags_of_the_service(service: FlagsService) -> None:
    async with service.client() as client:
        assert (await client.flags(USER)).all() == {"checkout": True, "theme": "dark"}


async def test_a_client_gets_a_value_that_is_set(service: FlagsService) -> None:
    log = FlagChangeLog()
    async with service.client() as client:
        log.follow(client)
        await service.until_streaming()
        service.set("theme", "light")
        await log.wait_for("theme")
        assert await client.variation("theme", USER, "") == "light"
        service.replace({"flagValues": {"other": 1}})
        await log.wait_for("other")
        assert (await client.flags(USER)).all() == {"other": 1}


async def test_a_wait_for_a_client_that_does_not_stream_has_a_limit(service: FlagsService) -> None:
    async with service.client(data_system=DataSystem.polling()):
        with pytest.raises(AssertionError, match=r"open streams within 0\.2 s: 0, not 1"):
            await service.until_streaming(timeout=0.2)


async def test_options_of_a_client_are_passed_on(service: FlagsService) -> None:
    client = service.client(data_system=DataSystem.polling(), start_wait=3.0)
    async with client:
        assert client.status is Status.READY
    assert service.config(offline=True).offline


async def test_a_value_that_is_not_json_is_refused(service: FlagsService) -> None:
    with pytest.raises(ConfigError, match="theme"):
        service.set("theme", {1})
    with pytest.raises(ConfigError, match=r"flags\.a\.on"):
        service.replace({"flags": {"a": {"on": "yes"}}})


async def test_faults_can_be_injected(service: FlagsService) -> None:
    service.inject(Fault(kind=FaultKind.STATUS, status=401))
    async with service.client() as client:
        assert client.status is Status.FATAL
        assert await client.variation("theme", USER, "none") == "none"


async def test_connections_are_cut(service: FlagsService) -> None:
    async with service.client() as client:
        await service.until_streaming()
        assert service.drop_connections() >= 1
        assert await client.variation("theme", USER, "") == "dark"


async def test_a_restart_keeps_flags_and_address(service: FlagsService) -> None:
    url = service.url
    async with service.client(data_system=replace(DataSystem.streaming(), initial_reconnect_delay=0.1)) as client:
        await service.until_streaming()
        await service.stop()
        await service.stop()
        await client.wait_until(Status.STALE, timeout=SOON)
        service.set("theme", "light")
        await service.start()
        await service.start()
        assert service.url == url
        await client.wait_until(Status.READY, timeout=SOON)
        await service.restart(after=0.1)
        await service.until_streaming()
        assert await client.variation("theme", USER, "") == "light"


async def test_a_wait_for_an_event_ends_when_a_body_comes_long_after_its_header(service: FlagsService) -> None:
    waits = asyncio.create_task(service.wait_for_event("custom", timeout=10 * SOON))

    async def body() -> AsyncIterator[bytes]:
        yield b"["
        await service.state.until(lambda: service.state.requests.total() > 0)
        for _ in range(3):
            await asyncio.sleep(0)  # the waiting task has looked, and found nothing
        yield b'{"kind": "custom", "key": "purchase"}]'

    async with httpx.AsyncClient() as http:
        await http.post(f"{service.url}/bulk", content=body())
    assert (await asyncio.wait_for(waits, SOON))["key"] == "purchase"
