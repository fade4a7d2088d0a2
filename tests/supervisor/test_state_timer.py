"""StateTimer: a deadline that moves while a task waits for it, in virtual time."""

from __future__ import annotations

import math

import anyio
import anyio.lowlevel
import pytest

from aioflags.model.status import SourceState
from aioflags.supervisor.source_run import StateTimer

INITIALIZING, VALID, INTERRUPTED, OFF = list(SourceState)[:4]
LIMITS = {INITIALIZING: 10.0, INTERRUPTED: 60.0, VALID: 300.0}


@pytest.mark.parametrize(
    ("script", "expires", "state"),
    [
        pytest.param([], 10, INITIALIZING, id="no state is reported"),
        pytest.param([5, INTERRUPTED], 10, INITIALIZING, id="an interruption before the first success is still the start"),
        pytest.param([5, VALID], 305, VALID, id="VALID starts its limit"),
        pytest.param([5, VALID, 200, VALID], 305, VALID, id="the same state again does not move the deadline"),
        pytest.param([5, VALID, 200, INTERRUPTED], 265, INTERRUPTED, id="an interruption starts a shorter limit"),
        pytest.param(
            [5, VALID, 5, INTERRUPTED, 30, INTERRUPTED], 70, INTERRUPTED, id="repeated interruptions do not move the deadline"
        ),
        pytest.param([5, VALID, 5, INTERRUPTED, 59, VALID], 369, VALID, id="VALID again starts a longer limit"),
        pytest.param([5, VALID, 5, OFF, INITIALIZING], 305, VALID, id="OFF and INITIALIZING do not move the deadline"),
    ],
)
async def test_a_timer_expires_after_the_limit_of_its_state(
    script: list[float | SourceState], expires: float, state: SourceState
) -> None:
    start, timer = anyio.current_time(), StateTimer(LIMITS)

    async def report() -> None:
        for step in script:
            if isinstance(step, SourceState):
                timer.enter(step)
            else:
                await anyio.sleep(step)

    async with anyio.create_task_group() as group:
        group.start_soon(report)
        await timer.until_expired()
    assert anyio.current_time() - start == pytest.approx(expires)
    assert timer.state is state


@pytest.mark.parametrize(
    ("limits", "until", "expires"),
    [
        pytest.param({}, 500, 500, id="no limit: at the end"),
        pytest.param(LIMITS, 5, 5, id="the end comes first"),
        pytest.param(LIMITS, 50, 10, id="the limit comes first"),
        pytest.param({}, -1, 0, id="the end has passed: at once"),
        pytest.param({}, math.inf, None, id="no limit and no end: never"),
    ],
)
async def test_a_timer_expires_at_the_earlier_of_limit_and_end(
    limits: dict[SourceState, float], until: float, expires: float | None
) -> None:
    start = anyio.current_time()
    timer = StateTimer(limits, until=start + until)
    with anyio.move_on_after(86_400) as day:
        await timer.until_expired()
    assert day.cancelled_caught is (expires is None)
    if expires is not None:
        assert anyio.current_time() - start == pytest.approx(expires)


@pytest.mark.parametrize(
    ("meanwhile", "expires"),
    [
        pytest.param(INTERRUPTED, 15, id="it expires at the end of the hold"),
        pytest.param(VALID, 308, id="a change of state inside starts its limit"),
    ],
)
async def test_a_held_timer_does_not_expire(meanwhile: SourceState, expires: float) -> None:
    start, timer = anyio.current_time(), StateTimer(LIMITS)

    async def absorb() -> None:
        await anyio.sleep(8)
        with timer.held():
            timer.enter(meanwhile)
            await anyio.sleep(7)

    async with anyio.create_task_group() as group:
        group.start_soon(absorb)
        await timer.until_expired()
    assert anyio.current_time() - start == pytest.approx(expires)


async def test_a_timer_may_be_held_before_a_task_waits_for_it() -> None:
    start, timer = anyio.current_time(), StateTimer(LIMITS)
    with timer.held():
        await anyio.sleep(20)
    await timer.until_expired()
    assert anyio.current_time() - start == pytest.approx(20)


@pytest.mark.holds("FB-31")
async def test_a_result_that_arrives_at_the_deadline_wins() -> None:
    timer = StateTimer(LIMITS)
    expired = absorbed = False

    async def watch() -> None:
        nonlocal expired
        await timer.until_expired()
        expired = True

    async def pump() -> None:
        nonlocal absorbed
        await anyio.sleep(10)
        with timer.held():
            await anyio.lowlevel.checkpoint()
            timer.enter(VALID)
            absorbed = True

    async with anyio.create_task_group() as group:
        # The watch is first in line.
        group.start_soon(watch)
        group.start_soon(pump)
        await anyio.sleep(300)
        assert (expired, absorbed, timer.state) == (False, True, VALID)
        group.cancel_scope.cancel()
