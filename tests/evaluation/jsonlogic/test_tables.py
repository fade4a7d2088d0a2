"""An ``if`` whose conditions test variables for lists of texts has a table. It means the same as its branches one by one."""

from __future__ import annotations

from time import thread_time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioflags.evaluation.flagd.targeting import compile_targeting
from aioflags.evaluation.jsonlogic.coercion import RuleError
from aioflags.evaluation.jsonlogic.compiler import SharedRules, compile_rule
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


# -- Parts that many rules have in common are compiled once, and mean the same in each of them.


@pytest.mark.speed
def test_a_large_part_is_compiled_once() -> None:
    part = {"in": [{"var": "key"}, [f"user-{number}" for number in range(50_000)]]}
    shared = SharedRules([part])
    began = thread_time()
    rules = [compile_rule({"if": [part, number, {"!": part}]}, shared=shared) for number in range(500)]
    assert thread_time() - began < 1
    assert [rule.rule({"key": "user-7"}) for rule in rules] == list(range(500))
    assert all(rule.rule({"key": "x"}) is True and rule.reads == {"key"} for rule in rules)


def test_a_part_in_a_loop_reads_the_element() -> None:
    part = {"==": [{"var": "x"}, 1]}
    shared = SharedRules([part])
    for _ in range(2):
        assert compile_rule(part, shared=shared).reads == {"x"}
        inside = compile_rule({"filter": [{"var": "list"}, part]}, shared=shared)
        assert inside.reads == {"list"}
        assert inside.rule({"list": [{"x": 1}, {"x": 2}]}) == [{"x": 1}]


@pytest.mark.parametrize(
    ("part", "reads", "reads_all"),
    [
        pytest.param({"!": {"var": "a.b"}}, {"a"}, False, id="a member"),
        pytest.param({"!": {"var": ""}}, set[str](), True, id="everything"),
    ],
)
def test_what_a_part_reads_is_read_by_each_rule(part: Any, reads: set[str], reads_all: bool) -> None:
    shared = SharedRules([part])
    for _ in range(2):
        compiled = compile_rule({"if": [part, 1, {"var": "c"}]}, shared=shared)
        assert compiled.reads == reads | {"c"}
        assert compiled.reads_all is reads_all


def test_a_part_with_loops_is_limited_in_each_rule() -> None:
    part = {"map": [{"var": "list"}, {"map": [{"var": ""}, {"+": [{"var": ""}, 1]}]}]}
    shared = SharedRules([part])
    for _ in range(2):
        with pytest.raises(RuleError, match="too much work"):
            compile_rule({"!": part}, shared=shared).rule({"list": [[0] * 1000] * 1000})


def test_a_part_knows_the_flag_that_it_is_evaluated_for() -> None:
    parts: list[Any] = [
        {"in": [{"var": "plan"}, ["pro"]]},
        {"cat": [{"var": "$flagd.flagKey"}, {"var": "plan"}]},
        {"if": [True, {"fractional": [["on"], ["off"]]}]},
        {"fractional": [{"var": "plan"}, ["on"], ["off"]]},
    ]
    shared = SharedRules(parts)
    data = {"plan": "pro", "targetingKey": "t"}
    for flag in ("one", "two", "three", "one"):
        alone = compile_targeting(parts, flag)(data)
        assert compile_targeting(parts, flag, shared=shared)(data) == alone
        assert alone[:2] == [True, f"{flag}pro"]


@pytest.mark.speed
def test_a_part_that_knows_its_flag_is_compiled_once_for_each_flag() -> None:
    part = {"fractional": [["on"], ["off"]]}
    shared = SharedRules([part])
    rule = {"merge": [part] * 50_000}
    began = thread_time()
    for flag in ("one", "two"):
        results = compile_targeting(rule, flag, shared=shared)({"targetingKey": "t"})
        assert set(results) == {compile_targeting(part, flag)({"targetingKey": "t"})}
    assert thread_time() - began < 1


def test_a_part_counts_each_time_it_occurs() -> None:
    part: Any = {"+": [1, 1]}
    parts = [part]
    for _ in range(19):
        part = [part, part]
        parts.append(part)
    compile_rule(part, shared=SharedRules(parts))
    with pytest.raises(RuleError, match="more than 1048576 operations"):
        compile_rule([[part, part], [part, {"!": part}]], shared=SharedRules(parts))
