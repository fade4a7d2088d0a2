"""The conversion of values to an expected type."""

from __future__ import annotations

from typing import Any

import pytest

from aioflags.evaluation.answers import Answer
from aioflags.evaluation.value_types import MISMATCH, expected_type, fit, mismatch
from aioflags.model.detail import Reason, ReasonKind

BIG = 10**400


@pytest.mark.parametrize(
    (("value", "expected_class", "expected")),
    [
        pytest.param(True, bool, True, id="a boolean"),
        pytest.param(1, bool, MISMATCH, id="a number is not a boolean"),
        pytest.param(3, int, 3, id="a number"),
        pytest.param(3.9, int, 3, id="a fraction is cut off"),
        pytest.param(-3.9, int, -3, id="towards zero"),
        pytest.param(True, int, MISMATCH, id="a boolean is not an integer"),
        pytest.param(3, float, 3.0, id="a whole number as a float"),
        pytest.param(False, float, MISMATCH, id="a boolean is not a float"),
        pytest.param(BIG, float, MISMATCH, id="more than a float holds"),
        pytest.param("x", str, "x", id="a string"),
        pytest.param(1, str, MISMATCH, id="a number is not a string"),
        pytest.param({"a": 1}, dict, {"a": 1}, id="an object"),
        pytest.param([1], dict, MISMATCH, id="an array is not an object"),
        pytest.param((1, [2]), list, [1, [2]], id="an array"),
        pytest.param("x", list, MISMATCH, id="a string is not an array"),
        pytest.param(None, bool, MISMATCH, id="null is not a boolean"),
        pytest.param(None, object, None, id="null is anything"),
        pytest.param(True, object, True, id="anything is anything"),
        pytest.param("x", bytes, "x", id="an unknown type accepts anything"),
    ],
)
def test_a_value_converted_to_an_expected_type(value: Any, expected_class: Any, expected: Any) -> None:
    converted = fit(value, expected_class)
    assert converted == expected
    assert converted.__class__ is expected.__class__


@pytest.mark.parametrize("expected_class", [list, object])
def test_containers_are_copies(expected_class: Any) -> None:
    inner = [1]
    copied = fit([inner], expected_class)
    assert copied == [inner]
    assert copied[0] is not inner


@pytest.mark.parametrize(
    ("default", "expected"),
    [(True, bool), (1, int), (1.5, float), ("", str), ({}, dict), ([], list), ((), list), (None, object), (b"", object)],
)
def test_the_type_that_a_default_implies(default: Any, expected: Any) -> None:
    assert expected_type(default) is expected


@pytest.mark.parametrize(
    ("value", "expected", "text"),
    [
        pytest.param(True, str, "a boolean where a string is asked for", id="a boolean"),
        pytest.param("secret", float, "a string where a number is asked for", id="a string"),
        pytest.param({}, list, "an object where an array is asked for", id="an object"),
        pytest.param([], dict, "an array where an object is asked for", id="an array"),
        pytest.param(None, bool, "null where a boolean is asked for", id="null"),
        pytest.param(BIG, float, "a number that is too large", id="more than a float holds"),
    ],
)
def test_a_mismatch_is_described_by_types(value: Any, expected: type, text: str) -> None:
    assert mismatch(value, expected) == text


# -- Answers: their values by type, and whether they are experiments.

SERVED = Reason(kind=ReasonKind.FALLTHROUGH)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(True, {bool: True}, id="true"),
        pytest.param(False, {bool: False}, id="false"),
        pytest.param(3, {int: 3, float: 3.0}, id="a number"),
        pytest.param(2.5, {float: 2.5}, id="a fraction, which is logged if it is cut off"),
        pytest.param("x", {str: "x"}, id="a string"),
        pytest.param([1], {}, id="an array, of which each caller has a copy"),
        pytest.param(None, {}, id="null"),
    ],
)
def test_an_answer_has_its_value_by_type(value: Any, expected: Any) -> None:
    by_type = Answer(value, 0, SERVED).by_type
    assert [(kind, converted, type(converted)) for kind, converted in by_type.items()] == [
        (kind, converted, type(converted)) for kind, converted in expected.items()
    ]


def test_an_answer_without_a_variation_has_no_values_by_type() -> None:
    assert Answer("x", None, SERVED).by_type == {}


def test_an_answer_is_an_experiment_by_argument_or_by_reason() -> None:
    in_experiment = Reason(kind=ReasonKind.FALLTHROUGH, in_experiment=True)
    answers = Answer(1, 0, SERVED), Answer(1, 0, SERVED, is_experiment=True), Answer(1, 0, in_experiment)
    assert [answer.is_experiment for answer in answers] == [False, True, True]
