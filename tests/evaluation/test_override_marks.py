"""The marks of evaluations that read an override."""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from aioflags.evaluation.explain.flags import explain
from aioflags.evaluation.overrides import overlaid
from aioflags.evaluation.scope import CompiledFlag, CompiledSegment, Scope, SharedScopeError
from aioflags.evaluation.snapshot import Snapshot
from aioflags.model.change import ObjectKind
from aioflags.model.context import Context
from aioflags.model.detail import ErrorKind, EvaluationDetail, Reason
from tests.evaluation.data import change_set, changes, flag, overrides_of, overriding, snapshot_of
from tests.evaluation.generator import world
from tests.evaluation.overridden_snapshots import (
    AFFECTED,
    ALWAYS,
    EXPERIMENT,
    HIDDEN,
    IS_K,
    IS_NOT_K,
    NONE,
    OFF,
    OVERRIDE,
    WITH_K,
    K,
    asks,
    assert_all_ways_agree,
    in_segments,
    marks,
    names,
    needs,
    with_overrides,
)


@pytest.mark.holds("EV-E175")
@pytest.mark.parametrize(
    ("service", "overrides", "expected", "prerequisites"),
    [
        pytest.param({"f": ALWAYS}, {}, NONE, {}, id="no override"),
        pytest.param({"f": ALWAYS, "g": ALWAYS}, {"g": OFF}, NONE, {}, id="another flag"),
        pytest.param({"f": ALWAYS}, {"f": ALWAYS}, OVERRIDE, {}, id="the flag"),
        pytest.param({"f": ALWAYS}, {"f": OFF}, OVERRIDE, {}, id="the flag, which is off"),
        pytest.param({}, {"f": ALWAYS}, OVERRIDE, {}, id="a flag that the service does not have"),
        pytest.param({"f": ALWAYS}, {"f": {"fallthrough": {"variation": 7}}}, OVERRIDE, {}, id="the flag, malformed"),
        pytest.param({"f": ALWAYS}, {"f": EXPERIMENT}, OVERRIDE, {}, id="the flag, in an experiment"),
        pytest.param({"f": asks(IS_K)}, {"f": asks(IS_K)}, OVERRIDE, {}, id="the flag, by a rule"),
        pytest.param({"f": ALWAYS, "p": ALWAYS}, {"f": needs("p")}, OVERRIDE, {"p": NONE}, id="the flag, not its prerequisite"),
        pytest.param({"f": needs("p"), "p": ALWAYS}, {"p": ALWAYS}, AFFECTED, {"p": OVERRIDE}, id="a prerequisite"),
        pytest.param({"f": needs("p"), "p": ALWAYS}, {"f": needs("p"), "p": ALWAYS}, OVERRIDE, {"p": OVERRIDE}, id="both of them"),
        pytest.param({"f": needs("p"), "p": ALWAYS}, {"p": OFF}, AFFECTED, {"p": OVERRIDE}, id="a prerequisite that is off"),
        pytest.param(
            {"f": needs("p"), "p": ALWAYS},
            {"p": {"fallthrough": {"variation": 2}}},
            AFFECTED,
            {"p": OVERRIDE},
            id="a prerequisite that serves something else",
        ),
        pytest.param(
            {"f": needs("p"), "p": ALWAYS},
            {"p": {"fallthrough": {"variation": 7}}},
            AFFECTED,
            {"p": OVERRIDE},
            id="a prerequisite that is malformed",
        ),
        pytest.param(
            {"f": needs("p"), "p": ALWAYS},
            {"p": asks({"op": "in", "attribute": "//", "contextKind": "user", "values": [1]})},
            AFFECTED,
            {},
            id="a prerequisite that fails",
        ),
        pytest.param({"f": needs("p")}, {"g": ALWAYS}, NONE, {}, id="a prerequisite that does not exist"),
        pytest.param(
            {"f": needs("p"), "p": needs("q"), "q": ALWAYS},
            {"q": ALWAYS},
            AFFECTED,
            {"q": OVERRIDE, "p": AFFECTED},
            id="a prerequisite of a prerequisite",
        ),
        pytest.param(
            {"f": needs("p", "q"), "p": ALWAYS, "q": ALWAYS}, {"q": OFF}, AFFECTED, {"p": NONE, "q": OVERRIDE}, id="the second one"
        ),
        pytest.param(
            {"f": needs("q", "p"), "p": ALWAYS, "q": ALWAYS}, {"q": ALWAYS}, AFFECTED, {"q": OVERRIDE, "p": NONE}, id="the first"
        ),
        pytest.param(
            {"f": needs("p", "q"), "p": OFF, "q": ALWAYS},
            {"q": ALWAYS},
            NONE,
            {"p": NONE},
            id="one after a prerequisite that fails",
        ),
        pytest.param({"f": needs("p", on=False), "p": ALWAYS}, {"p": ALWAYS}, NONE, {}, id="one of a flag that is off"),
        pytest.param(
            {"f": needs("p"), "p": needs("f")},
            {"p": needs("f")},
            AFFECTED,
            {},
            id="a prerequisite in a circle, which is overridden",
        ),
        pytest.param(
            {"f": needs("p"), "p": needs("f")}, {"g": ALWAYS}, NONE, {}, id="a prerequisite in a circle, which is not overridden"
        ),
        pytest.param({"f": asks(in_segments("s")), "s": {}}, {"s": WITH_K}, AFFECTED, {}, id="a segment"),
        pytest.param({"f": asks(in_segments("s")), "s": WITH_K}, {"s": {}}, AFFECTED, {}, id="a segment that does not match"),
        pytest.param({"f": asks(in_segments("s", negate=True)), "s": WITH_K}, {"s": {}}, AFFECTED, {}, id="a negated segment"),
        pytest.param({"f": asks(in_segments("s"))}, {"s": WITH_K}, AFFECTED, {}, id="a segment that the service does not have"),
        pytest.param(
            {"f": asks(IS_NOT_K, in_segments("s")), "s": {}}, {"s": {}}, NONE, {}, id="a segment after a clause that fails"
        ),
        pytest.param(
            {"f": asks(in_segments("s1", "s2")), "s1": WITH_K, "s2": {}},
            {"s2": {}},
            NONE,
            {},
            id="a segment after one that matches",
        ),
        pytest.param(
            {"f": asks(in_segments("s1", "s2")), "s1": {}, "s2": {}},
            {"s2": {}},
            AFFECTED,
            {},
            id="a segment after one that does not",
        ),
        pytest.param(
            {"f": {"targets": [{"variation": 0, "values": ["k"]}], **asks(in_segments("s"))}, "s": {}},
            {"s": {}},
            NONE,
            {},
            id="a segment behind a target",
        ),
        pytest.param(
            {"f": asks(in_segments("s1")), "s1": names("s2"), "s2": {}}, {"s2": WITH_K}, AFFECTED, {}, id="a segment of a segment"
        ),
        pytest.param(
            {"f": asks(in_segments("s1")), "s1": {**WITH_K, **names("s2")}, "s2": {}},
            {"s2": WITH_K},
            NONE,
            {},
            id="a segment of a segment that lists the context",
        ),
        pytest.param(
            {"f": asks(in_segments("s1")), "s1": names("s2"), "s2": names("s1")},
            {"s2": names("s1")},
            AFFECTED,
            {},
            id="a segment in a circle",
        ),
        pytest.param(
            {"f": asks(in_segments("s")), "s": {}}, {"s": {"unbounded": True, "generation": 1}}, AFFECTED, {}, id="a big segment"
        ),
        pytest.param(
            {"f": needs("p"), "p": asks(in_segments("s")), "s": {}},
            {"s": {}},
            AFFECTED,
            {"p": AFFECTED},
            id="a segment of a prerequisite",
        ),
        pytest.param(
            {"f": {**needs("p"), **asks(in_segments("s"))}, "p": ALWAYS, "s": {}},
            {"s": {}},
            AFFECTED,
            {"p": NONE},
            id="a segment, not the prerequisite",
        ),
        pytest.param(
            {"f": needs("p", "q"), "p": asks(in_segments("s1")), "q": asks(in_segments("s1")), "s1": names("s"), "s": {}},
            {"s": {}},
            AFFECTED,
            {"p": AFFECTED, "q": AFFECTED},
            id="a segment that two prerequisites read",
        ),
        pytest.param(
            {"f": needs("p", "q"), "p": needs("r"), "q": needs("r"), "r": asks(in_segments("s")), "s": {}},
            {"s": {}},
            AFFECTED,
            {"p": AFFECTED, "q": AFFECTED, "r": AFFECTED},
            id="a segment of the prerequisite of two prerequisites",
        ),
        pytest.param({"f": ALWAYS}, {"f": HIDDEN}, OVERRIDE, {}, id="the flag, which is hidden"),
        pytest.param({}, {"f": HIDDEN}, OVERRIDE, {}, id="a flag that is hidden, and that the service does not have"),
        pytest.param({"f": needs("p"), "p": ALWAYS}, {"p": HIDDEN}, AFFECTED, {}, id="a prerequisite that is hidden"),
        pytest.param(
            {"f": needs("q", "p"), "q": ALWAYS, "p": ALWAYS}, {"p": HIDDEN}, AFFECTED, {"q": NONE}, id="the second one, hidden"
        ),
        pytest.param(
            {"f": needs("p"), "p": needs("q"), "q": ALWAYS}, {"q": HIDDEN}, AFFECTED, {"p": AFFECTED}, id="one below, hidden"
        ),
        pytest.param({"f": asks(in_segments("s")), "s": WITH_K}, {"s": HIDDEN}, AFFECTED, {}, id="a segment that is hidden"),
        pytest.param(
            {"f": asks(in_segments("s", negate=True)), "s": WITH_K}, {"s": HIDDEN}, AFFECTED, {}, id="a negated segment, hidden"
        ),
        pytest.param(
            {"f": asks(in_segments("s1")), "s1": names("s"), "s": WITH_K}, {"s": HIDDEN}, AFFECTED, {}, id="a segment below, hidden"
        ),
    ],
)
def test_an_evaluation_is_marked_if_it_read_an_override(
    service: Mapping[str, Any],
    overrides: Mapping[str, Any],
    expected: Mapping[str, Any],
    prerequisites: Mapping[str, Mapping[str, Any]],
) -> None:
    snapshot = with_overrides(service, overrides)
    for _ in range(2):  # the second time, answers that were kept count
        evaluation = snapshot.evaluate("f", K, None)
        assert marks(evaluation.detail.reason) == expected
        assert {note.key: marks(note.answer.detail.reason) for note in evaluation.prerequisites} == prerequisites
        assert explain(snapshot, "f", K).detail == evaluation.detail
        assert_all_ways_agree(snapshot, K)


def test_the_same_answer_of_an_overridden_flag_is_the_same_object_each_time() -> None:
    snapshot = with_overrides({"f": needs("p"), "p": ALWAYS}, {"p": ALWAYS})
    snapshot.evaluate("f", K, None)
    first, second = (
        {key: snapshot.direct_flags[key](context, snapshot.scope) for key in "fp"} for context in (K, Context("another"))
    )
    assert all(first[key] is second[key] for key in "fp")


def test_the_answer_of_a_flag_that_an_override_affects_is_marked_once() -> None:
    snapshot = with_overrides({"f": asks(in_segments("s")), "s": WITH_K}, {"s": WITH_K})
    details = [snapshot.evaluate("f", context, None).detail for context in (K, K, Context("another"))]
    assert details[0] is details[1]
    assert details[2] is not details[0]


def test_marks_do_not_change_the_reasons_that_other_flags_share() -> None:
    snapshot = with_overrides({"f": needs("p"), "g": ALWAYS, "p": ALWAYS}, {"p": {"fallthrough": {"variation": 7}}})
    snapshot.evaluate("f", K, None)
    wrong_types = {key: snapshot.evaluate(key, K, 1).detail.reason for key in "gp"}
    assert {key: marks(reason) for key, reason in wrong_types.items()} == {"g": NONE, "p": OVERRIDE}
    other = snapshot_of(flag("f", fallthrough={"variation": 7}))
    assert other.evaluate("f", K, None).detail.reason == Reason(kind="ERROR", error_kind=ErrorKind.MALFORMED_FLAG)


@pytest.mark.parametrize(("overridden", "expected"), [("f", OVERRIDE), ("p", AFFECTED), ("s", AFFECTED), ("g", NONE)])
def test_a_result_of_a_wrong_type_stays_marked(overridden: str, expected: Mapping[str, Any]) -> None:
    properties = {"f": {**needs("p"), **asks(in_segments("s"))}, "p": ALWAYS, "s": WITH_K, "g": ALWAYS}
    snapshot = with_overrides(properties, {overridden: properties[overridden]})
    detail = snapshot.evaluate("f", K, 5).detail
    assert detail.reason.error_kind is ErrorKind.WRONG_TYPE
    assert (detail.value, marks(detail.reason)) == (5, expected)


def test_a_bug_in_an_overridden_definition_stays_marked() -> None:
    def broken(context: Context, scope: Scope) -> Any:
        raise ZeroDivisionError

    snapshot = with_overrides({"f": asks(in_segments("s")), "s": {}}, {"s": {}})
    compiled = snapshot._data.segment("s")
    assert compiled is not None
    read = CompiledSegment(frozenset(), lambda context, scope: compiled.holds_also(context, scope) or broken(context, scope))
    snapshot._data.segments["s"] = read
    detail = snapshot.evaluate("f", K, "default").detail
    assert (detail.value, detail.reason.error_kind, marks(detail.reason)) == ("default", ErrorKind.EXCEPTION, AFFECTED)


def test_an_overridden_segment_cannot_be_read_in_the_shared_scope() -> None:
    snapshot = with_overrides({"f": asks(in_segments("s")), "s": {}}, {"s": WITH_K})
    flag = snapshot.compiled("f")
    assert flag is not None
    assert "f" not in snapshot.direct_flags
    with pytest.raises(SharedScopeError):
        flag.evaluate(K, snapshot.scope)


# -- Random overrides: the values of the merged data, and the marks of what an evaluation reads.


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
