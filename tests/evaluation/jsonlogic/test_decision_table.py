"""An ``if`` whose conditions test variables for lists of texts has a table. It means the same as its branches one by one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioflags.evaluation.jsonlogic.compiler import compile_rule
from aioflags.evaluation.jsonlogic.logic import decision_table, intersection


def var(name: str) -> Any:
    return {"var": name}


def branch(number: int) -> list[Any]:
    return [{"and": [{"in": [var("plan"), ["free", "pro"]]}, {"===": [var("region"), f"r{number}"]}]}, number]


@pytest.mark.parametrize("count", [2, 3, 64, 65, 200])
@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param({"plan": "pro", "region": "r1"}, 1, id="a later branch"),
        pytest.param({"plan": "other", "region": "r1"}, "else", id="no branch"),
        pytest.param({"plan": "pro"}, "else", id="an attribute is absent"),
        pytest.param({"plan": "pro", "region": True}, "else", id="an attribute is a boolean"),
        pytest.param({"plan": ["pro"], "region": "r1"}, "else", id="an attribute is an array"),
        pytest.param(["pro", "r1"], "else", id="the data is an array"),
    ],
)
def test_many_branches(count: int, data: Any, expected: Any) -> None:
    rule = {"if": [*(part for number in range(count) for part in branch(number)), "else"]}
    assert compile_rule(rule).rule(data) == expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param({"a": "1"}, "first", id="a text"),
        pytest.param({"a": 1}, "first", id="a number that equals the text"),
        pytest.param({"a": "2", "b": "y"}, "second", id="two attributes"),
        pytest.param({"a": "3", "b": "y"}, "third", id="an attribute that only one branch tests"),
        pytest.param({"b": ["z"]}, "fourth", id="an array that equals the text"),
        pytest.param({}, "else", id="nothing"),
    ],
)
def test_branches_of_several_shapes(data: Any, expected: str) -> None:
    second = {"and": [{"in": [var("a"), ["1", "2"]]}, {"==": [var("b"), "y"]}]}
    third = {"and": [{"==": [var("a"), "3"]}, {"in": [var("a"), ["2", "3"]]}]}
    rule = {"if": [{"==": [var("a"), "1"]}, "first", second, "second", third, "third", {"==": [var("b"), "z"]}, "fourth", "else"]}
    assert compile_rule(rule).rule(data) == expected


@pytest.mark.parametrize(
    ("data", "equals", "is_in"),
    [
        pytest.param({"a": "1"}, True, True, id="the text"),
        pytest.param({"a": "2"}, False, False, id="another text"),
        pytest.param({"a": 1}, True, False, id="a number that equals the text"),
        pytest.param({"a": ["1"]}, True, False, id="an array that equals the text"),
        pytest.param({"a": {}}, False, False, id="an object"),
        pytest.param({}, False, False, id="nothing"),
        pytest.param(["1"], False, False, id="data that are an array"),
        pytest.param("1", False, False, id="data that are a text"),
    ],
)
def test_one_branch_that_tests_one_variable(data: Any, equals: bool, is_in: bool) -> None:
    for condition, holds in (({"==": [var("a"), "1"]}, equals), ({"in": [var("a"), ["1"]]}, is_in)):
        assert compile_rule({"if": [condition, "yes", "no"]}).rule(data) == ("yes" if holds else "no")


def operation(name: str, *arguments: Any) -> Any:
    return {name: [*arguments]}


def all_of(tests: list[Any]) -> Any:
    return {"and": tests}


OTHERS: list[Any] = [None, 1, 2.0, True, False, ["x"], [], {}]
TEXTS = st.sampled_from(["1", "2", "x", ""])
VALUES = TEXTS | st.sampled_from(OTHERS)
NAMES = st.sampled_from("abc").map(var)
TESTS = st.builds(operation, st.just("in"), NAMES, st.lists(TEXTS, max_size=3)) | st.builds(
    operation, st.sampled_from(["==", "==="]), NAMES, TEXTS
)
CONDITIONS = TESTS | st.lists(TESTS, min_size=1, max_size=3).map(all_of)


@given(st.lists(CONDITIONS, min_size=1, max_size=6), st.dictionaries(st.sampled_from("abc"), VALUES) | VALUES)
def test_a_table_means_the_same_as_its_branches(conditions: list[Any], data: Any) -> None:
    rule = {"if": [*(part for number, test in enumerate(conditions) for part in (test, number)), "else"]}
    expected = next((number for number, test in enumerate(conditions) if compile_rule(test).rule(data)), "else")
    assert compile_rule(rule).rule(data) == expected


@pytest.mark.parametrize(
    ("conditions", "has_table"),
    [
        pytest.param([{"a": frozenset("x")}] * 3, True, id="three branches"),
        pytest.param([{"a": frozenset("x")}] * 2, False, id="two are quicker without"),
        pytest.param([{"a": frozenset("x")}] * 65, False, id="more bits than fit"),
        pytest.param([{"a": frozenset("x")}] * 2 + [None], False, id="another condition"),
        pytest.param([{"a": frozenset(map(str, range(2000)))}] * 3, False, id="very many texts"),
    ],
)
def test_when_there_is_a_table(conditions: list[Any], has_table: bool) -> None:
    outcomes = [repr] * (len(conditions) + 1)
    assert (decision_table(conditions, outcomes, str) is not None) is has_table


def test_the_intersection_of_conditions() -> None:
    a, b = {"a": frozenset("xy")}, {"a": frozenset("yz"), "b": frozenset("u")}
    assert intersection([a, b]) == {"a": frozenset("y"), "b": frozenset("u")}
    assert intersection([a, None]) is None
