"""Supervisor with sources that report a fallback directive: which source runs when, what is served, and what is reported."""

from __future__ import annotations

import pytest

from aioflags.model.change import FallbackDirective
from tests.supervisor.source_cases import GOOD, INTERRUPTED, OFF, SILENT, VALID, Case, check_case
from tests.support.scripted_sources import DIRECTIVE, HANG, World, basis, down, failure, off, valid


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(
            Case(
                initializers=[[failure(500, DIRECTIVE)], [basis(9)]],
                synchronizers=[GOOD],
                fallback=[2, valid(1), HANG],
                wait=3600,
                opened=[("I1", 0), ("F1", 0)],
                states=[INTERRUPTED, VALID],
                ready=2,
            ),
            id="DS-100 FB-17 FB-19 a directive on an initializer's failure: ready waits for FDv1",
        ),
        pytest.param(
            Case(
                initializers=[[basis(1, directive=DIRECTIVE)]],
                synchronizers=[GOOD],
                fallback=SILENT,
                wait=60,
                opened=[("I1", 0), ("F1", 0)],
            ),
            id="DS-103 FB-13 FB-18 a directive on an initializer's data: they are served, FDv1 follows",
        ),
        pytest.param(
            Case(
                initializers=[[basis(1, selector=False, directive=DIRECTIVE)]],
                synchronizers=[GOOD],
                fallback=SILENT,
                wait=60,
                opened=[("I1", 0), ("F1", 0)],
            ),
            id="DS-104 FB-19 data without a selector complete the initialization with a directive",
        ),
        pytest.param(
            Case(
                initializers=[[basis(1, selector=False)], [2, failure(500, DIRECTIVE)]],
                synchronizers=[GOOD],
                fallback=SILENT,
                wait=60,
                opened=[("I1", 0), ("I2", 0), ("F1", 2)],
                states=[INTERRUPTED, VALID],
                ready=2,
            ),
            id="FB-19 a failure with a directive completes the initialization if there are data",
        ),
        pytest.param(
            Case(
                initializers=[[failure(0, DIRECTIVE)]],
                synchronizers=[GOOD],
                fallback=[valid(1, selector=False), HANG],
                wait=60,
                opened=[("I1", 0), ("F1", 0)],
                states=[INTERRUPTED, VALID],
            ),
            id="DS-105 a directive on an unusable body",
        ),
        pytest.param(
            Case(
                initializers=[[basis(1)]],
                synchronizers=[[valid(), 30, valid(None, DIRECTIVE), HANG]],
                fallback=[valid(2, selector=False), HANG],
                wait=31,
                opened=[("I1", 0), ("S1", 0), ("F1", 30)],
                served=2,
            ),
            id="DS-106 DS-107 a directive on an update without data",
        ),
        pytest.param(
            Case(
                initializers=[[basis(1)]],
                synchronizers=[[valid(None, DIRECTIVE), HANG]],
                fallback=[60, valid(2, selector=False), HANG],
                wait=59,
                opened=[("I1", 0), ("S1", 0), ("F1", 0)],
            ),
            id="DS-107 data are kept until FDv1 has answered",
        ),
        pytest.param(
            Case(
                synchronizers=[[DIRECTIVE, HANG], GOOD],
                fallback=[valid(2), HANG],
                wait=60,
                opened=[("S1", 0), ("F1", 10)],
                served=2,
                ready=10,
            ),
            id="DS-112 a latched directive on a silent stream leads to FDv1, not to the second source",
        ),
        pytest.param(
            Case(
                synchronizers=[[DIRECTIVE, 2, valid(1, DIRECTIVE), HANG]],
                fallback=[60, valid(2), HANG],
                wait=30,
                opened=[("S1", 0), ("F1", 2)],
                ready=2,
            ),
            id="DS-113 FB-13 the payload of a stream with a latched directive is applied first",
        ),
        pytest.param(
            Case(
                synchronizers=[[off(401, DIRECTIVE)], GOOD],
                fallback=[valid(2), HANG],
                wait=3600,
                opened=[("S1", 0), ("F1", 0)],
                served=2,
                states=[INTERRUPTED, VALID],
            ),
            id="DS-114 FB-16 FB-25 a refusal with a directive leads to FDv1, and the status is never OFF",
        ),
        pytest.param(
            Case(
                synchronizers=[[down(500, DIRECTIVE), HANG]],
                fallback=[valid(1, DIRECTIVE), 30, valid(2, DIRECTIVE), HANG],
                wait=86_400,
                opened=[("S1", 0), ("F1", 0)],
                served=2,
                states=[INTERRUPTED, VALID],
            ),
            id="DS-115 a directive from FDv1 itself is ignored",
        ),
        pytest.param(
            Case(
                synchronizers=[[valid(1, DIRECTIVE), HANG], GOOD],
                fallback=[down(503), *[30, down(503)] * 120, HANG],
                wait=3600,
                opened=[("S1", 0), ("F1", 0)],
                states=[VALID, INTERRUPTED],
            ),
            id="DS-116 FB-21 an hour of interruption on FDv1 does not lead back to FDv2",
        ),
        pytest.param(
            Case(
                synchronizers=[[valid(1, DIRECTIVE), HANG], GOOD],
                fallback=[valid(2, selector=False), *[30, down(503)] * 120, HANG],
                wait=3700,
                opened=[("S1", 0), ("F1", 0)],
                served=2,
                states=[VALID, INTERRUPTED],
            ),
            id="DS-116 FB-21 an hour of interruption after FDv1 data does not lead back",
        ),
        pytest.param(
            Case(
                synchronizers=[[valid(1, DIRECTIVE), HANG], GOOD],
                fallback=[off(401)],
                wait=3600,
                opened=[("S1", 0), ("F1", 0)],
                states=[VALID, OFF],
            ),
            id="DS-117 FB-21 FDv1 is refused, and the data of FDv2 stay",
        ),
        pytest.param(
            Case(
                synchronizers=[[valid(1), HANG], GOOD, [down(500, DIRECTIVE), HANG]],
                fallback=GOOD,
                wait=86_400,
                opened=[("S1", 0)],
            ),
            id="FB-29 without a directive the fallback never runs",
        ),
        pytest.param(
            Case(
                synchronizers=[[5, valid(1, DIRECTIVE), HANG]],
                fallback=[valid(2, selector=False), HANG],
                wait=86_400,
                opened=[("S1", 0), ("F1", 5)],
                served=2,
                ready=5,
            ),
            id="FB-20 FDv2 does not run for a day",
        ),
        pytest.param(
            Case(
                synchronizers=[[down(500, DIRECTIVE), HANG], GOOD],
                fallback=[valid(2, selector=False), HANG],
                wait=315,
                opened=[("S1", 0), ("F1", 0)],
                served=2,
                states=[INTERRUPTED, VALID],
            ),
            id="DS-102 FB-20 a directive on a failure is never undone",
        ),
        pytest.param(
            Case(
                synchronizers=[[down(500, DIRECTIVE), HANG], GOOD],
                wait=3600,
                opened=[("S1", 0)],
                served=None,
                states=[INTERRUPTED, OFF],
            ),
            id="DS-101 FB-23 FB-29 a directive without a fallback ends all updates",
        ),
        pytest.param(
            Case(synchronizers=[[valid(1, DIRECTIVE), HANG], GOOD], wait=3600, opened=[("S1", 0)], states=[VALID, OFF]),
            id="FB-23 without a fallback the payload of the directive stays",
        ),
        pytest.param(
            Case(
                initializers=[[failure(503, DIRECTIVE)]],
                synchronizers=[GOOD],
                wait=3600,
                opened=[("I1", 0)],
                served=None,
                states=[INTERRUPTED, OFF],
            ),
            id="FB-23 an initializer's directive without a fallback",
        ),
        pytest.param(
            Case(
                synchronizers=[[valid(1), 5, down(0, FallbackDirective(ttl=0, origin="goodbye")), HANG], GOOD],
                fallback=[valid(2), HANG],
                wait=60,
                opened=[("S1", 0), ("F1", 5)],
                served=2,
                states=[VALID, INTERRUPTED, VALID],
            ),
            id="DS-121 a directive in a goodbye message",
        ),
        pytest.param(
            Case(
                synchronizers=[[valid(1), HANG], [DIRECTIVE, HANG]],
                fallback=GOOD,
                wait=3600,
                opened=[("S1", 0)],
            ),
            id="a latched directive of a source that never ran",
        ),
    ],
)
async def test_a_directive_leads_to_fdv1(world: World, case: Case) -> None:
    await check_case(world, case)
