"""Explanations tell what an evaluation saw, and decide as it does, whatever the data are."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from aioflags.evaluation.compiled import Evaluation
from aioflags.evaluation.explain.flags import explain
from aioflags.evaluation.snapshot import Snapshot
from aioflags.model.context import Context
from aioflags.model.detail import BigSegmentsStatus
from aioflags.model.explanation import Explanation, ExplanationStep, StepKind
from aioflags.model.membership import Membership
from tests.evaluation.conformance import DIRECTORY, REASON, Case, cases
from tests.evaluation.data import context, flag, segment, snapshot_of, with_frames_left

SHARES = [{"variation": 0, "weight": 20000}, {"variation": 1, "weight": 30000}, {"variation": 2, "weight": 50000}]
INVALID = "a double or trailing slash leaves a part of the path empty"
KEYLESS = "key: expected a string that is not empty"
EMPTY = "an attribute reference cannot be empty"
NO_PATTERN = "has a pattern that is not a valid regular expression: '(': missing ), unterminated subpattern at position 0"
NOWHERE = {"bucketBy": "//", "contextKind": "user"}
USER = context(email="ann@acme.com", age=41, home={"town": "Ulm"})


def clause(op: str = "in", *values: Any, attribute: str | None = "email", **more: Any) -> dict[str, Any]:
    return {"op": op, "attribute": attribute, "contextKind": "user", "values": list(values), **more}


def rule(*clauses: Any, **more: Any) -> dict[str, Any]:
    return {"id": "r", "variation": 2, "clauses": list(clauses), **more}


def told(*flags: Any, subject: Context | None = USER, segments: Any = (), key: str = "flag", **more: Any) -> Explanation:
    """The explanation, which has to agree with the evaluation."""
    snapshot = snapshot_of(*flags, segments=segments)
    found = explain(snapshot, key, subject, **more)
    assert found.detail == snapshot.evaluate(key, subject, None, wanted=object, **more).detail
    return found


def walk(steps: tuple[ExplanationStep, ...]) -> Iterator[ExplanationStep]:
    for step in steps:
        yield step
        yield from walk(step.steps)


IN_S = clause("segmentMatch", "s")


@pytest.mark.parametrize(
    ("properties", "lines"),
    [
        pytest.param(
            {"on": False},
            ['flag is "a": OFF, variation 0', "- the flag is off"],
            id="EV-E2 a flag that is off",
        ),
        pytest.param(
            {},
            ['flag is "b": FALLTHROUGH, variation 1', "- the flag is on", "- the fallthrough serves variation 1"],
            id="the fallthrough",
        ),
        pytest.param(
            {"targets": [{"variation": 2, "values": ["x", "k"]}]},
            ['flag is "c": TARGET_MATCH, variation 2', "- the flag is on", '- user "k" is a target of variation 2'],
            id="a target",
        ),
        pytest.param(
            {"targets": [{"variation": 2, "values": ["x"]}]},
            [
                'flag is "b": FALLTHROUGH, variation 1',
                "- the flag is on",
                "- none of 1 target is the context",
                "- the fallthrough serves variation 1",
            ],
            id="a target for another context",
        ),
        pytest.param(
            {"targets": [{"variation": 2, "values": ["x", "y"]}], "rules": [rule(clause("endsWith", "@acme.com"))]},
            [
                'flag is "c": RULE_MATCH, rule 0, variation 2',
                "- the flag is on",
                "- none of 2 targets is the context",
                "- rule 0 (r) matches and serves variation 2",
                '  - user email is "ann@acme.com"; is that endsWith "@acme.com"? yes',
            ],
            id="a rule, after targets for other contexts",
        ),
        pytest.param(
            {"rules": [rule(clause("in", "a", "b", "c", "d", "e", "f", "g"), clause("in", 1)), rule(clause(negate=True), id="")]},
            [
                'flag is "c": RULE_MATCH, rule 1, variation 2',
                "- the flag is on",
                "- rule 0 (r) does not match",
                '  - user email is "ann@acme.com"; is that in "a", "b", "c", "d", "e" or 2 more? no',
                "- rule 1 matches and serves variation 2",
                '  - user email is "ann@acme.com"; is that not in (none)? yes',
            ],
            id="the first clause without a match and the first rule with one",
        ),
        pytest.param(
            {"rules": [rule(clause("in", 1, attribute="size")), rule(clause("in", 1, contextKind="org"))]},
            [
                'flag is "b": FALLTHROUGH, variation 1',
                "- the flag is on",
                "- rule 0 (r) does not match",
                "  - user has no size; is that in 1? no",
                "- rule 1 (r) does not match",
                "  - the context has no org; is that in 1? no",
                "- no rule matches, so the fallthrough serves variation 1",
            ],
            id="a missing attribute and a missing kind",
        ),
        pytest.param(
            {"rules": [rule(clause("sounds", "x")), rule(clause("in", "org", attribute="kind"))]},
            [
                'flag is "b": FALLTHROUGH, variation 1',
                "- the flag is on",
                "- rule 0 (r) does not match",
                '  - user email is "ann@acme.com"; is that sounds "x"? no (unknown operator)',
                "- rule 1 (r) does not match",
                '  - the context is of kind user; is that in "org"? no',
                "- no rule matches, so the fallthrough serves variation 1",
            ],
            id="an unknown operator, and a clause about the kind",
        ),
        pytest.param(
            {"rules": [rule(clause("in", 1, attribute="//"))]},
            [
                "flag has no value, so the default is served: ERROR, MALFORMED_FLAG",
                "- the flag is on",
                "- rule 0 (r) cannot be decided",
                f'  - the attribute reference "//" is invalid: {INVALID}; is that in 1? cannot be decided',
                f"- the flag is malformed: it has a clause with an invalid attribute reference: {INVALID}",
            ],
            id="an invalid reference",
        ),
        pytest.param(
            {"rules": [rule(clause("in", *"abcde")), rule(clause("matches", "(", "("))]},
            [
                'flag is "b": FALLTHROUGH, variation 1',
                "- the flag is on",
                "- rule 0 (r) does not match",
                '  - user email is "ann@acme.com"; is that in "a", "b", "c", "d", "e"? no',
                "- rule 1 (r) does not match",
                f'  - user email is "ann@acme.com"; is that matches "(", "("? no ({NO_PATTERN}) ({NO_PATTERN})',
                "- no rule matches, so the fallthrough serves variation 1",
            ],
            id="five values, and invalid patterns",
        ),
        pytest.param(
            {"rules": [rule(clause("in", 1, attribute=None))]},
            [
                "flag has no value, so the default is served: ERROR, MALFORMED_FLAG",
                "- the flag is on",
                "- rule 0 (r) cannot be decided",
                f"  - the attribute reference null is invalid: {EMPTY}; is that in 1? cannot be decided",
                f"- the flag is malformed: it has a clause with an invalid attribute reference: {EMPTY}",
            ],
            id="a clause that names no attribute",
        ),
        pytest.param(
            {"fallthrough": {"rollout": {"variations": []}}},
            [
                "flag has no value, so the default is served: ERROR, MALFORMED_FLAG",
                "- the flag is on",
                "- the fallthrough serves no variation",
                "- the flag is malformed: it has neither variation nor rollout in fallthrough",
            ],
            id="a rollout without variations",
        ),
        pytest.param(
            {"rules": [{"id": "", "clauses": []}]},
            [
                "flag has no value, so the default is served: ERROR, MALFORMED_FLAG",
                "- the flag is on",
                "- rule 0 matches and serves no variation",
                "- the flag is malformed: it has neither variation nor rollout in rules[0]",
            ],
            id="a rule without variation or rollout",
        ),
        pytest.param(
            {"fallthrough": {"rollout": {"variations": SHARES, **NOWHERE}}},
            [
                "flag has no value, so the default is served: ERROR, MALFORMED_FLAG",
                "- the flag is on",
                "- the fallthrough serves nothing",
                f"- the flag is malformed: it buckets by an invalid attribute reference: {INVALID}",
            ],
            id="a rollout by an invalid reference",
        ),
        pytest.param(
            {"rules": [{"id": "r", "clauses": [], "rollout": {"variations": SHARES, **NOWHERE}}]},
            [
                "flag has no value, so the default is served: ERROR, MALFORMED_FLAG",
                "- the flag is on",
                "- rule 0 (r) matches",
                f"- the flag is malformed: it buckets by an invalid attribute reference: {INVALID}",
            ],
            id="a rule's rollout by an invalid reference",
        ),
        pytest.param(
            {"targets": [{"variation": 2, "values": ["x"]}], "rules": [rule(IN_S)]},
            [
                'flag is "c": RULE_MATCH, rule 0, variation 2',
                "- the flag is on",
                "- none of 1 target is the context",
                "- rule 0 (r) matches and serves variation 2",
                '  - is it in one of the segments "s"? yes',
                '    - segment "s", version 1, contains the context',
                '      - user "k" is included by its key',
            ],
            id="a segment, after a target",
        ),
        pytest.param(
            {"rules": [rule(clause("segmentMatch")), rule(clause("segmentMatch", "s", negate=True))]},
            [
                'flag is "b": FALLTHROUGH, variation 1',
                "- the flag is on",
                "- rule 0 (r) does not match",
                "  - is it in one of the segments (none)? no",
                "- rule 1 (r) does not match",
                '  - is it in none of the segments "s"? no',
                '    - segment "s", version 1, contains the context',
                '      - user "k" is included by its key',
                "- no rule matches, so the fallthrough serves variation 1",
            ],
            id="no segment, and a negated segment",
        ),
        pytest.param(
            {"fallthrough": {"variation": 9}},
            [
                "flag has no value, so the default is served: ERROR, MALFORMED_FLAG",
                "- the flag is on",
                "- the fallthrough serves no variation",
                "- the flag is malformed: it serves variation 9, but has 3",
            ],
            id="a missing variation",
        ),
        pytest.param(
            {"prerequisites": [{"key": "gone", "variation": 1}]},
            [
                'flag is "a": PREREQUISITE_FAILED, gone, variation 0',
                "- the flag is on",
                '- prerequisite "gone" is not met: there is no such flag',
            ],
            id="a missing prerequisite",
        ),
        pytest.param(
            {"prerequisites": [{"key": "flag", "variation": 1}]},
            [
                "flag has no value, so the default is served: ERROR, MALFORMED_FLAG",
                "- the flag is on",
                '- prerequisite "flag" cannot be decided',
                "- the flag is malformed: it needs flag 'flag', which is a prerequisite of itself",
            ],
            id="a prerequisite of itself",
        ),
        pytest.param(
            {"rules": [rule(clause("segmentMatch", "none", "s"))]},
            [
                'flag is "c": RULE_MATCH, rule 0, variation 2',
                "- the flag is on",
                "- rule 0 (r) matches and serves variation 2",
                '  - is it in one of the segments "none", "s"? yes',
                '    - there is no segment "none"',
                '    - segment "s", version 1, contains the context',
                '      - user "k" is included by its key',
            ],
            id="segments",
        ),
        pytest.param(
            {"key": "flag", "variations": [1, 2, {"a": [None]}], "rules": [rule()]},
            [
                'flag is {"a":[null]}: RULE_MATCH, rule 0, variation 2',
                "- the flag is on",
                "- rule 0 (r) matches and serves variation 2",
            ],
            id="an object, by a rule without clauses",
        ),
    ],
)
def test_the_text_of_an_explanation(properties: dict[str, Any], lines: list[str]) -> None:
    found = told(flag(**properties), segments=[segment(included=["k"])])
    assert str(found).splitlines() == lines


def test_all_kinds_of_a_multi_kind_context_are_explained() -> None:
    several = context({"kind": "multi", "user": {"key": "k"}, "org": {"key": "o", "size": 3}})
    found = told(
        flag(rules=[rule(clause("in", "x", attribute="kind")), rule(clause("in", 3, attribute="size", contextKind="org"))]),
        subject=several,
    )
    assert [step.text for step in walk(found.steps) if step.kind is StepKind.CLAUSE] == [
        'the context is of kind org and user; is that in "x"? no',
        "org size is 3; is that in 3? yes",
    ]


def test_a_prerequisite_is_explained_with_its_own_steps() -> None:
    needs = flag(prerequisites=[{"key": "other", "variation": 2}])
    found = told(needs, flag("other", rules=[rule(clause("in", "ann@acme.com"))]))
    _, prerequisite, _ = found.steps
    assert prerequisite.text == 'prerequisite "other" is met: it serves variation 2, and variation 2 is needed'
    assert (prerequisite.path, prerequisite.holds) == ("prerequisites[0]", True)
    assert [step.kind for step in prerequisite.steps] == [StepKind.SWITCH, StepKind.RULE]


def test_a_prerequisite_that_is_off_is_not_met() -> None:
    found = told(flag(prerequisites=[{"key": "other", "variation": 0}]), flag("other", on=False))
    assert found.steps[-1].text == 'prerequisite "other" is not met: it is off, and variation 0 is needed'


@pytest.mark.parametrize(
    ("rollout", "text"),
    [
        pytest.param(
            {},
            'rollout: by user key "k" the bucket is 0.584076; variation 2 has buckets from 0.5 to 1',
            id="by key",
        ),
        pytest.param(
            {"bucketBy": "age", "contextKind": "user"},
            'rollout: by user age "41" the bucket is 0.207966; variation 1 has buckets from 0.2 to 0.5',
            id="by an attribute",
        ),
        pytest.param(
            {"kind": "experiment", "bucketBy": "age", "seed": 61},
            'experiment: by user key "k" the bucket is 0.934905; variation 2 has buckets from 0.5 to 1',
            id="an experiment by key, with its seed",
        ),
        pytest.param(
            {"bucketBy": "size", "contextKind": "user"},
            "rollout: user has no size to bucket by, so its bucket is 0; variation 0 has buckets from 0 to 0.2",
            id="without the attribute",
        ),
        pytest.param(
            {"bucketBy": "/home/town", "contextKind": "user"},
            'rollout: by user /home/town "Ulm" the bucket is 0.719974; variation 2 has buckets from 0.5 to 1',
            id="by an attribute within another",
        ),
        pytest.param(
            {"bucketBy": "size", "contextKind": "user", "variations": [{"variation": 2, "weight": 0}, *SHARES]},
            "rollout: user has no size to bucket by, so its bucket is 0; variation 0 has buckets from 0 to 0.2",
            id="a weight of 0",
        ),
        pytest.param(
            {"contextKind": "org"},
            "rollout: the context has no org, so its bucket is 0; variation 0 has buckets from 0 to 0.2",
            id="without the kind",
        ),
        pytest.param(
            {"variations": [{"variation": 1, "weight": 1}]},
            'rollout: by user key "k" the bucket is 0.584076; variation 1 has buckets from 0 to 1',
            id="weights that add up to less than 100%",
        ),
    ],
)
def test_the_text_of_a_bucket(rollout: dict[str, Any], text: str) -> None:
    found = told(flag(salt="salt", fallthrough={"rollout": {"variations": SHARES, **rollout}}))
    (bucket,) = found.steps[-1].steps
    assert (bucket.kind, bucket.path, bucket.text) == (StepKind.BUCKET, "fallthrough.rollout", text)
    assert bucket.facts["above"] <= bucket.facts["bucket"] < bucket.facts["below"]
    assert bucket.facts["variation"] == found.detail.variation_index


def test_the_bucket_of_a_rule_follows_its_clauses() -> None:
    around = [{"variation": 0, "weight": 90906}, {"variation": 2, "weight": 2}, {"variation": 1, "weight": 9092}]
    experiment = {"kind": "experiment", "variations": around}
    found = told(flag(rules=[{"id": "", "clauses": [clause("in", "ann@acme.com")], "rollout": experiment}]))
    (ruled,) = found.steps[1:]
    assert ruled.facts == {"index": 0}
    assert [(step.kind, step.path) for step in ruled.steps] == [
        (StepKind.CLAUSE, "rules[0].clauses[0]"),
        (StepKind.BUCKET, "rules[0].rollout"),
    ]
    assert ruled.steps[-1].facts == {
        "kind": "user",
        "bucketBy": "key",
        "bucket": pytest.approx(0.909066, abs=1e-6),
        "above": pytest.approx(0.90906),
        "below": pytest.approx(0.90908),
        "variation": 2,
        "inExperiment": True,
    }


@pytest.mark.parametrize(
    ("properties", "holds", "texts"),
    [
        pytest.param({"excluded": ["k"], "rules": [{"clauses": []}]}, False, ['user "k" is excluded by its key'], id="excluded"),
        pytest.param(
            {"includedContexts": [{"contextKind": "user", "values": ["k"]}], "excluded": ["k"]},
            True,
            ['user "k" is included by its key'],
            id="included by kind, which outranks excluded",
        ),
        pytest.param(
            {"rules": [{"clauses": [clause("in", 1)]}, {"clauses": [], "weight": 30000}]},
            False,
            [
                "rule 0 of the segment does not match",
                'user email is "ann@acme.com"; is that in 1? no',
                "rule 1 of the segment does not match",
                'by user key "k" the bucket is 0.322993; the rule takes buckets below 0.3: no',
            ],
            id="rules, and the weight of one",
        ),
        pytest.param(
            {"excludedContexts": [{"contextKind": "org", "values": ["k"]}], "rules": [{"clauses": [], "weight": 100000}]},
            True,
            [
                "rule 0 of the segment matches",
                'by user key "k" the bucket is 0.322993; the rule takes buckets below 1: yes',
            ],
            id="a key of another kind, and a weight of 100%",
        ),
        pytest.param(
            {"salt": None, "rules": [{"clauses": [], "weight": 30000, "bucketBy": "/home/town", "rolloutContextKind": "user"}]},
            False,
            [
                "rule 0 of the segment does not match",
                'by user /home/town "Ulm" the bucket is 0.935007; the rule takes buckets below 0.3: no',
            ],
            id="a weight by an attribute, without salt",
        ),
        pytest.param(
            {"rules": [{"clauses": [], "weight": 0, "bucketBy": "size", "rolloutContextKind": "user"}]},
            False,
            [
                "rule 0 of the segment does not match",
                "user has no size to bucket by, so its bucket is 0; the rule takes buckets below 0: no",
            ],
            id="a weight of 0",
        ),
        pytest.param(
            {"rules": [{"clauses": [], "weight": 100000, "rolloutContextKind": "org"}]},
            False,
            [
                "rule 0 of the segment does not match",
                "the context has no org, so its bucket is 0; the rule takes buckets below 1: no",
            ],
            id="a weight of a kind that the context does not have",
        ),
        pytest.param(
            {"rules": [{"clauses": [clause("in", 1, attribute="//")]}]},
            None,
            [
                "rule 0 of the segment cannot be decided",
                f'the attribute reference "//" is invalid: {INVALID}; is that in 1? cannot be decided',
            ],
            id="an invalid reference",
        ),
        pytest.param({"unbounded": True}, False, ["the big segment has no generation to look up"], id="big, without generation"),
        pytest.param(
            {"unbounded": True, "generation": 1, "unboundedContextKind": "org"},
            False,
            ["the context has no org to look up in the big segment"],
            id="big, of another kind",
        ),
        pytest.param(
            {"unbounded": True, "generation": 1, "rules": [{"clauses": []}]},
            True,
            ["no store of big segments is configured", "rule 0 of the segment matches"],
            id="big, without a store",
        ),
    ],
)
def test_the_texts_of_a_segment(properties: dict[str, Any], holds: bool | None, texts: list[str]) -> None:
    found = told(flag(rules=[rule(IN_S)]), segments=[segment(**properties)])
    clauses, asked = (next(step for step in walk(found.steps) if step.kind is kind) for kind in (StepKind.CLAUSE, StepKind.SEGMENT))
    assert (clauses.holds, asked.holds) == (holds, holds)
    ends = {
        True: ("contains the context", "yes"),
        False: ("does not contain the context", "no"),
        None: ("cannot be decided", "cannot be decided"),
    }[holds]
    assert asked.text == f'segment "s", version 1, {ends[0]}'
    assert clauses.text == f'is it in one of the segments "s"? {ends[1]}'
    assert [step.text for step in walk(asked.steps)] == texts


@pytest.mark.parametrize(
    ("memberships", "text", "value"),
    [
        pytest.param({"k": {"s.g1": True}}, 'the memberships of "k" include it', "c", id="included"),
        pytest.param({"k": {"s.g1": False}}, 'the memberships of "k" exclude it', "b", id="excluded"),
        pytest.param({"k": {}}, 'the memberships of "k" do not name it', "b", id="not named"),
        pytest.param({}, 'the memberships of "k" are unknown', "b", id="not known"),
    ],
)
def test_the_text_of_a_big_segment_membership(memberships: Mapping[str, Mapping[str, bool]], text: str, value: str) -> None:
    big = segment(unbounded=True, generation=1)
    known = {key: Membership(segments, BigSegmentsStatus.HEALTHY) for key, segments in memberships.items()}
    found = told(flag(rules=[rule(IN_S)]), segments=[big], memberships=known.get)
    looked_up = next(step for step in walk(found.steps) if step.kind is StepKind.LISTS)
    assert (looked_up.text, looked_up.path) == (text, "unbounded")
    assert looked_up.holds is memberships.get("k", {}).get("s.g1")
    assert found.detail.value == value


def circle(length: int) -> Any:
    keys = [f"s{number}" for number in range(length)]
    following = [*keys[1:], keys[0]]
    return [segment(key, rules=[{"clauses": [clause("segmentMatch", other)]}]) for key, other in zip(keys, following, strict=True)]


@pytest.mark.parametrize("length", [1, 3, 150], ids=["itself", "a circle", "too many in a row"])
def test_segments_in_a_circle_are_explained_up_to_the_failure(length: int) -> None:
    found = told(flag(rules=[rule(clause("segmentMatch", "s0"))]), segments=circle(length))
    assert found.detail.reason.to_dict() == {"kind": "ERROR", "errorKind": "MALFORMED_FLAG"}
    segments = [step for step in walk(found.steps) if step.kind is StepKind.SEGMENT]
    assert len(segments) == min(length, 100) + 1
    assert {step.holds for step in segments} == {None}
    needs = "more than 100 segments that refer to one another" if length > 100 else "segment 's0', which refers to itself"
    assert found.steps[-1].text == f"the flag is malformed: it needs {needs}"


@pytest.mark.parametrize("length", [100, 101], ids=["as deep as may be", "one more"])
def test_a_chain_of_100_prerequisites_can_be_explained(length: int) -> None:
    flags = [flag(f"f{number}", prerequisites=[{"key": f"f{number + 1}", "variation": 1}]) for number in range(length)]
    found = told(*flags, flag(f"f{length}"), key="f0")
    assert (found.detail.value is None) is (length > 100)
    problems = [step.text for step in walk(found.steps) if step.kind is StepKind.PROBLEM]
    needs = "it needs more than 100 flags that are prerequisites of one another"
    assert problems == ([f"the flag is malformed: {needs}"] if length > 100 else [])


def test_a_full_stack_is_explained_as_a_malformed_flag() -> None:
    flags = [flag(f"f{number}", prerequisites=[{"key": f"f{number + 1}", "variation": 1}]) for number in range(100)]
    snapshot = snapshot_of(*flags, flag("f100"))

    def ask() -> tuple[Explanation, Evaluation]:
        return explain(snapshot, "f0", USER), snapshot.evaluate("f0", USER, None, wanted=object)

    found, evaluation = with_frames_left(120, ask)
    assert found.detail == evaluation.detail
    assert found.detail.reason.to_dict() == {"kind": "ERROR", "errorKind": "MALFORMED_FLAG"}
    assert found.steps[-1].text == "the flag is malformed: it depends on too many flags or segments in a row"


@pytest.mark.parametrize(
    ("key", "subject", "text"),
    [
        pytest.param("flga", USER, 'there is no flag "flga" among 1; did you mean "flag"?', id="an unknown flag"),
        pytest.param("entirely else", USER, 'there is no flag "entirely else" among 1', id="an unknown flag without a similar key"),
        pytest.param("flag", None, "there is no context", id="no context"),
        pytest.param("flag", Context(""), f"the context cannot be used: {KEYLESS}", id="a context that cannot be used"),
    ],
)
def test_an_explanation_without_an_evaluation_has_the_reason(key: str, subject: Context | None, text: str) -> None:
    found = told(flag(), key=key, subject=subject)
    assert (found.key, found.version) == (key, None)
    (step,) = found.steps
    assert (step.kind, step.text) == (StepKind.PROBLEM, text)


def test_an_explanation_before_data_arrives() -> None:
    found = explain(Snapshot.empty(), "flag", USER)
    assert found.detail == Snapshot.empty().evaluate("flag", USER, None).detail
    assert (found.key, [step.text for step in found.steps]) == ("flag", ["there is no flag data yet"])


def test_an_explanation_can_be_written_as_json() -> None:
    found = told(flag(rules=[rule(clause("in", 1))], version=7)).to_dict()
    assert json.loads(json.dumps(found)) == found
    assert (found["key"], found["version"], found["value"], found["variationIndex"]) == ("flag", 7, "b", 1)
    assert found["steps"][1] == {
        "kind": "rule",
        "text": "rule 0 (r) does not match",
        "path": "rules[0]",
        "holds": False,
        "facts": {"index": 0, "id": "r"},
        "steps": [
            {
                "kind": "clause",
                "text": 'user email is "ann@acme.com"; is that in 1? no',
                "path": "rules[0].clauses[0]",
                "holds": False,
                "facts": {
                    "contextKind": "user",
                    "attribute": "email",
                    "op": "in",
                    "values": [1],
                    "negate": False,
                    "found": "ann@acme.com",
                },
            }
        ],
    }


def test_a_context_value_that_is_not_json_is_described() -> None:
    found = told(flag(rules=[rule(clause("in", 1))]), subject=context(email=object()))
    assert "user email is a value that is not JSON (object)" in str(found)
    assert json.dumps(found.to_dict())


def test_a_line_break_in_a_key_does_not_forge_a_line() -> None:
    forged = "k\n- the flag is off"
    found = told(flag(targets=[{"variation": 2, "values": [forged]}]), subject=Context(forged))
    assert len(str(found).splitlines()) == 3


@pytest.mark.skipif(not DIRECTORY.is_dir(), reason=REASON)
@pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in cases()])
def test_the_explanation_of_a_conformance_case_agrees_with_the_evaluation(case: Case) -> None:
    snapshot, key = case.suite.snapshot, case.data["flagKey"]
    for subject in case.contexts:
        assert explain(snapshot, key, subject).detail == snapshot.evaluate(key, subject, None, wanted=object).detail


TARGETED = flag(prerequisites=[{"key": "needed", "variation": 1}], targets=[{"variation": 0, "values": ["k"]}])
RULED = flag(rules=[rule(clause("segmentMatch", "s", "t", negate=True)), rule(IN_S)])
IN_NO_ORG = clause("in", 1, contextKind="org", attribute="size", negate=True)
LISTED = [
    ("segment", "", True, {"segment": "s", "version": 1}),
    ("lists", "included", True, {"contextKind": "user", "key": "k"}),
]
SHARED = {"rules": [{"clauses": [IN_NO_ORG]}, {"clauses": [], "weight": 50000}]}
ON: Any = ("on", "on", True, {})
FALLTHROUGH: Any = ("fallthrough", "fallthrough", None, {})


@pytest.mark.parametrize(
    ("flags", "segments", "facts"),
    [
        pytest.param([flag(on=False)], [], [("on", "on", False, {})], id="off"),
        pytest.param(
            [TARGETED, flag("needed")],
            [],
            [
                ON,
                ("prerequisite", "prerequisites[0]", True, {"flag": "needed", "variation": 1}),
                ON,
                FALLTHROUGH,
                ("targets", "targets", True, {"contextKind": "user", "key": "k", "variation": 0}),
            ],
            id="a prerequisite and a target",
        ),
        pytest.param(
            [flag(targets=[{"variation": 0, "values": ["x"]}], fallthrough={"variation": 9})],
            [],
            [ON, ("targets", "targets", False, {}), FALLTHROUGH, ("problem", "", None, {})],
            id="a target for another context, and a problem",
        ),
        pytest.param(
            [RULED],
            [segment("s", included=["k"])],
            [
                ON,
                ("rule", "rules[0]", False, {"index": 0, "id": "r"}),
                ("clause", "rules[0].clauses[0]", False, {"op": "segmentMatch", "values": ["s", "t"], "negate": True}),
                *LISTED,
                ("rule", "rules[1]", True, {"index": 1, "id": "r"}),
                ("clause", "rules[1].clauses[0]", True, {"op": "segmentMatch", "values": ["s"], "negate": False}),
                LISTED[0],
            ],
            id="rules and segments",
        ),
        pytest.param(
            [flag(rules=[rule(clause("segmentMatch", "none", "s"))])],
            [segment("s", **SHARED)],
            [
                ON,
                ("rule", "rules[0]", True, {"index": 0, "id": "r"}),
                ("clause", "rules[0].clauses[0]", True, {"op": "segmentMatch", "values": ["none", "s"], "negate": False}),
                ("segment", "", False, {"segment": "none"}),
                ("segment", "", True, {"segment": "s", "version": 1}),
                ("rule", "rules[0]", False, {"index": 0}),
                (
                    "clause",
                    "rules[0].clauses[0]",
                    False,
                    {"contextKind": "org", "attribute": "size", "op": "in", "values": [1], "negate": True, "found": None},
                ),
                ("rule", "rules[1]", True, {"index": 1}),
                (
                    "bucket",
                    "rules[1].weight",
                    True,
                    {"kind": "user", "bucketBy": "key", "bucket": pytest.approx(0.322993, abs=1e-6), "below": 0.5},
                ),
            ],
            id="an unknown segment, and the rules of a segment",
        ),
    ],
)
def test_steps_have_facts_for_their_texts(flags: Any, segments: Any, facts: list[Any]) -> None:
    steps = told(*flags, segments=segments).steps
    assert [(step.kind, step.path, step.holds, step.facts) for step in walk(steps)] == facts


def test_the_facts_of_a_clause_without_an_attribute() -> None:
    found = told(flag(rules=[rule(clause("in", 1, attribute=None))]))
    asked = next(step for step in walk(found.steps) if step.kind is StepKind.CLAUSE)
    assert (asked.holds, asked.facts["attribute"], asked.facts["found"]) == (None, "", None)


def test_the_repr_of_a_step_leaves_out_its_inner_steps() -> None:
    names = [segment(f"s{number}", rules=[{"clauses": [clause("segmentMatch", f"s{number + 1}")]}]) for number in range(99)]
    flag_of_many = flag(rules=[rule(clause("segmentMatch", "s0"), id="")])
    found = told(flag_of_many, segments=[*names, segment("s99", included=["k"])])
    assert "steps=(Step(kind='on', text='the flag is on', path='on', holds=True), Step(kind='rule'," in repr(found)
    assert repr(found.steps[1]) == (
        "Step(kind='rule', text='rule 0 matches and serves variation 2', path='rules[0]', holds=True, steps=<1>)"
    )
