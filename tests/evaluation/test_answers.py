"""Answers: their values by type, and whether they are experiments."""

from __future__ import annotations

from typing import Any

import pytest

from aioflags.evaluation.answers import Answer
from aioflags.model.detail import Reason, ReasonKind

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
