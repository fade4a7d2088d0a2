"""Cooperative work: slices of items, slices of time, and pauses between them."""

from __future__ import annotations

import anyio
import pytest

from aioflags.runtime.checkpoints import pause_when_spent, run_cooperatively
from aioflags.runtime.cooperative import Budget, Cooperative, run_at_once, sliced


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
