"""Supervisor: which data are applied, compiled and published, and which selector sources get."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable
from dataclasses import replace
from itertools import pairwise
from typing import ClassVar, cast

import anyio
import anyio.lowlevel
import pytest

from aioflags.evaluation.compiled_data import BulkUse
from aioflags.evaluation.items import Item
from aioflags.evaluation.launchdarkly import LAUNCHDARKLY
from aioflags.evaluation.snapshot import Snapshot
from aioflags.model.change import Basis, ChangeKind, ChangeSet, FallbackDirective, ObjectKind, Selector, Update
from aioflags.model.context import Context
from aioflags.model.flag import FlagDefinition
from aioflags.model.status import ErrorInfo, FailureKind, SourceState
from aioflags.protocol.flag_documents import read_document
from aioflags.runtime.event_loops import ForkSafeAsyncLock
from aioflags.supervisor.next_snapshot import UpdateSink, next_published
from tests.supervisor.source_cases import GOOD, INTERRUPTED, OFF, SILENT, VALID
from tests.support.pauses import pauses_until
from tests.support.scripted_sources import DIRECTIVE, HANG, Script, World, basis, data, failure, off, valid


@pytest.mark.parametrize(
    ("initializers", "selectors"),
    [
        pytest.param([basis(1)], ["", "s1"], id="DS-5 the selector of the initializer"),
        pytest.param([failure(404), basis(2)], ["", "", "s2"], id="DS-60 the selector of the second initializer"),
        pytest.param([basis(1, selector=False), basis(2)], ["", "", "s2"], id="DS-61 the selector of the initializer that had one"),
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
async def test_a_result_without_data_publishes_nothing(world: World, result: Update | Basis) -> None:
    initial = world.holder.snapshot
    source = world.source("X", [result, HANG] if isinstance(result, Update) else [result])
    parts = {"synchronizers": [source]} if isinstance(result, Update) else {"initializers": [source]}
    async with world.running(**parts):
        await anyio.sleep(1)
        assert world.holder.snapshot is initial
        assert all(report.change_set is None for report in world.reports)


async def test_a_delta_is_applied_to_the_current_data(world: World) -> None:
    delta = Update(state=VALID, change_set=ChangeSet(kind=ChangeKind.CHANGES, selector=Selector("s2", 2)), directive=None)
    async with world.running(synchronizers=[world.source("S1", [valid(1), delta, HANG])]):
        await anyio.sleep(1)
        assert (world.served, world.holder.snapshot.selector.state) == (1, "s2")
        assert [report.change_set for report in world.reports] == [data(1), delta.change_set]


def interrupted(kind: FailureKind) -> Update:
    """A failure of this kind."""
    return Update(state=INTERRUPTED, directive=None, error=ErrorInfo(kind=kind, message="no", time=0))


class Slow:
    """A snapshot that pauses three times while it applies changes, and records how many ticks happened before."""

    dialect = LAUNCHDARKLY
    selector = Selector.none()
    has_data = False
    refusal = None
    bulk_use = BulkUse()
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
async def test_large_data_are_applied_in_slices_between_which_other_tasks_run(world: World, is_followed: bool) -> None:
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
    """Data that cannot be applied."""
    return Update(state=state, change_set=ChangeSet(kind=ChangeKind.FULL, changes=(None,)), directive=directive)  # type: ignore[arg-type]  # on purpose


@pytest.mark.parametrize(
    ("script", "opened"),
    [
        pytest.param([valid(1), broken(), HANG], [("S1", 0), ("S2", 30)], id="the next source starts after a pause"),
        pytest.param([valid(1), broken(DIRECTIVE), HANG], [("S1", 0), ("F1", 0)], id="FB-7 a directive is obeyed"),
        pytest.param([valid(1), broken(state=OFF), HANG], [("S1", 0), ("S2", 0)], id="OFF ends the source"),
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
        assert len(world.times("", "rejected")) == 1


async def test_an_initializers_data_that_cannot_be_applied_are_a_failure(world: World) -> None:
    change_set = broken().change_set
    assert change_set is not None
    bad = world.source("I1", [Basis(change_set=change_set, directive=None)])
    async with world.running(initializers=[bad, world.source("I2", [basis(1)])], synchronizers=[world.source("S1", SILENT)]):
        await anyio.sleep(1)
        assert (world.opened, world.served) == (["I1", "I2", "S1"], 1)


@pytest.mark.parametrize(
    ("script", "rejected"),
    [
        pytest.param([valid(1), interrupted(FailureKind.INVALID_DATA), 5, valid(2)], [0], id="a payload that cannot be read"),
        pytest.param(
            [valid(1), interrupted(FailureKind.INVALID_DATA), 5, interrupted(FailureKind.INVALID_DATA)], [0, 5], id="the same again"
        ),
        pytest.param(
            [valid(1), interrupted(FailureKind.NETWORK_ERROR), interrupted(FailureKind.ERROR_RESPONSE)], [], id="no payload"
        ),
    ],
)
async def test_each_rejected_payload_is_counted_before_it_is_reported(world: World, script: Script, rejected: list[float]) -> None:
    async with world.running(synchronizers=[world.source("S1", [*script, HANG])]):
        await anyio.sleep(8)
        assert world.times("", "rejected") == rejected
        whats = [entry.what for entry in world.journal if entry.what in {"rejected", "reported"}]
        assert all(after == "reported" for before, after in pairwise(whats) if before == "rejected")


# -- what is compiled before it is published


def change_set(pattern: str) -> ChangeSet:
    rule = {"clauses": [{"attribute": "key", "op": "matches", "values": [pattern]}], "variation": 0}
    flag = {
        "key": "f",
        "version": 1,
        "on": True,
        "variations": [True],
        "fallthrough": {"variation": 0},
        "salt": "",
        "rules": [rule],
    }
    return read_document({"flags": {"f": flag}})


class Recording:
    """A snapshot that records what it compiles, in which thread, and whether it was published by then."""

    dialect = LAUNCHDARKLY
    selector = Selector.none()
    flags: ClassVar[dict[str, FlagDefinition]] = {}
    has_data = False
    refusal = None
    bulk_use = BulkUse()

    def __init__(self, world: World) -> None:
        self.world = world
        self.compiled: list[tuple[list[Item], bool, int]] = []

    def builder(self, change_set: ChangeSet, *, traced: bool) -> Generator[None, None, Recording]:
        yield
        return self

    def compile(self, items: Iterable[Item]) -> None:
        is_here = threading.current_thread() is threading.main_thread()
        self.compiled.append((list(items), is_here, len(self.world.reports)))


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        pytest.param("(alice|bob)" * 100, [([(ObjectKind.FLAG, "f")], False, 0)], id="EV-E171 a long pattern"),
        pytest.param("alice|bob", [], id="EV-E171 a short pattern is compiled at the first evaluation"),
    ],
)
async def test_a_long_pattern_is_compiled_in_a_thread_before_its_flag_is_published(
    world: World, pattern: str, expected: list[tuple[list[Item], bool, int]]
) -> None:
    recording = Recording(world)
    world.holder.snapshot = cast("Snapshot", recording)
    update = Update(state=SourceState.VALID, change_set=change_set(pattern), directive=None)
    async with world.running(synchronizers=[world.source("S1", [update, HANG])]):
        await anyio.sleep(1)
    assert recording.compiled == expected
    assert world.states == [SourceState.VALID]


async def test_a_published_flag_with_a_long_pattern_is_compiled(world: World) -> None:
    update = Update(state=SourceState.VALID, change_set=change_set("(alice|bob)" * 100), directive=None)
    async with world.running(synchronizers=[world.source("S1", [update, HANG])]):
        await anyio.sleep(1)
        assert list(world.holder.snapshot.direct_flags) == ["f"]


class TwoPublishers:
    """A sink whose snapshot another publisher replaces, as often as ``others`` has one, while a change set is applied."""

    is_followed = False
    publishing = ForkSafeAsyncLock(fast_acquire=True)

    def __init__(self, others: list[Snapshot]) -> None:
        self.others = others
        self.newest = Snapshot.empty()

    @property
    def snapshot(self) -> Snapshot:
        newest = self.newest
        if self.others:
            self.newest = self.others.pop(0)
        return newest


def flag_values(**values: object) -> ChangeSet:
    return read_document({"flagValues": values})


@pytest.mark.parametrize("times", [0, 1, 2])
async def test_a_change_set_is_applied_again_if_another_publisher_was_first(times: int) -> None:
    others = [Snapshot.empty().apply(flag_values(stored=number)) for number in range(times)]
    partial = replace(flag_values(sent=True), kind=ChangeKind.CHANGES)
    snapshot = await next_published(cast("UpdateSink", TwoPublishers(others)), partial)
    assert sorted(snapshot.flags) == ["sent", *["stored"] * bool(times)]
    assert not times or snapshot.evaluate("stored", Context("u"), None).detail.value == times - 1


# -- a program that evaluates all flags at once


def many(number: int, value: str, kind: ChangeKind = ChangeKind.FULL) -> ChangeSet:
    return replace(flag_values(**{f"f{index}": value for index in range(number)}), kind=kind)


@pytest.mark.holds("EV-E180")
@pytest.mark.parametrize("kind", [ChangeKind.FULL, ChangeKind.CHANGES])
async def test_new_data_is_compiled_in_slices_once_all_flags_were_evaluated_at_once(kind: ChangeKind) -> None:
    sink = TwoPublishers([])
    sink.newest = sink.newest.apply(many(100, "old"))
    lazy, few = await pauses_until(next_published(cast("UpdateSink", sink), many(100, "new", kind)))
    assert len(lazy.direct_flags) == 0
    sink.newest.bulk_use.has_begun = True
    snapshot, pauses = await pauses_until(next_published(cast("UpdateSink", sink), many(100, "new", kind)))
    assert len(snapshot.direct_flags) == 100
    assert pauses >= few + 9
