"""CompiledData, and the log of problems in definitions. Changes of a whole snapshot are in test_snapshot.py."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any, NoReturn

import pytest

from aioflags.evaluation.client_side import CLIENT_SIDE
from aioflags.evaluation.compiled_data import CompiledData, DefinitionLog
from aioflags.evaluation.flags import compile_flag
from aioflags.evaluation.items import Items, ReportProblem
from aioflags.evaluation.launchdarkly import LAUNCHDARKLY, SLOW_PARTS, SLOW_PATTERN_LENGTH, LaunchDarklyDialect, compile_segment
from aioflags.evaluation.scope import CompiledFlag, CompiledSegment
from aioflags.evaluation.snapshot import Snapshot
from aioflags.model.change import Change, ChangeKind, ChangeSet, ObjectKind, SegmentDefinition, Selector
from aioflags.model.context import Context
from aioflags.model.detail import FlagEvaluation
from aioflags.model.flag import Clause, FlagDefinition, FlagRule
from aioflags.protocol.flag_documents import read_document
from aioflags.runtime.cooperative import run_at_once
from aioflags.runtime.logs import logger
from aioflags.supervisor.next_snapshot import slow_items


def test_a_segment_is_compiled_once() -> None:
    compiled: list[str] = []

    def compile_and_record(definition: SegmentDefinition, note: ReportProblem) -> CompiledSegment:
        compiled.append(definition.key)
        return compile_segment(definition, note)

    items = Items(segments={key: SegmentDefinition(key=key) for key in "ab"})
    data = CompiledData(items, LaunchDarklyDialect(compile_flag, compile_and_record), DefinitionLog(logging.getLogger("aioflags")))
    first = [data.segment(key) for key in "aba"]
    assert compiled == ["a", "b"]
    assert first[0] is first[2] is data.segments["a"]
    assert data.segment("c") is None


class NotIterable(dict[str, CompiledFlag]):
    """The compiled flags of a large snapshot. They must not be iterated or copied to update a few."""

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("iterated over all flags")

    def keys(self) -> NoReturn:
        raise AssertionError("copied all flags")


def test_updating_to_few_flags_does_not_iterate_over_all_compiled_flags() -> None:
    definitions = {key: FlagDefinition(key=key) for key in ("a", "b", "c")}
    data = CompiledData(Items(definitions), LAUNCHDARKLY, DefinitionLog(logger))
    for key in definitions:
        data.flag(key)
    data.flags = NotIterable(data.flags)
    assert data.updated(Items({"a": definitions["a"]})).flags == {"a": data.flags["a"]}


def test_two_threads_that_compile_a_flag_keep_the_same_result() -> None:
    definition = FlagDefinition(key="g", version=1)
    other = compile_flag(definition, lambda _: None)

    def compile_more_slowly(definition: FlagDefinition, note: ReportProblem) -> CompiledFlag:
        data.flags["g"] = other
        return compile_flag(definition, note)

    data = CompiledData(Items({"g": definition}), LaunchDarklyDialect(compile_more_slowly, compile_segment), DefinitionLog(logger))
    assert data.flag("g") is other
    assert data.direct_flags["g"] is other.evaluate


def flag_of(key: str, *, version: int = 1, segments: tuple[str, ...] = ()) -> FlagDefinition:
    clauses = (Clause(attribute="", op="segmentMatch", values=segments),)
    return FlagDefinition(key=key, version=version, on=True, variations=(0, 1), rules=(FlagRule(clauses=clauses, variation=1),))


def segment_of(key: str, *, version: int = 1) -> SegmentDefinition:
    return SegmentDefinition(key=key, version=version, included=("u",))


FLAGS = {"a": flag_of("a", segments=("s",)), "b": flag_of("b"), "c": flag_of("c", segments=("t",))}
SEGMENTS = {"s": segment_of("s"), "t": segment_of("t")}
NEW_B, NEW_S = flag_of("b", version=2), segment_of("s", version=2)


@pytest.mark.parametrize(
    ("flags", "changed", "kept"),
    [
        pytest.param({**FLAGS, "b": NEW_B}, None, {"a", "c"}, id="as many flags"),
        pytest.param({**FLAGS, "b": NEW_B, "d": flag_of("d")}, None, {"a", "c"}, id="more flags"),
        pytest.param({"a": FLAGS["a"], "b": NEW_B}, None, {"a"}, id="fewer flags"),
        pytest.param(
            {**FLAGS, "b": NEW_B}, [(ObjectKind.FLAG, "b"), (ObjectKind.SEGMENT, "s")], {"a", "c"}, id="the changed items are given"
        ),
    ],
)
def test_compiled_definitions_are_kept_if_they_did_not_change(
    flags: dict[str, FlagDefinition], changed: list[tuple[ObjectKind, str]] | None, kept: set[str]
) -> None:
    data = CompiledData(Items(FLAGS, SEGMENTS), LAUNCHDARKLY, DefinitionLog(logger))
    compiled = {key: data.flag(key) for key in FLAGS}
    t, _ = data.segment("t"), data.segment("s")
    later = data.updated(Items(flags, {**SEGMENTS, "s": NEW_S}), changed)
    assert later.flags == {key: compiled[key] for key in kept}
    assert later.direct_flags.keys() == kept
    assert later.segments == {"t": t}


# -- Definitions that are slow to compile. They are compiled before they are published.


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


# -- A snapshot between two contexts: until the flags of the new one arrive, those of the old one are hidden or go on.

ANNA, BEN = Context("anna"), Context("ben")


def changes(kind: ChangeKind, **values: object) -> ChangeSet:
    flags = [FlagEvaluation(key=key, version=1, value=value) for key, value in values.items()]
    return ChangeSet(
        kind=kind,
        changes=tuple(Change(ObjectKind.FLAG, flag.key, 1, flag) for flag in flags),
        selector=Selector("s", 1),
    )


@pytest.fixture
def flags_of_anna() -> Snapshot:
    return Snapshot.empty(dialect=CLIENT_SIDE).switched(ANNA, keeps_flags=False).apply(changes(ChangeKind.FULL, a=1, b=2))


def value(snapshot: Snapshot, key: str) -> object:
    assert snapshot.evaluated_for is not None
    return snapshot.evaluate(key, snapshot.evaluated_for, None, wanted=object).detail.value


def test_the_flags_of_another_context_are_hidden(flags_of_anna: Snapshot) -> None:
    between = flags_of_anna.switched(BEN, keeps_flags=False)
    assert (value(between, "a"), dict(between.flags), between.selector.is_defined) == (None, {}, False)
    assert between.evaluate("a", BEN, None).detail.reason.error_kind == "FLAG_NOT_FOUND"
    assert between.has_data


def test_the_flags_of_an_equal_context_go_on_without_a_selector(flags_of_anna: Snapshot) -> None:
    between = flags_of_anna.switched(Context("anna"), keeps_flags=True)
    assert (value(between, "a"), between.selector.is_defined) == (1, False)


def test_hidden_flags_stay_hidden_for_the_next_context(flags_of_anna: Snapshot) -> None:
    between = flags_of_anna.switched(BEN, keeps_flags=False).switched(Context("ben"), keeps_flags=True)
    assert value(between, "a") is None


@pytest.mark.parametrize("kind", [ChangeKind.FULL, ChangeKind.CHANGES])
def test_the_first_flags_of_a_context_replace_those_of_another_one(flags_of_anna: Snapshot, kind: ChangeKind) -> None:
    between = flags_of_anna.switched(BEN, keeps_flags=False)
    arrived = changes(kind, a=1, c=3)
    after = between.apply(arrived)
    assert [value(after, key) for key in "abc"] == [1, None, 3]
    assert after.changed_since(between, arrived) == {"b", "c"}, "a has the same value as before"
