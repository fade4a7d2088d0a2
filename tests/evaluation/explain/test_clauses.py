"""Explanations of buckets, segments and big-segment memberships."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from aioflags.model.detail import BigSegmentsStatus, Membership
from aioflags.model.explanation import StepKind
from tests.evaluation.data import flag, segment
from tests.evaluation.explain.data import IN_S, INVALID, SHARES, clause, explanation_of, rule, walk


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
    explanation = explanation_of(flag(salt="salt", fallthrough={"rollout": {"variations": SHARES, **rollout}}))
    (bucket,) = explanation.steps[-1].steps
    assert (bucket.kind, bucket.path, bucket.text) == (StepKind.BUCKET, "fallthrough.rollout", text)
    assert bucket.facts["above"] <= bucket.facts["bucket"] < bucket.facts["below"]
    assert bucket.facts["variation"] == explanation.detail.variation_index


def test_the_bucket_of_a_rule_follows_its_clauses() -> None:
    around = [{"variation": 0, "weight": 90906}, {"variation": 2, "weight": 2}, {"variation": 1, "weight": 9092}]
    experiment = {"kind": "experiment", "variations": around}
    explanation = explanation_of(flag(rules=[{"id": "", "clauses": [clause("in", "ann@acme.com")], "rollout": experiment}]))
    (ruled,) = explanation.steps[1:]
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
    explanation = explanation_of(flag(rules=[rule(IN_S)]), segments=[segment(**properties)])
    steps = list(walk(explanation.steps))
    clauses, in_segment = (next(step for step in steps if step.kind is kind) for kind in (StepKind.CLAUSE, StepKind.SEGMENT))
    assert (clauses.holds, in_segment.holds) == (holds, holds)
    ends = {
        True: ("contains the context", "yes"),
        False: ("does not contain the context", "no"),
        None: ("cannot be decided", "cannot be decided"),
    }[holds]
    assert in_segment.text == f'segment "s", version 1, {ends[0]}'
    assert clauses.text == f'is it in one of the segments "s"? {ends[1]}'
    assert [step.text for step in walk(in_segment.steps)] == texts


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
    explanation = explanation_of(flag(rules=[rule(IN_S)]), segments=[big], memberships=known.get)
    looked_up = next(step for step in walk(explanation.steps) if step.kind is StepKind.LISTS)
    assert (looked_up.text, looked_up.path) == (text, "unbounded")
    assert looked_up.holds is memberships.get("k", {}).get("s.g1")
    assert explanation.detail.value == value


def circle(length: int) -> Any:
    keys = [f"s{number}" for number in range(length)]
    following = [*keys[1:], keys[0]]
    return [segment(key, rules=[{"clauses": [clause("segmentMatch", other)]}]) for key, other in zip(keys, following, strict=True)]


@pytest.mark.parametrize("length", [1, 3, 150], ids=["itself", "a circle", "too many in a row"])
def test_segments_in_a_circle_are_explained_up_to_the_failure(length: int) -> None:
    explanation = explanation_of(flag(rules=[rule(clause("segmentMatch", "s0"))]), segments=circle(length))
    assert explanation.detail.reason.to_dict() == {"kind": "ERROR", "errorKind": "MALFORMED_FLAG"}
    segments = [step for step in walk(explanation.steps) if step.kind is StepKind.SEGMENT]
    assert len(segments) == min(length, 100) + 1
    assert {step.holds for step in segments} == {None}
    needs = "more than 100 segments that refer to one another" if length > 100 else "segment 's0', which refers to itself"
    assert explanation.steps[-1].text == f"the flag is malformed: it needs {needs}"


# -- The facts of explanation steps: their content for programs.

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
    steps = explanation_of(*flags, segments=segments).steps
    assert [(step.kind, step.path, step.holds, step.facts) for step in walk(steps)] == facts


def test_the_facts_of_a_clause_without_an_attribute() -> None:
    explanation = explanation_of(flag(rules=[rule(clause("in", 1, attribute=None))]))
    clause_step = next(step for step in walk(explanation.steps) if step.kind is StepKind.CLAUSE)
    assert (clause_step.holds, clause_step.facts["attribute"], clause_step.facts["found"]) == (None, "", None)


def test_the_repr_of_a_step_leaves_out_its_inner_steps() -> None:
    names = [segment(f"s{number}", rules=[{"clauses": [clause("segmentMatch", f"s{number + 1}")]}]) for number in range(99)]
    flag_of_many = flag(rules=[rule(clause("segmentMatch", "s0"), id="")])
    explanation = explanation_of(flag_of_many, segments=[*names, segment("s99", included=["k"])])
    assert "steps=(Step(kind='on', text='the flag is on', path='on', holds=True), Step(kind='rule'," in repr(explanation)
    assert repr(explanation.steps[1]) == (
        "Step(kind='rule', text='rule 0 matches and serves variation 2', path='rules[0]', holds=True, steps=<1>)"
    )
