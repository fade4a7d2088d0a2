"""R10 and R11: however the peer behaves, a start and a close end in time, and a closed client leaves nothing behind."""

from __future__ import annotations

import asyncio
from functools import partial
from time import perf_counter

import pytest

from aioflags import Context
from tests.benchmarks.timing import LoopWatch
from tests.reliability.kinds import value_now
from tests.reliability.peers import CLOSE_TIMEOUT, KINDS, PEERS, client_for, peer_tasks
from tests.reliability.plugin import Figures
from tests.reliability.scoreboard import FORM, Form
from tests.support.scripted_clients import all_tasks
from tests.support.slowness import slowness

pytestmark = [pytest.mark.real_time, pytest.mark.speed, pytest.mark.slow, pytest.mark.timeout(30)]

WAITS = [0.1] if FORM is Form.SMOKE else [0.0, 0.1, 1.0]
LATE, REFUSAL_SHOWN = 0.05 * slowness(), 0.1 * slowness()
START, CLOSE, HELD = "start over its limit", "close over its limit", "loop held"
ROUNDS = 5


async def start_and_close(kind: str, peer: str, wait: float) -> dict[str, float]:
    """The seconds of a client that gets no flags."""
    async with PEERS[peer](kind) as address:
        client, before = client_for(kind, address), all_tasks()
        async with LoopWatch() as watch:
            began = perf_counter()
            await client.start(wait)
            started = perf_counter()
            assert value_now(client, "f", Context("anna"), 7) == 7
            closing = perf_counter()
            await client.aclose()
            closed = perf_counter()
        assert all_tasks() - peer_tasks() <= before
    return {START: max(started - began - wait, 0), CLOSE: max(closed - closing - CLOSE_TIMEOUT, 0), HELD: watch.longest}


@pytest.mark.holds("RB-R10", "RB-R11")
@pytest.mark.parametrize("wait", WAITS, ids=[f"{wait:g} s" for wait in WAITS])
@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("kind", KINDS)
async def test_a_start_and_a_close_end_in_time(kind: str, peer: str, wait: float, figures: Figures) -> None:
    await figures.least(dict.fromkeys((START, CLOSE, HELD), LATE), partial(start_and_close, kind, peer, wait), rounds=ROUNDS)


@pytest.mark.holds("RB-R10")
@pytest.mark.parametrize("kind", KINDS)
async def test_a_refusal_is_reported_soon_after_the_answer(kind: str, figures: Figures) -> None:
    async def refused() -> dict[str, float]:
        async with PEERS["a refusal"](kind) as address:
            client = client_for(kind, address)
            starting = asyncio.create_task(client.start(5))
            await address.answered.wait()
            answered = perf_counter()
            async with asyncio.timeout(10):
                while client.report.last_error is None and client.report.error is None:
                    await asyncio.sleep(0.002)
            late = perf_counter() - answered
            starting.cancel()
            await asyncio.wait({starting})
            await client.aclose()
        return {"refusal reported after": late}

    await figures.least({"refusal reported after": REFUSAL_SHOWN}, refused, rounds=ROUNDS)
