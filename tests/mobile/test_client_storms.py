"""Many things at once: modes that switch a hundred times a second, calls that hang, and a directive in the middle of each."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import anyio
import pytest

from aioflags.mobile.client import MobileClient
from aioflags.mobile.modes import ConnectionMode
from aioflags.model.context import Context
from aioflags.model.status import IdentifyStatus
from tests.support.mobile_service import (
    ANNA,
    BEN,
    UP_TO_DATE,
    Hit,
    MobileService,
    mobile_client,
    named,
    named_fdv1,
    streamed,
)
from tests.support.scripted_http import HANG, Answer

MODES = tuple(ConnectionMode)
CONTEXTS = (ANNA, BEN, Context("cleo"))


def fresh(client: MobileClient) -> bool:
    """Whether the flag belongs to the context of the client, or is not there yet."""
    return client.variation("f", "") in ("", f"poll {client.context.key}", f"fdv1 {client.context.key}", "stream")


@pytest.mark.parametrize("debounce", [0, 1])
async def test_a_hundred_switches_a_second(debounce: float, caplog: pytest.LogCaptureFixture) -> None:
    service = MobileService()
    async with mobile_client(service, debounce=debounce) as client:
        tasks = len(asyncio.all_tasks())
        for number in range(1000):
            await client.set_connection_mode(MODES[number % len(MODES)])
            await anyio.sleep(0.01)
            assert fresh(client)
        await client.set_connection_mode("polling")
        await anyio.sleep(5)
        assert (client.mode, client.variation("f", "")) == (ConnectionMode.POLLING, "poll anna")
        assert len(asyncio.all_tasks()) <= tasks
        assert service.open == 0
    assert service.most_open == 1
    # The flags are young, so no switch polls. Each time that the mode streams, it connects once.
    assert len(service.to("poll")) == 1
    assert len(service.to("stream")) <= (201 if debounce == 0 else 1)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_offline_and_back_a_hundred_times_a_second() -> None:
    service = MobileService()
    async with mobile_client(service) as client:
        for number in range(1000):
            client.set_offline(number % 2 == 0)
            await anyio.sleep(0.01)
        await anyio.sleep(5)
        assert client.variation("f", "") == "poll anna"
    assert (service.most_open, service.open) == (1, 0)


BUSY = Answer(429, {"Retry-After": "120"})
TO_AND_FRO = (ConnectionMode.POLLING, ConnectionMode.STREAMING)


@pytest.mark.parametrize(
    ("script", "times"),
    [
        pytest.param(
            {"poll": [BUSY, named("poll")], "stream": [BUSY, streamed("s", f="stream")]},
            {"poll": [0, 120], "stream": [0, 168]},
            id="polls and streams",
        ),
        pytest.param(
            {"poll": [BUSY.directed()], "fdv1": [BUSY, named_fdv1]},
            {"poll": [0], "fdv1": [0, 120], "stream": []},
            id="polls by FDv1",
        ),
    ],
)
async def test_switches_of_the_mode_do_not_shorten_the_time_that_the_service_asked_for(
    script: dict[str, Any], times: dict[str, list[float]]
) -> None:
    service = MobileService(**script)
    async with mobile_client(service, debounce=0, start_wait=1) as client:
        for number in range(119):
            await client.set_connection_mode(TO_AND_FRO[number % 2])
            await anyio.sleep(0.9)
        # It polls when 120 s are over, and streams from the next switch on.
        await client.set_connection_mode("polling")
        await anyio.sleep(60)
        await client.set_connection_mode("streaming")
        await anyio.sleep(10)
        assert client.variation("f", "") in ("stream", "fdv1 anna")
    assert {endpoint: [round(time) for time in service.times(endpoint)] for endpoint in times} == times


async def test_a_new_context_asks_at_once_though_the_service_asked_to_wait() -> None:
    service = MobileService(poll=[BUSY, named("poll")], stream=[BUSY, UP_TO_DATE])
    async with mobile_client(service, start_wait=1) as client:
        result = await client.identify(BEN, timeout=3)
        assert (result.status, client.variation("f", "")) == (IdentifyStatus.COMPLETED, "poll ben")


@pytest.mark.parametrize(
    ("where", "seconds"),
    [
        pytest.param("poll", 0, id="a poll"),
        pytest.param("stream", 0, id="the first stream"),
        pytest.param("stream", 0.25, id="a stream after 0.25 s"),
        pytest.param("stream", 0.5, id="a stream after 0.5 s"),
    ],
)
async def test_a_directive_in_the_middle_of_switches(where: str, seconds: float) -> None:
    # From a moment on each answer of FDv2 has the directive.
    def directed(hit: Hit, answer: Answer) -> Answer:
        return answer.directed() if hit.time >= seconds and hit.endpoint == where else answer

    service = MobileService(
        poll=[lambda hit: directed(hit, named("poll")(hit))], stream=[lambda hit: directed(hit, streamed("s", f="stream"))]
    )
    async with mobile_client(service, debounce=0) as client:
        for number in range(300):
            await client.set_connection_mode(MODES[number % len(MODES)])
            await anyio.sleep(0.01)
            assert fresh(client)
            if client.connection_info.fallback.engaged:
                sent = len(service.to("poll")) + len(service.to("stream"))
                break
        else:
            pytest.fail("the directive was not sent")
        for number in range(300):
            await client.set_connection_mode(MODES[number % len(MODES)])
            await client.identify(CONTEXTS[number % 3], timeout=0.01)
            assert fresh(client)
        await client.set_connection_mode("streaming")
        await anyio.sleep(1)
        assert client.variation("f", "") == f"fdv1 {client.context.key}"
        assert len(service.to("poll")) + len(service.to("stream")) == sent
    assert (service.most_open, service.open) == (1, 0)


@pytest.mark.parametrize(
    "poll",
    [
        pytest.param(Answer(200, {"X-LD-FD-Fallback": "true"}, [b'{"events":[', HANG]), id="in the headers of a body that hangs"),
        pytest.param(Answer(503, {"X-LD-FD-Fallback": "true"}), id="in an error"),
        pytest.param(Answer(200, {"X-LD-FD-Fallback": "true"}, [b"{oops"]), id="with data that cannot be used"),
    ],
)
async def test_a_directive_while_a_call_hangs_and_others_wait(poll: Answer) -> None:
    service = MobileService(poll=[named("poll"), poll], stream=[UP_TO_DATE], fdv1=[named_fdv1])
    async with mobile_client(service) as client:
        await anyio.sleep(1)
        results = await asyncio.gather(
            client.identify(BEN, timeout=3, sheddable=False),
            client.identify(Context("cleo"), timeout=30),
            client.identify(Context(""), timeout=30, sheddable=False),
        )
        assert [result.status for result in results] in (
            [IdentifyStatus.COMPLETED, IdentifyStatus.SHED, IdentifyStatus.ERROR],
            [IdentifyStatus.TIMEOUT, IdentifyStatus.SHED, IdentifyStatus.ERROR],
        )
        await anyio.sleep(30)
        assert (client.context, client.variation("f", "")) == (BEN, "fdv1 ben")
    assert service.endpoints == ["poll", "stream", "poll", "fdv1"]
