"""Supervisor with random sources: they deliver, fail, hang, latch, end and raise as a seed decides. Some rules always hold.

``AIOFLAGS_SEEDS``: how many worlds are tried, ``AIOFLAGS_SEED`` the first of their seeds. A world that breaks a rule
prints the command that replays it.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
from collections.abc import Callable
from contextlib import nullcontext
from random import Random
from typing import Any, Literal, cast

import anyio
import pytest

from aioflags.model.change import Basis, Change, ChangeKind, ChangeSet, FallbackDirective, FetchFailure, Update
from aioflags.model.defaults import CLOSE_GRACE
from aioflags.model.status import SourceState
from aioflags.supervisor.rotation import lifetime
from tests.support.scripted_sources import (
    DIRECTIVE,
    HANG,
    Entry,
    Report,
    Script,
    ScriptedBuilder,
    World,
    basis,
    data,
    down,
    failure,
    off,
    valid,
)

FIRST_SEED = int(os.environ.get("AIOFLAGS_SEED", "0"))
SEEDS = int(os.environ.get("AIOFLAGS_SEEDS", "1000"))

RULES_BROKEN = "seed {seed} breaks a rule; replay: AIOFLAGS_SEED={seed} AIOFLAGS_SEEDS=1 pytest tests/supervisor/test_world.py"

BROKEN = ChangeSet(kind=ChangeKind.FULL, changes=cast("tuple[Change, ...]", (None,)))
"""Data that cannot be applied."""


class RandomWorld(World):
    """A world that a seed describes. Each change set has its own version, in the order in which they are yielded."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._rng = Random(seed)
        self._versions = itertools.count(1)
        rng = self._rng
        self.initializers = [self._source(f"I{n}", self._fetching) for n in range(rng.choice([0, 0, 1, 1, 2, 3]))]
        self.synchronizers = [self._source(f"S{n}", self._syncing) for n in range(rng.choice([0, 1, 1, 2, 2, 3, 4]))]
        self.fallback = self._source("F", self._syncing) if rng.random() < 0.7 else None
        self.recovery: Literal["never", "ttl"] = "ttl" if rng.random() < 0.35 else "never"
        self.refused_retry: Literal["extended", "never"] = rng.choice(["extended", "never"])
        self.lives = [rng.choice([0, 0.5, 5, 61, 400, 3000, 8000]) for _ in range(rng.choice([1, 1, 2]))]
        """How long the client runs, for each time that it is started."""

    def _source(self, name: str, result: Callable[[], Any]) -> ScriptedBuilder:
        rng = self._rng
        scripts = [self._script(result) for _ in range(rng.choice([1, 1, 2, 3]))]
        closing = rng.choice([0, 0, 0, 0.5, 30])
        return self.source(name, *scripts, closing=closing, build=OSError("cannot") if rng.random() < 0.04 else None)

    def _script(self, result: Callable[[], Any]) -> Script:
        script: list[Any] = []
        for _ in range(self._rng.randrange(7)):
            kind = self._rng.random()
            if kind < 0.35:
                script.append(self._rng.choice([0, 0.001, 1, 5, 9.99, 10, 10, 30, 59.9, 60, 300, 301]))
            elif kind < 0.40:
                script.append(self._directive)
            elif kind < 0.44:
                script.append(self._rng.choice([OSError("lost"), asyncio.CancelledError(), ValueError("bug"), "nonsense"]))
            else:
                script.append(result)
        return [*script, HANG] if self._rng.random() < 0.6 else script

    # Steps are made when they are taken, so that a script that is played again yields new data.

    def _directive(self) -> FallbackDirective:
        return FallbackDirective(ttl=self._rng.choice([None, 0, 60, 300, 3600]), origin="header")

    def _maybe_directive(self) -> FallbackDirective | None:
        return self._directive() if self._rng.random() < 0.12 else None

    def _fetching(self) -> Basis | FetchFailure:
        kind = self._rng.random()
        if kind < 0.4:
            return failure(self._rng.choice([0, 401, 503]), self._maybe_directive())
        version = None if kind < 0.5 else next(self._versions)
        return basis(version, selector=self._rng.random() < 0.6, directive=self._maybe_directive())

    def _syncing(self) -> Update:
        kind = self._rng.random()
        if kind < 0.25:
            return down(self._rng.choice([0, 429, 503]), self._maybe_directive())
        if kind < 0.33:
            return off(self._rng.choice([401, 403]), self._maybe_directive())
        if kind < 0.36:
            return Update(state=SourceState.VALID, change_set=BROKEN, directive=self._maybe_directive())
        if kind < 0.45:
            return valid(None, self._maybe_directive())
        version = next(self._versions)
        change_set = data(version, self._rng.choice([ChangeKind.FULL, ChangeKind.CHANGES]), selector=self._rng.random() < 0.8)
        return Update(state=SourceState.VALID, change_set=change_set, directive=self._maybe_directive())

    async def live_through(self) -> None:
        """Starts the client, once or twice, and closes it while it runs, or after it has ended."""
        for seconds in self.lives:
            self.note("", "started")
            tasks = len(asyncio.all_tasks())
            with anyio.move_on_after(seconds):
                await self.run(
                    initializers=self.initializers,
                    synchronizers=self.synchronizers,
                    fallback=self.fallback,
                    recovery=self.recovery,
                    refused_retry=self.refused_retry,
                )
            self.note("", "stopped")
            assert len(asyncio.all_tasks()) == tasks, "a task is left"
            assert self.live == [], "a source is left open"
            entries = len(self.journal)
            await anyio.sleep(4000)
            assert len(self.journal) == entries, "the journal grows after the client was closed"


def one_source_at_a_time(world: RandomWorld) -> None:
    """The next source is not built before the last one is closed."""
    live: set[str] = set()
    for entry in world.journal:
        if entry.what == "built":
            assert not live, f"{entry.name} is built while {live} runs"
        elif entry.what == "opened":
            live.add(entry.name)
        elif entry.what == "closed":
            live.remove(entry.name)
    assert world.most_live <= 1


def a_directive_outranks_fdv2(world: RandomWorld) -> None:
    """After a directive no FDv2 source is built before the time of the directive is over, and the fallback runs next."""
    until, closed = 0.0, False
    latest: FallbackDirective | None = None
    for index, entry in enumerate(world.journal):
        if entry.name and not entry.name.startswith("F"):
            match entry:
                case Entry(what="built"):
                    assert entry.time >= until, f"{entry.name} runs at {entry.time}, before {until}"
                case Entry(what="opened"):
                    latest, closed = None, False
                case Entry(what="latched", detail=directive):
                    latest = directive
                case Entry(what="yielded", detail=Basis() | FetchFailure() | Update() as result):
                    latest = result.directive or latest
                case Entry(what="closed"):
                    closed = True
                case _:
                    pass
            if latest is not None and closed:
                holds = lifetime(latest, lambda: 0.5) if world.recovery == "ttl" else HANG
                # The journal knows when the source was closed, the deadline counts from there or from shortly before.
                until = max(until, entry.time + holds - 2 * CLOSE_GRACE)
                latest = None
                the_fallback_is_next(world, index)


def the_fallback_is_next(world: RandomWorld, index: int) -> None:
    names = [(entry.name, entry.what) for entry in world.journal[index + 1 :] if entry.what in {"built", "stopped"}]
    if world.fallback is not None:
        assert names[0] in {("F", "built"), ("", "stopped")}, f"{names[0]} comes after a directive"


def data_are_published_in_order(world: RandomWorld) -> None:
    """Change sets are published in the order in which they were yielded, each once, except the last of a run that was cut off."""
    waiting: list[ChangeSet] = []
    served = 0
    for entry in world.journal:
        match entry:
            case Entry(what="stopped"):
                assert len(waiting) <= 1, "data were forgotten"
                waiting.clear()
            case Entry(what="yielded", detail=Basis(change_set=change_set) | Update(change_set=ChangeSet() as change_set)):
                if change_set.kind is not ChangeKind.NONE and change_set is not BROKEN:
                    waiting.append(change_set)
            case Entry(what="reported", detail=report):
                if report.change_set is not None:
                    assert report.change_set is waiting.pop(0), "data were published that were not the next ones"
                assert (report.version or 0) >= served, "older data are served"
                served = report.version or 0
            case _:
                pass


def reports_are_consistent(world: RandomWorld) -> None:
    """``OFF`` without a next attempt is the last state of a run. Waiters wake once, after the state was reported."""
    state: SourceState | None = None
    ready = is_over = False
    for entry in world.journal:
        if entry.what == "started":
            state, ready, is_over = None, False, False
        elif entry.what == "reported":
            assert not is_over, "something is reported after OFF"
            state = entry.detail.state or state
            is_over = state is SourceState.OFF and entry.detail.next_attempt is None
        elif entry.what == "ready":
            assert not ready, "waiters wake twice"
            ready = True
            assert state in {SourceState.VALID, SourceState.OFF} or (state, world.recovery) == (SourceState.INTERRUPTED, "ttl")


RULES = [one_source_at_a_time, a_directive_outranks_fdv2, data_are_published_in_order, reports_are_consistent]


@pytest.mark.holds("FB-16", "FB-20")
@pytest.mark.timeout(180 + SEEDS // 50)
async def test_the_rules_hold_for_all_random_sources(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "aioflags")
    print(f"{SEEDS} worlds, first seed {FIRST_SEED}")
    for seed in range(FIRST_SEED, FIRST_SEED + SEEDS):
        world = RandomWorld(seed)
        try:
            await world.live_through()
            for rule in RULES:
                rule(world)
        except Exception as error:
            for entry in world.journal if SEEDS == 1 else ():
                print(entry)
            raise AssertionError(RULES_BROKEN.format(seed=seed)) from error


def test_random_worlds_cover_all_configurations() -> None:
    """The rules would also hold in empty worlds. These worlds are not empty."""
    worlds = [RandomWorld(seed) for seed in range(500)]
    assert {len(world.initializers) for world in worlds} == {0, 1, 2, 3}
    assert {len(world.synchronizers) for world in worlds} == {0, 1, 2, 3, 4}
    assert {(world.fallback is None, world.recovery) for world in worlds} == {
        (missing, recovery) for missing in (True, False) for recovery in ("never", "ttl")
    }


FINAL = Report(state=SourceState.OFF, error=None, version=None, change_set=None)
"""``OFF`` without a next attempt."""

INTERRUPTED = Report(state=SourceState.INTERRUPTED, error=None, version=None, change_set=None)

VALID_AND_READY = [
    ("", "reported", Report(state=SourceState.VALID, error=None, version=None, change_set=None)),
    ("", "ready"),
]


@pytest.mark.parametrize(
    ("rule", "journal"),
    [
        pytest.param(one_source_at_a_time, [("S1", "opened"), ("S2", "built")], id="two sources at a time"),
        pytest.param(
            a_directive_outranks_fdv2,
            [("S1", "opened"), ("S1", "yielded", valid(1, DIRECTIVE)), ("S1", "closed"), ("", "stopped"), ("S2", "built")],
            id="FDv2 after a directive",
        ),
        pytest.param(
            a_directive_outranks_fdv2,
            [("S1", "opened"), ("S1", "latched", DIRECTIVE), ("S1", "closed"), ("", "stopped"), ("S2", "built")],
            id="FDv2 after a latched directive",
        ),
        pytest.param(
            data_are_published_in_order,
            [("S1", "yielded", valid(1)), ("S1", "yielded", valid(2)), ("", "stopped")],
            id="data that are not published",
        ),
        pytest.param(reports_are_consistent, [("", "ready")], id="waiters wake before a state is reported"),
        pytest.param(reports_are_consistent, [*VALID_AND_READY, ("", "ready")], id="waiters wake twice"),
        pytest.param(
            reports_are_consistent,
            [("", "reported", INTERRUPTED), ("", "ready")],
            id="waiters wake for an interruption, without recovery",
        ),
        pytest.param(reports_are_consistent, [("", "reported", FINAL), ("", "reported", FINAL)], id="two final reports in a row"),
    ],
)
async def test_a_broken_rule_is_detected(rule: Callable[[RandomWorld], None], journal: list[tuple[Any, ...]]) -> None:
    world = RandomWorld(0)
    world.recovery, world.fallback = "never", None
    for entry in journal:
        world.note(*entry)
    with pytest.raises(AssertionError):
        rule(world)


@pytest.mark.parametrize(
    "directive_entry",
    [
        pytest.param(("S1", "yielded", valid(1, DIRECTIVE)), id="after a result with a directive"),
        pytest.param(("S1", "latched", DIRECTIVE), id="after a latched directive"),
    ],
)
@pytest.mark.parametrize(
    ("following", "breaks"),
    [
        pytest.param(("F", "built"), False, id="the fallback is built"),
        pytest.param(("", "stopped"), False, id="the run stops"),
        pytest.param(("S2", "built"), True, id="another FDv2 source is built"),
    ],
)
async def test_the_fallback_follows_a_directive(
    directive_entry: tuple[Any, ...], following: tuple[str, str], *, breaks: bool
) -> None:
    world = RandomWorld(0)
    world.recovery, world.fallback = "never", world.source("F")
    for entry in [("S1", "opened"), directive_entry, ("S1", "closed"), following]:
        world.note(*entry)
    with pytest.raises(AssertionError, match="comes after a directive") if breaks else nullcontext():
        a_directive_outranks_fdv2(world)
