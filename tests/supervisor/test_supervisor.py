"""Supervisor with scripted sources: which source runs when, what is served, and what is reported, in virtual time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import anyio
import pytest

from aioflags.model.result import FailureKind, FallbackDirective, SourceState, Update
from tests.support.scripted_sources import DIRECTIVE, HANG, Script, World, basis, data, down, failure, off, valid

VALID, INTERRUPTED, OFF = SourceState.VALID, SourceState.INTERRUPTED, SourceState.OFF
GOOD: Script = [valid(1), HANG]
SILENT: Script = [HANG]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A configuration as scripts: ``initializers`` I1, I2, … and ``synchronizers`` S1, S2, … with one script or several.

    After ``wait`` seconds: ``opened`` names the sources that ran, with the seconds at which they started; ``served`` is
    the version of the data, ``states`` what was reported, and ``ready`` when waiters woke.
    """

    initializers: Sequence[Script] = ()
    synchronizers: Sequence[Script | list[Script]] = ()
    fallback: Script | None = None
    recovery: Literal["never", "ttl"] = "never"
    wait: float = 0.5
    opened: Sequence[tuple[str, float]] = ()
    served: int | None = 1
    states: Sequence[SourceState] = field(default=(VALID,))
    ready: float | None = 0


def scripts(script: Script | list[Script]) -> list[Script]:
    """A list of scripts, one for each run; a single script is used for every run."""
    lists: list[Script] = [inner for inner in script if isinstance(inner, list)]
    return lists or [script]


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
                opened=[("S1", 0), ("S2", 0), ("S3", 10), ("S2", 20.75), ("S3", 30.75), ("S2", 42.25)],
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
        # the directive
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
async def test_sources_run_and_states_are_reported(world: World, case: Case) -> None:
    async with world.running(
        initializers=[world.source(f"I{n}", script) for n, script in enumerate(case.initializers, 1)],
        synchronizers=[world.source(f"S{n}", *scripts(script)) for n, script in enumerate(case.synchronizers, 1)],
        fallback=None if case.fallback is None else world.source("F1", case.fallback),
        recovery=case.recovery,
    ):
        await anyio.sleep(case.wait + 0.25)
        assert [(entry.name, entry.time) for entry in world.journal if entry.what == "opened"] == list(case.opened)
        assert world.served == case.served
        assert world.states == list(case.states)
        assert world.ready_at == case.ready
    assert world.most_live <= 1


# -- errors in a status


@pytest.mark.parametrize(
    ("initializers", "synchronizers", "kind", "status"),
    [
        pytest.param([[failure(401)], [failure(503)]], [], FailureKind.UNKNOWN, 0, id="DS-64 the sources are exhausted"),
        pytest.param([[basis(None)]], [], FailureKind.UNKNOWN, 0, id="initializers without data"),
        pytest.param([], [[off(401)]], FailureKind.ERROR_RESPONSE, 401, id="DS-75 the refusal"),
        pytest.param([], [[off(401)], [off(403)]], FailureKind.ERROR_RESPONSE, 403, id="DS-76 the last refusal"),
        pytest.param([], [[]], FailureKind.UNKNOWN, 0, id="DS-78 an end without a result"),
        pytest.param([], [[Update(state=OFF, directive=None)]], FailureKind.UNKNOWN, 0, id="OFF without an error"),
        pytest.param(
            [], [[down(503, DIRECTIVE)]], FailureKind.ERROR_RESPONSE, 503, id="FB-24 the error that came with the directive"
        ),
        pytest.param([], [[off(500, DIRECTIVE)]], FailureKind.ERROR_RESPONSE, 500, id="DS-101 OFF that came with the directive"),
        pytest.param([], [[down(), valid(1, DIRECTIVE)]], FailureKind.ERROR_RESPONSE, 503, id="FB-24 the last error before it"),
    ],
)
async def test_off_has_the_error_of(
    world: World, initializers: list[Script], synchronizers: list[Script], kind: FailureKind, status: int
) -> None:
    await world.run(
        initializers=[world.source("I", script) for script in initializers],
        synchronizers=[world.source("S", script) for script in synchronizers],
    )
    last = world.reports[-1]
    assert last.state is OFF
    assert last.error is not None
    assert (last.error.kind, last.error.status_code) == (kind, status)


@pytest.mark.holds("FB-24")
async def test_off_has_no_error_if_there_was_none(world: World) -> None:
    await world.run(synchronizers=[world.source("S1", [valid(1, DIRECTIVE)])])
    assert (world.reports[-1].state, world.last_error) == (OFF, None)


@pytest.mark.holds("DS-65")
async def test_the_error_of_an_initializer_stays_when_a_synchronizer_delivers(world: World) -> None:
    async with world.running(initializers=[world.source("I1", [failure(404)])], synchronizers=[world.source("S1", GOOD)]):
        await anyio.sleep(1)
        assert world.last_error is not None
        assert world.last_error.status_code == 404


# -- order


@pytest.mark.holds("DS-92")
@pytest.mark.parametrize(
    ("parts", "state"),
    [
        pytest.param({"initializers": ["I1"]}, VALID, id="an initializer delivered"),
        pytest.param({"synchronizers": ["S1"]}, VALID, id="a synchronizer delivered"),
        pytest.param({}, VALID, id="nothing to wait for"),
        pytest.param({"synchronizers": ["S2"]}, OFF, id="every source was refused"),
    ],
)
async def test_the_status_is_reported_before_waiters_wake(world: World, parts: dict[str, list[str]], state: SourceState) -> None:
    scripts: dict[str, Script] = {"I1": [basis(1)], "S1": GOOD, "S2": [off(401)]}
    async with world.running(**{part: [world.source(name, scripts[name]) for name in names] for part, names in parts.items()}):
        await anyio.sleep(1)
        events = [entry.detail.state if entry.what == "reported" else entry.what for entry in world.journal]
        assert events[events.index("ready") - 1] is state


async def test_one_result_is_reported_in_order(world: World) -> None:
    first = Update(state=VALID, change_set=data(1), environment_id="env", directive=DIRECTIVE)
    async with world.running(synchronizers=[world.source("S1", [first, HANG])], fallback=world.source("F1", SILENT)):
        await anyio.sleep(1)
    order = [entry.what for entry in world.journal]
    assert order == [
        *("built", "opened", "yielded", "environment", "origin", "reported", "ready", "closed"),
        *("built", "opened", "closed"),
    ]


@pytest.mark.holds("DS-87", "FB-15")
@pytest.mark.parametrize(
    ("script", "fallback"),
    [
        pytest.param([off(401)], "S2", id="then the next synchronizer"),
        pytest.param([valid(1, DIRECTIVE)], "F1", id="then the fallback"),
    ],
)
async def test_a_source_is_closed_before_the_next_is_built(world: World, script: Script, fallback: str) -> None:
    slow = world.source("S1", script, closing=0.5)
    other = world.source("S2", GOOD)
    async with world.running(synchronizers=[slow, other], fallback=world.source("F1", GOOD)):
        await anyio.sleep(5)
        assert world.times("S1", "closed") == world.times(fallback, "built") == world.times(fallback, "opened") == [0.5]


@pytest.mark.holds("FB-18", "FB-15")
async def test_the_data_of_a_directive_are_served_while_their_source_closes(world: World) -> None:
    slow = world.source("I1", [basis(1, directive=DIRECTIVE)], closing=0.5)
    async with world.running(initializers=[slow], fallback=world.source("F1", SILENT)):
        await anyio.sleep(1)
        assert (world.ready_at, world.states, world.served) == (0, [VALID], 1)
        assert world.times("I1", "closed") == world.times("F1", "built") == [0.5]


async def test_a_source_that_does_not_close_delays_the_next_by_a_second(world: World) -> None:
    slow = world.source("S1", [off(401)], closing=3600)
    async with world.running(synchronizers=[slow, world.source("S2", GOOD)]):
        await anyio.sleep(5)
        assert world.times("S2") == [1]


@pytest.mark.holds("DS-77")
async def test_after_a_builder_that_raises_the_next_source_runs(world: World) -> None:
    sources = [world.source("S1", build=OSError("no such host")), world.source("S2", GOOD)]
    async with world.running(synchronizers=sources):
        await anyio.sleep(3600)
        assert (world.opened, world.served, world.states) == (["S2"], 1, [INTERRUPTED, VALID])
        assert world.times("S1", "built") == [0]


# -- the end


@pytest.mark.holds("DS-66", "DS-124")
@pytest.mark.parametrize(
    ("initializers", "synchronizers", "recovery"),
    [
        pytest.param([[5, basis(1)]], [GOOD], "never", id="while an initializer runs"),
        pytest.param([], [[5, valid(1)]], "never", id="while a synchronizer runs"),
        pytest.param([], [[down(500, FallbackDirective(ttl=60, origin="header"))]], "ttl", id="while a directive holds"),
    ],
)
async def test_nothing_happens_after_a_cancellation(
    world: World, initializers: list[Script], synchronizers: list[Script], recovery: str
) -> None:
    async with world.running(
        initializers=[world.source("I", script) for script in initializers],
        synchronizers=[world.source("S", script) for script in synchronizers],
        recovery=recovery,
    ):
        await anyio.sleep(2)
        entries = len(world.journal)
    assert world.now == 2
    await anyio.sleep(86_400)
    assert {entry.what for entry in world.journal[entries:]} <= {"closed"}
    assert world.served is None


@pytest.mark.holds("DS-93")
async def test_after_off_nothing_runs_and_nothing_is_reported(world: World) -> None:
    await world.run(synchronizers=[world.source("S1", [valid(1), off(401), valid(2), HANG])])
    entries = len(world.journal)
    assert world.states[-1] is OFF
    await anyio.sleep(86_400)
    assert (len(world.journal), world.served) == (entries, 1)
