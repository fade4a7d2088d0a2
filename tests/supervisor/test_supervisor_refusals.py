"""Supervisor when the service refuses every source: pauses, further attempts, and the status in between."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import anyio
import pytest

from aioflags.model.change import FallbackDirective, Update
from aioflags.model.status import SourceState
from aioflags.runtime.clock import now
from tests.supervisor.source_cases import GOOD, INTERRUPTED, OFF, VALID
from tests.support.scripted_sources import DIRECTIVE, HANG, Script, World, down, failure, off, valid

REFUSED: Final[Script] = [off(401)]


def whole() -> float:
    """No jitter: pauses are as long as they can be."""
    return 0.0


@pytest.mark.holds("DS-151")
@pytest.mark.parametrize(
    ("random", "times"),
    [
        pytest.param(whole, [0, 300, 900, 2100, 4500, 8100, 11_700], id="5 minutes, doubling up to an hour"),
        pytest.param(lambda: 0.999999, [0, 150, 450, 1050, 2250, 4050, 5850], id="less up to half"),
    ],
)
async def test_refused_sources_start_again(world: World, random: Callable[[], float], times: Sequence[float]) -> None:
    sources = [world.source("S1", REFUSED), world.source("S2", [off(403)])]
    async with world.running(synchronizers=sources, refused_retry="extended", random=random):
        await anyio.sleep(times[-1] + 1)
    for name in ("S1", "S2"):
        assert world.times(name) == pytest.approx(times, abs=0.1)


@pytest.mark.holds("DS-152")
async def test_the_status_after_refusals_has_the_time_of_the_next_attempt(world: World) -> None:
    sources = [world.source("S1", [valid(1), 5, off(401)], REFUSED), world.source("S2", [off(403)])]
    async with world.running(synchronizers=sources, refused_retry="extended", random=whole):
        await anyio.sleep(6)
        last = world.reports[-1]
        assert last.state is OFF
        assert last.next_attempt == pytest.approx(now() + 299, abs=5)
        await anyio.sleep(310)
        assert world.times("S1") == [0, 305]
        assert world.states == [VALID, INTERRUPTED, OFF]
        last = world.reports[-1]
        assert last.state is OFF
        assert last.next_attempt == pytest.approx(now() + 600, abs=30)
        assert world.served == 1


@pytest.mark.holds("DS-153")
@pytest.mark.parametrize(
    ("scripts", "states", "times"),
    [
        pytest.param([GOOD], [OFF, VALID], [0, 300], id="data"),
        pytest.param([[down(503), 5, valid(1), HANG]], [OFF, INTERRUPTED, VALID], [0, 300], id="an interruption, then data"),
        pytest.param([REFUSED, GOOD], [OFF, VALID], [0, 300, 900], id="another refusal, then data"),
        pytest.param([[valid(1), 5, off(401)], GOOD], [OFF, VALID, OFF, VALID], [0, 300, 605], id="a success between refusals"),
        pytest.param([[OSError("a bug")]], [OFF], [0, 300], id="a source that fails ends the updates"),
    ],
)
async def test_states_after_refusals_and_then(
    world: World, scripts: list[Script], states: list[SourceState], times: list[float]
) -> None:
    async with world.running(synchronizers=[world.source("S1", REFUSED, *scripts)], refused_retry="extended", random=whole):
        await anyio.sleep(1000)
        assert world.times("S1") == times
        assert world.states == states
        assert world.ready_at == 0


async def test_sources_that_start_again_and_stay_silent_are_an_interruption(world: World) -> None:
    sources = [world.source("S1", REFUSED, [HANG]), world.source("S2", REFUSED, [HANG])]
    async with world.running(synchronizers=sources, refused_retry="extended", random=whole):
        await anyio.sleep(309)
        assert world.states == [INTERRUPTED, OFF]
        await anyio.sleep(2)
        assert world.states == [INTERRUPTED, OFF, INTERRUPTED]


@pytest.mark.holds("DS-154")
@pytest.mark.parametrize(
    ("scripts", "refused_retry"),
    [
        pytest.param([REFUSED, REFUSED], "never", id="refused_retry is never"),
        pytest.param([[], [OSError("a bug")]], "extended", id="no source was refused"),
        pytest.param([[Update(state=OFF, directive=None)]], "extended", id="a source stopped without a reason"),
    ],
)
async def test_updates_end_if(world: World, scripts: list[Script], refused_retry: Any) -> None:
    sources = [world.source(f"S{n}", script) for n, script in enumerate(scripts, 1)]
    await world.run(synchronizers=sources, refused_retry=refused_retry)
    assert (world.now, world.states[-1], world.reports[-1].next_attempt) == (0, OFF, None)


async def test_all_sources_start_again_after_one_refusal(world: World) -> None:
    sources = [world.source("S1", [], GOOD), world.source("S2", REFUSED)]
    async with world.running(synchronizers=sources, refused_retry="extended", random=whole):
        await anyio.sleep(301)
        assert (world.times("S1"), world.served) == ([0, 300], 1)


@pytest.mark.holds("DS-155")
async def test_a_directive_still_holds_after_refusals(world: World) -> None:
    sources = [world.source("S1", [valid(1, DIRECTIVE), HANG]), world.source("S2", GOOD)]
    fallback = world.source("F1", REFUSED, REFUSED, [valid(2, selector=False), HANG])
    async with world.running(synchronizers=sources, fallback=fallback, refused_retry="extended", random=whole):
        await anyio.sleep(86_400)
        assert world.opened == ["S1", "F1", "F1", "F1"]
        assert world.times("F1") == [0, 300, 900]
        assert (world.served, world.states) == (2, [VALID, OFF, VALID])


@pytest.mark.holds("DS-155")
async def test_without_an_fdv1_source_a_directive_ends_the_updates(world: World) -> None:
    await world.run(
        initializers=[world.source("I1", [failure(401)])],
        synchronizers=[world.source("S1", REFUSED), world.source("S2", [off(500, DIRECTIVE)])],
        refused_retry="extended",
    )
    assert (world.opened, world.reports[-1].next_attempt) == (["I1", "S1", "S2"], None)


@pytest.mark.holds("DS-155", "DS-123")
@pytest.mark.parametrize(
    ("seconds", "fallback", "second"),
    [
        pytest.param(200, [0], 200, id="the directive ends first"),
        pytest.param(1000, [0, 300, 900], 1000, id="FDv1 starts again before"),
    ],
)
async def test_refusals_while_a_directive_holds(world: World, seconds: float, fallback: list[float], second: float) -> None:
    first = world.source("S1", [off(500, FallbackDirective(ttl=seconds, origin="header")), HANG], GOOD)
    fdv1 = world.source("F1", REFUSED)
    async with world.running(synchronizers=[first], fallback=fdv1, recovery="ttl", refused_retry="extended", random=whole):
        await anyio.sleep(seconds + 1)
        assert (world.times("F1"), world.times("S1")) == (fallback, [0, second])
        assert (world.states, world.served) == ([INTERRUPTED, VALID], 1)
