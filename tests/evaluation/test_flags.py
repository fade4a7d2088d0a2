"""Whole flags: the order of the steps, and what each answers."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from aioflags.evaluation.answers import direct_prerequisites, malformed
from aioflags.evaluation.flags import PrerequisiteAnswers
from aioflags.evaluation.visits import MalformedError
from aioflags.model.context import Context
from tests.evaluation.data import context, flag, outcome, segment, snapshot_of

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
        pytest.param({"on": False, "offVariation": None}, (None, None, {"kind": "OFF"}), id="EV-E142 off, with nothing to serve"),
        pytest.param({"on": False, "offVariation": 9}, MALFORMED, id="EV-E143 off, with too great an index"),
        pytest.param({"on": False, "offVariation": -1}, MALFORMED, id="EV-E143 off, with a negative index"),
        pytest.param({"fallthrough": None}, MALFORMED, id="EV-E144 no fallthrough"),
        pytest.param({"fallthrough": {}}, MALFORMED, id="EV-E144 an empty fallthrough"),
        pytest.param({"fallthrough": {"rollout": {"variations": []}}}, MALFORMED, id="EV-E144 a rollout of nothing"),
        pytest.param(
            {"fallthrough": {"variation": 1, "rollout": ALL_C}}, ("b", 1, FALLTHROUGH), id="EV-E145 a variation beats a rollout"
        ),
        pytest.param({"fallthrough": {"variation": None, "rollout": ALL_C}}, ("c", 2, FALLTHROUGH), id="EV-E146 unless it is null"),
        pytest.param({"rules": [{"clauses": []}]}, MALFORMED, id="EV-E147 a rule that serves nothing"),
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
            {"kind": "multi", "user": {"key": "k"}, "org": {"key": "o"}}, ("a", 0, TARGET_MATCH), id="of both, in their order"
        ),
        pytest.param({"kind": "multi", "user": {"key": "k"}, "org": {"key": "x"}}, ("c", 2, TARGET_MATCH), id="of which one is"),
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
    ("needed", "wanted", "properties", "expected"),
    [
        pytest.param(flag("needed"), 1, {}, ("b", 1, FALLTHROUGH), id="EV-E152 serves what is wanted"),
        pytest.param(flag("needed"), 2, {}, ("a", 0, FAILED), id="EV-E153 serves something else"),
        pytest.param(OFF, 0, {}, ("a", 0, FAILED), id="EV-E153 is off, with what is wanted"),
        pytest.param(flag("else"), 1, {}, ("a", 0, FAILED), id="EV-E153 is missing"),
        pytest.param(flag("needed", fallthrough={"variation": 99}), 99, {}, ("a", 0, FAILED), id="EV-E153 is malformed"),
        pytest.param(flag("needed"), 2, {"offVariation": None}, (None, None, FAILED), id="EV-E154 fails, with nothing to serve"),
        pytest.param(flag("needed"), 2, {"on": False}, ("a", 0, {"kind": "OFF"}), id="is not asked by a flag that is off"),
    ],
)
def test_a_prerequisite(needed: Any, wanted: Any, properties: Any, expected: Any) -> None:
    one = flag(prerequisites=[{"key": "needed", "variation": wanted}], **properties)
    assert outcome(snapshot_of(one, needed).evaluate("flag", K, None)) == expected


def needs(key: str, *keys: Any, **properties: Any) -> dict[str, Any]:
    return flag(key, prerequisites=[{"key": needed, "variation": 1} for needed in keys], **properties)


@pytest.mark.parametrize(
    "flags",
    [
        pytest.param([needs("n1", "n1")], id="EV-E155 a flag that needs itself"),
        pytest.param([needs("n1", "n2"), needs("n2", "n1")], id="EV-E155 two that need each other"),
        pytest.param([needs("n1", "n2"), needs("n2", "n3"), needs("n3", "n1")], id="EV-E155 three in a circle"),
        pytest.param([needs("n1", "n2"), needs("n2", "n3"), needs("n3", "n2")], id="EV-E155 a circle further down"),
        pytest.param(
            [needs("n1", "n2"), flag("n2", rules=[{"clauses": [{"attribute": "", "op": "in", "values": []}]}])],
            id="EV-E155 a clause that names nothing",
        ),
    ],
)
def test_prerequisites_make_no_sense(flags: Any) -> None:
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
            id="a rule that serves nothing",
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
def test_the_log_hears_once_what_is_wrong_with(flags: Any, problem: str, times: int, caplog: pytest.LogCaptureFixture) -> None:
    snapshot = snapshot_of(*flags)
    for _ in range(times):
        snapshot.evaluate("n1", K, None)
    assert caplog.messages == [f"flag n1, version 1, {problem}"]


def test_a_circle_is_no_trouble_to_those_who_do_not_walk_it() -> None:
    flags = [needs("n1", "off", "n2"), needs("n2", "n1"), flag("off", on=False)]
    assert outcome(snapshot_of(*flags).evaluate("n1", K, None))[2]["kind"] == "PREREQUISITE_FAILED"


@pytest.mark.holds("EV-E156")
def test_prerequisites_are_noted_depth_first() -> None:
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
    """A rule for those whose attribute is true."""
    return [{"clauses": [{"attribute": name, "op": "in", "values": [True]}], "variation": 2}]


def test_whoever_was_asked_for_before_everybody_gets_an_answer_of_their_own() -> None:
    in_own = [{"clauses": [{"op": "segmentMatch", "values": ["own"]}], "variation": 2}]
    flags = [needs("top", "one", "two", rules=in_own), *(flag(key, rules=by_attribute(key)) for key in ("one", "two"))]
    segments = [segment("own", rules=by_attribute("own"))]
    snapshot = snapshot_of(*flags, segments=segments)
    for values in [*itertools.product([False, True], repeat=3)] * 2:
        somebody = Context("k", attributes=dict(zip(("one", "two", "own"), values, strict=True)))
        expected = snapshot_of(*flags, segments=segments).evaluate("top", somebody, None)
        asked = ("one",) if values[0] else ("one", "two")
        for found in (snapshot.evaluate("top", somebody, None), snapshot.direct_flags["top"](somebody, snapshot.scope)):
            assert found.detail == expected.detail
            assert direct_prerequisites(found.prerequisites, "top") == asked
            assert [note.answer.index for note in found.prerequisites] == [note.answer.index for note in expected.prerequisites]


def test_an_evaluation_that_fails_leaves_nothing_behind_in_the_scope_that_all_share() -> None:
    bad = {"attribute": "//", "contextKind": "user", "op": "in", "values": []}
    rules = [{"clauses": [*by_attribute("own")[0]["clauses"], bad], "variation": 2}]
    snapshot = snapshot_of(needs("top", "needed"), flag("needed", rules=rules))
    people = [Context("k", attributes={"own": own}) for own in (True, False)]
    snapshot.compiled("top")
    for _ in range(2):
        with pytest.raises(MalformedError, match="invalid attribute reference"):
            snapshot.direct_flags["top"](people[0], snapshot.scope)
        assert snapshot.direct_flags["top"](people[1], snapshot.scope).index == 1


def test_a_way_is_found_again_step_by_step() -> None:
    ways = PrerequisiteAnswers()
    one, two, three, end, late = (malformed(name) for name in ("one", "two", "three", "end", "late"))
    assert ways.add([one, two, three], end) is end
    assert ways.add([one, two, three], late) is end
    assert ways.add([one, three], late) is late
    assert ways.root == {one: {two: {three: end}, three: late}}


def test_so_many_ways_are_remembered() -> None:
    ways, steps = PrerequisiteAnswers(), [malformed(str(number)) for number in range(600)]
    sizes: list[int] = []
    for step in steps:
        ways.add([step], step)
        sizes.append(len(ways.root))
    assert sizes == [*range(1, 257), *range(1, 257), *range(1, 89)]


def test_a_missing_prerequisite_is_not_noted() -> None:
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
            {"rules": [{"clauses": [], "variation": 0}], "trackEventsFallthrough": True}, False, id="not the other way round"
        ),
        pytest.param({"trackEvents": True}, False, id="a tracked flag alone is none"),
    ],
)
def test_whether_an_evaluation_counts_as_an_experiment(properties: Any, is_experiment: bool) -> None:
    assert snapshot_of(flag(**properties)).evaluate("flag", K, None).is_experiment is is_experiment
