"""Flags that a server evaluated."""

from __future__ import annotations

from typing import Any

import pytest

from aioflags.evaluation.openfeature import RESOLVED, context_data, fit, mismatch
from aioflags.evaluation.snapshot import Snapshot
from aioflags.evaluation.value_types import MISMATCH
from aioflags.model.change import Change, ChangeKind, ChangeSet, ObjectKind
from aioflags.model.context import Context
from aioflags.model.detail import NO_METADATA, ErrorKind, EvaluationDetail, FlagMetadata, Reason, ReasonKind, ResolvedFlag

SET = FlagMetadata({"n": 1})


def changes(*flags: ResolvedFlag) -> ChangeSet:
    puts = tuple(Change(ObjectKind.FLAG, flag.key, 0, flag) for flag in flags)
    return ChangeSet(kind=ChangeKind.FULL, changes=puts, persist=False)


def snapshot(*flags: ResolvedFlag) -> Snapshot:
    return Snapshot.empty(dialect=RESOLVED).apply(changes(*flags))


@pytest.mark.parametrize(
    ("flag", "default", "detail"),
    [
        pytest.param(
            ResolvedFlag(key="f", value=True, variant="on", reason=ReasonKind.TARGETING_MATCH, metadata=SET),
            False,
            EvaluationDetail(True, None, Reason(kind=ReasonKind.TARGETING_MATCH), "on", SET),
            id="a value",
        ),
        pytest.param(
            ResolvedFlag(key="f", value=True, reason="CUSTOM"),
            False,
            EvaluationDetail(True, None, Reason(kind="CUSTOM"), is_unnamed=True),
            id="a value without a variant, and a reason that only the server knows",
        ),
        pytest.param(
            ResolvedFlag(key="f", has_value=False, reason=ReasonKind.DISABLED, metadata=SET),
            7,
            EvaluationDetail(7, None, Reason(kind=ReasonKind.DISABLED), None, SET),
            id="no value",
        ),
        pytest.param(
            ResolvedFlag(key="f", error=ErrorKind.PARSE_ERROR, error_message="broken", metadata=SET),
            7,
            EvaluationDetail(7, None, Reason(kind=ReasonKind.ERROR, error_kind=ErrorKind.PARSE_ERROR), None, SET, "broken"),
            id="an error",
        ),
        pytest.param(
            ResolvedFlag(key="f", value=10.0, variant="ten"),
            1,
            EvaluationDetail(10, None, Reason(kind=ReasonKind.STATIC), "ten"),
            id="a whole number for an integer",
        ),
        pytest.param(
            ResolvedFlag(key="f", value=10, reason="CUSTOM", metadata=SET),
            1.5,
            EvaluationDetail(10.0, None, Reason(kind="CUSTOM"), None, SET, is_unnamed=True),
            id="a converted value without a variant",
        ),
    ],
)
@pytest.mark.parametrize("context", [None, Context("k"), Context.keyless()], ids=["no context", "a context", "no key"])
def test_every_context_gets_the_answer_of_the_server(
    flag: ResolvedFlag, default: Any, detail: EvaluationDetail[Any], context: Context | None
) -> None:
    result = snapshot(flag).evaluate("f", context, default).detail
    assert result == detail
    assert type(result.value) is type(detail.value)
    assert result.is_default is (detail.variant is None and not detail.is_unnamed)


@pytest.mark.parametrize(
    ("before", "after", "is_same"),
    [
        pytest.param({"value": 1}, {"value": 1.0}, True, id="1 and 1.0"),
        pytest.param({"value": 1}, {"value": True}, False, id="1 and true"),
        pytest.param({"variant": "a"}, {"variant": "b"}, False, id="variant"),
        pytest.param({"reason": "A"}, {"reason": "B"}, False, id="reason"),
        pytest.param({"metadata": SET}, {"metadata": NO_METADATA}, False, id="metadata"),
        pytest.param({"error": ErrorKind.GENERAL}, {}, False, id="error"),
    ],
)
def test_an_equal_answer_is_not_a_change(before: Any, after: Any, is_same: bool) -> None:
    old, step = snapshot(ResolvedFlag(key="f", **before)), changes(ResolvedFlag(key="f", **after))
    new = old.apply(step)
    assert (new.flags["f"] is old.flags["f"]) is is_same
    assert new.changed_since(old, step) == (frozenset() if is_same else {"f"})


# -- The types that callers of flagd's flags can ask for: ``flagd.md`` 5.3.


@pytest.mark.parametrize(
    ("value", "expected", "converted"),
    [
        (True, bool, True),
        (1, bool, MISMATCH),
        (None, bool, MISMATCH),
        ("x", str, "x"),
        (1, str, MISMATCH),
        (10, int, 10),
        (10.0, int, 10),
        (-0.0, int, 0),
        (1e300, int, int(1e300)),
        (3.14, int, MISMATCH),
        (float("inf"), int, MISMATCH),
        (float("nan"), int, MISMATCH),
        (True, int, MISMATCH),
        (False, float, MISMATCH),
        (10, float, 10.0),
        (1.5, float, 1.5),
        (10**400, float, MISMATCH),
        ({"a": 1}, dict, {"a": 1}),
        ([1], dict, [1]),
        ("x", dict, MISMATCH),
        (None, dict, MISMATCH),
        ([1], list, [1]),
        ({"a": 1}, list, MISMATCH),
        (None, object, None),
        (True, object, True),
    ],
)
def test_a_value_fits_without_a_loss_or_not_at_all(value: Any, expected: type, converted: Any) -> None:
    result = fit(value, expected)
    assert result is MISMATCH if converted is MISMATCH else (result, type(result)) == (converted, type(converted))


def test_arrays_and_objects_are_copied() -> None:
    value = {"a": [1]}
    copy = fit(value, dict)
    copy["a"].append(2)
    assert value == {"a": [1]}


@pytest.mark.parametrize(
    ("value", "expected", "text"),
    [
        (1.5, int, "a number with a fraction where an integer is asked for"),
        (True, float, "a boolean where a number is asked for"),
        (True, int, "a boolean where a number is asked for"),
        (10**400, float, "a number that is too large"),
        ("secret", dict, "a string where an object is asked for"),
    ],
)
def test_a_mismatch_is_described_without_the_value(value: Any, expected: type, text: str) -> None:
    assert mismatch(value, expected) == text


# -- The data of a context that rules read.


def test_values_are_not_copied() -> None:
    nested = {"a": [1, {"b": [2, 3]}]}

    assert context_data({"nested": nested}, None)["nested"] is nested


def test_static_attributes_and_the_targeting_key_hide_those_of_the_context() -> None:
    assert context_data({"a": 1, "b": 1, "targetingKey": "x"}, "k", {"b": 2}) == {"a": 1, "b": 2, "targetingKey": "k"}
