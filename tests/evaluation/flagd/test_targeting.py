"""Targeting: what the rule of a flag reads, what it fails with, and how long it takes."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest

from aioflags.evaluation.flagd.targeting import compile_targeting
from aioflags.evaluation.jsonlogic.coercion import RuleError
from aioflags.evaluation.openfeature import context_data
from aioflags.model.context import Context
from aioflags.protocol.flagd import read_flag_set
from aioflags.runtime.cooperative import run_at_once
from tests.evaluation.flagd.data import document, flag, loaded

NOW = 1_700_000_000


def now_ms() -> int:
    """The time in milliseconds: some milliseconds after ``NOW``."""
    return NOW * 1000 + 999


NAIVE = dt.datetime(2026, 5, 4, tzinfo=dt.UTC).replace(tzinfo=None)


def run(rule: Any, key: str | None = "k", flag: str = "f", **attributes: Any) -> Any:
    return compile_targeting(rule, flag, now_ms=now_ms)(context_data(attributes, key))


@pytest.mark.parametrize(
    ("rule", "result"),
    [
        ({"var": "$flagd.flagKey"}, "f"),
        ({"var": ["$flagd.flagKey", "else"]}, "f"),
        ({"var": {"cat": ["$flagd", ".flagKey"]}}, "f"),
        ({"var": "$flagd.timestamp"}, NOW),
        ({"var": "$flagd"}, {"flagKey": "f", "timestamp": NOW}),
        ({"==": [{"var": "$flagd.flagKey"}, "f"]}, True),
        ({"<": [{"var": "$flagd.timestamp"}, NOW + 1]}, True),
        ({"missing": ["$flagd.timestamp", "$flagd.nope", "targetingKey"]}, ["$flagd.nope"]),
        ({"missing_some": [1, ["$flagd.timestamp"]]}, []),
        ({"var": "targetingKey"}, "k"),
        ({"map": [[1], {"var": "$flagd.flagKey"}]}, [None]),
        ({"var": ""}, {"a": 1, "$flagd": {"flagKey": "f", "timestamp": NOW}, "targetingKey": "k"}),
    ],
    ids=str,
)
def test_135_136_rules_read_the_flag_and_the_targeting_key(rule: Any, result: Any) -> None:
    assert compile_targeting(rule, "f", now_ms=now_ms)(context_data({"a": 1}, "k")) == result
    hostile = {"a": 1, "$flagd": {"flagKey": "evil"}, "targetingKey": "evil"}
    assert compile_targeting(rule, "f", now_ms=now_ms)(context_data(hostile, "k")) == result


def test_137_a_name_with_a_dot_is_not_reachable() -> None:
    assert compile_targeting({"var": "a.b"}, "f")(context_data({"a.b": 1}, "k")) is None


def test_without_a_targeting_key_it_is_null() -> None:
    assert run({"var": ["targetingKey", "none"]}, None, targetingKey="attribute") == "none"


@pytest.mark.parametrize(
    ("value", "seen"),
    [
        (dt.datetime(2026, 5, 4, 3, 2, 1, tzinfo=dt.UTC), "2026-05-04T03:02:01Z"),
        (dt.datetime(2026, 5, 4, 3, 2, 1, 500, tzinfo=dt.timezone(dt.timedelta(hours=2))), "2026-05-04T01:02:01.000500Z"),
        (NAIVE, "2026-05-04T00:00:00Z"),
        ([{"at": NAIVE}], [{"at": "2026-05-04T00:00:00Z"}]),
        (dt.datetime.max.replace(tzinfo=dt.timezone(-dt.timedelta(hours=1))), "9999-12-31T23:59:59.999999-01:00"),
    ],
)
def test_datetimes_are_texts_in_utc(value: Any, seen: Any) -> None:
    converted = Context("k", attributes={"value": value}).attributes["value"]
    assert run({"var": "value"}, value=converted) == seen


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        pytest.param({"invalid": ["x"]}, "the operator 'invalid' is unknown", id="122: operator"),
        pytest.param({"$ref": "nope"}, "the shared evaluator 'nope' does not exist", id="122: reference"),
        pytest.param({"if": [{"$ref": ["a", "b"]}, 1]}, "the shared evaluator", id="122: reference with two names"),
        pytest.param({"x" * 10_000: 1}, "x{99}", id="a long name"),
    ],
)
def test_122_a_rule_that_reaches_something_unknown_fails(rule: Any, problem: str) -> None:
    targeting = compile_targeting(rule, "f")

    with pytest.raises(RuleError, match=problem) as raised:
        targeting({})
    assert len(str(raised.value)) < 250


def test_57_a_reference_in_a_branch_that_is_not_taken_does_no_harm() -> None:
    rule = {"if": [{"var": "a"}, "on", {"$ref": "nope"}]}

    assert run(rule, a=True) == "on"
    with pytest.raises(RuleError):
        run(rule, a=False)


def test_a_seed_that_contains_itself_doubled_is_too_much_work() -> None:
    accumulator = {"var": "accumulator"}
    # Each step makes an object that contains the object before it twice.
    doubled = {"reduce": [{"var": "list"}, {"reduce": [[accumulator], {"var": ""}, accumulator]}, 0]}
    rule = {"fractional": [doubled, ["a"]]}

    assert run(rule, list=[1, 2, 3]) == "a"
    with pytest.raises(RuleError, match="too much work"):
        run(rule, list=[1] * 40)
    assert run({"fractional": [{"reduce": [{"var": "list"}, {"var": ""}, 0]}, ["a"]]}, list=[1] * 200) is None, "too deep"


# -- Which flags of flagd change with a new document: ``flagd.md`` 4.6.

RULE = {"if": [{"==": [{"var": "a"}, 1]}, "off", None]}
IS_B = {"==": [{"var": "plan"}, "b"]}
IF_B = {"if": [{"$ref": "isB"}, "off", None]}
WITH_B = document(b=flag(targeting=IF_B), other=flag(), unknown=flag(targeting={"$ref": "nope"}), evaluators={"isB": IS_B})


def changed(before: Any, after: Any) -> set[str]:
    old = loaded(before)
    step = run_at_once(read_flag_set(json.dumps(after)))
    new = old.apply(step)
    keys = new.changed_since(old, step)
    assert {key for key in new.flags if new.flags[key] is not old.flags.get(key)} | (old.flags.keys() - new.flags.keys()) == keys
    return set(keys)


@pytest.mark.parametrize(
    ("before", "after", "keys"),
    [
        pytest.param(
            document(a=flag(), b=flag(), c=flag()),
            document(b=flag(metadata={"n": 1}), c=flag(), d=flag()),
            {"a", "b", "d"},
            id="138 FL-41",
        ),
        pytest.param(document(a=flag(), b=flag()), document(b=flag(), a=flag()), set(), id="139 FL-40"),
        pytest.param(WITH_B, {**WITH_B, "$evaluators": {"isB": {"==": [{"var": "plan"}, "c"]}}}, {"b"}, id="FL-42"),
        pytest.param(WITH_B, {**WITH_B, "$evaluators": {}}, {"b"}, id="FL-42 a removed evaluator"),
        pytest.param(WITH_B, {**WITH_B, "$evaluators": {"isB": IS_B, "more": 1}}, set(), id="an evaluator that no flag uses"),
        pytest.param(WITH_B, {**WITH_B, "$evaluators": {"isB": IS_B, "nope": 1}}, {"unknown"}, id="an evaluator that was missing"),
        pytest.param(
            document(b=flag(targeting=IF_B), evaluators={"isB": IS_B}),
            document(b=flag(targeting={"if": [IS_B, "off", None]})),
            set(),
            id="an evaluator that is written out",
        ),
        pytest.param(
            document(b=flag(targeting={"if": [IS_B, "off", None]})),
            document(b=flag(targeting=IF_B), evaluators={"isB": IS_B}),
            set(),
            id="a rule that became an evaluator",
        ),
        pytest.param(
            document(b=flag(targeting=IF_B), evaluators={"isB": IS_B}),
            document(b=flag(targeting={"if": [{"$ref": "x"}, "off", None]}), evaluators={"x": IS_B}),
            set(),
            id="an evaluator with another name",
        ),
        pytest.param(
            document(b=flag(targeting=IF_B), evaluators={"isB": IS_B}),
            document(b=flag(targeting={"if": [{"$ref": "x"}, "off", None]}), evaluators={"x": {"var": "y"}}),
            {"b"},
            id="another evaluator with another name",
        ),
        pytest.param(document(a=flag(variants={"on": 1})), document(a=flag(variants={"on": 1.0})), set(), id="1 and 1.0"),
        pytest.param(document(a=flag(variants={"on": 1})), document(a=flag(variants={"on": True})), {"a"}, id="1 and true"),
        pytest.param(
            document(a=flag(metadata={"n": 1})), document(a=flag(metadata={"n": True})), {"a"}, id="1 and true in metadata"
        ),
        pytest.param(document(a=flag(metadata={"n": 1})), document(a=flag(metadata={"n": 1.0})), set(), id="1 and 1.0 in metadata"),
        pytest.param(
            document(a=flag(targeting=RULE)),
            document(a=flag(targeting={"if": [{"==": [{"var": "a"}, 1.0]}, "off", None]})),
            set(),
            id="1.0",
        ),
        pytest.param(
            document(a=flag(targeting=RULE)),
            document(a=flag(targeting={"if": [{"==": [{"var": "a"}, 2]}, "off", None]})),
            {"a"},
            id="rule",
        ),
        pytest.param(document(a=flag()), document(a=flag(targeting=RULE)), {"a"}, id="a new rule"),
        pytest.param(document(a=flag()), document(a=flag(state="DISABLED")), {"a"}, id="state"),
        pytest.param(document(a=flag()), document(a=flag(defaultVariant="off")), {"a"}, id="default variant"),
        pytest.param(document(a=flag(defaultVariant="")), document(a=flag(defaultVariant=None)), set(), id="no default variant"),
        pytest.param(document(a=flag(targeting={})), document(a=flag(targeting=None)), set(), id="no rule"),
        pytest.param(document(a=flag()), document(a=flag(source="x")), set(), id="an ignored property"),
        pytest.param(document(a=flag(state="x")), document(a=flag(state="y")), {"a"}, id="another problem"),
        pytest.param(document(a=flag(state="x")), document(a=flag(state="x")), set(), id="the same problem"),
        pytest.param(document(a=flag(), metadata={"n": 1}), document(a=flag(), metadata={"n": 2}), {"a"}, id="metadata of the set"),
        pytest.param(
            document(a=flag(metadata={"n": 3}), b=flag(), metadata={"n": 1}),
            document(a=flag(metadata={"n": 3}), b=flag(), metadata={"n": 2}),
            {"b"},
            id="metadata of the set that a flag hides",
        ),
        pytest.param(
            document(a=flag(), metadata={"n": 1}), document(a=flag(metadata={"n": 1})), set(), id="metadata that moved to the flag"
        ),
        pytest.param(document(a=flag(), metadata={"n": 1}), document(a=flag()), {"a"}, id="removed metadata of the set"),
    ],
)
def test_a_new_document_changes(before: Any, after: Any, keys: set[str]) -> None:
    assert changed(before, after) == keys


def test_a_flag_that_did_not_change_uses_the_evaluators_of_its_own_document() -> None:
    first = loaded(WITH_B)
    second = loaded({**WITH_B, "flags": {**WITH_B["flags"], "new": flag(targeting=IF_B)}}, first)
    assert second.flags["b"] is first.flags["b"]
    for key in ("b", "new"):
        assert second.evaluate(key, None, True).detail.variant == "on"
