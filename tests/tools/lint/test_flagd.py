"""Findings in flag sets in flagd's format."""

from __future__ import annotations

from typing import Any

import pytest

from tests.tools.lint.documents import Found, findings, rule_path_text

FLAG = {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "on"}
ADULT = {">=": [{"var": "age"}, 18]}


def flag(**changes: Any) -> dict[str, Any]:
    return {"flags": {"a": {name: value for name, value in {**FLAG, **changes}.items() if value is not ...}}}


def rule(targeting: Any, **evaluators: Any) -> dict[str, Any]:
    return {**flag(targeting=targeting), "$evaluators": evaluators}


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(flag(), id="no rule"),
        pytest.param({"flags": [{"key": "a", **FLAG}], "metadata": {"team": "web"}}, id="an array of flags"),
        pytest.param(flag(defaultVariant=None, targeting=None, source="x", metadata={"n": 1}), id="what may be absent"),
        pytest.param(rule({"if": [{"$ref": "adult"}, "on", {"var": "x"}, "off", None]}, adult=ADULT), id="a shared evaluator"),
        pytest.param(rule({"fractional": [{"var": "email"}, ["on", 50], ["off", {"var": "share"}]]}), id="a rollout"),
        pytest.param(rule({"if": [{"sem_ver": [{"var": "v"}, {"var": "op"}, "v2"]}, "on"]}), id="a computed comparison"),
        pytest.param(rule({"fractional": [["on"], {"var": "b"}, [{"var": "v"}, 0]]}), id="computed buckets"),
        pytest.param(rule({"if": [{"<": [{"var": "$flagd.timestamp"}, 5]}, "on"]}), id="the time"),
        pytest.param(flag(variants={"true": 1, "2": 2}, defaultVariant=None, targeting={"if": [1, True, 2]}), id="other names"),
        pytest.param(rule({"starts_with": [{"cat": ["x", "y"]}, "nope"]}), id="texts that are not variants"),
    ],
)
def test_a_good_flag_set_has_no_findings(document: Any) -> None:
    assert findings(document) == []


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        pytest.param(
            flag(state="on"), ("wrong-type", "flags.a.state", 'expected "ENABLED" or "DISABLED", got "on"'), id="a wrong state"
        ),
        pytest.param(flag(state=...), ("missing-property", "flags.a", 'missing required property "state"'), id="no state"),
        pytest.param(flag(variants=...), ("missing-property", "flags.a", 'missing required property "variants"'), id="no variants"),
        pytest.param(
            flag(variants={}),
            ("wrong-type", "flags.a.variants", "expected object with at least one variant, got object"),
            id="empty",
        ),
        pytest.param(
            flag(variants={"on": 1, "off": "x"}),
            ("mixed-types", "flags.a.variants", "the variants have different types: number, string"),
            id="mixed types",
        ),
        pytest.param(
            flag(defaultVariant=1), ("wrong-type", "flags.a.defaultVariant", "expected string or null, got number"), id="a number"
        ),
        pytest.param(
            flag(targetting={}),
            ("unknown-property", "flags.a.targetting", 'unknown property; did you mean "targeting"?'),
            id="a misspelled property",
        ),
        pytest.param(
            flag(metadata={"n": []}),
            ("wrong-type", "flags.a.metadata.n", "expected string, number or boolean, got array"),
            id="metadata of a flag",
        ),
        pytest.param(
            {**flag(), "metadata": []}, ("wrong-type", "metadata", "expected object, got array"), id="metadata of the set"
        ),
        pytest.param(flag(targeting="on"), ("wrong-type", "flags.a.targeting", 'expected object or null, got "on"'), id="a text"),
        pytest.param(
            {**flag(), "$evaluators": []},
            ("wrong-type", '["$evaluators"]', "expected object, got array"),
            id="evaluators",
        ),
        pytest.param(
            rule({"if": [{"start_with": ["x", "y"]}, "on"]}),
            (
                "unknown-operator",
                "flags.a.targeting.if[0].start_with",
                'unknown operator "start_with"; did you mean "starts_with"?',
            ),
            id="an unknown operator",
        ),
        pytest.param(
            rule({"if": [{"$ref": "adlut"}, "on"]}, adult=ADULT),
            (
                "missing-evaluator",
                'flags.a.targeting.if[0]["$ref"]',
                'there is not a shared evaluator "adlut"; did you mean "adult"?',
            ),
            id="a misspelled reference",
        ),
        pytest.param(
            rule({"$ref": 1}),
            ("missing-evaluator", 'flags.a.targeting["$ref"]', "there is not a shared evaluator number"),
            id="a reference that is a number",
        ),
        pytest.param(
            rule({"$ref": "b"}, a=ADULT, b={"!": {"$ref": "a"}}),
            ("missing-evaluator", '["$evaluators"].b["!"]["$ref"]', "a shared evaluator cannot refer to another one"),
            id="a reference inside a shared evaluator",
        ),
        pytest.param(
            rule({"if": [{"var": "x"}, "on", {"if": [{"var": "y"}, "of"]}]}),
            ("missing-variant", "flags.a.targeting.if[2].if[1]", 'the flag does not have a variant "of"; did you mean "off"?'),
            id="a branch with an unknown variant",
        ),
        pytest.param(
            rule({"fractional": [["on", 1], ["of", 1]]}),
            (
                "missing-variant",
                "flags.a.targeting.fractional[1][0]",
                'the flag does not have a variant "of"; did you mean "off"?',
            ),
            id="a rollout with an unknown variant",
        ),
        pytest.param(
            rule({"if": [{"var": "x"}, True, "off"]}),
            ("missing-variant", "flags.a.targeting.if[1]", 'the flag does not have a variant "true"'),
            id="a boolean that is not a variant",
        ),
        pytest.param(
            rule({"fractional": [["on", 1], [2, 1]]}),
            ("missing-variant", "flags.a.targeting.fractional[1][0]", 'the flag does not have a variant "2"'),
            id="a rollout with a number that is not a variant",
        ),
        pytest.param(
            rule({"if": [{"sem_ver": [{"var": "v"}, "=>", "2.0.0"]}, "on"]}),
            ("unknown-operator", "flags.a.targeting.if[0].sem_ver[1]", '"=>" is not one of =, !=, <, <=, >, >=, ^, ~'),
            id="an unknown comparison of versions",
        ),
        pytest.param(
            rule({"if": [{"sem_ver": [{"var": "v"}, ">=", "2.x"]}, "on"]}),
            ("useless-value", "flags.a.targeting.if[0].sem_ver[2]", '"2.x" is not a version'),
            id="a text that is not a version",
        ),
        pytest.param(
            rule({"if": [{"sem_ver": [{"var": "v"}, "2.0.0"]}, "on"]}),
            ("never-matches", "flags.a.targeting.if[0].sem_ver", "sem_ver needs 3 arguments, and has 2"),
            id="too few arguments",
        ),
        pytest.param(
            rule({"if": [{"starts_with": [{"var": "v"}, 5]}, "on"]}),
            ("useless-value", "flags.a.targeting.if[0].starts_with[1]", "5 is not a text"),
            id="a number as the start of a text",
        ),
        pytest.param(
            rule({"if": [{"$ref": "new"}, "on"]}, new={"ends_with": [{"var": "v"}, 5]}),
            ("useless-value", '["$evaluators"].new.ends_with[1]', "5 is not a text"),
            id="a number in a shared evaluator",
        ),
        pytest.param(
            rule({"fractional": [["on", 0.5], ["off", 1]]}),
            ("wrong-type", "flags.a.targeting.fractional[0]", "the weight 0.5 is not a whole number up to 2147483647"),
            id="a weight that is not a whole number",
        ),
        pytest.param(
            rule({"fractional": [["on", -1], ["off", 1]]}),
            ("weights", "flags.a.targeting.fractional[0][1]", "the weight -1 is negative, so it counts as 0"),
            id="a negative weight",
        ),
        pytest.param(
            rule({"fractional": [["on", 0], ["off", 0]]}),
            ("weights", "flags.a.targeting.fractional", "the sum of the weights is 0, or above 2147483647"),
            id="weights without a sum",
        ),
        pytest.param(
            rule({"fractional": [{"var": "id"}, ["on", 1], "off"]}),
            (
                "wrong-type",
                "flags.a.targeting.fractional[2]",
                'the bucket "off" is not an array with a variant and a weight',
            ),
            id="a bucket that is a text",
        ),
        pytest.param(
            rule({"if": [{"==": [{"var": "$flagd.flagkey"}, "a"]}, "on"]}),
            (
                "unknown-property",
                'flags.a.targeting.if[0]["=="][0].var',
                '"$flagd.flagkey" is always null; did you mean "$flagd.flagKey"?',
            ),
            id="a misspelled property of flagd",
        ),
        pytest.param(
            {"flags": [FLAG]}, ("missing-property", "flags[0]", 'missing required property "key"'), id="a flag without a key"
        ),
        pytest.param(
            {"flags": {"a": 1, "b": FLAG}}, ("wrong-type", "flags.a", "expected object, got number"), id="a flag that is a number"
        ),
        pytest.param({"$evaluators": {}}, ("wrong-type", "flags", "expected object or array, got null"), id="no flags"),
    ],
)
def test_lint_finds_in_a_flag_set(document: Any, expected: Found) -> None:
    assert list(map(rule_path_text, findings(document))) == [expected]
