"""Calls that change the context: their order, what is dropped, and what a time-out does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

import anyio
import pytest
from anyio.abc import TaskGroup

from aioflags.mobile.identify_queue import MAX_TURN, IdentifyQueue, Switch
from aioflags.model.identify import IdentifyResult, IdentifyStatus

DONE = IdentifyResult(IdentifyStatus.COMPLETED)
COMPLETED, TIMEOUT, SHED, ERROR = (
    IdentifyStatus.COMPLETED,
    IdentifyStatus.TIMEOUT,
    IdentifyStatus.SHED,
    IdentifyStatus.ERROR,
)


class Calls:
    """A queue, and the calls of a test with the times at which they changed the context and ended."""

    def __init__(self) -> None:
        self.queue = IdentifyQueue()
        self.switched: list[tuple[float, str]] = []
        self.ended: dict[str, tuple[float, IdentifyStatus]] = {}
        self._start = anyio.current_time()

    @property
    def now(self) -> float:
        return round(anyio.current_time() - self._start, 6)

    async def call(
        self, name: str, *, after: float = 1, switching: float = 0, sheddable: bool = True, timeout: float | None = None
    ) -> None:
        """``after``: seconds until the data of the context arrive. ``switching``: seconds that the change itself takes."""
        result = await self.queue.call(self._switch(name, after, switching), is_sheddable=sheddable, timeout=timeout)
        self.ended[name] = self.now, result.status

    def _switch(self, name: str, after: float, switching: float) -> Switch:
        async def switch() -> asyncio.Future[IdentifyResult]:
            await anyio.sleep(switching)
            self.switched.append((self.now, name))
            loop = asyncio.get_running_loop()
            outcome: asyncio.Future[IdentifyResult] = loop.create_future()
            loop.call_later(after, outcome.set_result, DONE)
            return outcome

        return switch


@asynccontextmanager
async def calls() -> AsyncGenerator[tuple[Calls, TaskGroup]]:
    made = Calls()
    async with anyio.create_task_group() as group:
        group.start_soon(made.queue.run)
        yield made, group
        group.cancel_scope.cancel()


async def test_calls_run_one_after_the_other() -> None:
    async with calls() as (made, group):
        for name in "ABC":
            group.start_soon(partial(made.call, name, sheddable=False))
        await anyio.sleep(10)
        assert made.switched == [(0, "A"), (1, "B"), (2, "C")]
        assert made.ended == {"A": (1, COMPLETED), "B": (2, COMPLETED), "C": (3, COMPLETED)}


async def test_a_waiting_call_is_dropped_when_a_newer_one_comes() -> None:
    async with calls() as (made, group):
        group.start_soon(lambda: made.call("S-81 B", after=3))
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
        group.start_soon(lambda: made.call("A", after=18, timeout=timeout))
        await anyio.sleep(0.5)
        group.start_soon(lambda: made.call("B"))
        await anyio.sleep(30)
        assert made.switched == [(0, "A"), (next_turn, "B")]
        assert made.ended["A"] == ended


async def test_a_call_that_times_out_before_its_turn_still_changes_the_context() -> None:
    async with calls() as (made, group):
        group.start_soon(lambda: made.call("A", after=3))
        await anyio.sleep(0.1)
        group.start_soon(lambda: made.call("B", timeout=1))
        await anyio.sleep(10)
        assert made.ended["B"] == (1.1, TIMEOUT)
        assert made.switched == [(0, "A"), (3, "B")]


async def test_a_caller_that_is_cancelled_leaves_no_half_change() -> None:
    async with calls() as (made, _):
        with anyio.move_on_after(1):
            await made.call("A", switching=2)
        await anyio.sleep(5)
        assert made.switched == [(2, "A")]
        assert made.ended == {}


async def test_calls_of_a_closed_queue_are_errors() -> None:
    async with calls() as (made, group):
        group.start_soon(lambda: made.call("A", after=9))
        await anyio.sleep(0.1)
        group.start_soon(lambda: made.call("B"))
        await anyio.sleep(0.1)
        made.queue.close()
        await made.call("C")
        await anyio.sleep(0.1)
        assert (made.ended["B"], made.ended["C"]) == ((0.2, ERROR), (0.2, ERROR))
