"""Snapshots: whole evaluations, and what a change set keeps."""

from __future__ import annotations

import gc
import logging
import threading
import weakref
from typing import Any

import pytest

from aioflags.evaluation.answers import Answer
from aioflags.evaluation.snapshot import Snapshot
from aioflags.model.change import ChangeKind, ChangeSet, Selector
from aioflags.model.context import Context
from aioflags.model.detail import ErrorKind, FlagMetadata
from aioflags.runtime.cooperative import run_at_once
from tests.evaluation.data import change_set, changes, error, flag, needs, outcome, partial, segment, snapshot_of
from tests.support.pauses import with_pauses

K = Context("k")

ON: dict[str, Any] = {"on": True, "variations": [True], "fallthrough": {"variation": 0}}


@pytest.mark.parametrize(
    ("snapshot", "key", "context", "kind"),
    [
        pytest.param(snapshot_of(flag()), "flag", None, "USER_NOT_SPECIFIED", id="no context"),
        pytest.param(snapshot_of(flag()), "flag", Context(""), "USER_NOT_SPECIFIED", id="an invalid context"),
        pytest.param(snapshot_of(flag()), "flag", {"key": "k"}, "USER_NOT_SPECIFIED", id="not a context"),
        pytest.param(Snapshot.empty(), "flag", K, "CLIENT_NOT_READY", id="no data"),
        pytest.param(Snapshot.empty(), "flag", None, "USER_NOT_SPECIFIED", id="neither data nor context"),
        pytest.param(Snapshot.empty(has_data=True), "flag", K, "FLAG_NOT_FOUND", id="no flags on purpose"),
        pytest.param(snapshot_of(flag()), "else", K, "FLAG_NOT_FOUND", id="no such flag"),
        pytest.param(snapshot_of(flag(deleted=True)), "flag", K, "FLAG_NOT_FOUND", id="a deleted flag"),
        pytest.param(snapshot_of(flag()), ["flag"], K, "EXCEPTION", id="a key that is not a string"),
    ],
)
def test_the_default_is_returned_for(snapshot: Snapshot, key: str, context: Any, kind: Any) -> None:
    evaluation = snapshot.evaluate(key, context, "default")
    assert outcome(evaluation) == ("default", None, error(kind))
    assert evaluation.flag is None


@pytest.mark.parametrize(
    ("variations", "default", "wanted", "expected"),
    [
        pytest.param([1, 2, 3], "x", None, ("x", None, error("WRONG_TYPE")), id="another type than the default's"),
        pytest.param([1, 2, 3], "x", object, (2, 1, {"kind": "FALLTHROUGH"}), id="any type is expected"),
        pytest.param([1, 2.5, 3], 0, None, (2, 1, {"kind": "FALLTHROUGH"}), id="a fraction where an integer is expected"),
        pytest.param([1, None, 3], 0, None, (0, None, error("WRONG_TYPE")), id="null where a number is expected"),
        pytest.param([1, None, 3], None, None, (None, 1, {"kind": "FALLTHROUGH"}), id="null where any type is expected"),
        pytest.param([1, [2], 3], {}, None, ({}, None, error("WRONG_TYPE")), id="an array where an object is expected"),
        pytest.param([1], "x", None, ("x", None, error("MALFORMED_FLAG")), id="no value: the default is not tested"),
    ],
)
def test_the_value_for_an_expected_type(variations: list[Any], default: Any, wanted: Any, expected: Any) -> None:
    result = outcome(snapshot_of(flag(variations=variations)).evaluate("flag", K, default, wanted=wanted))
    assert result == expected
    assert result[0].__class__ is expected[0].__class__


def test_containers_are_copies_for_the_caller() -> None:
    snapshot = snapshot_of(flag(variations=[0, {"a": [1]}]))
    snapshot.evaluate("flag", K, {}).detail.value["a"].append(2)
    assert snapshot.evaluate("flag", K, {}).detail.value == {"a": [1]}


def test_evaluations_with_the_same_outcome_return_the_same_detail() -> None:
    snapshot = snapshot_of(flag())
    assert snapshot.evaluate("flag", K, "").detail is snapshot.evaluate("flag", K, "").detail


# -- logs


def test_a_malformed_flag_is_reported_once_for_each_version(caplog: pytest.LogCaptureFixture) -> None:
    snapshot = snapshot_of(flag("a\nb", version=3, fallthrough=None))
    with caplog.at_level(logging.DEBUG, "aioflags"):
        for _ in range(3):
            assert outcome(snapshot.evaluate("a\nb", K, None)) == (None, None, error("MALFORMED_FLAG"))
        assert caplog.messages == ["flag a\\nb, version 3, has neither variation nor rollout in its fallthrough"]
        newer = snapshot.apply(change_set(*changes([flag("a\nb", version=4, fallthrough=None)]), kind=ChangeKind.CHANGES))
        newer.evaluate("a\nb", K, None)
    assert len(caplog.messages) == 2


def test_an_invalid_pattern_of_a_flag_is_logged_for_the_flag(caplog: pytest.LogCaptureFixture) -> None:
    rule = {"clauses": [{"attribute": "key", "op": "matches", "values": ["***"]}]}
    snapshot = snapshot_of(flag(rules=[rule]))
    with caplog.at_level(logging.ERROR, "aioflags"):
        for _ in range(2):
            snapshot.evaluate("flag", K, None)
    (message,) = caplog.messages
    assert message.startswith("flag flag, version 1, has a pattern that is not a valid regular expression: '***'")


def test_a_snapshot_logs_to_the_given_logger(caplog: pytest.LogCaptureFixture) -> None:
    other = logging.getLogger("other.logger")
    snapshot = Snapshot.empty(log=other).apply(change_set(*changes([flag(fallthrough=None)])))
    snapshot.evaluate("flag", K, None)
    assert [record.name for record in caplog.records] == ["other.logger"]


def test_an_evaluation_has_its_flag_and_whether_it_is_an_experiment() -> None:
    snapshot = snapshot_of(flag(trackEventsFallthrough=True), flag("other"))
    results = [
        (evaluation.flag and evaluation.flag.key, evaluation.is_experiment)
        for evaluation in (snapshot.evaluate(k, K, None) for k in ("flag", "other"))
    ]
    assert results == [("flag", True), ("other", False)]


def test_only_the_scope_of_the_snapshot_is_shared() -> None:
    snapshot = snapshot_of(flag())
    assert (snapshot.scope.is_shared, snapshot.new_scope().is_shared) == (True, False)


def test_the_index_of_dependents_is_made_only_by_a_traced_builder() -> None:
    old = snapshot_of(flag(), flag("other"))
    step = change_set(*changes([flag(version=2)]), kind=ChangeKind.CHANGES)
    untraced, traced = old.apply(step), run_at_once(old.builder(step, traced=True))
    assert (untraced.dependents, traced.dependents) == (None, {})


def test_a_flag_is_no_longer_direct_when_its_big_segment_arrives() -> None:
    asking = flag(rules=[{"clauses": [{"op": "segmentMatch", "values": ["s"]}], "variation": 2}])
    old = snapshot_of(asking)
    old.evaluate("flag", K, None)
    assert "flag" in old.direct_flags
    big = change_set(*changes([asking], [segment(unbounded=True, generation=1)]))
    assert "flag" not in old.apply(big).direct_flags


def test_an_invalid_pattern_of_a_segment_is_logged_for_the_segment(caplog: pytest.LogCaptureFixture) -> None:
    asking = flag(rules=[{"clauses": [{"op": "segmentMatch", "values": ["s"]}], "variation": 2}])
    broken = segment(rules=[{"clauses": [{"op": "matches", "attribute": "key", "values": ["***"]}]}])
    assert snapshot_of(asking, segments=[broken]).evaluate("flag", K, None).detail.value == "b"
    (message,) = caplog.messages
    assert message.startswith("segment s, version 1, has a pattern that is not a valid regular expression: '***'")


def test_the_context_kinds_of_big_segments() -> None:
    big = segment(unbounded=True, generation=1, unboundedContextKind="org")
    assert snapshot_of(segments=[big, segment("other")]).big_segment_kinds == {"org"}


# -- changes


def test_a_confirmation_changes_nothing() -> None:
    snapshot = snapshot_of(flag())
    assert snapshot.apply(ChangeSet.unchanged()) is snapshot


def test_whether_a_snapshot_has_data_and_its_selector() -> None:
    empty = Snapshot.empty()
    partial = empty.apply(change_set(kind=ChangeKind.CHANGES, selector=Selector("p", 1)))
    full = partial.apply(change_set(selector=Selector("f", 2)))
    later = full.apply(change_set(kind=ChangeKind.CHANGES))
    assert [(s.has_data, s.selector.state) for s in (empty, partial, full, later)] == [
        (False, ""),
        (True, "p"),
        (True, "f"),
        (True, ""),
    ]


def test_a_full_set_keeps_the_compiled_flags_that_did_not_change() -> None:
    same, edited, gone = {"key": "same", "version": 1, **ON}, {"key": "edited", "version": 1, **ON}, {"key": "gone", **ON}
    before = Snapshot.empty().apply(change_set(*changes([same, edited, gone])))
    compiled = {key: before.compiled(key) for key in ("same", "edited", "gone")}
    # To Python True equals 1, so that only the JSON of it shows the edit.
    after = before.apply(change_set(*changes([same, {**edited, "variations": [1]}])))
    assert after.compiled("same") is compiled["same"]
    assert after.direct_flags.keys() == {"same"}
    assert after.compiled("edited") is not compiled["edited"]
    assert after.evaluate("edited", Context("u"), None).detail.value == 1
    assert after.compiled("gone") is None


def test_a_full_set_with_a_changed_segment_checks_its_flags_again() -> None:
    flag = {"key": "f", **ON, "rules": [{"variation": 0, "clauses": [{"op": "segmentMatch", "values": ["s"]}]}]}
    before = Snapshot.empty().apply(change_set(*changes([flag], [{"key": "s", "included": ["u"]}])))
    before.compiled("f")
    assert "f" in before.direct_flags
    after = before.apply(change_set(*changes([flag], [{"key": "s", "unbounded": True}])))
    assert after.compiled("f") is before.compiled("f")
    assert "f" not in after.direct_flags


def test_a_full_set_of_few_flags_keeps_their_compiled_flags() -> None:
    clause = {"op": "segmentMatch", "values": ["s"]}
    same, looks_into = {"key": "same", **ON}, {"key": "f", **ON, "rules": [{"variation": 0, "clauses": [clause]}]}
    others = [{"key": f"other-{n}", **ON} for n in range(5)]
    before = Snapshot.empty().apply(change_set(*changes([same, looks_into, *others], [{"key": "s"}, {"key": "t"}])))
    list(before.compile_all())
    compiled = {key: before.compiled(key) for key in ("same", "f")}
    after = before.apply(change_set(*changes([same, looks_into], [{"key": "s"}])))
    assert {key: after.compiled(key) for key in compiled} == compiled
    assert after.direct_flags.keys() == compiled.keys()
    big = after.apply(change_set(*changes([looks_into], [{"key": "s", "unbounded": True}])))
    assert big.compiled("f") is compiled["f"]
    assert big.direct_flags.keys() == set()
    edited = before.apply(change_set(*changes([{**same, "version": 2}])))
    assert edited.direct_flags.keys() == set()
    assert edited.compiled("same") is not compiled["same"]


def test_compiling_in_slices_compiles_everything() -> None:
    flags = [{"key": f"f{n}", **ON} for n in range(29)]
    snapshot = Snapshot.empty().apply(change_set(*changes(flags)))
    assert len(list(snapshot.compile_all())) == 2
    assert len(snapshot.direct_flags) == 29
    assert list(snapshot.compile_all()) == []


def test_a_partial_set_keeps_the_compiled_flags_that_did_not_change() -> None:
    old = snapshot_of(flag("f"), flag("g"), flag("gone"))
    before = {key: old.compiled(key) for key in ("f", "g", "gone")}
    new = old.apply(partial(flag("g", version=2), deletes=["gone"]))
    assert new.compiled("f") is before["f"]
    assert new.compiled("g") is not before["g"]
    assert new.compiled("gone") is None
    assert old.compiled("gone") is before["gone"]
    assert set(new.direct_flags) == {"f", "g"}


def test_a_prerequisite_is_looked_up_in_the_newest_data() -> None:
    old = snapshot_of(needs("f", "g"), flag("g"))
    assert outcome(old.evaluate("f", K, None))[1] == 1
    new = old.apply(partial(flag("g", on=False)))
    assert outcome(new.evaluate("f", K, None))[1] == 0
    assert outcome(old.evaluate("f", K, None))[1] == 1


def test_answers_list_their_prerequisites() -> None:
    snapshot = snapshot_of(needs("f", "g", "i"), needs("g", "h"), flag("h"), flag("i", on=False))
    snapshot.evaluate("f", K, None)
    answer = snapshot.direct_flags["f"](K, snapshot.scope)
    prerequisites = [(note.key, note.answer.index, note.prerequisite_of) for note in answer.prerequisites]
    assert prerequisites == [("h", 1, "g"), ("g", 1, "f"), ("i", 0, "f")]
    assert snapshot.direct_flags["f"](K, snapshot.scope) is answer
    evaluation = snapshot.evaluate("f", K, None)
    assert [(note.key, note.answer.index, note.prerequisite_of) for note in evaluation.prerequisites] == prerequisites


@pytest.mark.parametrize(
    "flags",
    [
        pytest.param([needs("f", "nowhere")], id="the only prerequisite is missing"),
        pytest.param([needs("f", "g", "nowhere"), flag("g")], id="the second prerequisite is missing"),
        pytest.param([needs("f", "g"), needs("g", "nowhere")], id="a prerequisite of a prerequisite is missing"),
    ],
)
def test_a_flag_with_a_missing_prerequisite_has_one_answer(flags: Any) -> None:
    snapshot = snapshot_of(*flags)
    snapshot.evaluate("f", K, None)
    answers = [snapshot.direct_flags["f"](K, snapshot.scope) for _ in range(5)]
    assert {id(answer) for answer in answers} == {id(answers[0])}
    assert answers[0].detail.reason.kind == "PREREQUISITE_FAILED"
    again = snapshot.apply(partial(flag("nowhere")))
    assert again.evaluate("f", K, None).detail.variation_index == 1


def test_a_flag_keeps_no_reference_to_old_prerequisites() -> None:
    snapshot = snapshot_of(needs("f", "g"), flag("g"))
    snapshot.evaluate("f", K, None)
    watched = weakref.ref(snapshot.direct_flags["g"])
    snapshot = snapshot.apply(partial(flag("g", version=2)))
    gc.collect()
    assert watched() is None
    assert snapshot.evaluate("f", K, None).detail.variation_index == 1


def _answers_with_prerequisites() -> int:
    return sum(type(one) is Answer and bool(one.prerequisites) for one in gc.get_objects())


def test_a_flag_keeps_a_limited_number_of_answers() -> None:
    snapshot, before = snapshot_of(needs("f", "g", "h"), flag("g"), flag("h")), _answers_with_prerequisites()
    for version in range(600):
        snapshot = snapshot.apply(partial(flag("h", version=version)))
        snapshot.evaluate("f", K, None)
        assert snapshot.direct_flags["f"](K, snapshot.scope).index == 1
    assert _answers_with_prerequisites() - before < 300


def test_old_snapshots_are_freed_without_the_garbage_collector() -> None:
    snapshot = snapshot_of(needs("f", "g"), flag("g"))
    for key in ("f", "g"):
        snapshot.evaluate(key, K, None)
    gc.disable()
    try:
        watched = weakref.ref(snapshot.direct_flags["g"])
        snapshot = snapshot.apply(change_set())
        assert watched() is None
    finally:
        gc.enable()


def test_a_full_set_is_built_with_pauses() -> None:
    flags = [flag(f"f{number}") for number in range(10_000)]
    snapshot, pauses = with_pauses(Snapshot.empty().builder(change_set(*changes(flags))))
    assert pauses >= 9
    assert len(snapshot.flags) == 10_000


@pytest.mark.real_time
def test_threads_can_evaluate_the_same_flags_for_the_first_time() -> None:
    rules = [{"clauses": [{"op": "segmentMatch", "values": ["s"]}], "variation": 2}]
    snapshot = snapshot_of(*(flag(f"f{number}", rules=rules) for number in range(300)), segments=[segment(included=["k"])])
    values: list[object] = []

    def ask() -> None:
        values.extend(snapshot.evaluate(f"f{number}", K, None).detail.value for number in range(300))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert values == ["c"] * 1200


def test_a_refused_snapshot_has_the_data_and_evaluates_nothing() -> None:
    snapshot = snapshot_of(flag())
    assert snapshot.evaluate("flag", K, "default").detail.value == "b"
    assert (snapshot.refusal, "flag" in snapshot.direct_flags) == (None, True)
    refused = snapshot.refused(ErrorKind.PROVIDER_FATAL)
    assert refused.refusal is ErrorKind.PROVIDER_FATAL
    assert (refused.flags, refused.has_data, dict(refused.direct_flags)) == (snapshot.flags, True, {})
    assert snapshot.refused(ErrorKind.GENERAL, "why").evaluate("flag", K, "default").detail.error_message == "why"
    refused.compiled("flag")
    assert outcome(refused.evaluate("flag", K, "default")) == ("default", None, error("PROVIDER_FATAL"))
    assert "flag" in snapshot.direct_flags


def test_new_data_ends_a_refusal() -> None:
    refused = snapshot_of(flag()).refused(ErrorKind.PROVIDER_FATAL)
    assert refused.apply(ChangeSet.unchanged()).refusal is ErrorKind.PROVIDER_FATAL
    after = refused.apply(change_set(*changes([flag("other")]), kind=ChangeKind.CHANGES))
    assert (after.refusal, set(after.flags)) == (None, {"flag", "other"})
    assert after.evaluate("flag", K, "default").detail.value == "b"


def test_a_snapshot_without_data_refuses_evaluations() -> None:
    assert Snapshot.empty().refusal is ErrorKind.CLIENT_NOT_READY
    assert Snapshot.empty(has_data=True).refusal is None


def test_metadata_and_static_context_stay_until_a_change_set_has_others() -> None:
    first = Snapshot.empty().apply(change_set(metadata=FlagMetadata({"n": 1}), static_context={"a": 1}))
    second = first.apply(change_set(kind=ChangeKind.CHANGES))
    assert (dict(second.metadata), second.static_context) == ({"n": 1}, {"a": 1})
    third = second.apply(change_set(metadata=FlagMetadata({}), static_context={}))
    assert (dict(third.metadata), third.static_context) == ({}, {})
