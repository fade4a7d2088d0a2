"""What a supervisor does with scripted sources: who runs when, what is served, and what is reported, in virtual time."""

from __future__ import annotations

import logging
import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, cast

import anyio
import anyio.lowlevel
import pytest

from aioflags.evaluation.snapshot import Snapshot
from aioflags.model.change import ChangeKind, ChangeSet, Selector
from aioflags.model.flag import FlagDefinition
from aioflags.model.result import Basis, ErrorInfo, FailureKind, FallbackDirective, SourceState, Update
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


def scripts(given: Script | list[Script]) -> list[Script]:
    """A list of scripts, one for each run; a script alone is the one of every run."""
    lists: list[Script] = [inner for inner in given if isinstance(inner, list)]
    return lists or [given]


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
            id="DS-60 the second initializer has what the first has not",
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
            id="data without a selector complete the initialization once nothing better is to come",
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
            id="DS-64 all initializers fail and there is nothing else",
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
        pytest.param(Case(served=None), id="with nothing to run there is nothing to wait for"),
        pytest.param(
            Case(synchronizers=[[4, valid(), HANG]], wait=5, opened=[("S1", 0)], served=None, ready=4),
            id="being up to date is a success",
        ),
        pytest.param(
            Case(
                synchronizers=[[down(), down(), HANG]], wait=3600, opened=[("S1", 0)], served=None, states=[INTERRUPTED], ready=None
            ),
            id="recoverable errors make nobody ready",
        ),
        # failover, recovery, exhaustion
        pytest.param(
            Case(synchronizers=[SILENT, GOOD], wait=12, opened=[("S1", 0), ("S2", 10)], ready=10),
            id="DS-68 silence leads to the next synchronizer after ten seconds",
        ),
        pytest.param(
            Case(synchronizers=[[off(401)], GOOD], wait=299, opened=[("S1", 0), ("S2", 0)], states=[INTERRUPTED, VALID]),
            id="DS-69 one that is refused is asked once, and the status is never OFF",
        ),
        pytest.param(
            Case(
                synchronizers=[[SILENT, [valid(2), HANG]], SILENT, GOOD],
                wait=321,
                opened=[("S1", 0), ("S2", 10), ("S3", 20), ("S1", 320)],
                served=2,
                ready=20,
            ),
            id="DS-70 after five good minutes the first is tried again",
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
            id="DS-71 the first that is left is tried again",
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
            id="DS-71 one that is refused does not run again while others do",
        ),
        pytest.param(
            Case(
                synchronizers=[[valid(1), down(), 59, valid(), HANG], SILENT],
                wait=3600,
                opened=[("S1", 0)],
                states=[VALID, INTERRUPTED, VALID],
            ),
            id="DS-72 59 seconds of trouble are survived",
        ),
        pytest.param(
            Case(
                synchronizers=[[valid(1), down(), 61, valid(), HANG], [valid(2), HANG]],
                wait=61,
                opened=[("S1", 0), ("S2", 60)],
                served=2,
                states=[VALID, INTERRUPTED, VALID],
            ),
            id="DS-72 61 seconds of trouble are not",
        ),
        pytest.param(
            Case(
                synchronizers=[[valid(1), down(), 30, down(), 25, down(), HANG], [valid(2), HANG]],
                wait=61,
                opened=[("S1", 0), ("S2", 60)],
                served=2,
                states=[VALID, INTERRUPTED, VALID],
            ),
            id="DS-72 errors that repeat do not put it off",
        ),
        pytest.param(
            Case(synchronizers=[SILENT], wait=86_400, opened=[("S1", 0)], served=None, states=[], ready=None),
            id="DS-73 one that is alone is left alone",
        ),
        pytest.param(
            Case(
                synchronizers=[[off(401)], [1, valid(1), 299, down(), 50, valid(), HANG], SILENT],
                wait=400,
                opened=[("S1", 0), ("S2", 0)],
                states=[INTERRUPTED, VALID, INTERRUPTED, VALID],
                ready=1,
            ),
            id="the first that is left has nothing to recover to",
        ),
        pytest.param(
            Case(
                synchronizers=[SILENT, [valid(1), 299, down(), 50, valid(), 200, down(), HANG]],
                wait=599,
                opened=[("S1", 0), ("S2", 10)],
                states=[VALID, INTERRUPTED, VALID, INTERRUPTED],
                ready=10,
            ),
            id="DS-74 an interruption begins the five minutes anew",
        ),
        pytest.param(
            Case(
                initializers=[[basis(1)]],
                synchronizers=[[3, off(401)]],
                wait=86_400,
                opened=[("I1", 0), ("S1", 0)],
                states=[VALID, OFF],
            ),
            id="DS-75 the only one is refused, and its data are served on",
        ),
        pytest.param(
            Case(
                synchronizers=[[off(401)], [off(403)]],
                wait=60,
                opened=[("S1", 0), ("S2", 0)],
                served=None,
                states=[INTERRUPTED, OFF],
            ),
            id="DS-76 all are refused, each asked once",
        ),
        pytest.param(
            Case(
                synchronizers=[[valid(1)], [valid(2), HANG]],
                wait=60,
                opened=[("S1", 0), ("S2", 0)],
                served=2,
                states=[VALID, INTERRUPTED, VALID],
            ),
            id="DS-78 one that ends is not asked again",
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
            id="DS-100 FB-17 FB-19 an initializer's failure sends us away, and ready waits for FDv1",
        ),
        pytest.param(
            Case(
                initializers=[[basis(1, directive=DIRECTIVE)]],
                synchronizers=[GOOD],
                fallback=SILENT,
                wait=60,
                opened=[("I1", 0), ("F1", 0)],
            ),
            id="DS-103 FB-13 FB-18 an initializer's data are served, and then it is FDv1's turn",
        ),
        pytest.param(
            Case(
                initializers=[[basis(1, selector=False, directive=DIRECTIVE)]],
                synchronizers=[GOOD],
                fallback=SILENT,
                wait=60,
                opened=[("I1", 0), ("F1", 0)],
            ),
            id="DS-104 FB-19 data without a selector complete the initialization if they are the last ones",
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
            id="FB-19 a failure that sends us away completes the initialization if an earlier one had data",
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
            id="DS-105 an unusable body sends us away as well",
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
            id="DS-106 DS-107 being up to date sends us away as well",
        ),
        pytest.param(
            Case(
                initializers=[[basis(1)]],
                synchronizers=[[valid(None, DIRECTIVE), HANG]],
                fallback=[60, valid(2, selector=False), HANG],
                wait=59,
                opened=[("I1", 0), ("S1", 0), ("F1", 0)],
            ),
            id="DS-107 the data are kept until FDv1 has answered",
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
            id="DS-112 a latched stream that stays silent leads to FDv1, not to a healthy second one",
        ),
        pytest.param(
            Case(
                synchronizers=[[DIRECTIVE, 2, valid(1, DIRECTIVE), HANG]],
                fallback=[60, valid(2), HANG],
                wait=30,
                opened=[("S1", 0), ("F1", 2)],
                ready=2,
            ),
            id="DS-113 FB-13 the payload of a latched stream goes first",
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
            id="DS-114 FB-16 FB-25 a refusal with a directive removes nobody, and the status is never OFF",
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
            id="DS-115 FDv1 that carries the directive itself goes on",
        ),
        pytest.param(
            Case(
                synchronizers=[[valid(1, DIRECTIVE), HANG], GOOD],
                fallback=[down(503), *[30, down(503)] * 120, HANG],
                wait=3600,
                opened=[("S1", 0), ("F1", 0)],
                states=[VALID, INTERRUPTED],
            ),
            id="DS-116 FB-21 an hour of trouble with FDv1 does not lead back",
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
            id="DS-116 FB-21 nor does one after it has delivered",
        ),
        pytest.param(
            Case(
                synchronizers=[[valid(1, DIRECTIVE), HANG], GOOD],
                fallback=[off(401)],
                wait=3600,
                opened=[("S1", 0), ("F1", 0)],
                states=[VALID, OFF],
            ),
            id="DS-117 FB-21 FDv1 is refused, and the data of FDv2 are served on",
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
            id="FB-20 for a day FDv2 is not contacted",
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
            id="DS-102 FB-20 a failure sends us away for good",
        ),
        pytest.param(
            Case(
                synchronizers=[[down(500, DIRECTIVE), HANG], GOOD],
                wait=3600,
                opened=[("S1", 0)],
                served=None,
                states=[INTERRUPTED, OFF],
            ),
            id="DS-101 FB-23 FB-29 without a fallback that is the end",
        ),
        pytest.param(
            Case(synchronizers=[[valid(1, DIRECTIVE), HANG], GOOD], wait=3600, opened=[("S1", 0)], states=[VALID, OFF]),
            id="FB-23 without a fallback the payload is served on",
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
            id="DS-121 a goodbye sends us away like a header",
        ),
        pytest.param(
            Case(
                synchronizers=[[valid(1), HANG], [DIRECTIVE, HANG]],
                fallback=GOOD,
                wait=3600,
                opened=[("S1", 0)],
            ),
            id="a directive that nobody received means nothing",
        ),
    ],
)
async def test_given(world: World, case: Case) -> None:
    async with world.running(
        initializers=[world.source(f"I{n}", script) for n, script in enumerate(case.initializers, 1)],
        synchronizers=[world.source(f"S{n}", *scripts(given)) for n, given in enumerate(case.synchronizers, 1)],
        fallback=None if case.fallback is None else world.source("F1", case.fallback),
        recovery=case.recovery,
    ):
        await anyio.sleep(case.wait + 0.25)
        assert [(entry.name, entry.time) for entry in world.journal if entry.what == "opened"] == list(case.opened)
        assert world.served == case.served
        assert world.states == list(case.states)
        assert world.ready_at == case.ready
    assert world.most_live <= 1


# -- errors that a status carries


@pytest.mark.parametrize(
    ("initializers", "synchronizers", "kind", "status"),
    [
        pytest.param([[failure(401)], [failure(503)]], [], FailureKind.UNKNOWN, 0, id="DS-64 the sources are exhausted"),
        pytest.param([[basis(None)]], [], FailureKind.UNKNOWN, 0, id="initializers that had nothing to say"),
        pytest.param([], [[off(401)]], FailureKind.ERROR_RESPONSE, 401, id="DS-75 the refusal"),
        pytest.param([], [[off(401)], [off(403)]], FailureKind.ERROR_RESPONSE, 403, id="DS-76 the last refusal"),
        pytest.param([], [[]], FailureKind.UNKNOWN, 0, id="DS-78 an end without a last word"),
        pytest.param([], [[Update(state=OFF, directive=None)]], FailureKind.UNKNOWN, 0, id="a last word without an error"),
        pytest.param(
            [], [[down(503, DIRECTIVE)]], FailureKind.ERROR_RESPONSE, 503, id="FB-24 the error that came with the directive"
        ),
        pytest.param([], [[off(500, DIRECTIVE)]], FailureKind.ERROR_RESPONSE, 500, id="DS-101 the last word that came with it"),
        pytest.param([], [[down(), valid(1, DIRECTIVE)]], FailureKind.ERROR_RESPONSE, 503, id="FB-24 the last error before it"),
    ],
)
async def test_off_carries(
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
async def test_off_carries_no_error_if_there_was_none(world: World) -> None:
    await world.run(synchronizers=[world.source("S1", [valid(1, DIRECTIVE)])])
    assert (world.reports[-1].state, world.last_error) == (OFF, None)


@pytest.mark.holds("DS-65")
async def test_the_initializers_error_is_the_last_one_when_a_synchronizer_delivers(world: World) -> None:
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
        pytest.param({"synchronizers": ["S2"]}, OFF, id="every source is gone"),
    ],
)
async def test_the_status_is_reported_before_waiters_wake(world: World, parts: dict[str, list[str]], state: SourceState) -> None:
    scripts: dict[str, Script] = {"I1": [basis(1)], "S1": GOOD, "S2": [off(401)]}
    async with world.running(**{part: [world.source(name, scripts[name]) for name in names] for part, names in parts.items()}):
        await anyio.sleep(1)
        happened = [entry.detail.state if entry.what == "reported" else entry.what for entry in world.journal]
        assert happened[happened.index("ready") - 1] is state


async def test_one_result_is_dealt_with_in_order(world: World) -> None:
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
        pytest.param([off(401)], "S2", id="on to the next synchronizer"),
        pytest.param([valid(1, DIRECTIVE)], "F1", id="on to the fallback"),
    ],
)
async def test_a_source_is_closed_before_the_next_is_built(world: World, script: Script, fallback: str) -> None:
    slow = world.source("S1", script, closing=0.5)
    other = world.source("S2", GOOD)
    async with world.running(synchronizers=[slow, other], fallback=world.source("F1", GOOD)):
        await anyio.sleep(5)
        assert world.times("S1", "closed") == world.times(fallback, "built") == world.times(fallback, "opened") == [0.5]


@pytest.mark.holds("FB-18", "FB-15")
async def test_the_data_of_a_directive_count_while_their_source_is_still_closing(world: World) -> None:
    slow = world.source("I1", [basis(1, directive=DIRECTIVE)], closing=0.5)
    async with world.running(initializers=[slow], fallback=world.source("F1", SILENT)):
        await anyio.sleep(1)
        assert (world.ready_at, world.states, world.served) == (0, [VALID], 1)
        assert world.times("I1", "closed") == world.times("F1", "built") == [0.5]


async def test_a_source_that_does_not_close_holds_nobody_up_for_more_than_a_second(world: World) -> None:
    slow = world.source("S1", [off(401)], closing=3600)
    async with world.running(synchronizers=[slow, world.source("S2", GOOD)]):
        await anyio.sleep(5)
        assert world.times("S2") == [1]


@pytest.mark.holds("DS-77")
async def test_a_builder_that_raises_leaves_the_turn_to_the_next(world: World) -> None:
    sources = [world.source("S1", build=OSError("no such host")), world.source("S2", GOOD)]
    async with world.running(synchronizers=sources):
        await anyio.sleep(3600)
        assert (world.opened, world.served, world.states) == (["S2"], 1, [INTERRUPTED, VALID])
        assert world.times("S1", "built") == [0]


# -- data


@pytest.mark.parametrize(
    ("initializers", "selectors"),
    [
        pytest.param([basis(1)], ["", "s1"], id="DS-5 that of the initializer"),
        pytest.param([failure(404), basis(2)], ["", "", "s2"], id="DS-60 that of the second initializer"),
        pytest.param([basis(1, selector=False), basis(2)], ["", "", "s2"], id="DS-61 that of the one who had one"),
    ],
)
async def test_the_first_synchronizer_is_given_a_selector(world: World, initializers: Script, selectors: list[str]) -> None:
    async with world.running(
        initializers=[world.source(f"I{n}", [result]) for n, result in enumerate(initializers, 1)],
        synchronizers=[world.source("S1", SILENT)],
    ):
        await anyio.sleep(1)
        assert [entry.detail.state for entry in world.journal if entry.what == "opened"] == selectors


async def test_sources_see_the_selector_of_the_newest_data(world: World) -> None:
    sources = [world.source("S1", [valid(2), 5, off(401)]), world.source("S2", GOOD)]
    async with world.running(initializers=[world.source("I1", [basis(1)])], synchronizers=sources):
        await anyio.sleep(10)
        selectors = {entry.name: entry.detail.state for entry in world.journal if entry.what == "opened"}
        assert selectors == {"I1": "", "S1": "s1", "S2": "s2"}


@pytest.mark.parametrize(
    "result",
    [
        pytest.param(Update(state=VALID, change_set=ChangeSet.unchanged(), directive=None), id="an update"),
        pytest.param(Basis(change_set=ChangeSet.unchanged(), directive=None), id="a basis"),
    ],
)
async def test_a_confirmation_publishes_nothing(world: World, result: Update | Basis) -> None:
    initial = world.holder.snapshot
    source = world.source("X", [result, HANG] if isinstance(result, Update) else [result])
    parts = {"synchronizers": [source]} if isinstance(result, Update) else {"initializers": [source]}
    async with world.running(**parts):
        await anyio.sleep(1)
        assert world.holder.snapshot is initial
        assert all(report.change_set is None for report in world.reports)


async def test_a_delta_is_applied_to_what_is_there(world: World) -> None:
    delta = Update(state=VALID, change_set=ChangeSet(kind=ChangeKind.CHANGES, selector=Selector("s2", 2)), directive=None)
    async with world.running(synchronizers=[world.source("S1", [valid(1), delta, HANG])]):
        await anyio.sleep(1)
        assert (world.served, world.holder.snapshot.selector.state) == (1, "s2")
        assert [report.change_set for report in world.reports] == [data(1), delta.change_set]


class Slow:
    """A snapshot that takes its time to take up changes: it pauses three times, and notes what happened meanwhile."""

    selector = Selector.none()
    has_data = False
    flags: ClassVar[dict[str, FlagDefinition]] = {}

    def __init__(self, ticks: list[int]) -> None:
        self.ticks = ticks
        self.seen: list[int] = []
        self.is_traced: bool | None = None

    def builder(self, change_set: ChangeSet, *, traced: bool) -> Generator[None, None, Slow]:
        self.is_traced = traced
        for _ in range(3):
            yield
            self.seen.append(len(self.ticks))
        return self


@pytest.mark.parametrize("is_followed", [False, True])
async def test_large_data_are_taken_up_in_slices_between_which_others_run(world: World, is_followed: bool) -> None:
    ticks: list[int] = []
    slow = Slow(ticks)
    world.is_followed = is_followed
    world.holder.snapshot = cast("Snapshot", slow)

    async def tick() -> None:
        for number in range(20):
            ticks.append(number)
            await anyio.lowlevel.checkpoint()

    async with world.running(synchronizers=[world.source("S1", GOOD)]), anyio.create_task_group() as group:
        group.start_soon(tick)
    assert slow.seen[0] < slow.seen[1] < slow.seen[2]
    assert slow.is_traced is is_followed
    assert world.holder.snapshot is cast("Snapshot", slow)
    assert world.states == [VALID]


def broken(directive: FallbackDirective | None = None, state: SourceState = VALID) -> Update:
    """Data that no snapshot can be made of."""
    return Update(state=state, change_set=ChangeSet(kind=ChangeKind.FULL, changes=(None,)), directive=directive)  # type: ignore[arg-type]  # on purpose


@pytest.mark.parametrize(
    ("script", "opened"),
    [
        pytest.param([valid(1), broken(), HANG], [("S1", 0), ("S2", 30)], id="the next source asks anew, after a while"),
        pytest.param([valid(1), broken(DIRECTIVE), HANG], [("S1", 0), ("F1", 0)], id="FB-7 the directive counts all the same"),
        pytest.param([valid(1), broken(state=OFF), HANG], [("S1", 0), ("S2", 0)], id="so does the last word"),
    ],
)
async def test_data_that_cannot_be_applied_change_nothing(world: World, script: Script, opened: list[tuple[str, float]]) -> None:
    async with world.running(
        synchronizers=[world.source("S1", script), world.source("S2", SILENT)], fallback=world.source("F1", SILENT)
    ):
        await anyio.sleep(35)
        assert (world.served, world.holder.snapshot.selector.state) == (1, "s1")
        assert world.states == [VALID, INTERRUPTED]
        assert [(entry.name, entry.time) for entry in world.journal if entry.what == "opened"] == opened
        assert world.last_error is not None
        assert "could not be applied" in world.last_error.message


async def test_an_initializers_data_that_cannot_be_applied_are_a_failure(world: World) -> None:
    change_set = broken().change_set
    assert change_set is not None
    bad = world.source("I1", [Basis(change_set=change_set, directive=None)])
    async with world.running(initializers=[bad, world.source("I2", [basis(1)])], synchronizers=[world.source("S1", SILENT)]):
        await anyio.sleep(1)
        assert (world.opened, world.served) == (["I1", "I2", "S1"], 1)


# -- the end


@pytest.mark.holds("DS-66", "DS-124")
@pytest.mark.parametrize(
    ("initializers", "synchronizers", "recovery"),
    [
        pytest.param([[5, basis(1)]], [GOOD], "never", id="while an initializer works"),
        pytest.param([], [[5, valid(1)]], "never", id="while a synchronizer works"),
        pytest.param([], [[down(500, FallbackDirective(ttl=60, origin="header"))]], "ttl", id="while FDv2 is left for a time"),
    ],
)
async def test_after_a_cancellation_nothing_happens(
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


# -- what is remembered


@pytest.mark.holds("FB-26")
@pytest.mark.parametrize(
    "script",
    [
        pytest.param([valid(1, DIRECTIVE), HANG], id="obeyed"),
        pytest.param([valid(1), DIRECTIVE, HANG], id="latched when the client was closed"),
    ],
)
async def test_a_restarted_client_stays_on_fdv1(world: World, script: Script) -> None:
    parts = {"initializers": [world.source("I1", [failure()])], "synchronizers": [world.source("S1", script)]}
    async with world.running(**parts, fallback=world.source("F1", SILENT)):
        await anyio.sleep(1)
    assert world.fallback_state.is_on_fdv1
    world.journal.clear()
    async with world.running(**parts, fallback=world.source("F1", [valid(2), HANG])):
        await anyio.sleep(86_400)
        assert (world.opened, world.served) == (["F1"], 2)


@pytest.mark.holds("FB-26")
async def test_a_restarted_client_without_a_fallback_stays_off(world: World) -> None:
    sources = [world.source("S1", [valid(1, DIRECTIVE), HANG])]
    await world.run(synchronizers=sources)
    world.journal.clear()
    await world.run(synchronizers=sources)
    assert (world.opened, world.states, world.ready_at) == ([], [OFF], 0)


# -- recovery by the directive's own time


def ttl(seconds: float | None) -> FallbackDirective:
    return FallbackDirective(ttl=seconds, origin="header")


@pytest.mark.holds("DS-122")
@pytest.mark.parametrize(
    ("seconds", "returns"),
    [
        pytest.param(60, 60, id="60 s"),
        pytest.param(0, 2700, id="0 s"),
        pytest.param(-5, 2700, id="-5 s"),
        pytest.param(7200, 2700, id="7200 s"),
        pytest.param(None, 2700, id="none"),
    ],
)
async def test_fdv2_returns_after(world: World, seconds: float | None, returns: float) -> None:
    first = world.source("S1", [valid(1, ttl(seconds)), HANG], [valid(3), HANG])
    fallback = world.source("F1", [valid(2, selector=False), HANG])
    async with world.running(
        initializers=[world.source("I1", [failure()])],
        synchronizers=[first, world.source("S2", SILENT)],
        fallback=fallback,
        recovery="ttl",
    ):
        await anyio.sleep(returns - 1)
        assert (world.opened, world.served) == (["I1", "S1", "F1"], 2)
        await anyio.sleep(2)
        assert (world.opened, world.served) == (["I1", "S1", "F1", "S1"], 3)
        assert world.times("S1") == [0, returns]
        assert [entry.detail.state for entry in world.journal if entry.what == "opened"][-1] == "", "there is no basis to send"
        assert not world.fallback_state.is_on_fdv1


@pytest.mark.holds("DS-123")
@pytest.mark.parametrize(
    ("fallback", "states", "ready"),
    [
        pytest.param([off(401)], [INTERRUPTED, VALID], 0, id="FDv1 is refused"),
        pytest.param([], [INTERRUPTED, VALID], 0, id="FDv1 ends"),
        pytest.param([valid(2), 5, ValueError("bug")], [INTERRUPTED, VALID, INTERRUPTED, VALID], 0, id="FDv1 fails later"),
        pytest.param(None, [INTERRUPTED, VALID], 0, id="there is no FDv1"),
    ],
)
async def test_fdv2_returns_although(world: World, fallback: Script | None, states: list[SourceState], ready: float) -> None:
    first = world.source("S1", [off(500, ttl(60)), HANG], [valid(3), HANG])
    fdv1 = None if fallback is None else world.source("F1", fallback)
    async with world.running(synchronizers=[first], fallback=fdv1, recovery="ttl"):
        await anyio.sleep(61)
        assert world.times("S1") == [0, 60]
        assert (world.served, world.states, world.ready_at) == (3, states, ready)


async def test_a_directive_that_comes_again_counts_anew(world: World) -> None:
    first = world.source("S1", [down(500, ttl(60)), HANG], [down(500, ttl(100)), HANG], [valid(3), HANG])
    fallback = world.source("F1", [valid(2, ttl(5)), 30, valid(2, ttl(5)), HANG])
    async with world.running(synchronizers=[first], fallback=fallback, recovery="ttl"):
        await anyio.sleep(200)
        assert world.times("S1") == [0, 60, 160]
        assert world.times("F1") == [0, 60]


async def test_a_deadline_survives_a_restart(world: World) -> None:
    first = world.source("S1", [down(500, ttl(60)), HANG], [valid(3), HANG])
    parts = {"synchronizers": [first], "fallback": world.source("F1", SILENT), "recovery": "ttl"}
    async with world.running(**parts):
        await anyio.sleep(20)
    async with world.running(**parts):
        await anyio.sleep(50)
        assert world.times("S1") == [0, 60]


async def test_a_deadline_may_pass_while_nothing_runs(world: World) -> None:
    first = world.source("S1", [down(500, ttl(60)), HANG], [valid(3), HANG])
    parts = {"synchronizers": [first], "fallback": world.source("F1", SILENT), "recovery": "ttl"}
    async with world.running(**parts):
        await anyio.sleep(20)
    await anyio.sleep(80)
    async with world.running(**parts):
        await anyio.sleep(1)
        assert world.opened == ["S1", "F1", "S1"]
        assert not world.fallback_state.is_on_fdv1


async def test_by_default_the_directives_time_means_nothing(world: World) -> None:
    async with world.running(synchronizers=[world.source("S1", [valid(1, ttl(60)), HANG])], fallback=world.source("F1", SILENT)):
        await anyio.sleep(86_400)
        assert world.opened == ["S1", "F1"]
        assert world.fallback_state.until == math.inf


# -- what is said


@pytest.mark.holds("FB-34")
@pytest.mark.parametrize(
    ("fallback", "recovery", "action"),
    [
        pytest.param(True, "never", "switching to FDv1 polling", id="with a fallback"),
        pytest.param(False, "never", "flag updates stop: no FDv1 fallback is configured", id="without one"),
        pytest.param(True, "ttl", "switching to FDv1 polling; FDv2 again in 60 s", id="for a time"),
    ],
)
async def test_a_directive_is_logged(
    world: World, fallback: bool, recovery: str, action: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "aioflags")
    async with world.running(
        synchronizers=[world.source("S1", [valid(1, ttl(60)), HANG])],
        fallback=world.source("F1", [valid(2, DIRECTIVE), HANG]) if fallback else None,
        recovery=recovery,
    ):
        await anyio.sleep(5)
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings == ["S1 received a fallback directive (header): leaving FDv2 for FDv1", action]


async def test_trouble_is_logged_once_a_change(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "aioflags")
    script = [valid(1), *[down(), 1] * 20, valid(), down(), HANG]
    async with world.running(synchronizers=[world.source("S1", script)]):
        await anyio.sleep(60)
    warning = "S1 interrupted, will retry; serving the last flag data: status 503"
    assert [record.getMessage() for record in caplog.records] == [warning, "S1 is receiving flag updates again", warning]


async def test_data_that_are_wrong_in_another_way_are_logged(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "aioflags")

    def wrong(message: str) -> Update:
        error = ErrorInfo(kind=FailureKind.INVALID_DATA, message=message, time=0.0)
        return Update(state=SourceState.INTERRUPTED, error=error, directive=None)

    script = [valid(1), wrong("line 1"), wrong("line 1"), wrong("line 2"), down(), wrong("line 2"), HANG]
    async with world.running(synchronizers=[world.source("S1", script)]):
        await anyio.sleep(1)
    told = [record.getMessage().rpartition(": ")[2] for record in caplog.records]
    assert told == ["line 1", "line 2", "status 503", "line 2"]


@pytest.mark.parametrize(
    ("result", "level", "message"),
    [
        pytest.param(off(401, DIRECTIVE), logging.WARNING, "S1 stopped: status 401", id="after which FDv1 takes over"),
        pytest.param(Update(state=OFF, directive=None), logging.ERROR, "S1 stopped: no reason given", id="without a reason"),
    ],
)
async def test_a_last_word_is_logged(
    world: World, result: Update, level: int, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    await world.run(synchronizers=[world.source("S1", [result])])
    assert ("aioflags", level, message) in caplog.record_tuples
