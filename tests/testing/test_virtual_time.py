"""VirtualTimeLoop: its clock jumps, it waits for threads, and it detects deadlocks."""

from __future__ import annotations

import asyncio
import threading

import anyio
import pytest

from aioflags.testing.virtual_time import VirtualTimeLoop


async def test_a_sleep_of_a_day_takes_no_real_time() -> None:
    loop = asyncio.get_running_loop()
    then = loop.time()
    await anyio.sleep(86_400)
    assert loop.time() - then == pytest.approx(86_400)


async def test_sleeping_tasks_wake_in_the_order_of_their_deadlines() -> None:
    order: list[int] = []

    async def sleeper(seconds: int) -> None:
        await anyio.sleep(seconds)
        order.append(seconds)

    async with anyio.create_task_group() as group:
        for seconds in (30, 10, 20):
            group.start_soon(sleeper, seconds)
    assert order == [10, 20, 30]


async def test_the_clock_stands_still_while_a_thread_works() -> None:
    loop, release = asyncio.get_running_loop(), threading.Event()
    timer = loop.call_later(3600, release.set)
    then = loop.time()
    work = asyncio.to_thread(release.wait, 0.1)
    assert await work is False
    assert loop.time() == pytest.approx(then)
    timer.cancel()


@pytest.mark.slow
def test_a_deadlock_is_an_error() -> None:
    loop = VirtualTimeLoop()
    with pytest.raises(RuntimeError, match="deadlock"):
        loop.run_until_complete(asyncio.Event().wait())
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


@pytest.mark.real_time
async def test_the_marker_real_time_uses_the_wall_clock() -> None:
    assert not isinstance(asyncio.get_running_loop(), VirtualTimeLoop)
