"""Supervisor with the limits of clients with a mobile key, with scripted sources in virtual time."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import anyio
import pytest

from aioflags.model.change import Basis, ChangeSet, FallbackDirective
from aioflags.sources.polling import Cache
from aioflags.supervisor.policy import MOBILE
from tests.supervisor.source_cases import INTERRUPTED, OFF, VALID, Case, check_case
from tests.support.scripted_sources import DIRECTIVE, HANG, World, basis, data, down, failure, off, valid

IN_FIVE = FallbackDirective(ttl=5.0, origin="header")


def case(**parts: Any) -> Case:
    return Case(policy=MOBILE, **parts)


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(
            case(
                initializers=[[failure(503)]],
                synchronizers=[[2, valid(1), HANG]],
                wait=3,
                opened=[("I1", 0), ("S1", 0)],
                states=[INTERRUPTED, VALID],
                ready=2,
            ),
            id="S-39 a failing initializer, and the stream delivers",
        ),
        pytest.param(
            case(
                synchronizers=[[HANG], [valid(1), HANG]],
                wait=321,
                opened=[("S1", 0), ("S2", 10), ("S1", 310), ("S2", 320)],
                ready=10,
            ),
            id="S-40 a silent stream is left after 10 s, also when recovery returns to it",
        ),
        pytest.param(
            case(
                initializers=[[basis(1)]],
                synchronizers=[[HANG], [valid(1), HANG]],
                wait=11,
                opened=[("I1", 0), ("S1", 0), ("S2", 10)],
            ),
            id="S-40 with data of an initializer",
        ),
        pytest.param(
            case(
                synchronizers=[[valid(1), 5, down(), HANG], [valid(1), HANG]],
                wait=426,
                opened=[("S1", 0), ("S2", 125), ("S1", 425)],
                states=[VALID, INTERRUPTED, VALID],
            ),
            id="S-41 an interruption of 120 s, and the return after 300 s",
        ),
        pytest.param(
            case(
                synchronizers=[[valid(1), 5, down(), 119, valid(1), HANG], [valid(1), HANG]],
                wait=500,
                opened=[("S1", 0)],
                states=[VALID, INTERRUPTED, VALID],
            ),
            id="S-42 a change set at 119 s",
        ),
        pytest.param(
            case(
                synchronizers=[[valid(1), 5, down(), 60, down(), HANG], [valid(1), HANG]],
                wait=126,
                opened=[("S1", 0), ("S2", 125)],
                states=[VALID, INTERRUPTED, VALID],
            ),
            id="S-41 a second interruption does not start the time anew",
        ),
        pytest.param(
            case(
                synchronizers=[[HANG], [9, valid(1), 1, down(), HANG]],
                wait=311,
                opened=[("S1", 0), ("S2", 10), ("S1", 140), ("S2", 150), ("S1", 280), ("S2", 290)],
                states=[VALID, INTERRUPTED, VALID, INTERRUPTED, VALID, INTERRUPTED],
                ready=19,
            ),
            id="interruptions of a later source",
        ),
        pytest.param(
            case(
                synchronizers=[[off(401)], [HANG]],
                wait=1000,
                opened=[("S1", 0), ("S2", 0)],
                served=None,
                states=[INTERRUPTED],
                ready=None,
            ),
            id="S-43 a refused stream is not contacted again",
        ),
        pytest.param(
            case(
                synchronizers=[[*[60, down()] * 60, HANG]],
                wait=3600,
                opened=[("S1", 0)],
                served=None,
                states=[INTERRUPTED],
                ready=None,
            ),
            id="S-44 an only source keeps trying",
        ),
        pytest.param(
            case(
                synchronizers=[[off(401)], [off(401)]],
                wait=10_000,
                opened=[("S1", 0), ("S2", 0)],
                served=None,
                states=[INTERRUPTED, OFF],
            ),
            id="S-45 all are refused",
        ),
        pytest.param(
            case(
                synchronizers=[[valid(1), 3], [valid(1), HANG]],
                wait=1000,
                opened=[("S1", 0)],
                states=[VALID, INTERRUPTED, OFF],
            ),
            id="S-47 a source that ends ends the updates",
        ),
        pytest.param(
            case(
                synchronizers=[[2], [valid(1), HANG]], wait=3, opened=[("S1", 0)], served=None, states=[INTERRUPTED, OFF], ready=2
            ),
            id="S-47 before the first data",
        ),
        pytest.param(
            case(
                synchronizers=[[valid(1), 3, RuntimeError("bug")], [valid(1), HANG]],
                wait=304,
                opened=[("S1", 0), ("S2", 3), ("S1", 303)],
                states=[VALID, INTERRUPTED, VALID],
            ),
            id="a source that raises loses its turn only",
        ),
        pytest.param(
            case(
                synchronizers=[[off(401, directive=None)], [valid(1), 1, down(500, DIRECTIVE)]],
                fallback=[valid(2), HANG],
                wait=1000,
                opened=[("S1", 0), ("S2", 0), ("F1", 1)],
                served=2,
                states=[INTERRUPTED, VALID, INTERRUPTED, VALID],
            ),
            id="F-31 FDv2 is not contacted again after a directive",
        ),
        pytest.param(
            case(
                synchronizers=[[off(401)], [[valid(1), 1, down(500, IN_FIVE)], [valid(3), HANG]]],
                fallback=[valid(2), HANG],
                recovery="ttl",
                wait=7,
                opened=[("S1", 0), ("S2", 0), ("F1", 1), ("S2", 6)],
                served=3,
                states=[INTERRUPTED, VALID, INTERRUPTED, VALID],
            ),
            id="S-73 after the time of a directive, sources that were refused stay removed",
        ),
        pytest.param(
            case(
                synchronizers=[[HANG], [DIRECTIVE, 400]],
                fallback=[valid(2), HANG],
                wait=21,
                opened=[("S1", 0), ("S2", 10), ("F1", 20)],
                served=2,
                ready=20,
            ),
            id="F-40 a limit that expires while a directive is latched leads to FDv1",
        ),
    ],
)
async def test_mobile_sources_run_and_states_are_reported(world: World, case: Case) -> None:
    await check_case(world, case)


@pytest.mark.parametrize("script", [[RuntimeError("bug")], [valid(1), RuntimeError("bug")]], ids=["at once", "after data"])
@pytest.mark.parametrize("count", [1, 2])
async def test_no_source_starts_twice_within_a_second(world: World, script: list[Any], count: int) -> None:
    names = [f"S{n}" for n in range(count)]
    async with world.running(synchronizers=[world.source(name, script) for name in names], policy=MOBILE, random=lambda: 0.999):
        await anyio.sleep(10.5)
        for name in names:
            times = world.times(name)
            assert 2 <= len(times) <= 11
            assert all(later - earlier >= 1 for earlier, later in pairwise(times))


# -- what a device kept


KEPT = Basis(change_set=data(1, selector=False), directive=None, cached=True)
NOTHING_KEPT = Basis(change_set=ChangeSet.unchanged(), directive=None, cached=True)


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(
            case(
                initializers=[[KEPT]],
                synchronizers=[[2, valid(2), HANG]],
                wait=1,
                opened=[("I1", 0), ("S1", 0)],
                states=[],
                ready=None,
            ),
            id="S-36 it is served, and a start that waits for newer data goes on waiting",
        ),
        pytest.param(
            case(
                initializers=[[KEPT], [2, basis(2)]],
                synchronizers=[[HANG]],
                wait=3,
                opened=[("I1", 0), ("I2", 0), ("S1", 2)],
                served=2,
                ready=2,
            ),
            id="S-37 the next initializer replaces it",
        ),
        pytest.param(
            case(
                initializers=[[KEPT], [failure(503)]],
                wait=1,
                opened=[("I1", 0), ("I2", 0)],
                states=[INTERRUPTED, OFF],
            ),
            id="it is served although no source is left",
        ),
        pytest.param(
            case(
                initializers=[[NOTHING_KEPT], [basis(None, directive=DIRECTIVE)]],
                fallback=[1, valid(3), HANG],
                wait=2,
                opened=[("I1", 0), ("I2", 0), ("F1", 0)],
                served=3,
                ready=1,
            ),
            id="S-55 a directive without data: FDv1 completes the start",
        ),
    ],
)
async def test_what_a_device_kept_does_not_count_as_data_of_the_service(world: World, case: Case) -> None:
    await check_case(world, case)


async def test_a_mode_that_reads_the_cache_alone_is_valid_with_or_without_flags(world: World) -> None:
    await world.run(initializers=[Cache()], policy=MOBILE)
    assert (world.states, world.ready_at, world.served) == ([VALID], 0, None)
