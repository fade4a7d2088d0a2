"""The fallback directive on real sockets: the order of requests and closed streams."""

from __future__ import annotations

import asyncio

import pytest

from aioflags import Client, Config, DataSystem, Events
from aioflags.sources import Fdv1FallbackOptions, Streaming
from tests.support.canaries import KEY, secretive
from tests.support.raw_service import DIRECTIVE, RawServerService

pytestmark = pytest.mark.real_time

USER = secretive("u")


def client_of(service: RawServerService) -> Client:
    system = DataSystem.custom(synchronizers=[Streaming(initial_reconnect_delay=0.01)], fdv1_fallback=Fdv1FallbackOptions())
    config = Config(base_uri=service.url, stream_uri=service.url, data_system=system, events=Events(send_events=False))
    return Client(KEY, config)


@pytest.mark.holds("DS-99", "FB-13", "FB-14", "FB-15")
async def test_after_a_directive_the_stream_is_closed_before_fdv1_is_polled() -> None:
    service = RawServerService(DIRECTIVE, values={"f": "from fdv2"}, fdv1={"f": "from fdv1"})
    async with service.running(), asyncio.timeout(120), client_of(service) as client:
        polled, closed = await service.wait_for("fdv1"), await service.wait_for("stream closed")
        with client.changes("f", USER) as changes:
            if await client.variation("f", USER, "") != "from fdv1":
                change = await anext(changes)
                assert (change.old_value, change.new_value) == ("from fdv2", "from fdv1")
        # Long enough for a reconnect after 10 ms to show.
        await asyncio.sleep(0.5)
    assert service.order[:2] == ["stream", "stream closed"]
    assert polled > closed
    assert service.order.count("stream") == 1


@pytest.mark.holds("DS-96")
async def test_closing_the_client_closes_its_stream() -> None:
    service = RawServerService(values={"f": 1})
    async with service.running(), asyncio.timeout(120):
        client = client_of(service)
        await client.start()
        reports = client.reports()
        assert (await anext(reports)).source_state == "VALID"
        await client.aclose()
        assert (await anext(reports)).source_state == "OFF"
        await service.wait_for("stream closed")
        await client.aclose()
        assert await client.variation("f", USER, 0) == 1


@pytest.mark.holds("FB-14")
async def test_a_stream_with_a_latched_directive_and_no_payload_is_closed() -> None:
    service = RawServerService(DIRECTIVE, body=b"event: goodbye\ndata: {}\n\n", fdv1={"f": 2})
    async with service.running(), asyncio.timeout(120), client_of(service) as client:
        await service.wait_for("stream closed")
        assert await client.variation("f", USER, 0) == 2
        assert service.order.count("stream") == 1
