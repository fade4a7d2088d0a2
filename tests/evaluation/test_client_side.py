"""Flags that LaunchDarkly's service evaluated for one context."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from aioflags.evaluation.client_side import CLIENT_SIDE, MAX_PREREQUISITES
from aioflags.evaluation.items import Evaluation
from aioflags.evaluation.snapshot import Snapshot
from aioflags.model.change import Change, ChangeKind, ChangeSet, ObjectKind
from aioflags.model.context import Context
from aioflags.model.detail import BigSegmentsStatus, ErrorKind, EvaluationDetail, FlagEvaluation, Reason, ReasonKind
from tests.evaluation.data import with_frames_left

K = Context("k")
UNKNOWN = Reason(kind="UNKNOWN")


def flag(value: Any, **properties: Any) -> FlagEvaluation:
    return FlagEvaluation(value=value, **properties)


def data(flags: Mapping[str, FlagEvaluation], kind: ChangeKind = ChangeKind.FULL) -> ChangeSet:
    puts = [Change(ObjectKind.FLAG, key, 1, msgspec.structs.replace(each, key=key)) for key, each in flags.items()]
    return ChangeSet(kind=kind, changes=tuple(puts))


def snapshot(**flags: FlagEvaluation) -> Snapshot:
    return Snapshot.empty(dialect=CLIENT_SIDE).apply(data(flags))


def evaluated(flag: FlagEvaluation, default: object) -> EvaluationDetail[Any]:
    return snapshot(f=flag).evaluate("f", K, default).detail


def failed(value: object, kind: ErrorKind) -> EvaluationDetail[Any]:
    return EvaluationDetail(value, None, Reason(kind=ReasonKind.ERROR, error_kind=kind))


# -- values


@pytest.mark.parametrize(
    ("served", "default", "detail"),
    [
        pytest.param(flag("a", variation=2), "d", EvaluationDetail("a", 2, UNKNOWN), id="a value"),
        pytest.param(flag("a"), "d", EvaluationDetail("a", None, UNKNOWN, is_unnamed=True), id="a value without a variation"),
        pytest.param(flag(None, variation=1), "d", EvaluationDetail("d", 1, UNKNOWN, is_null=True), id="null serves the default"),
        pytest.param(flag(None), "d", EvaluationDetail("d", None, UNKNOWN, is_null=True), id="null without a variation"),
        pytest.param(flag(True, variation=0), 7, failed(7, ErrorKind.WRONG_TYPE), id="S-90 a boolean where an int is asked for"),
        pytest.param(flag(3.9, variation=0), 7, EvaluationDetail(3, 0, UNKNOWN), id="an int is cut from a number"),
        pytest.param(flag(3, variation=0), 7.5, EvaluationDetail(3.0, 0, UNKNOWN), id="a float is any number"),
        pytest.param(flag(3.9), 7, EvaluationDetail(3, None, UNKNOWN, is_unnamed=True), id="a converted value without a variation"),
    ],
)
def test_the_value_of_the_service_is_served_if_its_type_fits(
    served: FlagEvaluation, default: object, detail: EvaluationDetail[Any]
) -> None:
    result = evaluated(served, default)
    assert (result, type(result.value)) == (detail, type(detail.value))
    assert result.is_default is (result.value == default)


def test_without_data_the_default_is_served_and_an_unknown_key_is_not_found() -> None:
    assert Snapshot.empty(dialect=CLIENT_SIDE).evaluate("f", K, 1).detail == failed(1, ErrorKind.CLIENT_NOT_READY)
    assert snapshot().evaluate("f", K, 1).detail == failed(1, ErrorKind.FLAG_NOT_FOUND)


# -- reasons


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        pytest.param(None, UNKNOWN, id="none"),
        pytest.param({"kind": "OFF"}, Reason(kind=ReasonKind.OFF), id="off"),
        pytest.param(
            {"kind": "RULE_MATCH", "ruleIndex": 3, "ruleId": "r", "inExperiment": True},
            Reason(kind=ReasonKind.RULE_MATCH, rule_index=3, rule_id="r", in_experiment=True),
            id="a rule",
        ),
        pytest.param(
            {"kind": "PREREQUISITE_FAILED", "prerequisiteKey": "p"},
            Reason(kind=ReasonKind.PREREQUISITE_FAILED, prerequisite_key="p"),
            id="a prerequisite",
        ),
        pytest.param(
            {"kind": "ERROR", "errorKind": "MALFORMED_FLAG"},
            Reason(kind=ReasonKind.ERROR, error_kind=ErrorKind.MALFORMED_FLAG),
            id="an error",
        ),
        pytest.param(
            {"kind": "FALLTHROUGH", "bigSegmentsStatus": "STALE"},
            Reason(kind=ReasonKind.FALLTHROUGH, big_segments_status=BigSegmentsStatus.STALE),
            id="big segments",
        ),
        pytest.param({"kind": "NEW_KIND"}, Reason(kind="NEW_KIND"), id="a kind that this release does not know"),
        pytest.param(
            {"kind": 1, "ruleIndex": "x", "ruleId": 2, "prerequisiteKey": [], "inExperiment": "yes", "errorKind": "?"},
            UNKNOWN,
            id="wrong types",
        ),
        pytest.param({}, UNKNOWN, id="empty"),
    ],
)
def test_the_reason_of_the_service_is_passed_on(sent: dict[str, Any] | None, reason: Reason) -> None:
    assert evaluated(flag(1, variation=0, reason=sent), 0).reason == reason


# -- events


def test_the_flag_says_what_events_its_evaluations_send() -> None:
    made = snapshot(
        plain=flag(1, version=4),
        tracked=flag(1, version=4, flag_version=9, track_events=True, track_reason=True, debug_events_until_date=5),
    )
    plain, tracked = made.evaluate("plain", K, 0), made.evaluate("tracked", K, 0)
    assert plain.flag is not None
    assert tracked.flag is not None
    assert (plain.flag.version, plain.flag.tracking.is_tracked, plain.is_experiment) == (4, False, False)
    assert (tracked.flag.version, tracked.flag.tracking.is_tracked, tracked.is_experiment) == (9, True, True)
    assert tracked.flag.tracking.debug_until_ms == 5


def noted(evaluation: Evaluation) -> list[str]:
    return [note.key for note in evaluation.prerequisites]


GRAPHS = [
    pytest.param({"a": ["b", "c"], "b": [], "c": []}, ["b", "c"], id="S-91 in order"),
    pytest.param({"a": ["b"], "b": ["c"], "c": []}, ["c", "b"], id="the deepest first"),
    pytest.param({"a": ["b", "c"], "b": ["d"], "c": ["d"], "d": []}, ["d", "b", "d", "c"], id="one of two flags is noted twice"),
    pytest.param({"a": ["a"]}, [], id="S-92 of itself"),
    pytest.param({"a": ["b"], "b": ["c"], "c": ["a", "b"]}, ["c", "b"], id="S-92 a circle"),
    pytest.param({"a": ["b", "x"], "b": []}, ["b", "x"], id="an unknown one"),
    pytest.param(
        {"a": ["f0"], **{f"f{n}": [f"f{n + 1}"] for n in range(20)}, "f20": []},
        [f"f{n}" for n in range(20, -1, -1)],
        id="20 levels",
    ),
]


@pytest.mark.parametrize(("graph", "notes"), GRAPHS)
def test_prerequisites_are_noted_before_the_flag(graph: dict[str, list[str]], notes: list[str]) -> None:
    made = snapshot(**{key: flag(key, variation=0, prerequisites=tuple(needed)) for key, needed in graph.items()})
    evaluation = made.evaluate("a", K, "")
    assert evaluation.detail.value == "a"
    assert noted(evaluation) == notes
    assert all(note.prerequisite_of is None for note in evaluation.prerequisites)
    # The fast path calls the flag directly, and gets the same object each time.
    answer = made.direct_flags["a"](K, made.scope)
    assert [note.key for note in answer.prerequisites] == notes
    assert made.direct_flags["a"](K, made.scope) is answer


def test_an_unknown_prerequisite_has_no_version() -> None:
    (note,) = snapshot(a=flag(1, prerequisites=("x",))).evaluate("a", K, 0).prerequisites
    assert (note.version, note.answer.has_value) == (None, False)


def test_the_notes_are_those_of_the_newest_data() -> None:
    old = snapshot(a=flag(1, variation=0, prerequisites=("b",)), b=flag("old"))
    old.direct_flags.get("a")
    assert old.evaluate("a", K, 0).prerequisites[0].answer.value == "old"
    new = old.apply(data({"b": flag("new")}, ChangeKind.CHANGES))
    assert new.evaluate("a", K, 0).prerequisites[0].answer.value == "new"
    assert old.evaluate("a", K, 0).prerequisites[0].answer.value == "old"


def test_prerequisites_that_double_at_each_level_cost_a_bounded_time() -> None:
    levels = {f"f{n}": flag(n, prerequisites=(f"f{n + 1}", f"g{n + 1}")) for n in range(60)}
    twins = {f"g{n}": flag(n, prerequisites=(f"f{n + 1}", f"g{n + 1}")) for n in range(60)}
    evaluation = snapshot(**levels, **twins).evaluate("f0", K, 1)
    assert evaluation.detail.value == 0
    assert len(evaluation.prerequisites) <= MAX_PREREQUISITES + 120


def test_a_chain_of_prerequisites_that_is_too_long_is_cut() -> None:
    chain = {f"f{n}": flag(n, variation=0, prerequisites=(f"f{n + 1}",)) for n in range(5000)}
    evaluation = snapshot(**chain).evaluate("f0", K, 1)
    assert evaluation.detail.value == 0
    assert len(evaluation.prerequisites) == 100


# -- constant answers


def answered() -> Snapshot:
    """A snapshot for the context ``k`` whose flags were all evaluated. Of ``a``, ``b`` is a prerequisite."""
    made = (
        Snapshot.empty(dialect=CLIENT_SIDE)
        .switched(K, keeps_flags=False)
        .apply(data({"a": flag(1, prerequisites=("b",)), "b": flag(2), "c": flag(3), "none": flag(None)}))
    )
    for key in made.flags:
        made.evaluate(key, K, 0)
    return made


def test_an_evaluation_keeps_its_answer_for_the_next_ones() -> None:
    made = answered()
    assert made.constant_answers == {key: made.direct_flags[key](K, made.scope) for key in made.flags}
    made.evaluate("unknown", K, 0)
    assert "unknown" not in made.constant_answers


@pytest.mark.parametrize(
    ("flags", "kind", "kept"),
    [
        pytest.param({"b": flag(20)}, ChangeKind.CHANGES, {"c", "none"}, id="a prerequisite changes"),
        pytest.param({"c": flag(30)}, ChangeKind.CHANGES, {"b", "none"}, id="another flag changes"),
        pytest.param({"b": flag(2), "c": flag(30)}, ChangeKind.FULL, {"b"}, id="fewer flags"),
        pytest.param({"d": flag(4)}, ChangeKind.CHANGES, {"b", "c", "none"}, id="a new flag"),
    ],
)
def test_a_change_keeps_the_answers_of_flags_that_it_leaves_alone(
    flags: dict[str, FlagEvaluation], kind: ChangeKind, kept: set[str]
) -> None:
    old = answered()
    answers = dict(old.constant_answers)
    assert old.apply(data(flags, kind)).constant_answers == {key: answers[key] for key in kept}
    assert old.constant_answers == answers


def test_the_answers_are_there_only_while_the_flags_serve() -> None:
    made = answered()
    assert made.switched(Context("other"), keeps_flags=True).constant_answers is made.constant_answers
    assert made.switched(Context("other"), keeps_flags=False).constant_answers == {}
    assert made.refused(ErrorKind.CLIENT_NOT_READY).constant_answers == {}


def test_without_a_context_no_answer_is_kept() -> None:
    made = snapshot(a=flag(1))
    assert made.evaluate("a", K, 0).detail.value == 1
    assert made.constant_answers == {}


def test_an_error_that_depends_on_the_stack_of_the_caller_is_not_kept() -> None:
    chain = {f"f{n}": flag(n, variation=0, prerequisites=(f"f{n + 1}",)) for n in range(90)}
    made = Snapshot.empty(dialect=CLIENT_SIDE).switched(K, keeps_flags=False).apply(data(chain))
    assert with_frames_left(50, lambda: made.evaluate("f0", K, 7)).detail.reason.error_kind is ErrorKind.MALFORMED_FLAG
    assert made.constant_answers == {}
    assert made.evaluate("f0", K, 7).detail.value == made.constant_answers["f0"].value == 0


# -- changes


@pytest.mark.parametrize(
    ("present", "new", "changed"),
    [
        pytest.param(flag(1, variation=0), flag(1, variation=0), False, id="the same"),
        pytest.param(flag(1, variation=0), flag(True, variation=0), True, id="1 and true"),
        pytest.param(flag({"a": [1]}), flag({"a": [1.0]}), False, id="1 and 1.0 are one number"),
        pytest.param(flag(1, variation=0), flag(1, variation=1), True, id="another variation"),
        pytest.param(flag(1, reason={"kind": "OFF"}), flag(1, reason={"kind": "FALLTHROUGH"}), True, id="another reason"),
        pytest.param(flag(1, version=1, flag_version=5), flag(1, version=2, flag_version=5), False, id="newer data, same flag"),
        pytest.param(flag(1), flag(1, prerequisites=("p",)), True, id="another prerequisite"),
    ],
)
def test_a_full_set_changes_the_flags_whose_results_differ(present: FlagEvaluation, new: FlagEvaluation, *, changed: bool) -> None:
    before = snapshot(f=present)
    change_set = data({"f": new})
    assert before.apply(change_set).changed_since(before, change_set) == ({"f"} if changed else set())
