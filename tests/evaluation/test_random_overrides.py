"""Random overrides: the values of the merged data, and the marks of what an evaluation reads."""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from aioflags.evaluation.overrides import overlaid
from aioflags.evaluation.scope import CompiledFlag, CompiledSegment, Scope
from aioflags.evaluation.snapshot import Snapshot
from aioflags.model.change import ObjectKind
from aioflags.model.context import Context
from aioflags.model.detail import EvaluationDetail
from tests.evaluation.data import change_set, changes, overrides_of, overriding, snapshot_of
from tests.evaluation.generator import world
from tests.evaluation.overridden_snapshots import (
    OVERRIDE,
    assert_all_ways_agree,
)


class Spy:
    """The data of a snapshot. Notes which flags and segments an evaluation reads."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._data = snapshot._data
        self.static_context: Mapping[str, Any] = {}
        self.direct_flags: Mapping[str, Any] = {}
        self.segments: Mapping[str, Any] = {}
        self.read: set[tuple[ObjectKind, str]] = set()

    def flag(self, key: str) -> CompiledFlag | None:
        self.read.add((ObjectKind.FLAG, key))
        return self._data.flag(key)

    def segment(self, key: str) -> CompiledSegment | None:
        self.read.add((ObjectKind.SEGMENT, key))
        return self._data.segment(key)

    def is_removed(self, key: str) -> bool:
        return self._data.is_removed(key)


def unmarked(detail: EvaluationDetail[Any]) -> tuple[Any, int | None, dict[str, Any]]:
    reason = {name: value for name, value in detail.reason.to_dict().items() if name not in OVERRIDE}
    return detail.value, detail.variation_index, reason


@pytest.mark.holds("EV-E174", "EV-E175")
@pytest.mark.parametrize("seed", range(60))
def test_random_overrides_have_the_values_of_the_merged_data_and_the_marks_of_what_is_read(
    seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    chance = random.Random(seed)
    made, other = world(f"service {seed}"), world(f"overrides {seed}")
    snapshot = snapshot_of(*made.flags, segments=made.segments)
    for _ in range(3):
        flags, segments = some(chance, other.flags), some(chance, other.segments)
        snapshot = overriding(snapshot, overrides_of(*flags, segments=segments))
        merged = snapshot_of(*by_key(made.flags, flags), segments=by_key(made.segments, segments))
        overridden = {(ObjectKind.FLAG, one["key"]) for one in flags} | {(ObjectKind.SEGMENT, one["key"]) for one in segments}
        assert snapshot.items.overridden == overridden
        for data in chance.sample(made.contexts, 2):
            context = Context.from_dict(data)
            for key in merged.flags:
                detail, spy = snapshot.evaluate(key, context, None).detail, Spy(merged)
                expected = merged.evaluate(key, context, None, scope=Scope(spy)).detail
                assert unmarked(detail) == unmarked(expected)
                spy.read.add((ObjectKind.FLAG, key))
                is_override = (ObjectKind.FLAG, key) in overridden
                assert detail.reason.override_affected is not spy.read.isdisjoint(overridden), (key, spy.read, overridden)
                assert detail.reason.is_override is is_override
            assert_all_ways_agree(snapshot, context)
        # The service sends something else.
        made = world(f"service {seed} {chance.random()}")
        step = change_set(*changes(made.flags, made.segments))
        snapshot = snapshot.apply(step)
        assert snapshot.items == overlaid(Snapshot.empty().apply(step).items, snapshot.overrides)


def some(chance: random.Random, items: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A few of the definitions, each with one chance in four to remove that of the service instead."""
    chosen = chance.sample(items, chance.randint(0, min(3, len(items))))
    return [{**item, "deleted": True} if chance.random() < 0.25 else item for item in chosen]


def by_key(base: Sequence[dict[str, Any]], over: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    merged = {item["key"]: item for item in base} | {item["key"]: item for item in over}
    return [item for item in merged.values() if not item.get("deleted")]
