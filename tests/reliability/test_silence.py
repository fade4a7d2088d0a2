"""R6: connections that are half open, on which nothing arrives, not even their end. In virtual time."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import anyio
import pytest

from aioflags import Status
from tests.reliability.plugin import Figures
from tests.reliability.scoreboard import batches, replayable
from tests.reliability.worlds import HEARTBEAT, KEYS, Fdv1, Fdv2, Flagd, FlagdRpc, Mobile, World

MISSED = 2.5
"""Heartbeats after which a connection is given up."""
KEEP_ALIVE = 20.0
"""Seconds between two messages of flagd on an event stream that is silent."""
STREAM_DEADLINE = 600.0
"""Seconds until flagd's streams end as planned. That of its flags has no heartbeats."""
LIMITS: dict[Callable[[], World], float] = {Flagd: STREAM_DEADLINE, FlagdRpc: MISSED * KEEP_ALIVE}
"""Seconds until the silence is noticed; 2.5 heartbeats for the clients of LaunchDarkly's service."""
RECOVERY, RECOVERY_OF_FLAGD = 1.5, 5.5
"""Seconds until the newest flags are there, after that."""
HOUR = 3600.0


@pytest.mark.holds("RB-R6")
@pytest.mark.timeout(0)
@pytest.mark.parametrize("make", [Fdv2, Fdv1, Mobile, Flagd, FlagdRpc])
@pytest.mark.parametrize("seeds", batches("R6", 2), ids=str)
async def test_a_silent_connection_is_given_up_and_the_status_shows_it(
    make: Callable[[], World], seeds: range, figures: Figures
) -> None:
    limit = LIMITS.get(make, MISSED * HEARTBEAT)
    for seed in seeds:
        with replayable(seed) as chance:
            noticed = await silence(make(), chance, limit, RECOVERY_OF_FLAGD if make in LIMITS else RECOVERY)
        figures.worst("noticed" if make not in LIMITS else f"noticed, {make.__name__}", noticed, "s")
        figures.total("silent connections", 1)


async def silence(world: World, chance: Random, limit: float, recovery: float) -> float:
    """The seconds from the begin of the silence until the status shows it."""
    world.commit(dict.fromkeys(KEYS, 0))
    async with world.running():
        await world.until_converged(1)
        await anyio.sleep(1)
        attempts, lasted = len(world.attempts), HOUR * chance.random()
        await anyio.sleep(lasted)
        planned = lasted // STREAM_DEADLINE if isinstance(world, (Flagd, FlagdRpc)) else 0
        assert len(world.attempts) - attempts <= planned, "heartbeats keep a connection"
        await world.client.wait_until(Status.READY, recovery)
        began = anyio.current_time()
        world.silence()
        world.commit(dict.fromkeys(KEYS, 1))
        await world.client.wait_until(Status.STALE, limit + 0.01)
        noticed = anyio.current_time() - began
        assert world.client.report.last_error is not None
        # The planned end of a stream of events makes the client STALE early. The dead connection is noticed only at the limit.
        spare = limit - noticed if isinstance(world, FlagdRpc) else 0
        await world.client.wait_until(Status.READY, spare + recovery)
        await world.until_converged(0.01)
        await world.read()
        await anyio.sleep(1)
    world.check()
    return noticed
