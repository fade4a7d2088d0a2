"""Findings in flags and segments, and their suggestions."""

from __future__ import annotations

from typing import Any

import pytest

from aioflags.evaluation.clauses import SEGMENT_MATCH
from aioflags.evaluation.operators import OPERATORS
from aioflags.tools.lint import RULES
from aioflags.tools.lint.flags import USABLE_VALUES
from tests.tools.lint.documents import GOOD, ROLLOUT, Found, clause, findings, flag, rule, rule_path_text, segment, with_clause

FLOAT = "give a float as default, such as 0.0"
UNGUARDED = "all contexts without {} are in bucket 0 and get variation {}; move it into a rule with a clause on {}"
IN_PERCENT = "weights are thousandths of a percent: 50 % is 50000"

CASES: list[Any] = [
    pytest.param(
        {"flgs": {}}, ("unknown-section", "flgs", 'unknown property "flgs"; did you mean "flags"?'), id="a misspelled section"
    ),
    pytest.param(
        {"x": {}}, ("unknown-section", "x", 'unknown property "x"; expected flags, segments, flagValues'), id="another section"
    ),
    pytest.param({"flags": []}, ("wrong-type", "flags", "expected object, got array"), id="a section that is not an object"),
    pytest.param([], ("wrong-type", "", "expected object, got array"), id="a document that is not an object"),
    pytest.param({"flags": {"a": 1}}, ("wrong-type", "flags.a", "expected object, got number"), id="a flag that is not an object"),
    pytest.param(flag(on="yes"), ("wrong-type", "flags.a.on", "expected boolean or null, got string"), id="a wrong type"),
    pytest.param(
        flag(version=1.5), ("wrong-type", "flags.a.version", "expected whole number, got fractional number"), id="a fraction"
    ),
    pytest.param(
        flag(variations=[1, 2.5]),
        ("fraction", "flags.a.variations[1]", "a program with an int as default gets 2 in place of 2.5; " + FLOAT),
        id="ints and a fraction",
    ),
    pytest.param(
        {"flagValues": {"a": -0.25}},
        ("fraction", "flagValues.a", "a program with an int as default gets 0 in place of -0.25; " + FLOAT),
        id="a value with a fraction",
    ),
    pytest.param(
        flag(fallthrough={"rollout": {**ROLLOUT, "contextKind": "org"}}),
        ("unguarded-rollout", "flags.a.fallthrough.rollout", UNGUARDED.format('"org"', 0, '"org"')),
        id="a rollout by a kind in the fallthrough",
    ),
    pytest.param(
        flag(fallthrough={"rollout": {**ROLLOUT, "kind": "experiment", "contextKind": "org"}}),
        ("unguarded-rollout", "flags.a.fallthrough.rollout", UNGUARDED.format('"org"', 0, '"org"')),
        id="an experiment by a kind in the fallthrough",
    ),
    pytest.param(
        flag(
            fallthrough={
                "rollout": {
                    "bucketBy": "country",
                    "variations": [{"variation": 0, "weight": 0}, *({"variation": 1, "weight": 50000} for _ in range(2))],
                }
            }
        ),
        ("unguarded-rollout", "flags.a.fallthrough.rollout", UNGUARDED.format('"country" of "user"', 1, '"country" of "user"')),
        id="a rollout by an attribute in the fallthrough",
    ),
    pytest.param(
        flag(rules=[{"clauses": [clause()], "rollout": {**ROLLOUT, "contextKind": "org"}}]),
        ("unguarded-rollout", "flags.a.rules[0].rollout", UNGUARDED.format('"org"', 0, '"org"')),
        id="a rollout by another kind than its rule requires",
    ),
    pytest.param(
        flag(rules=[{"clauses": [clause(contextKind="org")], "rollout": {**ROLLOUT, "contextKind": "org", "bucketBy": "plan"}}]),
        ("unguarded-rollout", "flags.a.rules[0].rollout", UNGUARDED.format('"plan" of "org"', 0, '"plan" of "org"')),
        id="a rollout by another attribute than its rule requires",
    ),
    pytest.param(
        flag(targets=[{"variation": 0, "values": ["x", 2]}]),
        ("wrong-type", "flags.a.targets[0].values[1]", "expected string, got number"),
        id="a wrong type deep inside",
    ),
    pytest.param(
        flag(targets=[{"values": ["x"]}]),
        ("missing-property", "flags.a.targets[0]", 'missing required property "variation"'),
        id="a missing property",
    ),
    pytest.param(
        flag(trackevents=True),
        ("unknown-property", "flags.a.trackevents", 'unknown property; did you mean "trackEvents"?'),
        id="a misspelled property",
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
        id="an off variation out of range",
    ),
    pytest.param(
        flag(variations=[True]),
        ("variation-out-of-range", "flags.a.offVariation", '"a" has no variation 1: it has only variation 0'),
        id="out of range with one variation",
    ),
    pytest.param(
        flag(targets=[{"variation": 5, "values": []}]),
        ("variation-out-of-range", "flags.a.targets[0].variation", '"a" has no variation 5: its variations are 0 to 1'),
        id="a target's variation out of range",
    ),
    pytest.param(
        {"flags": {"a": {"on": False, "offVariation": 0}}},
        ("variation-out-of-range", "flags.a.offVariation", '"a" has no variation 0: it has none'),
        id="out of range without variations",
    ),
    pytest.param(
        flag(fallthrough={"rollout": {"variations": [{"variation": 0, "weight": 100000}, {"variation": 2, "weight": 0}]}}),
        (
            "variation-out-of-range",
            "flags.a.fallthrough.rollout.variations[1].variation",
            '"a" has no variation 2: its variations are 0 to 1',
        ),
        id="a rollout's variation out of range",
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
        ("rollout-ignored", "flags.a.fallthrough.rollout", "this rollout is ignored: the variation beside it is served"),
        id="a variation and a rollout",
    ),
    pytest.param(
        flag(fallthrough={"rollout": {"variations": [{"variation": 0, "weight": 99999}]}}),
        (
            "weights",
            "flags.a.fallthrough.rollout.variations",
            "the weights add up to 99999, not to 100000: the last variation gets the rest",
        ),
        id="weights below 100000",
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
        ("weights", "flags.a.fallthrough.rollout.variations[1].weight", "expected a weight of at least 0, got -1"),
        id="a weight below zero",
    ),
    pytest.param(
        flag(fallthrough={"rollout": {**ROLLOUT, "kind": "experimnt"}}),
        ("unknown-rollout-kind", "flags.a.fallthrough.rollout.kind", 'unknown kind "experimnt"; did you mean "experiment"?'),
        id="an unknown rollout kind",
    ),
    pytest.param(
        flag(variations=[True, "false", None]),
        ("mixed-types", "flags.a.variations", "the variations have several types: boolean, string"),
        id="variations of several types",
    ),
    pytest.param(
        flag(targets=[{"variation": 0, "values": ["x"]}, {"variation": 1, "values": ["y", "x"]}]),
        ("duplicate-target", "flags.a.targets[1].values[1]", '"x" is in targets[0] already; that entry is used'),
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
        ("duplicate-target", "flags.a.contextTargets[2].values[0]", '"x" is in contextTargets[0] already; that entry is used'),
        id="a context target twice",
    ),
    pytest.param(
        flag(targets=[{"variation": 0, "values": ["x"], "contextKind": "org"}]),
        (
            "ignored-target",
            "flags.a.targets[0].contextKind",
            'targets has keys of users only, so "org" is ignored; use contextTargets for other kinds',
        ),
        id="another kind in targets",
    ),
    pytest.param(
        flag(contextTargets=[{"variation": 0, "values": ["x"]}]),
        ("ignored-target", "flags.a.contextTargets[0].values", "keys of users are ignored here; they belong in targets"),
        id="users in contextTargets",
    ),
    pytest.param(
        flag(targets=[{"variation": 1, "values": ["x"]}], contextTargets=[{"contextKind": "org", "variation": 0, "values": ["x"]}]),
        (
            "ignored-target",
            "flags.a.targets[0]",
            (
                "contextTargets has no entry for users with variation 1, so this target is ignored;"
                ' add {"contextKind": "user", "variation": 1, "values": []} to contextTargets'
            ),
        ),
        id="targets without an entry in contextTargets",
    ),
    pytest.param(
        with_clause(op="startWith"),
        ("unknown-operator", "flags.a.rules[0].clauses[0].op", 'unknown operator "startWith"; did you mean "startsWith"?'),
        id="a misspelled operator",
    ),
    pytest.param(
        with_clause(op="is one of"),
        ("unknown-operator", "flags.a.rules[0].clauses[0].op", 'unknown operator "is one of"; did you mean "in"?'),
        id="the operator of another product",
    ),
    pytest.param(
        with_clause(op="zzz"),
        ("unknown-operator", "flags.a.rules[0].clauses[0].op", 'unknown operator "zzz"'),
        id="an unknown operator",
    ),
    pytest.param(
        with_clause(attribute=""),
        ("invalid-reference", "flags.a.rules[0].clauses[0].attribute", "an attribute reference cannot be empty"),
        id="no attribute",
    ),
    pytest.param(
        with_clause(attribute="/a//b", contextKind="user"),
        (
            "invalid-reference",
            "flags.a.rules[0].clauses[0].attribute",
            "a double or trailing slash leaves a part of the path empty",
        ),
        id="an invalid path",
    ),
    pytest.param(
        with_clause(attribute="/address/city"),
        (
            "literal-path",
            "flags.a.rules[0].clauses[0].attribute",
            'without a contextKind this is the attribute "/address/city", not a path; add "contextKind": "user"',
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
        id="an invalid bucketBy of a rollout",
    ),
    pytest.param(
        with_clause(contextKind="multi"),
        ("invalid-kind", "flags.a.rules[0].clauses[0].contextKind", 'a context cannot have the kind "multi"'),
        id="an invalid kind",
    ),
    pytest.param(
        with_clause(values=[]),
        ("never-matches", "flags.a.rules[0].clauses[0]", "a clause without values never matches"),
        id="a clause without values",
    ),
    pytest.param(
        flag(rules=[rule(clause(), clause(values=["at", "de"], negate=True))]),
        (
            "never-matches",
            "flags.a.rules[0].clauses[1]",
            "another clause requires the values that this one excludes, so the rule never matches",
        ),
        id="clauses that exclude each other",
    ),
    pytest.param(
        with_clause(op="lessThan", values=["5"]),
        ("useless-value", "flags.a.rules[0].clauses[0].values[0]", 'lessThan expects a number, got "5"'),
        id="a number in quotes",
    ),
    pytest.param(
        with_clause(op="before", values=["2026-01-31"]),
        (
            "useless-value",
            "flags.a.rules[0].clauses[0].values[0]",
            'before expects a time: milliseconds, or like 2026-01-31T12:00:00Z, got "2026-01-31"',
        ),
        id="a date without a time",
    ),
    pytest.param(
        with_clause(op="semVerEqual", values=["1.2.3", "v1"]),
        ("useless-value", "flags.a.rules[0].clauses[0].values[1]", 'semVerEqual expects a semantic version, like 1.2.3, got "v1"'),
        id="not a version",
    ),
    pytest.param(
        with_clause(op="contains", values=[5]),
        ("useless-value", "flags.a.rules[0].clauses[0].values[0]", "contains expects a string, got number"),
        id="not a string",
    ),
    pytest.param(
        with_clause(values=["de", None]),
        ("useless-value", "flags.a.rules[0].clauses[0].values[1]", "in expects a value that an attribute can have, got null"),
        id="null",
    ),
    pytest.param(
        with_clause(op="matches", values=["("]),
        (
            "bad-pattern",
            "flags.a.rules[0].clauses[0].values[0]",
            '"(" is not a valid regular expression: missing ), unterminated subpattern at position 0',
        ),
        id="not a pattern",
    ),
    pytest.param(
        with_clause(op="matches", values=["^de", "^(a+)+$"]),
        (
            "risky-pattern",
            "flags.a.rules[0].clauses[0].values[1]",
            (
                '"^(a+)+$" can take very long: without RE2 it never matches; '
                'avoid a repetition inside a repetition, or install "aioflags[re2]"'
            ),
        ),
        id="a risky pattern",
    ),
    pytest.param(
        with_clause(op="matches", values=["@.*\\.com"]),
        (
            "risky-pattern",
            "flags.a.rules[0].clauses[0].values[0]",
            (
                '"@.*\\.com" can take very long: without RE2 it only matches texts of up to 467 characters; '
                'avoid a repetition inside a repetition, or install "aioflags[re2]"'
            ),
        ),
        id="a pattern that takes more than linear time",
    ),
    pytest.param(
        flag(rules=[rule(clause(values=["de", "at"])), rule(clause(values=["at"], contextKind="user"), clause(attribute="x"))]),
        ("unreachable-rule", "flags.a.rules[1]", "rule 0 comes first and matches whenever this rule does"),
        id="an earlier rule with fewer clauses",
    ),
    pytest.param(
        flag(rules=[rule(clause()), rule(), rule(clause(attribute="x"))]),
        ("unreachable-rule", "flags.a.rules[2]", "rule 1 comes first and matches whenever this rule does"),
        id="an earlier rule that always matches",
    ),
    pytest.param(
        flag(rules=[rule(clause(negate=True)), rule(clause(negate=True, values=["de", "at"]))]),
        ("unreachable-rule", "flags.a.rules[1]", "rule 0 comes first and matches whenever this rule does"),
        id="an earlier rule that excludes fewer values",
    ),
    pytest.param(
        flag(prerequisites=[{"key": "b", "variation": 0}]),
        ("missing-prerequisite", "flags.a.prerequisites[0].key", 'unknown flag "b"'),
        id="an unknown prerequisite",
    ),
    pytest.param(
        {"flags": {"a": {**GOOD, "prerequisites": [{"key": "chekcout", "variation": 0}]}, "checkout": GOOD}},
        ("missing-prerequisite", "flags.a.prerequisites[0].key", 'unknown flag "chekcout"; did you mean "checkout"?'),
        id="a misspelled prerequisite",
    ),
    pytest.param(
        {"flags": {"a": {**GOOD, "prerequisites": [{"key": "b", "variation": 0}]}, "b": {"deleted": True}}},
        ("missing-prerequisite", "flags.a.prerequisites[0].key", 'unknown flag "b"'),
        id="a deleted prerequisite",
    ),
    pytest.param(
        {"flags": {"a": {**GOOD, "prerequisites": [{"key": "b", "variation": 1}]}}, "flagValues": {"b": 1}},
        ("variation-out-of-range", "flags.a.prerequisites[0].variation", '"b" has no variation 1: it has only variation 0'),
        id="a prerequisite's variation out of range",
    ),
    pytest.param(
        with_clause(op="segmentMatch", values=["s"]),
        ("missing-segment", "flags.a.rules[0].clauses[0].values[0]", 'unknown segment "s"'),
        id="an unknown segment",
    ),
    pytest.param(
        {"flags": {"a b": {**GOOD, "prerequisites": [{"key": "a b", "variation": 0}]}}},
        ("cycle", 'flags["a b"].prerequisites[0].key', "this is a cycle: a b → a b"),
        id="a flag that is its own prerequisite",
    ),
    pytest.param(
        {
            "segments": {
                "s": {"rules": [{"clauses": [{"op": "segmentMatch", "values": ["t"]}]}]},
                "t": {"rules": [{"clauses": [{"op": "segmentMatch", "values": ["s"]}]}]},
            }
        },
        ("cycle", "segments.t.rules[0].clauses[0].values[0]", "this is a cycle: s → t → s"),
        id="a cycle of segments",
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
        ("weights", "segments.s.rules[0].weight", "expected a weight between 0 and 100000, got 100001"),
        id="a segment's weight out of range",
    ),
    pytest.param(
        segment(rules=[{"clauses": [clause()], "weight": 5, "bucketBy": "/x", "rolloutContextKind": "kind"}]),
        ("invalid-kind", "segments.s.rules[0].rolloutContextKind", 'a context cannot have the kind "kind"'),
        id="an invalid rolloutContextKind of a segment",
    ),
    pytest.param(
        segment(rules=[{"clauses": [clause()], "weight": 5}, {"clauses": [clause()]}, {"clauses": [clause()]}]),
        ("unreachable-rule", "segments.s.rules[2]", "rule 1 comes first and matches whenever this rule does"),
        id="an unreachable rule of a segment",
    ),
    pytest.param(
        {"flags": {"a": {"state": "ENABLED", "variants": {"on": True}, "defaultVariant": "no"}}},
        ("missing-variant", "flags.a.defaultVariant", 'the flag does not have a variant "no"'),
        id="a default variant of flagd that does not exist",
    ),
    pytest.param(
        {"flags": {"a": {"state": "ENABLED", "variants": {"on": True}, "targeting": {"$ref": "adult"}}}},
        ("missing-evaluator", 'flags.a.targeting["$ref"]', 'there is not a shared evaluator "adult"'),
        id="a shared evaluator of flagd that does not exist",
    ),
]


@pytest.mark.parametrize(("document", "expected"), CASES)
def test_lint_finds(document: Any, expected: Found) -> None:
    assert list(map(rule_path_text, findings(document))) == [expected]


def test_every_rule_has_a_case() -> None:
    cases = {rule for case in CASES for rule, _, _ in case.values[1:]}
    assert set(RULES) - cases == {"syntax", "repeated-name"}


def test_lint_knows_the_usable_values_of_every_operator() -> None:
    assert USABLE_VALUES.keys() == {*OPERATORS, SEGMENT_MATCH}
