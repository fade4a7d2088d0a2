"""SourceRun: when it ends, with which verdict, and how its source is closed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from aioflags.model.change import Basis, FetchFailure, Result, Selector, Update
from aioflags.model.status import SourceState
from aioflags.sources.base import SourceContext
from aioflags.supervisor.policy import SERVER
from aioflags.supervisor.source_run import FDV1, INITIALIZER, SYNCHRONIZER, Role, SourceRun, StateTimer
from aioflags.supervisor.verdict import Verdict, judge, limits
from tests.support.scripted_sources import DIRECTIVE, HANG, Script, World, basis, down, failure, off, valid

LOGGER = logging.getLogger("aioflags")
FIRST = limits(SERVER, alone=False, primary=True)
LATER = limits(SERVER, alone=False, primary=False)


class Absorbing:
    """Judges results as a supervisor does. ``slow``: seconds that each result takes."""

    def __init__(self, slow: float = 0) -> None:
        self.results: list[Result] = []
        self.slow = slow

    async def __call__(self, name: str, result: Result) -> Verdict:
        if self.slow:
            await anyio.sleep(self.slow)
        self.results.append(result)
        return judge(result)


async def run(source_run: SourceRun) -> Verdict:
    return await source_run.run(SourceContext(), Selector.none)


@pytest.mark.parametrize(
    ("script", "bounds", "verdict", "after"),
    [
        pytest.param([HANG], FIRST, Verdict.NEXT, 10, id="DS-68 10 s without a result"),
        pytest.param([5, down(), 3, down(), HANG], FIRST, Verdict.NEXT, 10, id="10 s of interruptions"),
        pytest.param([9, valid(), 10, off()], FIRST, Verdict.REMOVE, 19, id="VALID in time, then OFF"),
        pytest.param([valid(), 5, down(), HANG], FIRST, Verdict.NEXT, 65, id="DS-72 60 s of interruption"),
        pytest.param([valid(), down(), 59, valid(), down(), 59, off()], FIRST, Verdict.REMOVE, 118, id="DS-72 VALID again in time"),
        pytest.param(
            [valid(), down(), 30, down(), HANG], FIRST, Verdict.NEXT, 60, id="DS-72 repeated errors do not move the deadline"
        ),
        pytest.param([valid(), 3600, off()], FIRST, Verdict.REMOVE, 3600, id="the first source has no recovery limit"),
        pytest.param([valid(), HANG], LATER, Verdict.RECOVER, 300, id="DS-70 300 s of VALID of a later source"),
        pytest.param(
            [valid(), 299, down(), 50, off()], LATER, Verdict.REMOVE, 349, id="DS-74 299 s of VALID, then an interruption"
        ),
        pytest.param([valid(), 3600, down(), 3600, off()], {}, Verdict.REMOVE, 7200, id="DS-73 the only source has no limits"),
        pytest.param([2, off()], FIRST, Verdict.REMOVE, 2, id="DS-69 OFF before VALID"),
        pytest.param([valid(), 2], FIRST, Verdict.REMOVE, 2, id="DS-78 an end without OFF"),
        pytest.param([], FIRST, Verdict.REMOVE, 0, id="an end without a result"),
        pytest.param([2, OSError("lost")], FIRST, Verdict.REMOVE, 2, id="an exception"),
        pytest.param([2, asyncio.CancelledError()], FIRST, Verdict.REMOVE, 2, id="a CancelledError of its own"),
        pytest.param(["nonsense", HANG], FIRST, Verdict.REMOVE, 0, id="an object that is not a result"),
        pytest.param([basis(1), HANG], FIRST, Verdict.REMOVE, 0, id="a result of an initializer"),
        pytest.param([2, valid(1, DIRECTIVE), HANG], FIRST, Verdict.FDV1, 2, id="a directive with data"),
        pytest.param([2, off(401, DIRECTIVE)], FIRST, Verdict.FDV1, 2, id="DS-114 a directive with OFF"),
        pytest.param([DIRECTIVE, HANG], FIRST, Verdict.FDV1, 10, id="DS-112 a latched directive, then no result"),
        pytest.param([DIRECTIVE, 2], FIRST, Verdict.FDV1, 2, id="DS-111 a latched directive, then the end"),
        pytest.param([DIRECTIVE, OSError("lost")], FIRST, Verdict.FDV1, 0, id="DS-111 a latched directive, then an exception"),
        pytest.param(
            [valid(), DIRECTIVE, down(), HANG], FIRST, Verdict.FDV1, 60, id="a latched directive and 60 s of interruption"
        ),
        pytest.param([valid(), DIRECTIVE, HANG], LATER, Verdict.FDV1, 300, id="FB-16 a latched directive outranks recovery"),
        pytest.param([10, down(500, DIRECTIVE)], FIRST, Verdict.FDV1, 10, id="FB-31 a directive at the deadline"),
        pytest.param([10, valid(1), 20, off()], FIRST, Verdict.REMOVE, 30, id="data at the deadline"),
    ],
)
async def test_a_run_of_a_synchronizer_ends_after(
    world: World, script: Script, bounds: dict[SourceState, float], verdict: Verdict, after: float
) -> None:
    start = anyio.current_time()
    source_run = SourceRun(world.source("S1", script), SYNCHRONIZER, StateTimer(bounds), Absorbing(), LOGGER)
    assert await run(source_run) is verdict
    assert anyio.current_time() - start == pytest.approx(after)
    assert world.live == []


@pytest.mark.parametrize(
    ("script", "verdict", "result_types"),
    [
        pytest.param([basis(1), HANG], Verdict.DONE, [Basis], id="a complete basis"),
        pytest.param([basis(1, selector=False)], Verdict.NEXT, [Basis], id="a basis without a selector"),
        pytest.param(
            [basis(1, selector=False), 1, basis(2), HANG],
            Verdict.DONE,
            [Basis, Basis],
            id="a basis without a selector, then one with it",
        ),
        pytest.param([basis(None)], Verdict.NEXT, [Basis], id="DS-63 a basis without data"),
        pytest.param([failure(404)], Verdict.NEXT, [FetchFailure], id="DS-60 a failure"),
        pytest.param([failure(404), basis(1)], Verdict.DONE, [FetchFailure, Basis], id="a failure, then a basis"),
        pytest.param([], Verdict.NEXT, [FetchFailure], id="no result is a failure"),
        pytest.param([ValueError("bug")], Verdict.NEXT, [FetchFailure], id="an exception is a failure"),
        pytest.param(
            [basis(1, selector=False), ValueError("bug")],
            Verdict.NEXT,
            [Basis, FetchFailure],
            id="a basis without a selector, then an exception",
        ),
        pytest.param([valid(1)], Verdict.NEXT, [FetchFailure], id="a result of a synchronizer"),
        pytest.param([failure(500, DIRECTIVE), HANG], Verdict.FDV1, [FetchFailure], id="DS-100 a failure with a directive"),
        pytest.param([basis(1, directive=DIRECTIVE), HANG], Verdict.FDV1, [Basis], id="DS-103 a basis with a directive"),
        pytest.param([DIRECTIVE, ValueError("bug")], Verdict.FDV1, [FetchFailure], id="a latched directive, then an exception"),
        pytest.param([DIRECTIVE, basis(None)], Verdict.FDV1, [Basis], id="a latched directive that no result carries"),
        pytest.param([3600, basis(1)], Verdict.DONE, [Basis], id="no limit for an initializer"),
    ],
)
async def test_a_run_of_an_initializer_ends_after(world: World, script: Script, verdict: Verdict, result_types: list[type]) -> None:
    absorbing = Absorbing()
    assert await run(SourceRun(world.source("I1", script), INITIALIZER, StateTimer({}), absorbing, LOGGER)) is verdict
    assert [type(result) for result in absorbing.results] == result_types
    assert world.live == []


@pytest.mark.parametrize(
    ("script", "until", "verdict", "after"),
    [
        pytest.param(
            [valid(1, DIRECTIVE), 50, off()], 1800, Verdict.REMOVE, 50, id="DS-115 FB-22 a directive from FDv1 is ignored"
        ),
        pytest.param([DIRECTIVE, 50, OSError("lost")], 1800, Verdict.REMOVE, 50, id="a latched directive from FDv1 is ignored"),
        pytest.param([valid(1), HANG], 1800, Verdict.RECOVER, 1800, id="DS-122 the time of the directive is over"),
        pytest.param([down(), HANG], 1800, Verdict.RECOVER, 1800, id="the time of the directive is over during an interruption"),
        pytest.param([valid(), down(), 3600, off()], 7200, Verdict.REMOVE, 3600, id="FB-21 no other limit applies"),
    ],
)
async def test_a_run_of_the_fdv1_fallback_ends_after(
    world: World, script: Script, until: float, verdict: Verdict, after: float
) -> None:
    start, absorbing = anyio.current_time(), Absorbing()
    source_run = SourceRun(world.source("F1", script), FDV1, StateTimer({}, until=start + until), absorbing, LOGGER)
    assert await run(source_run) is verdict
    assert anyio.current_time() - start == pytest.approx(after)
    assert source_run.directive is None
    assert all(result.directive is None for result in absorbing.results)


async def test_the_timer_does_not_interrupt_the_absorbing_of_a_result(world: World) -> None:
    start, absorbing = anyio.current_time(), Absorbing(slow=5)
    source_run = SourceRun(world.source("S1", [8, down(), HANG]), SYNCHRONIZER, StateTimer(FIRST), absorbing, LOGGER)
    assert await run(source_run) is Verdict.NEXT
    assert absorbing.results == [down()]
    assert anyio.current_time() - start == pytest.approx(13)


@pytest.mark.parametrize(
    ("role", "verdict", "result_type"),
    [
        pytest.param(SYNCHRONIZER, Verdict.REMOVE, Update, id="DS-77 a synchronizer"),
        pytest.param(INITIALIZER, Verdict.NEXT, FetchFailure, id="an initializer"),
        pytest.param(FDV1, Verdict.REMOVE, Update, id="the fallback"),
    ],
)
@pytest.mark.parametrize(
    "is_source", [pytest.param(True, id="its builder raises"), pytest.param(False, id="it builds something else")]
)
async def test_a_source_that_cannot_be_built(
    world: World, is_source: bool, role: Role, verdict: Verdict, result_type: type
) -> None:
    builder = world.source("X", build=OSError("no such host")) if is_source else Building(object())
    absorbing = Absorbing()
    assert await run(SourceRun(builder, role, StateTimer({}), absorbing, LOGGER)) is verdict
    assert [type(result) for result in absorbing.results] == [result_type]


class Building:
    """A builder of a source that exists already."""

    def __init__(self, source: Any) -> None:
        self.source = source

    def build(self, context: SourceContext, /) -> Any:
        return self.source


class Failing:
    """A source whose exit fails: at its ``yield``, or while it waits."""

    name = "failing"

    def __init__(self, *results: Update) -> None:
        self.results = results

    async def sync(self, selector: object) -> AsyncGenerator[Update, None]:
        try:
            for result in self.results:
                yield result
            await anyio.sleep_forever()
        finally:
            raise RuntimeError("cannot close")


@pytest.mark.parametrize(
    ("results", "verdict"),
    [
        pytest.param([valid(1, DIRECTIVE)], Verdict.FDV1, id="at its yield"),
        pytest.param([valid(1)], Verdict.RECOVER, id="while it waits"),
    ],
)
async def test_an_exception_of_a_source_that_is_closed_does_not_change_the_verdict(
    results: list[Update], verdict: Verdict, caplog: pytest.LogCaptureFixture
) -> None:
    source_run = SourceRun(Building(Failing(*results)), SYNCHRONIZER, StateTimer(LATER), Absorbing(), LOGGER)
    assert await run(source_run) is verdict
    assert "failing failed while it was closed" in caplog.text


@pytest.mark.parametrize(
    "results",
    [pytest.param([valid(1)], id="while it waits"), pytest.param([valid(1), valid(2)], id="while its result is absorbed")],
)
async def test_an_exception_of_a_source_that_is_closed_does_not_stop_a_cancellation(results: list[Update]) -> None:
    source_run = SourceRun(Building(Failing(*results)), SYNCHRONIZER, StateTimer({}), Absorbing(slow=2), LOGGER)
    with anyio.move_on_after(3) as scope:
        await run(source_run)
    assert scope.cancelled_caught


class Stubborn:
    """A source that ends normally when it is cancelled."""

    name = "stubborn"

    async def fetch(self, selector: object) -> AsyncGenerator[Basis, None]:
        yield basis(1, selector=False)
        with contextlib.suppress(asyncio.CancelledError):
            await anyio.sleep_forever()


async def test_a_cancellation_that_a_source_suppresses_still_reaches_the_caller() -> None:
    with anyio.move_on_after(3) as scope:
        await run(SourceRun(Building(Stubborn()), INITIALIZER, StateTimer({}), Absorbing(), LOGGER))
    assert scope.cancelled_caught


async def test_a_source_that_never_waits_does_not_block_the_event_loop(world: World) -> None:
    source_run = SourceRun(world.source("S1", [valid()] * 10_000), SYNCHRONIZER, StateTimer({}), Absorbing(), LOGGER)
    async with anyio.create_task_group() as group:
        group.start_soon(run, source_run)
        await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()
    assert 0 < len(world.times("S1", "yielded")) < 100


async def test_a_source_has_one_second_to_close(world: World) -> None:
    start = anyio.current_time()
    source_run = SourceRun(world.source("S1", [valid(), off(), HANG], closing=5), SYNCHRONIZER, StateTimer({}), Absorbing(), LOGGER)
    assert await run(source_run) is Verdict.REMOVE
    assert anyio.current_time() - start == pytest.approx(1)
    assert world.live == []


@pytest.mark.parametrize(
    ("script", "has_directive"),
    [
        pytest.param([DIRECTIVE, HANG], True, id="latched"),
        pytest.param([valid(1, DIRECTIVE), HANG], True, id="carried by the result that is being absorbed"),
        pytest.param([valid(1), HANG], False, id="none"),
    ],
)
async def test_a_cancelled_run_has_the_directive(world: World, script: Script, has_directive: bool) -> None:
    source_run = SourceRun(world.source("S1", script), SYNCHRONIZER, StateTimer({}), Absorbing(slow=5), LOGGER)
    with anyio.move_on_after(1) as scope:
        await run(source_run)
    assert scope.cancelled_caught
    assert source_run.directive is (DIRECTIVE if has_directive else None)
    assert world.live == []


async def test_an_exception_of_absorb_is_not_a_failure_of_the_source(world: World) -> None:
    async def absorb(name: str, result: Result) -> Verdict:
        raise ZeroDivisionError

    source_run = SourceRun(world.source("S1", [valid(), HANG]), SYNCHRONIZER, StateTimer({}), absorb, LOGGER)
    with pytest.raises(ExceptionGroup) as raised:
        await run(source_run)
    assert raised.group_contains(ZeroDivisionError)
    assert world.live == []
