"""Snapshots: one evaluation from end to end, and what a change keeps."""

from __future__ import annotations

import contextlib
import functools
import gc
import logging
import re
import threading
import weakref
from typing import Any

import pytest

from aioflags.evaluation.answers import Answer, Tracking
from aioflags.evaluation.compiled import CompiledFlag
from aioflags.evaluation.dialect import Dialect
from aioflags.evaluation.flags import compile_flag
from aioflags.evaluation.snapshot import Snapshot
from aioflags.model.change import Change, ChangeKind, ChangeSet, ObjectKind, Selector
from aioflags.model.context import Context
from aioflags.runtime.cooperative import run_at_once
from tests.evaluation.data import change_set, changes, flag, outcome, segment, snapshot_of, with_frames_left

K = Context("k")

ON: dict[str, Any] = {"on": True, "variations": [True], "fallthrough": {"variation": 0}}


def error(kind: Any) -> dict[str, Any]:
    return {"kind": "ERROR", "errorKind": kind}


@pytest.mark.parametrize(
    ("snapshot", "key", "context", "kind"),
    [
        pytest.param(snapshot_of(flag()), "flag", None, "USER_NOT_SPECIFIED", id="no context"),
        pytest.param(snapshot_of(flag()), "flag", Context(""), "USER_NOT_SPECIFIED", id="an invalid context"),
        pytest.param(snapshot_of(flag()), "flag", {"key": "k"}, "USER_NOT_SPECIFIED", id="something that is no context"),
        pytest.param(Snapshot.empty(), "flag", K, "CLIENT_NOT_READY", id="no data"),
        pytest.param(Snapshot.empty(), "flag", None, "USER_NOT_SPECIFIED", id="neither data nor context"),
        pytest.param(Snapshot.empty(has_data=True), "flag", K, "FLAG_NOT_FOUND", id="no flags on purpose"),
        pytest.param(snapshot_of(flag()), "else", K, "FLAG_NOT_FOUND", id="no such flag"),
        pytest.param(snapshot_of(flag(deleted=True)), "flag", K, "FLAG_NOT_FOUND", id="a deleted flag"),
        pytest.param(snapshot_of(flag()), ["flag"], K, "EXCEPTION", id="a key that is none"),
    ],
)
def test_the_default_is_served_for(snapshot: Snapshot, key: str, context: Any, kind: Any) -> None:
    evaluation = snapshot.evaluate(key, context, "default")
    assert outcome(evaluation) == ("default", None, error(kind))
    assert evaluation.flag is None


@pytest.mark.parametrize(
    ("variations", "default", "wanted", "expected"),
    [
        pytest.param([1, 2, 3], "x", None, ("x", None, error("WRONG_TYPE")), id="another type than the default's"),
        pytest.param([1, 2, 3], "x", object, (2, 1, {"kind": "FALLTHROUGH"}), id="unless any type is wanted"),
        pytest.param([1, 2.5, 3], 0, None, (2, 1, {"kind": "FALLTHROUGH"}), id="a fraction where an integer is wanted"),
        pytest.param([1, None, 3], 0, None, (0, None, error("WRONG_TYPE")), id="null where something is wanted"),
        pytest.param([1, None, 3], None, None, (None, 1, {"kind": "FALLTHROUGH"}), id="null where anything is wanted"),
        pytest.param([1, [2], 3], {}, None, ({}, None, error("WRONG_TYPE")), id="an array where an object is wanted"),
        pytest.param([1], "x", None, ("x", None, error("MALFORMED_FLAG")), id="no value: the default is not tested"),
    ],
)
def test_the_type_that_is_asked_for(variations: list[Any], default: Any, wanted: Any, expected: Any) -> None:
    found = outcome(snapshot_of(flag(variations=variations)).evaluate("flag", K, default, wanted=wanted))
    assert found == expected
    assert found[0].__class__ is expected[0].__class__


def test_containers_are_the_callers_own() -> None:
    snapshot = snapshot_of(flag(variations=[0, {"a": [1]}]))
    snapshot.evaluate("flag", K, {}).detail.value["a"].append(2)
    assert snapshot.evaluate("flag", K, {}).detail.value == {"a": [1]}


def test_what_can_be_known_beforehand_is_not_made_again() -> None:
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


def test_a_pattern_that_cannot_be_run_is_reported_with_its_flag(caplog: pytest.LogCaptureFixture) -> None:
    rule = {"clauses": [{"attribute": "key", "op": "matches", "values": ["***"]}]}
    snapshot = snapshot_of(flag(rules=[rule]))
    with caplog.at_level(logging.ERROR, "aioflags"):
        for _ in range(2):
            snapshot.evaluate("flag", K, None)
    (message,) = caplog.messages
    assert message.startswith("flag flag, version 1, has a pattern that is not a valid regular expression: '***'")


def test_a_pattern_of_a_segment_that_cannot_be_run_is_reported_with_the_segment(caplog: pytest.LogCaptureFixture) -> None:
    one = flag(rules=[{"clauses": [{"op": "segmentMatch", "values": ["s"]}]}])
    two = segment(rules=[{"clauses": [{"attribute": "key", "op": "matches", "values": ["***"]}]}])
    snapshot_of(one, segments=[two]).evaluate("flag", K, None)
    (message,) = caplog.messages
    assert message.startswith("segment s, version 1, has a pattern that is not a valid regular expression: '***'")


def _buggy(definition: Any, note: Any) -> CompiledFlag:
    def evaluate(context: Any, scope: Any) -> Any:
        raise ZeroDivisionError("a bug")

    return CompiledFlag(definition.key, definition.version, evaluate)


def _unable(definition: Any, note: Any) -> Any:
    raise ZeroDivisionError("a bug")


def of_dialect(compile_flag: Any, compile_segment: Any, *flags: Any, segments: Any = ()) -> Snapshot:
    dialect = Dialect("test", compile_flag, compile_segment)
    return Snapshot.empty(dialect=dialect).apply(change_set(*changes(flags, segments)))


def test_a_bug_of_ours_costs_one_evaluation_and_one_line(caplog: pytest.LogCaptureFixture) -> None:
    snapshot = of_dialect(_buggy, _unable, flag())
    with caplog.at_level(logging.DEBUG, "aioflags"):
        for _ in range(2):
            evaluation = snapshot.evaluate("flag", K, "default")
            assert outcome(evaluation) == ("default", None, error("EXCEPTION"))
            assert evaluation.flag is not None
    assert [record.levelname for record in caplog.records] == ["ERROR", "DEBUG", "DEBUG"]
    assert caplog.messages[0] == "evaluating flag flag failed: ZeroDivisionError('a bug')"
    assert caplog.records[1].exc_info is not None


def test_a_flag_that_does_not_compile_is_malformed(caplog: pytest.LogCaptureFixture) -> None:
    assert outcome(of_dialect(_unable, _unable, flag()).evaluate("flag", K, "default"))[2] == error("MALFORMED_FLAG")
    assert "does not compile: ZeroDivisionError" in caplog.text


@pytest.mark.parametrize(
    ("compiler", "properties"),
    [
        pytest.param(compile_flag, {}, id="on"),
        pytest.param(compile_flag, {"on": False}, id="off"),
        pytest.param(_unable, {}, id="one that does not compile"),
    ],
)
def test_what_analytics_are_to_be_told_of_a_flag_does_not_depend_on_whether_it_is(compiler: Any, properties: Any) -> None:
    wishes: dict[str, Any] = {"trackEvents": True, "excludeFromSummaries": True, "debugEventsUntilDate": 5, "samplingRatio": 3}
    compiled = of_dialect(compiler, _unable, flag(**wishes, **properties, version=7)).compiled("flag")
    assert compiled is not None
    assert (compiled.key, compiled.version) == ("flag", 7)
    assert compiled.tracking == Tracking(is_counted=False, is_tracked=True, debug_until_ms=5, sampling_ratio=3)


def test_a_flag_that_needs_a_segment_that_does_not_compile_is_malformed(caplog: pytest.LogCaptureFixture) -> None:
    one = flag(rules=[{"clauses": [{"op": "segmentMatch", "values": ["s"]}], "variation": 2}])
    snapshot = of_dialect(compile_flag, _unable, one, segments=[segment()])
    assert outcome(snapshot.evaluate("flag", K, "default"))[2] == error("MALFORMED_FLAG")
    assert "needs segment 's', which does not compile" in caplog.text


def test_a_client_may_have_a_log_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    own = logging.getLogger("somebody.else")
    snapshot = Snapshot.empty(log=own).apply(change_set(*changes([flag(fallthrough=None)])))
    snapshot.evaluate("flag", K, None)
    assert [record.name for record in caplog.records] == ["somebody.else"]


def _endless(definition: Any, note: Any) -> CompiledFlag:
    def evaluate(context: Any, scope: Any) -> Any:
        return evaluate(context, scope)

    return CompiledFlag(definition.key, definition.version, evaluate)


def test_a_flag_that_fills_the_stack_is_malformed(caplog: pytest.LogCaptureFixture) -> None:
    """Or whose caller had filled it nearly: the interpreter's limit counts for both."""
    evaluation = of_dialect(_endless, _unable, flag()).evaluate("flag", K, "default")
    assert outcome(evaluation) == ("default", None, error("MALFORMED_FLAG"))
    assert caplog.messages == ["flag flag, version 1, depends on too many flags or segments in a row"]


@pytest.mark.parametrize(
    "clause",
    [
        pytest.param({"op": "in", "attribute": "key", "values": ["k"]}, id="a clause"),
        pytest.param({"op": "segmentMatch", "values": ["s"]}, id="a segment"),
        pytest.param({"op": "matches", "attribute": "key", "values": ["^(k|[l-n]+)$"]}, id="a pattern"),
    ],
)
def test_a_flag_works_after_a_caller_who_had_no_stack_left(clause: Any) -> None:
    """What is compiled is kept: it must not tell of who was the first to ask."""
    rules = [{"clauses": [clause], "variation": 2}]
    flags = [flag(rules=rules, prerequisites=[{"key": "needed", "variation": 2}]), flag("needed", rules=rules)]
    data = change_set(*changes(flags, [segment(included=["k"])]))
    quiet = logging.getLogger("somebody.quiet")
    quiet.setLevel(logging.CRITICAL)  # to say something takes more of the stack than what it is about
    for frames in range(2, 120):
        snapshot = Snapshot.empty(log=quiet).apply(data)
        re.purge()
        with contextlib.suppress(RecursionError):
            with_frames_left(frames, functools.partial(snapshot.evaluate, "flag", K, "default"))
        assert snapshot.evaluate("flag", K, "default").detail.value == "c", f"{frames} frames left"


def test_an_evaluation_says_which_flag_it_was_and_whether_it_is_an_experiment() -> None:
    snapshot = snapshot_of(flag(trackEventsFallthrough=True), flag("other"))
    told = [
        (found.flag and found.flag.key, found.is_experiment) for found in (snapshot.evaluate(k, K, None) for k in ("flag", "other"))
    ]
    assert told == [("flag", True), ("other", False)]


def test_the_scope_that_all_evaluations_of_plain_flags_share_takes_no_notes() -> None:
    snapshot = snapshot_of(flag())
    assert (snapshot.scope.is_shared, snapshot.new_scope().is_shared) == (True, False)


def test_who_depends_on_whom_is_not_found_out_unless_somebody_will_ask() -> None:
    old = snapshot_of(flag(), flag("other"))
    step = change_set(*changes([flag(version=2)]), kind=ChangeKind.CHANGES)
    untraced, traced = old.apply(step), run_at_once(old.builder(step, traced=True))
    assert (untraced.dependents, traced.dependents) == (None, {})


def test_a_flag_takes_notes_from_when_its_segment_arrives_and_is_a_big_one() -> None:
    asking = flag(rules=[{"clauses": [{"op": "segmentMatch", "values": ["s"]}], "variation": 2}])
    old = snapshot_of(asking)
    old.evaluate("flag", K, None)
    assert "flag" in old.direct_flags
    big = change_set(*changes([asking], [segment(unbounded=True, generation=1)]))
    assert "flag" not in old.apply(big).direct_flags


def test_what_is_wrong_with_a_segment_is_said_of_the_segment(caplog: pytest.LogCaptureFixture) -> None:
    asking = flag(rules=[{"clauses": [{"op": "segmentMatch", "values": ["s"]}], "variation": 2}])
    broken = segment(rules=[{"clauses": [{"op": "matches", "attribute": "key", "values": ["("]}]}])
    assert snapshot_of(asking, segments=[broken]).evaluate("flag", K, None).detail.value == "b"
    assert caplog.messages[0].startswith("segment s, version 1, has a pattern that is not a valid regular expression")


def test_the_kinds_of_contexts_that_big_segments_hold_are_known() -> None:
    big = segment(unbounded=True, generation=1, unboundedContextKind="org")
    assert snapshot_of(segments=[big, segment("other")]).big_segment_kinds == {"org"}


@pytest.mark.parametrize(
    ("segments", "is_direct"),
    [
        pytest.param([segment()], True, id="a list of keys"),
        pytest.param([segment(unbounded=True, generation=1)], False, id="a big one"),
        pytest.param([segment(rules=[{"clauses": [{"op": "segmentMatch", "values": ["t"]}]}])], False, id="one that asks another"),
    ],
)
def test_a_flag_is_plain_unless_its_segment_takes_notes(segments: Any, is_direct: bool) -> None:
    snapshot = snapshot_of(flag(rules=[{"clauses": [{"op": "segmentMatch", "values": ["s"]}], "variation": 2}]), segments=segments)
    snapshot.evaluate("flag", K, None)
    assert ("flag" in snapshot.direct_flags) is is_direct


# -- changes


def test_a_confirmation_changes_nothing() -> None:
    snapshot = snapshot_of(flag())
    assert snapshot.apply(ChangeSet.unchanged()) is snapshot


def test_what_is_known_of_the_data() -> None:
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


def test_a_full_set_keeps_the_compiled_forms_of_what_comes_again_as_it_was() -> None:
    same, edited, gone = {"key": "same", "version": 1, **ON}, {"key": "edited", "version": 1, **ON}, {"key": "gone", **ON}
    before = Snapshot.empty().apply(change_set(*changes([same, edited, gone])))
    forms = {key: before.compiled(key) for key in ("same", "edited", "gone")}
    # To Python True equals 1, so that only the JSON of it shows the edit.
    after = before.apply(change_set(*changes([same, {**edited, "variations": [1]}])))
    assert after.compiled("same") is forms["same"]
    assert after.direct_flags.keys() == {"same"}
    assert after.compiled("edited") is not forms["edited"]
    assert after.evaluate("edited", Context("u"), None).detail.value == 1
    assert after.compiled("gone") is None


def test_a_full_set_with_another_segment_asks_its_flags_again() -> None:
    flag = {"key": "f", **ON, "rules": [{"variation": 0, "clauses": [{"op": "segmentMatch", "values": ["s"]}]}]}
    before = Snapshot.empty().apply(change_set(*changes([flag], [{"key": "s", "included": ["u"]}])))
    before.compiled("f")
    assert "f" in before.direct_flags
    after = before.apply(change_set(*changes([flag], [{"key": "s", "unbounded": True}])))
    assert after.compiled("f") is before.compiled("f")
    assert "f" not in after.direct_flags


def test_a_full_set_of_few_flags_picks_what_it_keeps_of_many_forms() -> None:
    clause = {"op": "segmentMatch", "values": ["s"]}
    same, looks_into = {"key": "same", **ON}, {"key": "f", **ON, "rules": [{"variation": 0, "clauses": [clause]}]}
    others = [{"key": f"other-{n}", **ON} for n in range(5)]
    before = Snapshot.empty().apply(change_set(*changes([same, looks_into, *others], [{"key": "s"}, {"key": "t"}])))
    list(before.compile_all())
    forms = {key: before.compiled(key) for key in ("same", "f")}
    after = before.apply(change_set(*changes([same, looks_into], [{"key": "s"}])))
    assert {key: after.compiled(key) for key in forms} == forms
    assert after.direct_flags.keys() == forms.keys()
    big = after.apply(change_set(*changes([looks_into], [{"key": "s", "unbounded": True}])))
    assert big.compiled("f") is forms["f"]
    assert big.direct_flags.keys() == set()
    edited = before.apply(change_set(*changes([{**same, "version": 2}])))
    assert edited.direct_flags.keys() == set()
    assert edited.compiled("same") is not forms["same"]


def test_compiling_in_slices_compiles_everything() -> None:
    flags = [{"key": f"f{n}", **ON} for n in range(29)]
    snapshot = Snapshot.empty().apply(change_set(*changes(flags)))
    assert len(list(snapshot.compile_all())) == 2
    assert len(snapshot.direct_flags) == 29
    assert list(snapshot.compile_all()) == []


def partial(*flags: Any, segments: Any = (), deletes: Any = ()) -> ChangeSet:
    deleted = [Change(ObjectKind.FLAG, key, 9, None) for key in deletes]
    return change_set(*changes(flags, segments), *deleted, kind=ChangeKind.CHANGES)


def test_a_change_keeps_the_compiled_forms_of_all_that_did_not_change() -> None:
    old = snapshot_of(flag("f"), flag("g"), flag("gone"))
    before = {key: old.compiled(key) for key in ("f", "g", "gone")}
    new = old.apply(partial(flag("g", version=2), deletes=["gone"]))
    assert new.compiled("f") is before["f"]
    assert new.compiled("g") is not before["g"]
    assert new.compiled("gone") is None
    assert old.compiled("gone") is before["gone"]
    assert set(new.direct_flags) == {"f", "g"}


def needs(key: str, *keys: Any) -> dict[str, Any]:
    return flag(key, prerequisites=[{"key": needed, "variation": 1} for needed in keys])


def test_a_prerequisite_is_looked_up_in_the_newest_data() -> None:
    old = snapshot_of(needs("f", "g"), flag("g"))
    assert outcome(old.evaluate("f", K, None))[1] == 1
    new = old.apply(partial(flag("g", on=False)))
    assert outcome(new.evaluate("f", K, None))[1] == 0
    assert outcome(old.evaluate("f", K, None))[1] == 1


ASKS = flag("f", rules=[{"clauses": [{"op": "segmentMatch", "values": ["s", "t"]}], "variation": 2}])
BIG = segment("t", unbounded=True)
NESTED = segment("s", rules=[{"clauses": [{"op": "segmentMatch", "values": ["t"]}]}])
CHAIN = [needs(f"f{depth}", f"f{depth + 1}") for depth in range(20)]


def diamonds(levels: int) -> list[dict[str, Any]]:
    """Two flags on each level, which need both of the next one."""
    return [needs("f", "a1", "b1"), *(needs(f"{side}{n}", f"a{n + 1}", f"b{n + 1}") for n in range(1, levels) for side in "ab")]


@pytest.mark.parametrize(
    ("flags", "segments", "is_direct"),
    [
        pytest.param([flag("f")], [], True, id="one that is served to all"),
        pytest.param([flag("f", on=False, prerequisites=[{"key": "g", "variation": 0}])], [], True, id="one that is off"),
        pytest.param([needs("f", "g"), flag("g")], [], True, id="one with a prerequisite"),
        pytest.param([needs("f", "g")], [], True, id="one with a prerequisite that is not there"),
        pytest.param([needs("f", "g"), needs("g", "h"), needs("h", "g")], [], False, id="one whose prerequisites go in a circle"),
        pytest.param(
            [needs("f", "g"), {**ASKS, "key": "g"}],
            [segment("t", unbounded=True)],
            False,
            id="one whose prerequisite asks for a big segment",
        ),
        pytest.param([needs("f", "f0"), *CHAIN], [], False, id="one with a long chain of prerequisites"),
        pytest.param(diamonds(5), [], True, id="one with prerequisites that share theirs, and are used 62 times"),
        pytest.param(diamonds(6), [], False, id="one with prerequisites that are used 126 times"),
        pytest.param([ASKS], [], True, id="one that asks for segments that are not there"),
        pytest.param([ASKS], [segment("s")], True, id="one that asks for a segment"),
        pytest.param([ASKS], [NESTED, segment("t")], False, id="one that asks for a segment within another"),
        pytest.param([ASKS], [BIG], False, id="one that asks for a big segment"),
    ],
)
def test_a_flag_that_notes_nothing_is_plain(flags: Any, segments: Any, is_direct: bool) -> None:
    complete = snapshot_of(*flags, segments=segments)
    complete.evaluate("f", K, None)
    step_by_step = snapshot_of(*flags)
    step_by_step.evaluate("f", K, None)
    for snapshot in (complete, step_by_step.apply(partial(segments=segments))):
        assert ("f" in snapshot.direct_flags) is is_direct
        expected = snapshot.evaluate("f", K, "").detail
        if is_direct:
            assert snapshot.direct_flags["f"](K, snapshot.scope).detail == expected
        assert [snapshot.scope.notes, snapshot.scope.missing, snapshot.scope.big_segments_status] == [[], [], None]


def test_a_change_of_a_prerequisite_asks_again_whether_a_flag_is_plain() -> None:
    snapshot = snapshot_of(needs("f", "g"), needs("g", "h"))
    snapshot.evaluate("f", K, None)
    assert "f" in snapshot.direct_flags
    circle = snapshot.apply(partial(needs("h", "f")))
    assert "f" not in circle.direct_flags
    assert outcome(circle.evaluate("f", K, None))[2] == error("MALFORMED_FLAG")
    assert "f" in circle.apply(partial(flag("h", version=2))).direct_flags


def test_answers_tell_by_way_of_which_prerequisites_they_came() -> None:
    snapshot = snapshot_of(needs("f", "g", "i"), needs("g", "h"), flag("h"), flag("i", on=False))
    snapshot.evaluate("f", K, None)
    answer = snapshot.direct_flags["f"](K, snapshot.scope)
    told = [(note.key, note.answer.index, note.prerequisite_of) for note in answer.prerequisites]
    assert told == [("h", 1, "g"), ("g", 1, "f"), ("i", 0, "f")]
    assert snapshot.direct_flags["f"](K, snapshot.scope) is answer
    evaluation = snapshot.evaluate("f", K, None)
    assert [(note.key, note.answer.index, note.prerequisite_of) for note in evaluation.prerequisites] == told


@pytest.mark.parametrize(
    "flags",
    [
        pytest.param([needs("f", "nowhere")], id="one that does not exist"),
        pytest.param([needs("f", "g", "nowhere"), flag("g")], id="one behind another"),
        pytest.param([needs("f", "g"), needs("g", "nowhere")], id="one of a prerequisite's own"),
    ],
)
def test_without_a_prerequisite_a_flag_has_one_answer(flags: Any) -> None:
    snapshot = snapshot_of(*flags)
    snapshot.evaluate("f", K, None)
    answers = [snapshot.direct_flags["f"](K, snapshot.scope) for _ in range(5)]
    assert {id(answer) for answer in answers} == {id(answers[0])}
    assert answers[0].detail.reason.kind == "PREREQUISITE_FAILED"
    again = snapshot.apply(partial(flag("nowhere")))
    assert again.evaluate("f", K, None).detail.variation_index == 1


def test_a_flag_keeps_nothing_of_what_its_prerequisites_were() -> None:
    snapshot = snapshot_of(needs("f", "g"), flag("g"))
    snapshot.evaluate("f", K, None)
    watched = weakref.ref(snapshot.direct_flags["g"])
    snapshot = snapshot.apply(partial(flag("g", version=2)))
    gc.collect()
    assert watched() is None
    assert snapshot.evaluate("f", K, None).detail.variation_index == 1


def _answers_with_prerequisites() -> int:
    return sum(isinstance(one, Answer) and bool(one.prerequisites) for one in gc.get_objects())


def test_a_flag_does_not_remember_every_answer_of_prerequisites_that_change() -> None:
    snapshot, before = snapshot_of(needs("f", "g", "h"), flag("g"), flag("h")), _answers_with_prerequisites()
    for version in range(600):
        snapshot = snapshot.apply(partial(flag("h", version=version)))
        snapshot.evaluate("f", K, None)
        assert snapshot.direct_flags["f"](K, snapshot.scope).index == 1
    assert _answers_with_prerequisites() - before < 300


def test_old_snapshots_do_not_wait_for_the_garbage_collector() -> None:
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


def test_a_full_set_is_built_with_pauses_and_is_whole_in_the_end() -> None:
    flags = [flag(f"f{number}") for number in range(10_000)]
    building = Snapshot.empty().builder(change_set(*changes(flags)))
    pauses = 0
    while True:
        try:
            next(building)
        except StopIteration as done:
            snapshot = done.value
            break
        pauses += 1
    assert pauses >= 9
    assert len(snapshot.flags) == 10_000


@pytest.mark.real_time
def test_threads_may_evaluate_the_same_flags_for_the_first_time_at_once() -> None:
    rules = [{"clauses": [{"op": "segmentMatch", "values": ["s"]}], "variation": 2}]
    snapshot = snapshot_of(*(flag(f"f{number}", rules=rules) for number in range(300)), segments=[segment(included=["k"])])
    found: list[object] = []

    def ask() -> None:
        found.extend(snapshot.evaluate(f"f{number}", K, None).detail.value for number in range(300))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["c"] * 1200
