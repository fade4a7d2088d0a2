"""Whole flags: the order of the steps, and the answer of each step."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from aioflags.evaluation.answers import direct_prerequisites, malformed
from aioflags.evaluation.flags import PrerequisiteAnswers
from aioflags.evaluation.scope import MalformedError
from aioflags.model.context import Context
from tests.evaluation.data import context, flag, needs, outcome, segment, snapshot_of

K = Context("k")
FALLTHROUGH = {"kind": "FALLTHROUGH"}
TARGET_MATCH = {"kind": "TARGET_MATCH"}
MALFORMED = (None, None, {"kind": "ERROR", "errorKind": "MALFORMED_FLAG"})
ALL_C = {"variations": [{"variation": 2, "weight": 100000}]}


def targets(*pairs: Any, **properties: Any) -> list[dict[str, Any]]:
    return [{"variation": variation, "values": list(values), **properties} for variation, values in pairs]


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        pytest.param({"on": False}, ("a", 0, {"kind": "OFF"}), id="EV-E141 off"),
        pytest.param(
            {"on": False, "offVariation": None}, (None, None, {"kind": "OFF"}), id="EV-E142 off, without an off variation"
        ),
        pytest.param({"on": False, "offVariation": 9}, MALFORMED, id="EV-E143 off, with too great an index"),
        pytest.param({"on": False, "offVariation": -1}, MALFORMED, id="EV-E143 off, with a negative index"),
        pytest.param({"fallthrough": None}, MALFORMED, id="EV-E144 no fallthrough"),
        pytest.param({"fallthrough": {}}, MALFORMED, id="EV-E144 an empty fallthrough"),
        pytest.param({"fallthrough": {"rollout": {"variations": []}}}, MALFORMED, id="EV-E144 a rollout without variations"),
        pytest.param(
            {"fallthrough": {"variation": 1, "rollout": ALL_C}}, ("b", 1, FALLTHROUGH), id="EV-E145 a variation beats a rollout"
        ),
        pytest.param(
            {"fallthrough": {"variation": None, "rollout": ALL_C}},
            ("c", 2, FALLTHROUGH),
            id="EV-E146 a null variation does not beat a rollout",
        ),
        pytest.param({"rules": [{"clauses": []}]}, MALFORMED, id="EV-E147 a rule without variation or rollout"),
        pytest.param({"targets": targets((9, "k"))}, MALFORMED, id="EV-E147 a target with too great an index"),
        pytest.param({"targets": targets((2, "k"))}, ("c", 2, TARGET_MATCH), id="EV-E148 a target"),
        pytest.param(
            {"contextTargets": targets((2, "k"), contextKind="user")},
            ("b", 1, FALLTHROUGH),
            id="EV-E149 users among the targets by kind are not listed there",
        ),
        pytest.param(
            {"targets": targets((0, "k")), "contextTargets": targets((2, ""), contextKind="user")},
            ("b", 1, FALLTHROUGH),
            id="EV-E150 targets that no target by kind points at do not count",
        ),
        pytest.param(
            {"targets": [*targets((2, "x")), *targets((2, "k"))], "contextTargets": targets((2, ""))},
            ("b", 1, FALLTHROUGH),
            id="EV-E151 only the first list of a variation counts",
        ),
        pytest.param(
            {"targets": targets((2, "k")), "contextTargets": targets((2, ""))},
            ("c", 2, TARGET_MATCH),
            id="a target by kind points at the users of its variation",
        ),
        pytest.param({"targets": [*targets((2, "k")), *targets((0, "k"))]}, ("c", 2, TARGET_MATCH), id="the first target wins"),
        pytest.param({"variations": [None, "b"], "on": False}, (None, 0, {"kind": "OFF"}), id="null is a value like any other"),
        pytest.param({"variations": None}, MALFORMED, id="no variations"),
        pytest.param(
            {"rules": [{"id": "", "clauses": [], "variation": 2}]},
            ("c", 2, {"kind": "RULE_MATCH", "ruleIndex": 0}),
            id="a rule without an id",
        ),
        pytest.param({"on": None, "targets": None, "rules": None}, ("a", 0, {"kind": "OFF"}), id="null is the default"),
        pytest.param(
            {"targets": None, "contextTargets": None, "rules": None, "prerequisites": None, "salt": None},
            ("b", 1, FALLTHROUGH),
            id="null is the default of all lists",
        ),
    ],
)
def test_a_flag(properties: Any, expected: Any) -> None:
    assert outcome(snapshot_of(flag(**properties)).evaluate("flag", K, None)) == expected


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        pytest.param({"kind": "user", "key": "k"}, ("c", 2, TARGET_MATCH), id="a user"),
        pytest.param({"kind": "org", "key": "o"}, ("a", 0, TARGET_MATCH), id="of another kind"),
        pytest.param({"kind": "org", "key": "k"}, ("b", 1, FALLTHROUGH), id="of another kind, with a user's key"),
        pytest.param(
            {"kind": "multi", "user": {"key": "k"}, "org": {"key": "o"}},
            ("a", 0, TARGET_MATCH),
            id="of both kinds, in the order of targets",
        ),
        pytest.param(
            {"kind": "multi", "user": {"key": "k"}, "org": {"key": "x"}},
            ("c", 2, TARGET_MATCH),
            id="of both, only the user is a target",
        ),
    ],
)
def test_targets_by_kind_name(subject: Any, expected: Any) -> None:
    by_kind = [
        *targets((0, "o"), contextKind="org"),
        *targets((2, ""), contextKind="user"),
        *targets((1, "o"), contextKind="org"),
    ]
    one = flag(targets=targets((2, "k")), contextTargets=by_kind)
    assert outcome(snapshot_of(one).evaluate("flag", context(subject), None)) == expected


OFF = flag("needed", on=False)
FAILED = {"kind": "PREREQUISITE_FAILED", "prerequisiteKey": "needed"}


@pytest.mark.parametrize(
    (("needed", "variation", "properties", "expected")),
    [
        pytest.param(flag("needed"), 1, {}, ("b", 1, FALLTHROUGH), id="EV-E152 serves the required variation"),
        pytest.param(flag("needed"), 2, {}, ("a", 0, FAILED), id="EV-E153 serves another variation"),
        pytest.param(OFF, 0, {}, ("a", 0, FAILED), id="EV-E153 is off, with the required variation"),
        pytest.param(flag("else"), 1, {}, ("a", 0, FAILED), id="EV-E153 is missing"),
        pytest.param(flag("needed", fallthrough={"variation": 99}), 99, {}, ("a", 0, FAILED), id="EV-E153 is malformed"),
        pytest.param(flag("needed"), 2, {"offVariation": None}, (None, None, FAILED), id="EV-E154 fails, without an off variation"),
        pytest.param(flag("needed"), 2, {"on": False}, ("a", 0, {"kind": "OFF"}), id="is not evaluated by a flag that is off"),
    ],
)
def test_a_prerequisite(needed: Any, variation: Any, properties: Any, expected: Any) -> None:
    one = flag(prerequisites=[{"key": "needed", "variation": variation}], **properties)
    assert outcome(snapshot_of(one, needed).evaluate("flag", K, None)) == expected


@pytest.mark.parametrize(
    "flags",
    [
        pytest.param([needs("n1", "n1")], id="EV-E155 a flag that needs itself"),
        pytest.param([needs("n1", "n2"), needs("n2", "n1")], id="EV-E155 two that need each other"),
        pytest.param([needs("n1", "n2"), needs("n2", "n3"), needs("n3", "n1")], id="EV-E155 three in a circle"),
        pytest.param([needs("n1", "n2"), needs("n2", "n3"), needs("n3", "n2")], id="EV-E155 a circle further down"),
        pytest.param(
            [needs("n1", "n2"), flag("n2", rules=[{"clauses": [{"attribute": "", "op": "in", "values": []}]}])],
            id="EV-E155 a clause without an attribute",
        ),
    ],
)
def test_a_flag_with_these_prerequisites_is_malformed(flags: Any) -> None:
    assert outcome(snapshot_of(*flags).evaluate("n1", K, None)) == MALFORMED


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        pytest.param([flag("n1", fallthrough={"variation": 3})], "serves variation 3, but has 3", id="too great an index"),
        pytest.param([flag("n1", variations=None)], "serves variation 1, but has 0", id="no variations"),
        pytest.param([flag("n1", fallthrough={})], "has neither variation nor rollout in its fallthrough", id="no fallthrough"),
        pytest.param(
            [flag("n1", rules=[{"clauses": [{"attribute": "a", "op": "nope"}], "variation": 0}, {"clauses": []}])],
            "has neither variation nor rollout in rule 1",
            id="a rule without variation or rollout",
        ),
        pytest.param([needs("n1", "n1")], "needs flag 'n1', which is a prerequisite of itself", id="a flag that needs itself"),
        pytest.param(
            [needs("n1", "n2"), needs("n2", "n1")],
            "needs flag 'n1', which is a prerequisite of itself",
            id="two that need each other",
        ),
        pytest.param(
            [needs("n1", "n2"), *(needs(f"n{number}", f"n{number + 1}") for number in range(2, 102)), flag("n102")],
            "needs more than 100 flags that are prerequisites of one another",
            id="too many in a row",
        ),
    ],
)
@pytest.mark.parametrize("times", [1, 2])
def test_a_problem_is_logged_once(flags: Any, problem: str, times: int, caplog: pytest.LogCaptureFixture) -> None:
    snapshot = snapshot_of(*flags)
    for _ in range(times):
        snapshot.evaluate("n1", K, None)
    assert caplog.messages == [f"flag n1, version 1, {problem}"]


def test_a_circle_that_is_not_reached_does_not_matter() -> None:
    flags = [needs("n1", "off", "n2"), needs("n2", "n1"), flag("off", on=False)]
    assert outcome(snapshot_of(*flags).evaluate("n1", K, None))[2]["kind"] == "PREREQUISITE_FAILED"


@pytest.mark.holds("EV-E156")
def test_prerequisites_are_listed_depth_first() -> None:
    snapshot = snapshot_of(needs("n1", "n2", "n3"), needs("n2", "n3"), flag("n3"))
    evaluation = snapshot.evaluate("n1", K, None)
    assert [(note.key, note.prerequisite_of) for note in evaluation.prerequisites] == [
        ("n3", "n2"),
        ("n2", "n1"),
        ("n3", "n1"),
    ]
    assert direct_prerequisites(evaluation.prerequisites, "n1") == ("n2", "n3")
    assert [note.answer.index for note in evaluation.prerequisites] == [1, 1, 1]


def by_attribute(name: str) -> list[dict[str, Any]]:
    """A rule that matches contexts whose attribute is true."""
    return [{"clauses": [{"attribute": name, "op": "in", "values": [True]}], "variation": 2}]


def test_kept_answers_are_correct_for_every_combination_of_prerequisites() -> None:
    in_segment = [{"clauses": [{"op": "segmentMatch", "values": ["own"]}], "variation": 2}]
    flags = [needs("top", "one", "two", rules=in_segment), *(flag(key, rules=by_attribute(key)) for key in ("one", "two"))]
    segments = [segment("own", rules=by_attribute("own"))]
    snapshot = snapshot_of(*flags, segments=segments)
    for values in [*itertools.product([False, True], repeat=3)] * 2:
        subject = Context("k", attributes=dict(zip(("one", "two", "own"), values, strict=True)))
        expected = snapshot_of(*flags, segments=segments).evaluate("top", subject, None)
        used = ("one",) if values[0] else ("one", "two")
        for result in (snapshot.evaluate("top", subject, None), snapshot.direct_flags["top"](subject, snapshot.scope)):
            assert result.detail == expected.detail
            assert direct_prerequisites(result.prerequisites, "top") == used
            assert [note.answer.index for note in result.prerequisites] == [note.answer.index for note in expected.prerequisites]


def test_a_failed_evaluation_leaves_no_notes_in_the_shared_scope() -> None:
    bad = {"attribute": "//", "contextKind": "user", "op": "in", "values": []}
    rules = [{"clauses": [*by_attribute("own")[0]["clauses"], bad], "variation": 2}]
    snapshot = snapshot_of(needs("top", "needed"), flag("needed", rules=rules))
    contexts = [Context("k", attributes={"own": own}) for own in (True, False)]
    snapshot.compiled("top")
    for _ in range(2):
        with pytest.raises(MalformedError, match="invalid attribute reference"):
            snapshot.direct_flags["top"](contexts[0], snapshot.scope)
        assert snapshot.direct_flags["top"](contexts[1], snapshot.scope).index == 1


def test_prerequisite_answers_keep_the_first_answer_of_a_path() -> None:
    kept = PrerequisiteAnswers()
    one, two, three, end, late = (malformed(name) for name in ("one", "two", "three", "end", "late"))
    assert kept.add([one, two, three], end) is end
    assert kept.add([one, two, three], late) is end
    assert kept.add([one, three], late) is late
    assert kept.root == {one: {two: {three: end}, three: late}}


def test_prerequisite_answers_keep_at_most_256_answers() -> None:
    kept, steps = PrerequisiteAnswers(), [malformed(str(number)) for number in range(600)]
    sizes: list[int] = []
    for step in steps:
        kept.add([step], step)
        sizes.append(len(kept.root))
    assert sizes == [*range(1, 257), *range(1, 257), *range(1, 89)]


def test_a_missing_prerequisite_is_not_listed() -> None:
    evaluation = snapshot_of(needs("n1", "n2", "n3"), flag("n3")).evaluate("n1", K, None)
    assert evaluation.prerequisites == ()


@pytest.mark.parametrize("depth", [101, 10_000])
def test_a_chain_of_too_many_prerequisites_is_malformed(depth: int) -> None:
    flags = [needs(f"n{number}", f"n{number + 1}") for number in range(depth)]
    assert outcome(snapshot_of(*flags, flag(f"n{depth}")).evaluate("n0", K, None)) == MALFORMED


def test_a_chain_of_many_prerequisites_is_walked() -> None:
    flags = [needs(f"n{number}", f"n{number + 1}") for number in range(100)]
    evaluation = snapshot_of(*flags, flag("n100")).evaluate("n0", K, None)
    assert outcome(evaluation) == ("b", 1, FALLTHROUGH)
    assert len(evaluation.prerequisites) == 100


@pytest.mark.parametrize(("depth", "index"), [(100, 2), (10_000, None)])
def test_segments_may_hang_on_one_another_as_deep(depth: int, index: int | None) -> None:
    def rules(key: str) -> list[dict[str, Any]]:
        return [{"clauses": [{"op": "segmentMatch", "values": [key]}]}]

    chain = [segment(f"s{number}", rules=rules(f"s{number + 1}")) for number in range(depth)]
    one = flag(rules=[{**rules("s0")[0], "variation": 2}])
    snapshot = snapshot_of(one, segments=[*chain, segment(f"s{depth}", included=["k"])])
    assert snapshot.evaluate("flag", K, None).detail.variation_index == index


@pytest.mark.parametrize(
    ("properties", "is_experiment"),
    [
        pytest.param({}, False, id="no"),
        pytest.param({"trackEventsFallthrough": True}, True, id="a tracked fallthrough"),
        pytest.param({"rules": [{"clauses": [], "variation": 0, "trackEvents": True}]}, True, id="a tracked rule"),
        pytest.param(
            {"rules": [{"clauses": [], "variation": 0}], "trackEventsFallthrough": True},
            False,
            id="a tracked fallthrough of a flag whose rule matches",
        ),
        pytest.param({"trackEvents": True}, False, id="a tracked flag"),
    ],
)
def test_whether_an_evaluation_counts_as_an_experiment(properties: Any, is_experiment: bool) -> None:
    assert snapshot_of(flag(**properties)).evaluate("flag", K, None).is_experiment is is_experiment
