"""Explanations of flags of flagd."""

from __future__ import annotations

from typing import Any

import pytest

from aioflags.evaluation.explain.flags import explain
from aioflags.evaluation.flagd.explain import flagd_steps
from aioflags.evaluation.flagd.fractional import seed_hash, subject_hash
from aioflags.evaluation.jsonlogic.coercion import RuleError
from aioflags.evaluation.openfeature import RESOLVED
from aioflags.evaluation.snapshot import Snapshot
from aioflags.model.change import Change, ChangeKind, ChangeSet, ObjectKind
from aioflags.model.context import Context
from aioflags.model.detail import ErrorKind, ResolvedFlag
from aioflags.model.flagd import FlagdFlag
from tests.evaluation.flagd.data import document, flag, loaded

IS_B = {"==": [{"var": "plan"}, "b"]}
RULE = {"if": [{"and": [IS_B, {"var": "beta"}]}, "off", {"!": {"$ref": "adult"}}, {"fractional": [["on", 1]]}, None]}
EVALUATORS = {"adult": {">=": [{"var": "age"}, 18]}}


def explained(key: str, context: Context | None, **flags: Any) -> str:
    snapshot = loaded(document(**flags, evaluators=EVALUATORS))
    explanation = explain(snapshot, key, context)
    assert explanation.detail == snapshot.evaluate(key, context, None, wanted=object).detail
    return str(explanation)


@pytest.mark.parametrize(
    ("changes", "attributes", "lines"),
    [
        pytest.param(
            {},
            {},
            [
                "f is true: STATIC, variant on",
                "- the flag is enabled",
                '- the flag has no targeting rule, so the default is served: the variant "on", which is true',
            ],
            id="no rule",
        ),
        pytest.param(
            {"state": "DISABLED"},
            {},
            ["f has no value, so the default is served: DISABLED", "- the flag is disabled, so callers get their default"],
            id="disabled",
        ),
        pytest.param(
            {"defaultVariant": None},
            {},
            [
                "f has no value, so the default is served: DEFAULT",
                "- the flag is enabled",
                "- the flag has no targeting rule, and the flag has no default variant, so callers get their default",
            ],
            id="no default variant",
        ),
        pytest.param(
            {"targeting": RULE},
            {"plan": "b", "beta": True},
            [
                "f is false: TARGETING_MATCH, variant off",
                "- the flag is enabled",
                '- the targeting rule gives "off"',
                '  - {"and":[{"==":[{"var":"plan"},"b"]},{"var":"beta"}]} is true (plan is "b", beta is true)',
                '    - {"==":[{"var":"plan"},"b"]} is true (plan is "b")',
                '    - {"var":"beta"} is true (beta is true)',
                '- the targeting rule chooses the variant "off", which is false',
            ],
            id="the first branch",
        ),
        pytest.param(
            {"targeting": RULE},
            {"plan": "c", "age": 7},
            [
                "f is true: TARGETING_MATCH, variant on",
                "- the flag is enabled",
                '- the targeting rule gives "on"',
                '  - {"and":[{"==":[{"var":"plan"},"b"]},{"var":"beta"}]} is false (plan is "c", beta is null)',
                '    - {"==":[{"var":"plan"},"b"]} is false (plan is "c")',
                '  - {"!":{"$ref":"adult"}} is true',
                '    - {"$ref":"adult"} is false',
                '      - {">=":[{"var":"age"},18]} is false (age is 7)',
                '  - the rollout gives "on": the targeting key "k" is at 0 of 1, by version 3 of fractional',
                '- the targeting rule chooses the variant "on", which is true',
            ],
            id="a shared evaluator and a rollout",
        ),
        pytest.param(
            {"targeting": {"if": [IS_B, "off", None]}},
            {"plan": "c"},
            [
                "f is true: DEFAULT, variant on",
                "- the flag is enabled",
                "- the targeting rule gives null",
                '  - {"==":[{"var":"plan"},"b"]} is false (plan is "c")',
                '- the targeting rule chooses no variant, so the default is served: the variant "on", which is true',
            ],
            id="no variant",
        ),
        pytest.param(
            {"targeting": {"nope": 1}},
            {},
            [
                "f has no value, so the default is served: ERROR, PARSE_ERROR",
                "- the flag is enabled",
                "- the operator 'nope' is unknown",
            ],
            id="an unknown operator",
        ),
        pytest.param(
            {"state": "x"},
            {},
            ["f has no value, so the default is served: ERROR, PARSE_ERROR", '- state: expected "ENABLED" or "DISABLED", got "x"'],
            id="malformed",
        ),
    ],
)
def test_an_explanation_of_a_flag(changes: Any, attributes: Any, lines: list[str]) -> None:
    assert explained("f", Context("k", attributes=attributes), f=flag(**changes)).splitlines() == lines


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        pytest.param(
            [["on", 60], ["off", 40]],
            'gives "on": the targeting key "k" is at {key} of 100, by version 3 of fractional',
            id="the targeting key",
        ),
        pytest.param(
            [{"cat": ["s", {"var": "plan"}]}, ["on", 50], ["off", 50]],
            'gives "on": the seed "spro" is at {seed} of 100, by version 3 of fractional',
            id="a seed",
        ),
        pytest.param([{"var": "nope"}, ["on", 1]], "gives null: there is no seed", id="no seed"),
        pytest.param(
            [{"var": "half"}, ["on", 1]],
            "gives null: the seed cannot be hashed: a value that is not JSON (str)",
            id="a seed without a hash",
        ),
        pytest.param(
            [["on", 0.5], ["off", 0.5]],
            "gives null: the weight 0.5 is not a whole number up to 2147483647",
            id="fractions as weights",
        ),
        pytest.param([["on", 0]], "gives null: the sum of the weights is 0, or above 2147483647", id="no weights"),
        pytest.param(
            [["on", 1], "off"], 'gives null: the bucket "off" is not an array with a variant and a weight', id="a text as bucket"
        ),
    ],
)
def test_a_rollout_shows_where_the_context_falls(rule: Any, text: str) -> None:
    places = {"key": _place(subject_hash("f", 3)("k")), "seed": _place(seed_hash(3)("spro"))}
    lines = explained(
        "f", Context("k", attributes={"plan": "pro", "half": "\ud800"}), f=flag(targeting={"fractional": rule})
    ).splitlines()
    assert f"  - the rollout {text.format(**places)}" in lines


def _place(hash_: int | None) -> int:
    assert hash_ is not None
    return hash_ * 100 >> 32


def test_a_rollout_without_a_targeting_key_says_so() -> None:
    rule = {"fractional": [["on", 1]]}
    assert "  - the rollout gives null: there is no targeting key" in explained("f", None, f=flag(targeting=rule)).splitlines()


@pytest.mark.parametrize(
    ("condition", "problem"),
    [
        pytest.param({"sem_ver": [{"var": "v"}, ">=", "1.0"]}, "null is not a version", id="no version"),
        pytest.param({"sem_ver": ["1.0", ">=", "x"]}, '"x" is not a version', id="a text that is not a version"),
        pytest.param({"sem_ver": ["1", "==", "1"]}, '"==" is not one of =, !=, <, <=, >, >=, ^, ~', id="an unknown comparison"),
        pytest.param({"sem_ver": ["1", "="]}, "sem_ver needs 3 arguments, and has 2", id="too few arguments of sem_ver"),
        pytest.param({"starts_with": [1, "1"]}, "1 is not a text", id="a number in place of a text"),
        pytest.param({"ends_with": "a"}, "ends_with needs 2 arguments, and has 1", id="too few arguments of ends_with"),
        pytest.param({"var": "v"}, None, id="an attribute that is absent"),
    ],
)
def test_a_null_of_an_operator_of_flagd_is_explained(condition: Any, problem: str | None) -> None:
    line = explained("f", Context("k"), f=flag(targeting={"if": [condition, "off"]})).splitlines()[3]
    assert " is null" in line
    assert (line.endswith(f": {problem}"), "not" in line.rpartition("}")[2]) == (
        problem is not None,
        problem is not None and "not" in problem,
    )


def test_an_explanation_as_json_has_the_variant_and_the_metadata() -> None:
    data = explain(loaded(document(f=flag(), metadata={"team": "web"})), "f", None).to_dict()
    assert (data["value"], data["variant"], data["metadata"], data["version"]) == (True, "on", {"team": "web"}, None)


def test_an_unknown_flag_and_missing_data_are_explained() -> None:
    assert explained("g", None, f=flag()).splitlines()[1:] == ["- there is no flag with this key"]
    empty = Snapshot.empty(dialect=loaded(document()).dialect)
    assert str(explain(empty, "f", None)).splitlines()[1:] == ["- there is no flag data yet"]


def test_a_rule_with_thousands_of_branches_has_a_limited_explanation() -> None:
    nested: Any = "on"
    for _ in range(40):
        nested = {"if": [{"and": [{"or": [False, IS_B]}] * 20}, "off", nested]}
    assert len(explained("f", Context("k"), f=flag(targeting=nested)).splitlines()) < 1000


@pytest.mark.parametrize(
    ("served", "lines"),
    [
        pytest.param(
            ResolvedFlag(key="f", value=1, reason="CUSTOM"),
            ["f is 1: CUSTOM", "- the server evaluated the flag; its reason is CUSTOM"],
            id="a value",
        ),
        pytest.param(
            ResolvedFlag(key="f", error=ErrorKind.GENERAL, error_message="broken"),
            ["f has no value, so the default is served: ERROR, GENERAL", "- broken"],
            id="an error",
        ),
    ],
)
def test_an_explanation_of_what_a_server_evaluated(served: ResolvedFlag, lines: list[str]) -> None:
    puts = (Change(ObjectKind.FLAG, "f", 0, served),)
    snapshot = Snapshot.empty(dialect=RESOLVED).apply(ChangeSet(kind=ChangeKind.FULL, changes=puts))
    assert str(explain(snapshot, "f", None)).splitlines() == lines


@pytest.mark.parametrize("problem", [RuleError("too much work"), RecursionError()], ids=["the rule fails", "the stack is full"])
def test_the_steps_end_before_a_rule_that_cannot_be_evaluated(problem: Exception) -> None:
    def evaluate(part: Any) -> Any:
        raise problem

    definition = FlagdFlag(key="f", targeting=b'{"var": "a"}', default_variant="on", variants={"on": True})
    assert [step.path for step in flagd_steps(definition, evaluate)] == ["state"]
