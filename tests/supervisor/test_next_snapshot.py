"""next_snapshot: what is compiled before it is published. Long patterns are, in a thread."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable
from dataclasses import replace
from typing import ClassVar, cast

import anyio
import pytest

from aioflags.evaluation.compiled_data import BulkUse
from aioflags.evaluation.items import Item
from aioflags.evaluation.launchdarkly import LAUNCHDARKLY
from aioflags.evaluation.snapshot import Snapshot
from aioflags.model.change import ChangeKind, ChangeSet, ObjectKind, Selector, Update
from aioflags.model.context import Context
from aioflags.model.flag import FlagDefinition
from aioflags.model.status import SourceState
from aioflags.protocol.flag_documents import read_document
from aioflags.runtime.event_loops import ForkSafeAsyncLock
from aioflags.supervisor.next_snapshot import UpdateSink, next_published
from tests.support.pauses import pauses_until
from tests.support.scripted_sources import HANG, World


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
