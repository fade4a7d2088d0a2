"""Documents in which lint finds nothing, and mistakes whose consequences are not reported."""

from __future__ import annotations

from typing import Any

import pytest

from tests.tools.lint.documents import GOOD, ROLLOUT, clause, findings, flag, rule, with_clause


@pytest.mark.parametrize(
    "document",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"flags": None, "segments": {}, "flagValues": {"a": [1, {"b": None}]}}, id="values"),
        pytest.param(
            flag(sel="x", clientSideAvailability={"usingEnvironmentId": True}, version=3, salt="s"), id="what a service writes"
        ),
        pytest.param(flag(variations=[1, 2.0, None]), id="ints, whole floats and null"),
        pytest.param(flag(fallthrough={"rollout": ROLLOUT}), id="a rollout by user"),
        pytest.param(flag(fallthrough={"rollout": {**ROLLOUT, "contextKind": "user", "bucketBy": "/key"}}), id="by the key"),
        pytest.param(
            flag(fallthrough={"rollout": {"contextKind": "org", "variations": [{"variation": 0, "weight": 100000}]}}),
            id="a rollout that serves all contexts the same",
        ),
        pytest.param(
            flag(rules=[{"clauses": [clause(contextKind="org")], "rollout": {**ROLLOUT, "contextKind": "org"}}]),
            id="a rollout by a kind that its rule requires",
        ),
        pytest.param(
            flag(rules=[{"clauses": [clause(attribute="kind", values=["org"])], "rollout": {**ROLLOUT, "contextKind": "org"}}]),
            id="a rollout by the kind of its rule",
        ),
        pytest.param(
            flag(rules=[{"clauses": [clause(negate=True)], "rollout": {**ROLLOUT, "bucketBy": "country"}}]),
            id="a rollout by an attribute that its rule requires",
        ),
        pytest.param(
            flag(
                rules=[rule(clause(attribute="kind", values=["org"], negate=True))],
                fallthrough={"rollout": {**ROLLOUT, "contextKind": "org"}},
            ),
            id="a rollout by a kind after a rule for all other contexts",
        ),
        pytest.param(
            flag(fallthrough={"rollout": {**ROLLOUT, "kind": "experiment", "bucketBy": "//"}}),
            id="a bucketBy that an experiment ignores",
        ),
        pytest.param({"flags": {"a": {"on": False}}}, id="off without variations"),
        pytest.param(with_clause(values=[], negate=True), id="a negated clause without values"),
        pytest.param(with_clause(op="matches", values=[".*a.*"]), id="a pattern with .* at both ends"),
        pytest.param(flag(rules=[rule(clause()), rule(clause(values=["at"]))]), id="rules for different values"),
        pytest.param(flag(rules=[rule(clause()), rule(clause(contextKind="org"))]), id="rules for different kinds"),
        pytest.param(flag(rules=[rule(clause(), clause(attribute="x")), rule(clause())]), id="an earlier rule with more clauses"),
        pytest.param(flag(rules=[rule(clause(values=[1])), rule(clause(values=[True]))]), id="1 is not true"),
        pytest.param(
            flag(
                targets=[{"variation": 0, "values": ["x"]}],
                contextTargets=[
                    {"contextKind": "user", "variation": 0, "values": []},
                    {"contextKind": "org", "variation": 1, "values": ["x"]},
                ],
            ),
            id="targets of two kinds",
        ),
        pytest.param({"flags": {"a": {"deleted": True, "offVariation": 7}}}, id="a deleted flag"),
        pytest.param(
            {
                "flags": {
                    "a": {**GOOD, "prerequisites": [{"key": "b", "variation": 1}, {"key": "c", "variation": 0}]},
                    "b": {**GOOD, "prerequisites": [{"key": "c", "variation": 0}]},
                    "c": GOOD,
                }
            },
            id="a shared prerequisite",
        ),
    ],
)
def test_lint_finds_nothing_in(document: Any) -> None:
    assert findings(document) == []


def test_every_mistake_is_reported_but_not_its_consequences() -> None:
    document = flag(
        on=1,
        variations="x",
        offVariation=7,
        rules=[rule(clause(op="x"), variation="0"), rule(clause(values=3)), rule(clause(attribute=""), clause(attribute=5))],
        targets=[{"variation": 0, "values": ["x", "x"]}, {"values": ["y"]}],
        fallthrough={"rollout": {"variations": [{"variation": 0, "weight": "all"}]}},
    )
    document["flags"]["b"] = {**GOOD, "prerequisites": [{"key": "a", "variation": 9}]}
    assert [(finding.rule, finding.path) for finding in findings(document)] == [
        ("wrong-type", "flags.a.on"),
        ("wrong-type", "flags.a.variations"),
        ("wrong-type", "flags.a.fallthrough.rollout.variations[0].weight"),
        ("unknown-operator", "flags.a.rules[0].clauses[0].op"),
        ("wrong-type", "flags.a.rules[0].variation"),
        ("wrong-type", "flags.a.rules[1].clauses[0].values"),
        ("invalid-reference", "flags.a.rules[2].clauses[0].attribute"),
        ("wrong-type", "flags.a.rules[2].clauses[1].attribute"),
        ("duplicate-target", "flags.a.targets[0].values[1]"),
        ("missing-property", "flags.a.targets[1]"),
    ]
