"""Calls that change the context: their order, what is dropped, and what a time-out does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import TaskGroup

from aioflags.mobile.context_change import MAX_TURN, ContextChange, GivenContext
from aioflags.mobile.context_switcher import ChangeQueue
from aioflags.model.context import Context
from aioflags.model.status import IdentifyResult, IdentifyStatus

DONE = IdentifyResult(IdentifyStatus.COMPLETED)
COMPLETED, TIMEOUT, SHED, ERROR = (
    IdentifyStatus.COMPLETED,
    IdentifyStatus.TIMEOUT,
    IdentifyStatus.SHED,
    IdentifyStatus.ERROR,
)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Seconds: until the flags of the context arrive, that the change itself takes, and that a hook takes after it."""

    flags: float = 1
    switching: float = 0
    hook: float = 0


class Calls:
    """A queue, and the calls of a test with the times at which they changed the context and ended."""

    def __init__(self) -> None:
        self.queue = ChangeQueue(self._switch)
        self.switched: list[tuple[float, str]] = []
        self.overdue: list[tuple[float, str]] = []
        self.after: dict[str, tuple[float, IdentifyStatus]] = {}
        self.ended: dict[str, tuple[float, IdentifyStatus]] = {}
        self._plans: dict[str, Plan] = {}
        self._start = anyio.current_time()
        self._timers: list[asyncio.TimerHandle] = []

    @property
    def now(self) -> float:
        return round(anyio.current_time() - self._start, 6)

    def change(self, name: str, *, sheddable: bool = True, timeout: float | None = None, **seconds: float) -> ContextChange:
        self._plans[name] = Plan(**seconds)
        given = GivenContext(context=Context(name))
        return ContextChange(given=given, timeout=timeout, accepts_cached=False, is_sheddable=sheddable)

    async def call(self, name: str, **options: Any) -> None:
        result = await self.queue.call(self.change(name, **options))
        self.ended[name] = self.now, result.status

    async def _switch(self, change: ContextChange) -> None:
        name = change.given.context.key
        plan = self._plans[name]

        def report(error: str | None) -> None:
            if change.is_overdue and not change.outcome.done():
                self.overdue.append((self.now, name))

        async def after(result: IdentifyResult) -> None:
            self.after[name] = self.now, result.status
            await anyio.sleep(plan.hook)

        await anyio.sleep(plan.switching)
        self.switched.append((self.now, name))
        change.activated(report)
        change.after = after
        self._timers.append(asyncio.get_running_loop().call_later(plan.flags, change.completed))

    def end_timers(self) -> None:
        """No data arrive any more."""
        for timer in self._timers:
            timer.cancel()


@asynccontextmanager
async def calls() -> AsyncGenerator[tuple[Calls, TaskGroup]]:
    made = Calls()
    async with anyio.create_task_group() as group:
        group.start_soon(made.queue.run)
        yield made, group
        group.cancel_scope.cancel()
    made.end_timers()


async def test_calls_run_one_after_the_other() -> None:
    async with calls() as (made, group):
        for name in "ABC":
            group.start_soon(partial(made.call, name, sheddable=False))
        await anyio.sleep(10)
        assert made.switched == [(0, "A"), (1, "B"), (2, "C")]
        assert made.ended == {"A": (1, COMPLETED), "B": (2, COMPLETED), "C": (3, COMPLETED)}


async def test_a_waiting_call_is_dropped_when_a_newer_one_comes() -> None:
    async with calls() as (made, group):
        group.start_soon(lambda: made.call("S-81 B", flags=3))
        await anyio.sleep(1)
        group.start_soon(lambda: made.call("C"))
        await anyio.sleep(1)
        group.start_soon(lambda: made.call("D"))
        await anyio.sleep(10)
        assert made.ended == {"C": (2, SHED), "S-81 B": (3, COMPLETED), "D": (4, COMPLETED)}


async def test_a_waiting_call_that_must_not_be_dropped_runs_before_the_newer_one() -> None:
    async with calls() as (made, group):
        group.start_soon(lambda: made.call("A"))
        await anyio.sleep(0.1)
        for name, sheddable in (("B", False), ("C", True), ("D", True)):
            group.start_soon(partial(made.call, name, sheddable=sheddable))
            await anyio.sleep(0.1)
        await anyio.sleep(10)
        assert [name for _, name in made.switched] == ["A", "B", "D"]
        assert made.ended["C"] == (0.3, SHED)


@pytest.mark.parametrize(
    ("timeout", "ended", "next_turn"),
    [
        pytest.param(1, (1, TIMEOUT), 1, id="the turn ends with the time-out of the call"),
        pytest.param(20, (18, COMPLETED), MAX_TURN, id="a long one ends after the longest turn"),
        pytest.param(None, (18, COMPLETED), MAX_TURN, id="and so does one without a time-out, whose call ends with the data"),
    ],
)
async def test_a_call_whose_data_do_not_come_does_not_stop_the_next(
    timeout: float | None, ended: tuple[float, IdentifyStatus], next_turn: float
) -> None:
    async with calls() as (made, group):
        group.start_soon(lambda: made.call("A", flags=18, timeout=timeout))
        await anyio.sleep(0.5)
        group.start_soon(lambda: made.call("B"))
        await anyio.sleep(30)
        assert made.switched == [(0, "A"), (next_turn, "B")]
        assert made.ended["A"] == ended


async def test_a_call_that_times_out_before_its_turn_changes_the_context_then() -> None:
    async with calls() as (made, group):
        group.start_soon(lambda: made.call("A", flags=3))
        await anyio.sleep(0.1)
        group.start_soon(lambda: made.call("B", timeout=1))
        await anyio.sleep(10)
        assert made.ended["B"] == (1.1, TIMEOUT)
        assert (made.switched, made.overdue) == ([(0, "A"), (1.1, "B")], [(1.1, "A")])


async def test_a_call_that_timed_out_waits_for_no_call_before_it() -> None:
    async with calls() as (made, group):
        for name, timeout in (("A", None), ("B", None), ("C", 1)):
            group.start_soon(partial(made.call, name, flags=5, timeout=timeout, sheddable=False))
            await anyio.lowlevel.checkpoint()
        await anyio.sleep(10)
        assert made.switched == [(0, "A"), (1, "B"), (1, "C")]


async def test_a_caller_that_is_cancelled_leaves_no_half_change() -> None:
    async with calls() as (made, _):
        with anyio.move_on_after(1):
            await made.call("A", switching=2)
        await anyio.sleep(5)
        assert made.switched == [(2, "A")]
        assert made.ended == {}


@pytest.mark.parametrize("waiting", [0, 1, 3])
async def test_the_first_call_runs_before_those_that_wait_and_drops_none(waiting: int) -> None:
    made = Calls()
    async with anyio.create_task_group() as group:
        for number in range(waiting):
            group.start_soon(partial(made.call, f"waiting {number}", sheddable=number == 0))
        first = made.change("first", sheddable=False)
        made.queue.put_first(first)
        group.start_soon(made.queue.run)
        assert (await first.outcome, await first.result) == (DONE, DONE)
        await anyio.sleep(10)
        assert made.switched[0][1] == "first"
        group.cancel_scope.cancel()


async def test_calls_of_a_closed_queue_are_errors() -> None:
    async with calls() as (made, group):
        group.start_soon(lambda: made.call("A", flags=9))
        await anyio.sleep(0.1)
        group.start_soon(lambda: made.call("B"))
        await anyio.sleep(0.1)
        made.queue.close()
        await made.call("C")
        await anyio.sleep(0.1)
        assert (made.ended["B"], made.ended["C"]) == ((0.2, ERROR), (0.2, ERROR))


# -- what runs after a change


@pytest.mark.parametrize(
    ("flags", "timeout", "waits", "ended"),
    [
        pytest.param(2, None, 0, (2, COMPLETED), id="with the data"),
        pytest.param(2, 1, 0, (1, TIMEOUT), id="with the end of its turn"),
        pytest.param(18, 20, 0, (18, COMPLETED), id="with the data that come after its turn"),
        pytest.param(22, 20, 0, (20, TIMEOUT), id="with a time-out after its turn"),
        pytest.param(1, 2, 5, (3, TIMEOUT), id="with the data, if it timed out before its turn"),
    ],
)
async def test_the_end_of_each_change_is_reported_once_with_the_result_of_the_call(
    flags: float, timeout: float | None, waits: float, ended: tuple[float, IdentifyStatus]
) -> None:
    async with calls() as (made, group):
        if waits:
            group.start_soon(partial(made.call, "before", flags=waits))
            await anyio.lowlevel.checkpoint()
        group.start_soon(partial(made.call, "A", flags=flags, timeout=timeout))
        await anyio.sleep(40)
        assert made.after["A"] == ended
        assert made.ended["A"][1] is ended[1]


async def test_the_end_of_a_change_whose_caller_was_cancelled_is_reported() -> None:
    async with calls() as (made, _):
        with anyio.move_on_after(1):
            await made.call("A", flags=2)
        await anyio.sleep(5)
        assert made.after == {"A": (2, COMPLETED)}


async def test_a_caller_waits_for_what_runs_after_the_change_and_the_next_call_does_not() -> None:
    async with calls() as (made, group):
        group.start_soon(partial(made.call, "A", hook=3))
        await anyio.sleep(0.1)
        group.start_soon(partial(made.call, "B", hook=3))
        await anyio.sleep(10)
        assert made.switched == [(0, "A"), (1, "B")]
        assert made.ended == {"A": (4, COMPLETED), "B": (5, COMPLETED)}


async def test_a_call_whose_data_came_in_time_is_no_time_out_because_of_what_runs_after_the_change() -> None:
    async with calls() as (made, _):
        await made.call("A", timeout=2, hook=3)
        assert (made.after["A"], made.ended["A"]) == ((1, COMPLETED), (2, COMPLETED))


@pytest.mark.parametrize("is_closed", [True, False], ids=["the client closes", "an internal error"])
async def test_every_call_ends_when_the_queue_ends(*, is_closed: bool) -> None:
    made = Calls()
    async with anyio.create_task_group() as callers:
        async with anyio.create_task_group() as group:
            group.start_soon(made.queue.run)
            for number in range(3):
                callers.start_soon(partial(made.call, f"{number}", flags=40, sheddable=False, hook=60))
                await anyio.sleep(16)
            if is_closed:
                made.queue.close()
            group.cancel_scope.cancel()
        assert made.now < 49
        await anyio.sleep(1)
        callers.start_soon(made.call, "late")
        await anyio.sleep(0.1)
        statuses = {name: status for name, (_, status) in made.ended.items()}
        assert statuses == {"0": COMPLETED, "1": ERROR, "2": ERROR, "late": ERROR}
        callers.cancel_scope.cancel()
    made.end_timers()
    assert {name: status for name, (_, status) in made.after.items()} == {"0": COMPLETED, "1": ERROR, "2": ERROR}
