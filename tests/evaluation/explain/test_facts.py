"""The facts of explanation steps: their content for programs."""

from __future__ import annotations

from typing import Any

import pytest

from aioflags.model.explanation import StepKind
from tests.evaluation.data import flag, segment
from tests.evaluation.explain.data import IN_S, clause, explanation_of, rule, walk

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
