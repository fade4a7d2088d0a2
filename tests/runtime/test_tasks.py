"""Tasks, broadcasts and the clock."""

from __future__ import annotations

import asyncio
import gc
import time
from typing import Any

import anyio
import pytest

from aioflags.runtime import clock
from aioflags.runtime.broadcast import Latest, LatestIterator, Signal
from aioflags.runtime.checkpoints import pause_when_spent, run_cooperatively
from aioflags.runtime.cooperative import Budget, Cooperative, run_at_once, sliced
from aioflags.runtime.tasks import in_own_task


async def test_the_caller_gets_the_result_or_the_exception() -> None:
    async def fails() -> None:
        raise ConnectionError

    assert await in_own_task(lambda: asyncio.sleep(1, "result")) == "result"
    with pytest.raises(ConnectionError):
        await in_own_task(fails)


@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("steps", [0, 1, 2, 5])
async def test_however_often_the_caller_is_cancelled_shielded_work_ends(times: int, steps: int) -> None:
    tidied: list[str] = []

    async def call() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            with anyio.CancelScope(shield=True):
                await asyncio.sleep(1)
                tidied.append("tidied")

    caller = asyncio.create_task(in_own_task(call))
    for _ in range(steps):
        await asyncio.sleep(0)
    for _ in range(times):
        caller.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await caller
    await asyncio.sleep(2)
    assert tidied == (["tidied"] if steps else [])  # without a step of the caller the call does not begin


async def test_a_time_limit_of_the_caller_ends_the_call() -> None:
    ended: list[float] = []

    async def call() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(asyncio.get_running_loop().time() - start)

    start = asyncio.get_running_loop().time()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(in_own_task(call), 1)
    with anyio.move_on_after(1):
        await in_own_task(call)
    await asyncio.sleep(0)
    assert ended == [pytest.approx(1), pytest.approx(2)]


async def test_a_call_that_fails_after_its_caller_was_cancelled_is_not_reported() -> None:
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))

    async def call() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            raise ConnectionError

    caller = asyncio.create_task(in_own_task(call))
    await asyncio.sleep(1)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    await asyncio.sleep(1)
    gc.collect()
    assert reported == []


# -- Cooperative work: slices of items, slices of time, and pauses between them.


def three_slices(done: list[str]) -> Cooperative[str]:
    for part in ("a", "b", "c"):
        done.append(part)
        yield
    return "result"


@pytest.mark.parametrize(
    ("items", "size", "slices"),
    [
        pytest.param([], 2, [], id="no items"),
        pytest.param([1, 2, 3, 4], 2, [[1, 2], [3, 4]], id="full slices"),
        pytest.param([1, 2, 3], 2, [[1, 2], [3]], id="a shorter last slice"),
        pytest.param([1], 5, [[1]], id="a slice larger than the items"),
    ],
)
def test_items_are_sliced(items: list[int], size: int, slices: list[list[int]]) -> None:
    assert list(sliced(iter(items), size)) == slices


def test_run_at_once_returns_the_result_of_all_slices() -> None:
    done: list[str] = []
    assert run_at_once(three_slices(done)) == "result"
    assert done == ["a", "b", "c"]


async def test_run_cooperatively_lets_other_tasks_run_after_each_slice() -> None:
    done: list[str] = []

    async def other() -> None:
        for number in range(3):
            done.append(str(number))
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(other)
        assert await run_cooperatively(three_slices(done)) == "result"
    assert done == ["a", "0", "b", "1", "c", "2"]


def test_a_budget_of_no_time_is_spent_at_once_and_restarts() -> None:
    budget = Budget(0.0)
    assert budget.is_spent()
    assert budget.is_spent()


def test_a_budget_lasts_for_its_seconds() -> None:
    assert not Budget(1000.0).is_spent()


@pytest.mark.parametrize(("seconds", "runs"), [pytest.param(0.0, True, id="spent"), pytest.param(1000.0, False, id="left")])
async def test_other_tasks_run_when_a_budget_is_spent(seconds: float, *, runs: bool) -> None:
    ran: list[bool] = []

    async def other() -> None:
        ran.append(True)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(other)
        await pause_when_spent(Budget(seconds))
        assert bool(ran) is runs


# -- broadcast: a follower gets the newest value, and may miss values in between. Signal: it wakes waiting tasks


async def test_a_follower_gets_the_newest_value_and_may_miss_earlier_ones() -> None:
    newest: Latest[int] = Latest()
    assert newest.value is None
    following = LatestIterator(newest)
    newest.put(1)
    assert await anext(following) == 1
    for value in (2, 3, 4):
        newest.put(value)
    assert await anext(following) == 4


async def test_an_equal_value_is_not_reported_again() -> None:
    newest: Latest[int] = Latest()
    assert [newest.put(value) for value in (1, 1, 2, 2, 1)] == [True, False, True, False, True]


async def test_a_follower_waits_for_the_first_value_and_for_each_newer_one() -> None:
    newest: Latest[int] = Latest()
    seen: list[tuple[float, int]] = []
    start = asyncio.get_running_loop().time()

    async def follow() -> None:
        seen.extend([(asyncio.get_running_loop().time() - start, value) async for value in LatestIterator(newest)])

    async with anyio.create_task_group() as group:
        group.start_soon(follow)
        await anyio.sleep(1)
        newest.put(5)
        await anyio.sleep(1)
        newest.put(6)
        await anyio.sleep(1)
        newest.close()
    assert seen == [(1, 5), (2, 6)]


async def test_an_iteration_ends_after_the_last_value() -> None:
    newest: Latest[int] = Latest()
    newest.put(1)
    newest.close()
    assert newest.put(2) is False
    assert [value async for value in LatestIterator(newest)] == [1]


async def test_an_iteration_without_a_value_ends() -> None:
    newest: Latest[int] = Latest()
    newest.close()
    assert [value async for value in LatestIterator(newest)] == []


async def test_followers_do_not_affect_each_other() -> None:
    newest: Latest[str] = Latest()
    newest.put("a")
    one, other = LatestIterator(newest), LatestIterator(newest)
    assert await anext(one) == "a"
    newest.put("b")
    assert (await anext(one), await anext(other)) == ("b", "b")


async def test_a_signal_wakes_the_waiting_tasks_and_no_later_task() -> None:
    signal, woken = Signal(), list[str]()

    async def waiter(name: str) -> None:
        await signal.wait()
        woken.append(name)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(waiter, "a")
        tasks.start_soon(waiter, "b")
        await anyio.wait_all_tasks_blocked()
        signal.send()
        tasks.start_soon(waiter, "late")
        await anyio.wait_all_tasks_blocked()
        assert sorted(woken) == ["a", "b"]
        signal.send()
    assert woken[2:] == ["late"]


async def test_a_signal_does_not_wake_tasks_of_the_parent_of_a_fork() -> None:
    signal = Signal()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(signal.wait)
        await anyio.wait_all_tasks_blocked()
        signal.after_fork()
        signal.send()
        with anyio.move_on_after(1) as limit:
            await anyio.sleep(2)
        assert limit.cancelled_caught
        assert not tasks.cancel_scope.cancel_called
        tasks.cancel_scope.cancel()


# -- the wall clock, for timestamps


def test_seconds_and_milliseconds_are_of_the_same_clock() -> None:
    before = time.time()
    seconds, milliseconds = clock.now(), clock.now_ms()
    after = time.time()
    assert before <= seconds <= after
    assert int(before * 1000) <= milliseconds <= after * 1000
