"""What is found in flags and segments, what is suggested, and what is left alone."""

from __future__ import annotations

from typing import Any

import pytest

from aioflags.tools.lint import RULES
from tests.tools.lint.documents import GOOD, ROLLOUT, Found, asking, clause, findings, flag, rule, said, segment

IN_PERCENT = "weights are thousandths of a percent: 50 % is 50000"

CASES: list[Any] = [
    pytest.param(
        {"flgs": {}}, ("unknown-section", "flgs", 'unknown property "flgs"; did you mean "flags"?'), id="a section misspelled"
    ),
    pytest.param(
        {"x": {}}, ("unknown-section", "x", 'unknown property "x"; expected flags, segments, flagValues'), id="another section"
    ),
    pytest.param({"flags": []}, ("wrong-type", "flags", "expected object, got array"), id="a section that is no object"),
    pytest.param([], ("wrong-type", "", "expected object, got array"), id="a document that is no object"),
    pytest.param({"flags": {"a": 1}}, ("wrong-type", "flags.a", "expected object, got number"), id="a flag that is no object"),
    pytest.param(flag(on="yes"), ("wrong-type", "flags.a.on", "expected boolean or null, got string"), id="a type"),
    pytest.param(
        flag(version=1.5), ("wrong-type", "flags.a.version", "expected whole number, got fractional number"), id="a fraction"
    ),
    pytest.param(
        flag(targets=[{"variation": 0, "values": ["x", 2]}]),
        ("wrong-type", "flags.a.targets[0].values[1]", "expected string, got number"),
        id="a type deep inside",
    ),
    pytest.param(
        flag(targets=[{"values": ["x"]}]),
        ("missing-property", "flags.a.targets[0]", 'missing required property "variation"'),
        id="a property that lacks",
    ),
    pytest.param(
        flag(trackevents=True),
        ("unknown-property", "flags.a.trackevents", 'unknown property; did you mean "trackEvents"?'),
        id="a property misspelled",
    ),
    pytest.param(flag(key="b"), ("key-mismatch", "flags.a.key", 'expected "a", the key of the entry, got "b"'), id="another key"),
    pytest.param(
        {**flag(), "flagValues": {"a": 1}},
        ("duplicate-key", "flagValues.a", "this flag is in flags.a, too"),
        id="a key in two sections",
    ),
    pytest.param(
        flag(offVariation=2),
        ("variation-out-of-range", "flags.a.offVariation", '"a" has no variation 2: its variations are 0 to 1'),
        id="the off variation",
    ),
    pytest.param(
        flag(variations=[True]),
        ("variation-out-of-range", "flags.a.offVariation", '"a" has no variation 1: it has variation 0 alone'),
        id="one variation",
    ),
    pytest.param(
        flag(targets=[{"variation": 5, "values": []}]),
        ("variation-out-of-range", "flags.a.targets[0].variation", '"a" has no variation 5: its variations are 0 to 1'),
        id="a target's variation",
    ),
    pytest.param(
        {"flags": {"a": {"on": False, "offVariation": 0}}},
        ("variation-out-of-range", "flags.a.offVariation", '"a" has no variation 0: it has none'),
        id="no variations",
    ),
    pytest.param(
        flag(fallthrough={"rollout": {"variations": [{"variation": 0, "weight": 100000}, {"variation": 2, "weight": 0}]}}),
        (
            "variation-out-of-range",
            "flags.a.fallthrough.rollout.variations[1].variation",
            '"a" has no variation 2: its variations are 0 to 1',
        ),
        id="a rollout's variation",
    ),
    pytest.param(
        flag(fallthrough=None),
        ("nothing-served", "flags.a.fallthrough", "neither a variation nor a rollout with variations"),
        id="no fallthrough",
    ),
    pytest.param(
        flag(rules=[{"clauses": [], "rollout": {"variations": []}}]),
        ("nothing-served", "flags.a.rules[0]", "neither a variation nor a rollout with variations"),
        id="a rule that serves nothing",
    ),
    pytest.param(
        flag(fallthrough={"variation": 0, "rollout": ROLLOUT}),
        ("rollout-ignored", "flags.a.fallthrough.rollout", "the variation beside it is served, and this rollout is not"),
        id="a variation and a rollout",
    ),
    pytest.param(
        flag(fallthrough={"rollout": {"variations": [{"variation": 0, "weight": 99999}]}}),
        (
            "weights",
            "flags.a.fallthrough.rollout.variations",
            "the weights add up to 99999, not to 100000: the last variation gets the rest",
        ),
        id="weights that are too little",
    ),
    pytest.param(
        flag(fallthrough={"rollout": {"variations": [{"variation": 0, "weight": 50}, {"variation": 1, "weight": 50}]}}),
        (
            "weights",
            "flags.a.fallthrough.rollout.variations",
            f"the weights add up to 100, not to 100000: the last variation gets the rest; {IN_PERCENT}",
        ),
        id="weights in percent",
    ),
    pytest.param(
        flag(fallthrough={"rollout": {"variations": [{"variation": 0, "weight": 100001}, {"variation": 1, "weight": -1}]}}),
        ("weights", "flags.a.fallthrough.rollout.variations[1].weight", "a weight below zero: -1"),
        id="a weight below zero",
    ),
    pytest.param(
        flag(fallthrough={"rollout": {**ROLLOUT, "kind": "experimnt"}}),
        ("unknown-rollout-kind", "flags.a.fallthrough.rollout.kind", 'unknown kind "experimnt"; did you mean "experiment"?'),
        id="a rollout's kind",
    ),
    pytest.param(
        flag(variations=[True, "false", None]),
        ("mixed-types", "flags.a.variations", "the variations are of several types: boolean, string"),
        id="variations of several types",
    ),
    pytest.param(
        flag(targets=[{"variation": 0, "values": ["x"]}, {"variation": 1, "values": ["y", "x"]}]),
        ("duplicate-target", "flags.a.targets[1].values[1]", '"x" is in targets[0] already, which counts'),
        id="a target twice",
    ),
    pytest.param(
        flag(
            contextTargets=[
                {"contextKind": "org", "variation": 0, "values": ["x"]},
                {"contextKind": "device", "variation": 0, "values": ["x"]},
                {"contextKind": "org", "variation": 1, "values": ["x"]},
            ]
        ),
        ("duplicate-target", "flags.a.contextTargets[2].values[0]", '"x" is in contextTargets[0] already, which counts'),
        id="a target of a kind twice",
    ),
    pytest.param(
        flag(targets=[{"variation": 0, "values": ["x"], "contextKind": "org"}]),
        (
            "ignored-target",
            "flags.a.targets[0].contextKind",
            'keys in targets are of users, so "org" does not count; contextTargets are for other kinds',
        ),
        id="a kind among targets",
    ),
    pytest.param(
        flag(contextTargets=[{"variation": 0, "values": ["x"]}]),
        ("ignored-target", "flags.a.contextTargets[0].values", "keys of users stand in targets, and do not count here"),
        id="users among contextTargets",
    ),
    pytest.param(
        flag(targets=[{"variation": 1, "values": ["x"]}], contextTargets=[{"contextKind": "org", "variation": 0, "values": ["x"]}]),
        (
            "ignored-target",
            "flags.a.targets[0]",
            (
                "contextTargets do not say when it is the turn of users with variation 1, so these never get it;"
                ' add {"contextKind": "user", "variation": 1, "values": []} to contextTargets'
            ),
        ),
        id="targets whose turn never comes",
    ),
    pytest.param(
        asking(op="startWith"),
        ("unknown-operator", "flags.a.rules[0].clauses[0].op", 'unknown operator "startWith"; did you mean "startsWith"?'),
        id="an operator misspelled",
    ),
    pytest.param(
        asking(op="is one of"),
        ("unknown-operator", "flags.a.rules[0].clauses[0].op", 'unknown operator "is one of"; did you mean "in"?'),
        id="an operator by another name",
    ),
    pytest.param(
        asking(op="zzz"),
        ("unknown-operator", "flags.a.rules[0].clauses[0].op", 'unknown operator "zzz"'),
        id="an operator like no other",
    ),
    pytest.param(
        asking(attribute=""),
        ("invalid-reference", "flags.a.rules[0].clauses[0].attribute", "an attribute reference cannot be empty"),
        id="no attribute",
    ),
    pytest.param(
        asking(attribute="/a//b", contextKind="user"),
        (
            "invalid-reference",
            "flags.a.rules[0].clauses[0].attribute",
            "a double or trailing slash leaves a part of the path empty",
        ),
        id="a path that is none",
    ),
    pytest.param(
        asking(attribute="/address/city"),
        (
            "literal-path",
            "flags.a.rules[0].clauses[0].attribute",
            'this is the attribute called "/address/city", and no path; add "contextKind": "user"',
        ),
        id="a path without a kind",
    ),
    pytest.param(
        flag(fallthrough={"rollout": {**ROLLOUT, "bucketBy": "//", "contextKind": "org"}}),
        (
            "invalid-reference",
            "flags.a.fallthrough.rollout.bucketBy",
            "a double or trailing slash leaves a part of the path empty",
        ),
        id="what a rollout goes by",
    ),
    pytest.param(
        asking(contextKind="multi"),
        ("invalid-kind", "flags.a.rules[0].clauses[0].contextKind", 'no context can be of the kind "multi"'),
        id="a kind that cannot be",
    ),
    pytest.param(
        asking(values=[]),
        ("never-matches", "flags.a.rules[0].clauses[0]", "a clause without values never matches"),
        id="a clause without values",
    ),
    pytest.param(
        flag(rules=[rule(clause(), clause(values=["at", "de"], negate=True))]),
        (
            "never-matches",
            "flags.a.rules[0].clauses[1]",
            "another clause asks for just what this one excludes, so the rule never matches",
        ),
        id="clauses that exclude each other",
    ),
    pytest.param(
        asking(op="lessThan", values=["5"]),
        ("useless-value", "flags.a.rules[0].clauses[0].values[0]", 'lessThan expects a number, got "5"'),
        id="a number in quotes",
    ),
    pytest.param(
        asking(op="before", values=["2026-01-31"]),
        (
            "useless-value",
            "flags.a.rules[0].clauses[0].values[0]",
            'before expects a time: milliseconds, or like 2026-01-31T12:00:00Z, got "2026-01-31"',
        ),
        id="a date without a time",
    ),
    pytest.param(
        asking(op="semVerEqual", values=["1.2.3", "v1"]),
        ("useless-value", "flags.a.rules[0].clauses[0].values[1]", 'semVerEqual expects a semantic version, like 1.2.3, got "v1"'),
        id="no version",
    ),
    pytest.param(
        asking(op="contains", values=[5]),
        ("useless-value", "flags.a.rules[0].clauses[0].values[0]", "contains expects a string, got number"),
        id="no string",
    ),
    pytest.param(
        asking(values=["de", None]),
        ("useless-value", "flags.a.rules[0].clauses[0].values[1]", "in expects a value that an attribute can have, got null"),
        id="null",
    ),
    pytest.param(
        asking(op="matches", values=["("]),
        (
            "bad-pattern",
            "flags.a.rules[0].clauses[0].values[0]",
            '"(" is not a valid regular expression: missing ), unterminated subpattern at position 0',
        ),
        id="no pattern",
    ),
    pytest.param(
        asking(op="matches", values=["^de", "^(a+)+$"]),
        (
            "risky-pattern",
            "flags.a.rules[0].clauses[0].values[1]",
            (
                '"^(a+)+$" can take very long: without RE2 it never matches; '
                'repeat nothing that repeats itself, or install "aioflags[re2]"'
            ),
        ),
        id="a risky pattern",
    ),
    pytest.param(
        asking(op="matches", values=["@.*\\.com"]),
        (
            "risky-pattern",
            "flags.a.rules[0].clauses[0].values[0]",
            (
                '"@.*\\.com" can take very long: without RE2 it only matches texts of up to 467 characters; '
                'repeat nothing that repeats itself, or install "aioflags[re2]"'
            ),
        ),
        id="a pattern that takes more than linear time",
    ),
    pytest.param(
        flag(rules=[rule(clause(values=["de", "at"])), rule(clause(values=["at"], contextKind="user"), clause(attribute="x"))]),
        ("unreachable-rule", "flags.a.rules[1]", "rule 0 matches whenever this one does, and comes first"),
        id="a rule that asks for less comes first",
    ),
    pytest.param(
        flag(rules=[rule(clause()), rule(), rule(clause(attribute="x"))]),
        ("unreachable-rule", "flags.a.rules[2]", "rule 1 matches whenever this one does, and comes first"),
        id="a rule for everybody comes first",
    ),
    pytest.param(
        flag(rules=[rule(clause(negate=True)), rule(clause(negate=True, values=["de", "at"]))]),
        ("unreachable-rule", "flags.a.rules[1]", "rule 0 matches whenever this one does, and comes first"),
        id="a rule that excludes less comes first",
    ),
    pytest.param(
        flag(prerequisites=[{"key": "b", "variation": 0}]),
        ("missing-prerequisite", "flags.a.prerequisites[0].key", 'there is no flag "b"'),
        id="a prerequisite that is not there",
    ),
    pytest.param(
        {"flags": {"a": {**GOOD, "prerequisites": [{"key": "chekcout", "variation": 0}]}, "checkout": GOOD}},
        ("missing-prerequisite", "flags.a.prerequisites[0].key", 'there is no flag "chekcout"; did you mean "checkout"?'),
        id="a prerequisite misspelled",
    ),
    pytest.param(
        {"flags": {"a": {**GOOD, "prerequisites": [{"key": "b", "variation": 0}]}, "b": {"deleted": True}}},
        ("missing-prerequisite", "flags.a.prerequisites[0].key", 'there is no flag "b"'),
        id="a prerequisite that was deleted",
    ),
    pytest.param(
        {"flags": {"a": {**GOOD, "prerequisites": [{"key": "b", "variation": 1}]}}, "flagValues": {"b": 1}},
        ("variation-out-of-range", "flags.a.prerequisites[0].variation", '"b" has no variation 1: it has variation 0 alone'),
        id="a prerequisite's variation",
    ),
    pytest.param(
        asking(op="segmentMatch", values=["s"]),
        ("missing-segment", "flags.a.rules[0].clauses[0].values[0]", 'there is no segment "s"'),
        id="a segment that is not there",
    ),
    pytest.param(
        {"flags": {"a b": {**GOOD, "prerequisites": [{"key": "a b", "variation": 0}]}}},
        ("cycle", 'flags["a b"].prerequisites[0].key', "this goes in a circle: a b → a b"),
        id="a flag that needs itself",
    ),
    pytest.param(
        {
            "segments": {
                "s": {"rules": [{"clauses": [{"op": "segmentMatch", "values": ["t"]}]}]},
                "t": {"rules": [{"clauses": [{"op": "segmentMatch", "values": ["s"]}]}]},
            }
        },
        ("cycle", "segments.t.rules[0].clauses[0].values[0]", "this goes in a circle: s → t → s"),
        id="segments in a circle",
    ),
    pytest.param(
        segment(included=["x", "y"], excluded=["x"]),
        ("duplicate-target", "segments.s.excluded[0]", '"x" is included already'),
        id="included and excluded",
    ),
    pytest.param(
        segment(
            includedContexts=[{"contextKind": "org", "values": ["x"]}, {"contextKind": "org", "values": ["y", "x"]}], included=["x"]
        ),
        ("duplicate-target", "segments.s.includedContexts[1].values[1]", '"x" is included already'),
        id="included twice",
    ),
    pytest.param(
        segment(unbounded=True),
        ("big-segment", "segments.s", "a big segment without a generation has no members"),
        id="a big segment",
    ),
    pytest.param(
        segment(rules=[{"clauses": [clause()], "weight": 100001}]),
        ("weights", "segments.s.rules[0].weight", "a weight is between 0 and 100000, got 100001"),
        id="a segment's weight",
    ),
    pytest.param(
        segment(rules=[{"clauses": [clause()], "weight": 5, "bucketBy": "/x", "rolloutContextKind": "kind"}]),
        ("invalid-kind", "segments.s.rules[0].rolloutContextKind", 'no context can be of the kind "kind"'),
        id="what a segment goes by",
    ),
    pytest.param(
        segment(rules=[{"clauses": [clause()], "weight": 5}, {"clauses": [clause()]}, {"clauses": [clause()]}]),
        ("unreachable-rule", "segments.s.rules[2]", "rule 1 matches whenever this one does, and comes first"),
        id="a segment's rule",
    ),
]


@pytest.mark.parametrize(("document", "expected"), CASES)
def test_it_finds(document: Any, expected: Found) -> None:
    assert list(map(said, findings(document))) == [expected]


def test_every_rule_has_a_case() -> None:
    cases = {rule for case in CASES for rule, _, _ in case.values[1:]}
    assert set(RULES) - cases == {"syntax", "repeated-name"}


@pytest.mark.parametrize(
    "document",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"flags": None, "segments": {}, "flagValues": {"a": [1, {"b": None}]}}, id="values"),
        pytest.param(
            flag(sel="x", clientSideAvailability={"usingEnvironmentId": True}, version=3, salt="s"), id="what a service writes"
        ),
        pytest.param(flag(variations=[1, 2.5, None]), id="numbers of two sorts, and null"),
        pytest.param(
            flag(fallthrough={"rollout": {**ROLLOUT, "kind": "experiment", "bucketBy": "//"}}), id="what an experiment ignores"
        ),
        pytest.param({"flags": {"a": {"on": False}}}, id="off, and nothing served"),
        pytest.param(asking(values=[], negate=True), id="whoever has the attribute"),
        pytest.param(asking(op="matches", values=[".*a.*"]), id="a pattern with idle ends"),
        pytest.param(flag(rules=[rule(clause()), rule(clause(values=["at"]))]), id="rules for different values"),
        pytest.param(flag(rules=[rule(clause()), rule(clause(contextKind="org"))]), id="rules for different kinds"),
        pytest.param(
            flag(rules=[rule(clause(), clause(attribute="x")), rule(clause())]), id="a rule that asks for more comes first"
        ),
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
        pytest.param({"flags": {"a": {"deleted": True, "offVariation": 7}}}, id="what was deleted"),
        pytest.param(
            {
                "flags": {
                    "a": {**GOOD, "prerequisites": [{"key": "b", "variation": 1}, {"key": "c", "variation": 0}]},
                    "b": {**GOOD, "prerequisites": [{"key": "c", "variation": 0}]},
                    "c": GOOD,
                }
            },
            id="prerequisites that meet again",
        ),
    ],
)
def test_it_finds_nothing_in(document: Any) -> None:
    assert findings(document) == []


def test_every_mistake_is_found_and_none_that_only_follows_from_another() -> None:
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
