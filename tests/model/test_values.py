"""JSON values: ``evaluation.md`` 3.5, the ``in`` row, and 4."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioflags.model.values import fresh, is_array, is_number, is_small, same_json, type_name

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(allow_nan=False) | st.text(max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        pytest.param(1, 1.0, True, id="one number, two ways to write it"),
        pytest.param(0, False, False, id="false is not a number"),
        pytest.param(True, 1, False, id="true is not a number"),
        pytest.param(True, 1.0, False, id="true is not a float"),
        pytest.param(True, True, True, id="true is true"),
        pytest.param(None, None, True, id="null is null"),
        pytest.param(None, False, False, id="null is not false"),
        pytest.param(None, 0, False, id="null is not 0"),
        pytest.param("", None, False, id="empty is not null"),
        pytest.param("1", 1, False, id="a string is not a number"),
        pytest.param([1, [True]], [1, [True]], True, id="arrays compare deeply"),
        pytest.param([1, [True]], [1, [1]], False, id="true is not a number in an array in an array"),
        pytest.param([1, 2], [2, 1], False, id="arrays have an order"),
        pytest.param([1], [1, 1], False, id="arrays have a length"),
        pytest.param([], {}, False, id="an array is not an object"),
        pytest.param((1, 2), [1, 2], True, id="a tuple stands for an array"),
        pytest.param({"a": 1, "b": 2}, {"b": 2, "a": 1}, True, id="objects have no order"),
        pytest.param({"a": 1}, {"a": True}, False, id="true is not a number in an object"),
        pytest.param({"a": None}, {}, False, id="null is there"),
        pytest.param({"a": None}, {"b": None}, False, id="names count"),
        pytest.param({"a": {"b": [0]}}, {"a": {"b": [False]}}, False, id="at any depth"),
        pytest.param(float("nan"), float("nan"), False, id="NaN equals nothing"),
    ],
)
def test_same_json_compares_values(left: Any, right: Any, same: bool) -> None:
    assert same_json(left, right) is same
    assert same_json(right, left) is same


@given(JSON)
def test_a_value_is_the_same_as_what_json_makes_of_it(value: Any) -> None:
    assert same_json(value, json.loads(json.dumps(value)))


@given(JSON, JSON)
def test_same_json_is_symmetric(left: Any, right: Any) -> None:
    assert same_json(left, right) is same_json(right, left)


def test_values_beyond_the_recursion_limit_are_different() -> None:
    left: list[Any] = []
    right: list[Any] = []
    for _ in range(100_000):
        left, right = [left], [right]
    assert not same_json(left, right)


@given(JSON)
def test_a_fresh_value_is_the_same_and_shares_nothing(value: Any) -> None:
    copied = fresh(value)
    assert same_json(copied, value)
    assert not containers(copied) & containers(value)


def containers(value: Any) -> set[int]:
    if isinstance(value, dict):
        return {id(value)}.union(*(containers(inner) for inner in value.values()))
    if isinstance(value, (list, tuple)):
        return {id(value)}.union(*map(containers, value))
    return set()


def test_a_fresh_array_is_a_list() -> None:
    assert fresh(({"a": (1,)},)) == [{"a": [1]}]


@pytest.mark.parametrize(
    ("value", "number", "array", "name"),
    [
        pytest.param(None, False, False, "null", id="null"),
        pytest.param(True, False, False, "boolean", id="true"),
        pytest.param(0, True, False, "number", id="a whole number"),
        pytest.param(0.5, True, False, "number", id="a fraction"),
        pytest.param("0", False, False, "string", id="a string"),
        pytest.param([0], False, True, "array", id="a list"),
        pytest.param((0,), False, True, "array", id="a tuple"),
        pytest.param({"a": 0}, False, False, "object", id="an object"),
        pytest.param(b"0", False, False, "bytes", id="bytes, which JSON does not have"),
    ],
)
def test_types_have_their_json_names(value: Any, number: bool, array: bool, name: str) -> None:
    assert (is_number(value), is_array(value), type_name(value)) == (number, array, name)


LOOP: list[Any] = []
LOOP.append(LOOP)


@pytest.mark.parametrize(
    ("value", "small"),
    [
        pytest.param(None, True, id="nothing"),
        pytest.param("x" * 1000, True, id="text"),
        pytest.param({"a": [1, 2.5, True, None, "b", (3,)], "c": {"d": {}}}, True, id="a bit of everything"),
        pytest.param(list(range(256)), True, id="some hundred numbers"),
        pytest.param(list(range(257)), False, id="more of them"),
        pytest.param({"a": {"b": [[1] * 100] * 3}}, False, id="many far inside"),
        pytest.param(dict.fromkeys(map(str, range(300))), False, id="many members"),
        pytest.param("x" * 100_000, False, id="long text"),
        pytest.param(["x" * 1000] * 100, False, id="much text"),
        pytest.param(LOOP, False, id="a value that contains itself"),
    ],
)
def test_small_values_have_few_parts_and_little_text(value: object, small: bool) -> None:
    assert is_small(value) is small
