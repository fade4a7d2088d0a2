"""Targeting: what the rule of a flag reads, what it fails with, and how long it takes."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from aioflags.evaluation.flagd.targeting import compile_targeting
from aioflags.evaluation.jsonlogic.coercion import RuleError
from aioflags.evaluation.openfeature import context_data
from aioflags.model.context import Context

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


def test_a_version_of_fractional_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="got 1"):
        compile_targeting({}, "f", 1)
