"""R3 and R4: hours of a client and its server in virtual time, whose faults, changes and readers a seed decides.

After the last fault the client has the newest flags within the bound of R4; until then it serves what the server served.
"""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import anyio
import httpx
import pytest

from tests.reliability.plugin import Figures
from tests.reliability.scoreboard import batches, replayable
from tests.reliability.worlds import KEYS, WORLDS, Flagd, FlagdRpc, HttpWorld, World
from tests.support.scripted_flagd import END, INTERNAL, UNUSABLE
from tests.support.scripted_http import HANG, Answer

STEPS = 60
STREAM = {"Content-Type": "text/event-stream"}
FAILURES = [
    *[Answer(status) for status in (400, 408, 429, 500, 502, 503, 504)],
    Answer(429, {"Retry-After": "20"}),
    Answer(302, {"Location": "https://elsewhere.test/"}),
    Answer(200, {"Content-Type": "text/html"}, [b"<html>a proxy's page</html>"]),
    Answer(200, STREAM),
    Answer(200, STREAM, [b"event: put-object\ndata: {oops\n\n", HANG]),
    Answer(200, STREAM, [b'event: server-intent\ndata: {"payloads":[{"id":"p","target":9,"intentCode":"xfer-full"}]}\n\n', HANG]),
    Answer(200, {"Content-Type": "application/json"}, [b'{"events":[{"event":"server-intent"']),
    Answer(after=httpx.ConnectError("connection refused")),
    Answer(after=httpx.ReadTimeout("no answer")),
    Answer(after=httpx.RemoteProtocolError("Server disconnected")),
]
"""Answers of a service that fails for a while. Refusals such as 401 are left out: after those a client waits for minutes."""


@pytest.mark.holds("RB-R3", "RB-R4")
@pytest.mark.timeout(0)
@pytest.mark.parametrize("seeds", batches("R4", 4), ids=str)
async def test_a_client_serves_what_its_server_served(seeds: range, figures: Figures) -> None:
    for seed in seeds:
        for make in WORLDS:
            with replayable(seed) as chance:
                await simulate(make(), chance)
            figures.total("simulations", 1)


async def simulate(world: World, chance: Random) -> None:
    tasks = len(asyncio.all_tasks())
    world.commit(dict.fromkeys(KEYS, 0))
    async with world.running():
        await world.until_converged(world.slowest)
        for number in range(1, STEPS + 1):
            step(world, chance, number)
            await anyio.sleep(chance.choice([0, 0, 0.01, 0.9, 5, 15, 61, 400]))
            await world.read()
        mend(world)
        await world.until_converged(world.slowest)
        await world.read()
        await anyio.sleep(1)
    world.check()
    assert len(asyncio.all_tasks()) == tasks, "a task is left"


def step(world: World, chance: Random, number: int) -> None:
    """A change, a fault, or the end of faults."""
    match chance.randrange(8):
        case 0:
            world.reset()
        case 1:
            world.stop()
        case 2 | 3:
            mend(world)
        case 4:
            fail(world, chance)
        case _:
            world.change(chance, number, most=3)


def fail(world: World, chance: Random) -> None:
    """From now on some or all answers are wrong, or late."""
    if isinstance(world, HttpWorld):
        answers, share = chance.sample(FAILURES, 2), chance.choice([0.3, 1])
        longest = chance.choice([0, 1, 8])
        world.network.delay = lambda: chance.random() * longest
        world.network.intercept = lambda _: chance.choice(answers) if chance.random() < share else None
        if chance.random() < 0.5:
            world.reset()
    elif isinstance(world, (Flagd, FlagdRpc)):
        steps: list[Any] = [END, INTERNAL, UNUSABLE] if isinstance(world, Flagd) else [END, INTERNAL]
        world.flagd.send(chance.choice(steps))


def mend(world: World) -> None:
    """End all faults, and the connections that have a wrong answer."""
    world.start()
    if isinstance(world, HttpWorld):
        world.reset()
        world.network.delay = lambda: 0
        world.network.intercept = lambda _: None
