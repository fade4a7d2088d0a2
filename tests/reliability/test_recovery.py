"""R4: how long after a fault a client has the newest flags, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random

import anyio
import httpx
import pytest

from tests.reliability.plugin import Figures
from tests.reliability.scoreboard import FORM, Form, batches, replayable
from tests.reliability.worlds import KEYS, Fdv1, Fdv2, Flagd, FlagdRpc, HttpWorld, Mobile, World
from tests.support.scripted_http import Answer

HOUR = 3600.0
FAULTS = {"a reset": 0.0, "a restart": 1.0, "half an hour": 0.5 * HOUR, "a day": 24 * HOUR}
"""How many seconds the server is away."""
LIMITS = {"a reset": 1.5, "a restart": 2.5, "half an hour": 31.0, "a day": 31.0}
LIMITS_OF_FLAGD = {"a reset": 5.5, "a restart": 5.5, "half an hour": 5.5, "a day": 5.5}
"""A client of a flagd opens a stream again after ``retry_backoff_max``, 5 s, as flagd's own providers do."""
SEEDS_FOR_A_DAY = 4 if FORM is Form.SMOKE else 20
"""A day takes seconds: it is tried for one seed of this many."""
OUTAGES = [
    Answer(503),
    Answer(429),
    Answer(after=httpx.RemoteProtocolError("Server disconnected")),
    Answer(after=httpx.ConnectTimeout("no answer")),
    Answer(200, {"Content-Type": "text/event-stream"}),
]
"""What the clients get from a server that is away, beside refused connections."""


@pytest.mark.holds("RB-R4")
@pytest.mark.timeout(0)
@pytest.mark.parametrize("make", [Fdv2, Fdv1, Mobile, Flagd, FlagdRpc])
@pytest.mark.parametrize("seeds", batches("R4", 4), ids=str)
async def test_a_client_recovers_soon_after(make: Callable[[], World], seeds: range, figures: Figures) -> None:
    limits = LIMITS_OF_FLAGD if make in {Flagd, FlagdRpc} else LIMITS
    for seed in seeds:
        for fault, limit in limits.items():
            if fault == "a day" and seed % SEEDS_FOR_A_DAY:
                continue
            with replayable(seed) as chance:
                seconds = await recovery(make(), chance, FAULTS[fault], limit)
            figures.worst(f"after {fault}" + (", flagd" if limits is LIMITS_OF_FLAGD else ""), seconds, "s")
            figures.total("recoveries", 1)


async def recovery(world: World, chance: Random, away: float, limit: float) -> float:
    """The seconds from the end of the fault to the newest flags."""
    world.commit(dict.fromkeys(KEYS, 0))
    async with world.running():
        await world.until_converged(1)
        await anyio.sleep(60 + 300 * chance.random())
        if isinstance(world, HttpWorld) and away > 1 and chance.random() < 0.7:
            answer = chance.choice(OUTAGES)
            world.network.intercept = lambda _: answer
        world.stop()
        await anyio.sleep(away)
        world.commit(dict.fromkeys(KEYS, 1))
        if isinstance(world, HttpWorld):
            world.network.intercept = lambda _: None
        world.start()
        seconds = await world.until_converged(limit)
        await world.read()
        await asyncio.sleep(1)
    world.check()
    return seconds
