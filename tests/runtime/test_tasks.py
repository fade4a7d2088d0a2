"""Calls in tasks of their own: what their callers get, and what a cancellation leaves behind."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import anyio
import pytest

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
