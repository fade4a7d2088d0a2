"""Supervisor with scripted sources: which source runs when, what is served, and what is reported, in virtual time."""

from __future__ import annotations

import pytest

from tests.supervisor.source_cases import GOOD, INTERRUPTED, OFF, SILENT, VALID, Case, check_case
from tests.support.scripted_sources import HANG, World, basis, down, failure, off, valid


@pytest.mark.parametrize(
    "case",
    [
        # initializers
        pytest.param(
            Case(initializers=[[basis(1), HANG]], synchronizers=[SILENT], opened=[("I1", 0), ("S1", 0)]),
            id="DS-59 ready comes with the first initializer",
        ),
        pytest.param(
            Case(
                initializers=[[failure(404)], [2, basis(1)]],
                synchronizers=[SILENT],
                wait=3,
                opened=[("I1", 0), ("I2", 0), ("S1", 2)],
                states=[INTERRUPTED, VALID],
                ready=2,
            ),
            id="DS-60 the second initializer runs after the first failed",
        ),
        pytest.param(
            Case(
                initializers=[[basis(1, selector=False)], [2, basis(2)]],
                synchronizers=[SILENT],
                wait=3,
                opened=[("I1", 0), ("I2", 0), ("S1", 2)],
                served=2,
                ready=2,
            ),
            id="DS-61 data with a selector replace data without one",
        ),
        pytest.param(
            Case(
                initializers=[[basis(1, selector=False)], [2, failure(503)]],
                synchronizers=[SILENT],
                wait=3,
                opened=[("I1", 0), ("I2", 0), ("S1", 2)],
                states=[INTERRUPTED, VALID],
                ready=2,
            ),
            id="data without a selector complete the initialization if no initializer is left",
        ),
        pytest.param(
            Case(initializers=[[basis(None)], [basis(1)]], synchronizers=[SILENT], opened=[("I1", 0), ("I2", 0), ("S1", 0)]),
            id="DS-63 an unchanged basis leads to the next initializer",
        ),
        pytest.param(
            Case(
                initializers=[[failure(401)], [failure(503)]],
                opened=[("I1", 0), ("I2", 0)],
                served=None,
                states=[INTERRUPTED, OFF],
            ),
            id="DS-64 all initializers fail and there is no synchronizer",
        ),
        pytest.param(
            Case(
                initializers=[[failure(401)]],
                synchronizers=[[3, valid(1), HANG]],
                wait=4,
                opened=[("I1", 0), ("S1", 0)],
                states=[INTERRUPTED, VALID],
                ready=3,
            ),
            id="DS-65 ready comes with the first success of a synchronizer",
        ),
        pytest.param(
            Case(initializers=[[basis(1)], [basis(2)]], opened=[("I1", 0)]),
            id="initializers alone are enough",
        ),
        pytest.param(Case(served=None), id="a client without sources is ready at once"),
        pytest.param(
            Case(synchronizers=[[4, valid(), HANG]], wait=5, opened=[("S1", 0)], served=None, ready=4),
            id="an update without data is a success",
        ),
        pytest.param(
            Case(
                synchronizers=[[down(), down(), HANG]], wait=3600, opened=[("S1", 0)], served=None, states=[INTERRUPTED], ready=None
            ),
            id="recoverable errors do not wake waiters",
        ),
        # failover, recovery, exhaustion
        pytest.param(
            Case(synchronizers=[SILENT, GOOD], wait=12, opened=[("S1", 0), ("S2", 10)], ready=10),
            id="DS-68 silence leads to the next synchronizer after ten seconds",
        ),
        pytest.param(
            Case(synchronizers=[[off(401)], GOOD], wait=299, opened=[("S1", 0), ("S2", 0)], states=[INTERRUPTED, VALID]),
            id="DS-69 a refused source runs once, and the status is never OFF",
        ),
        pytest.param(
            Case(
                synchronizers=[[SILENT, [valid(2), HANG]], SILENT, GOOD],
                wait=321,
                opened=[("S1", 0), ("S2", 10), ("S3", 20), ("S1", 320)],
                served=2,
                ready=20,
            ),
            id="DS-70 after 5 minutes of VALID elsewhere the first is tried again",
        ),
        pytest.param(
            Case(
                synchronizers=[[off(401)], [SILENT, [valid(2), HANG]], GOOD],
                wait=311,
                opened=[("S1", 0), ("S2", 0), ("S3", 10), ("S2", 310)],
                served=2,
                states=[INTERRUPTED, VALID],
                ready=10,
            ),
            id="DS-71 recovery goes to the first source that was not removed",
        ),
        pytest.param(
            Case(
                synchronizers=[[off(401)], SILENT, SILENT],
                wait=45,
                opened=[("S1", 0), ("S2", 0), ("S3", 10), ("S2", 20), ("S3", 30), ("S2", 40)],
                served=None,
                states=[INTERRUPTED],
                ready=None,
            ),
            id="DS-71 a refused source does not run again while others do",
        ),
        pytest.param(
            Case(
                synchronizers=[[valid(1), down(), 59, valid(), HANG], SILENT],
                wait=3600,
                opened=[("S1", 0)],
                states=[VALID, INTERRUPTED, VALID],
            ),
            id="DS-72 59 seconds of interruption keep the source",
        ),
        pytest.param(
            Case(
                synchronizers=[[valid(1), down(), 61, valid(), HANG], [valid(2), HANG]],
                wait=61,
                opened=[("S1", 0), ("S2", 60)],
                served=2,
                states=[VALID, INTERRUPTED, VALID],
            ),
            id="DS-72 61 seconds of interruption change the source",
        ),
        pytest.param(
            Case(
                synchronizers=[[valid(1), down(), 30, down(), 25, down(), HANG], [valid(2), HANG]],
                wait=61,
                opened=[("S1", 0), ("S2", 60)],
                served=2,
                states=[VALID, INTERRUPTED, VALID],
            ),
            id="DS-72 repeated errors do not move the deadline",
        ),
        pytest.param(
            Case(synchronizers=[SILENT], wait=86_400, opened=[("S1", 0)], served=None, states=[], ready=None),
            id="DS-73 the only source has no limits",
        ),
        pytest.param(
            Case(
                synchronizers=[[off(401)], [1, valid(1), 299, down(), 50, valid(), HANG], SILENT],
                wait=400,
                opened=[("S1", 0), ("S2", 0)],
                states=[INTERRUPTED, VALID, INTERRUPTED, VALID],
                ready=1,
            ),
            id="the first remaining source has no recovery limit",
        ),
        pytest.param(
            Case(
                synchronizers=[SILENT, [valid(1), 299, down(), 50, valid(), 200, down(), HANG]],
                wait=599,
                opened=[("S1", 0), ("S2", 10)],
                states=[VALID, INTERRUPTED, VALID, INTERRUPTED],
                ready=10,
            ),
            id="DS-74 an interruption restarts the 5 minutes",
        ),
        pytest.param(
            Case(
                initializers=[[basis(1)]],
                synchronizers=[[3, off(401)]],
                wait=86_400,
                opened=[("I1", 0), ("S1", 0)],
                states=[VALID, OFF],
            ),
            id="DS-75 the only source is refused, and its data stay",
        ),
        pytest.param(
            Case(
                synchronizers=[[off(401)], [off(403)]],
                wait=60,
                opened=[("S1", 0), ("S2", 0)],
                served=None,
                states=[INTERRUPTED, OFF],
            ),
            id="DS-76 all sources are refused, each runs once",
        ),
        pytest.param(
            Case(
                synchronizers=[[valid(1)], [valid(2), HANG]],
                wait=60,
                opened=[("S1", 0), ("S2", 0)],
                served=2,
                states=[VALID, INTERRUPTED, VALID],
            ),
            id="DS-78 a source that ends does not run again",
        ),
    ],
)
async def test_sources_run_and_states_are_reported(world: World, case: Case) -> None:
    await check_case(world, case)
