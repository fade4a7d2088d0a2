"""A mobile client on real sockets, as its service sees it: which connections are open, and in what order they end."""

from __future__ import annotations

import asyncio

import pytest

from aioflags.mobile.modes import ConnectionMode
from aioflags.model.context import Context
from aioflags.model.status import IdentifyStatus
from tests.support.raw_service import RawMobileService, mobile_client

pytestmark = pytest.mark.real_time

QUIET = 0.3
"""Seconds in which a request would arrive that the client has begun to send."""


@pytest.mark.parametrize("in_headers", [True, False], ids=["in the headers", "in a goodbye"])
@pytest.mark.holds("F-9", "F-43", "S-52", "S-69")
async def test_after_a_directive_the_stream_ends_before_the_first_fdv1_request(*, in_headers: bool) -> None:
    async with RawMobileService(is_directed=in_headers).running() as service, asyncio.timeout(60), mobile_client(service) as client:
        service.direct()
        await service.wait_for("fdv1")
        await asyncio.sleep(QUIET)
        assert service.order == ["stream", "stream closed", "fdv1"]
        assert client.variation("f", "") == "a"
        assert client.connection_info.active_protocol == "fdv1"


@pytest.mark.holds("S-96")
async def test_offline_nothing_is_sent() -> None:
    async with RawMobileService().running() as service, asyncio.timeout(60), mobile_client(service, send_events=True) as client:
        await service.wait_for("stream")
        client.track("before")
        client.set_offline(True)
        await service.wait_for("stream closed")
        await service.wait_for("events")
        await asyncio.sleep(QUIET)
        before = len(service.log)
        client.track("offline")
        assert client.variation("f", "") == "a"
        client.flush()
        assert (await client.identify(Context("b"))).status is IdentifyStatus.COMPLETED
        await asyncio.sleep(QUIET)
        assert service.log[before:] == []
        client.set_offline(False)
        await service.wait_for("stream", 2)
    assert service.order.count("stream closed") == 2


@pytest.mark.parametrize("by_option", [True, False], ids=["by its option", "by a call before the start"])
async def test_a_client_that_starts_offline_opens_no_connection(*, by_option: bool) -> None:
    async with RawMobileService().running() as service, asyncio.timeout(60):
        client = mobile_client(service, send_events=True, offline=by_option)
        client.set_offline(True)
        async with client:
            client.track("offline")
            await asyncio.sleep(QUIET)
            assert (service.order, service.connections) == ([], set())
        assert service.order == []


@pytest.mark.parametrize(
    ("mode", "follows"),
    [(ConnectionMode.POLLING, []), (ConnectionMode.OFFLINE, []), (None, ["stream"])],
    ids=["polling", "offline", "there and back"],
)
@pytest.mark.holds("S-31")
async def test_a_switch_closes_what_it_leaves_within_a_second(mode: ConnectionMode | None, follows: list[str]) -> None:
    async with RawMobileService().running() as service, asyncio.timeout(60), mobile_client(service) as client:
        await service.wait_for("stream")
        began = asyncio.get_running_loop().time()
        await client.set_connection_mode(mode or ConnectionMode.OFFLINE)
        assert await service.wait_for("stream closed") - began < 1
        if mode is None:
            await client.set_connection_mode(None)
            await service.wait_for("stream", 2)
        await asyncio.sleep(QUIET)
        assert service.order == ["stream", "stream closed", *follows]


@pytest.mark.holds("S-59", "F-26")
async def test_a_new_context_closes_the_stream_of_the_old_one_before_it_asks() -> None:
    async with RawMobileService().running() as service, asyncio.timeout(60), mobile_client(service) as client:
        for key in "bcd":
            assert (await client.identify(Context(key))).status is IdentifyStatus.COMPLETED
            assert client.variation("f", "") == key
        assert service.order == ["stream", *["stream closed", "stream"] * 3]
        service.direct()
        await service.wait_for("fdv1")
        await client.identify(Context("e"))
        assert client.variation("f", "") == "e"
    assert service.order[-3:] == ["stream closed", "fdv1", "fdv1"]


@pytest.mark.holds("S-49")
async def test_a_client_that_is_closed_ends_its_stream_and_sends_nothing_more() -> None:
    async with RawMobileService().running() as service, asyncio.timeout(60):
        client = mobile_client(service)
        await client.start()
        began = asyncio.get_running_loop().time()
        await client.aclose()
        assert await service.wait_for("stream closed") - began < 3
        await asyncio.sleep(QUIET)
        assert service.order == ["stream", "stream closed"]
        assert service.connections == set()
