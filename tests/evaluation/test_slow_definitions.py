"""Definitions that are slow to compile. They are compiled before they are published."""

from __future__ import annotations

from typing import Any

import pytest

from aioflags.evaluation.launchdarkly import LAUNCHDARKLY, SLOW_PARTS, SLOW_PATTERN_LENGTH
from aioflags.evaluation.snapshot import Snapshot
from aioflags.model.change import ChangeSet, ObjectKind
from aioflags.protocol.flag_documents import read_document
from aioflags.runtime.cooperative import run_at_once
from aioflags.supervisor.next_snapshot import slow_items


def change_set(values: list[Any], op: str = "matches") -> ChangeSet:
    rules = [{"clauses": [{"attribute": "key", "op": op, "values": values}], "variation": 0}]
    flag = {"key": "f", "version": 1, "on": True, "variations": [True], "fallthrough": {"variation": 0}, "salt": "", "rules": rules}
    segment = {"key": "s", "version": 1, "salt": "", "rules": [{"clauses": [{"attribute": "key", "op": op, "values": values}]}]}
    return read_document({"flags": {"f": flag}, "segments": {"s": segment}})


@pytest.mark.parametrize(
    ("values", "op", "is_slow"),
    [
        pytest.param(["x" * (SLOW_PATTERN_LENGTH + 1)], "matches", True, id="EV-E171 one long pattern"),
        pytest.param(
            ["x" * (SLOW_PATTERN_LENGTH // 2 + 1)] * 2, "matches", True, id="EV-E171 several patterns that are long together"
        ),
        pytest.param(["x" * SLOW_PATTERN_LENGTH], "matches", False, id="EV-E171 a shorter pattern"),
        pytest.param(["x" * (SLOW_PATTERN_LENGTH + 1)], "in", False, id="EV-E171 a long value of another operator"),
        pytest.param([5, None, ["x" * SLOW_PATTERN_LENGTH]], "matches", False, id="EV-E171 values that are not patterns"),
    ],
)
def test_definitions_with_long_patterns_are_slow(values: list[Any], op: str, is_slow: bool) -> None:
    slow = run_at_once(slow_items(change_set(values, op), LAUNCHDARKLY))
    assert slow == ([(ObjectKind.FLAG, "f"), (ObjectKind.SEGMENT, "s")] if is_slow else [])


MANY = SLOW_PARTS + 1
KEYS = [f"k{number}" for number in range(10 * MANY)]
SHARES = {"rollout": {"variations": [{"variation": 0, "weight": 1}] * MANY}}
RULES = [{"clauses": [], "variation": 0}] * (MANY // 10 + 1)


@pytest.mark.parametrize(
    ("section", "definition"),
    [
        pytest.param("flags", {"rules": [{"clauses": [{"op": "in", "values": KEYS[:MANY]}]}]}, id="values of a clause"),
        pytest.param("flags", {"rules": RULES}, id="rules"),
        pytest.param("flags", {"rules": [SHARES]}, id="shares of a rollout in a rule"),
        pytest.param("flags", {"fallthrough": SHARES}, id="shares of a rollout"),
        pytest.param("flags", {"prerequisites": [{"key": "p", "variation": 0}] * MANY}, id="prerequisites"),
        pytest.param("flags", {"targets": [{"variation": 0, "values": KEYS}]}, id="targets"),
        pytest.param("flags", {"contextTargets": [{"variation": 0, "values": KEYS, "contextKind": "org"}]}, id="targets of a kind"),
        pytest.param("segments", {"included": KEYS}, id="included keys"),
        pytest.param("segments", {"excluded": KEYS}, id="excluded keys"),
        pytest.param("segments", {"rules": [{"clauses": [{"op": "in", "values": KEYS[:MANY]}]}]}, id="values in a segment"),
    ],
)
def test_definitions_with_very_many_parts_are_slow(section: str, definition: dict[str, Any]) -> None:
    changes = read_document({section: {"x": {"key": "x", "version": 1, **definition}}})
    assert [key for _, key in run_at_once(slow_items(changes, LAUNCHDARKLY))] == ["x"]


def test_definitions_that_are_compiled_in_advance() -> None:
    changes = change_set(["x" * (SLOW_PATTERN_LENGTH + 1)])
    snapshot = Snapshot.empty().apply(changes)
    assert snapshot.direct_flags == {}
    snapshot.compile(run_at_once(slow_items(changes, LAUNCHDARKLY)))
    assert list(snapshot.direct_flags) == ["f"]
    assert list(snapshot.scope.data.segments) == ["s"]
