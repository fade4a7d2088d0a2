"""R5: how often clients try to get flags while the service fails for hours, and when a thousand clients lost it together."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack

import anyio
import httpx
import pytest

from aioflags import Client, Config, Events
from aioflags.transport.flagd_struct import RpcFailed
from tests.reliability.plugin import Figures
from tests.reliability.scoreboard import FORM, Form, amount
from tests.reliability.worlds import ANN, KEYS, Fdv1, Fdv1Poll, Fdv2, Fdv2Poll, HttpWorld, Mobile
from tests.support.canaries import KEY
from tests.support.scripted_flagd import DENIED, INTERNAL, ScriptedFlagd
from tests.support.scripted_http import Answer

HOUR = 3600.0
MOST, MEAN, MOST_REFUSED, MOST_OF_FLAGD = 245, 165, 8, 800
"""Attempts in any hour, in an hour on average, in the first hour after a refusal, and of a client of a flagd, every 5 s."""
STEADY = 300
"""Seconds after which delays have reached their longest."""
RETRY_AFTER = 120
CLIENTS, SHARE = (200, 0.15) if FORM is Form.SMOKE else (1_000, 0.1)
"""The size of a herd, and how much of it may return in one second. A small herd varies more."""
HTTP_WORLDS = [Fdv2, Fdv2Poll, Fdv1, Fdv1Poll, Mobile]

ACCEPTED_THEN_CLOSED = Answer(200, {"Content-Type": "text/event-stream"})
FAILURES = {
    "accepted and closed": ACCEPTED_THEN_CLOSED,
    "a refused connection": Answer(after=httpx.ConnectError("connection refused")),
    "503": Answer(503),
    "429": Answer(429, {"Retry-After": str(RETRY_AFTER)}),
    "401": Answer(401),
}


def busiest_hour(times: Sequence[float]) -> int:
    """The highest number of these times within one hour."""
    return max((sum(start <= time < start + HOUR for time in times) for start in times), default=0)


@pytest.mark.holds("RB-R5")
@pytest.mark.timeout(0)
@pytest.mark.parametrize("had_data", [pytest.param(True, id="after an hour of service"), pytest.param(False, id="from the start")])
@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("make", HTTP_WORLDS)
async def test_a_failing_service_gets_few_attempts_an_hour(
    make: Callable[[], HttpWorld], failure: str, figures: Figures, *, had_data: bool
) -> None:
    random.seed(1)
    world, hours = make(), amount("R5")
    world.commit(dict.fromkeys(KEYS, 0))
    loop = asyncio.get_running_loop()
    began = loop.time()
    asked: dict[str, list[float]] = {}

    def fail(request: httpx.Request) -> Answer:
        asked.setdefault(request.url.path, []).append(loop.time() - began)
        return FAILURES[failure]

    if not had_data:
        world.network.intercept = fail
    async with world.running():
        if had_data:
            await anyio.sleep(HOUR)
            world.network.intercept = fail
            began = loop.time()
            world.reset()
        await anyio.sleep(hours * HOUR + STEADY)
    times = sorted(time for several in asked.values() for time in several)
    figures.total("hours", hours)
    if failure == "401":
        first = sum(1 < time <= 1 + HOUR for time in times)
        assert first <= MOST_REFUSED
        figures.worst("attempts in the first hour after a refusal", first)
        return
    steady = [time for time in times if time > STEADY]
    assert steady, "the client has to go on"
    busiest = busiest_hour([time for time in times if time > 60])
    assert busiest <= MOST
    assert len(steady) / hours <= MEAN
    figures.worst("attempts in an hour", busiest)
    if failure == "429":
        for several in asked.values():
            later = [time for time in several if time > STEADY]
            assert min(after - before for before, after in itertools.pairwise(later)) >= 0.9 * RETRY_AFTER


@pytest.mark.holds("RB-R5")
@pytest.mark.parametrize("resolver", ["in-process", "rpc"])
@pytest.mark.parametrize("end", [INTERNAL, DENIED], ids=lambda end: end.code)
async def test_a_failing_flagd_gets_an_attempt_every_five_seconds(resolver: str, end: RpcFailed, figures: Figures) -> None:
    flagd = ScriptedFlagd([[end]])
    async with flagd.client(resolver):
        await anyio.sleep(amount("R5") * HOUR)
    busiest = busiest_hour(flagd.opened)
    assert 0 < busiest <= MOST_OF_FLAGD
    figures.worst("attempts in an hour, flagd", busiest)


@pytest.mark.holds("RB-R5")
@pytest.mark.timeout(0)
async def test_a_herd_returns_in_many_seconds(figures: Figures) -> None:
    random.seed(2)
    world = Fdv2()
    world.commit({"a": 0})
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        clients = [Client(KEY, Config(http=world.network.http(), events=Events(send_events=False))) for _ in range(CLIENTS)]
        for client in clients:
            await stack.enter_async_context(client)
        await anyio.sleep(120)
        world.stop()
        await anyio.sleep(180)
        world.commit({"a": 1})
        world.start()
        back = loop.time()
        await anyio.sleep(60)
        assert {client.variation_nowait("a", ANN, 0) for client in clients} == {1}
    times = [time - back for time in world.attempts if time >= back]
    peak = max(sum(start <= time < start + 1 for time in times) for start in times)
    figures.worst("share of a herd in one second", 100 * peak / CLIENTS, "%")
    assert peak <= SHARE * CLIENTS
