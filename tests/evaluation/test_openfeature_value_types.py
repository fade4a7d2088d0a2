"""The types that callers of flagd's flags can ask for: ``flagd.md`` 5.3."""

from __future__ import annotations

from typing import Any

import pytest

from aioflags.evaluation.decoding import MISMATCH
from aioflags.evaluation.openfeature import fit, mismatch


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
