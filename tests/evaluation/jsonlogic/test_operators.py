"""The operators of JSONLogic: the table of ``flagd.md`` 10, and the conversions of JavaScript."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioflags.evaluation.jsonlogic.coercion import RuleError
from aioflags.evaluation.jsonlogic.compiler import STANDARD_OPERATORS, compile_rule

DATA = {
    "email": "a@b.com",
    "age": 29,
    "nil": None,
    "empty": "",
    "list": [1, 2, 3],
    "user": {"name": "jo", "tags": ["x", "y"]},
    "rows": [{"n": 1}, {"n": 2}],
    "nan": math.nan,
    "endless": math.inf,
    "huge": 10**400,
    "no": {},
}
AGE = {"var": "age"}
LIST = {"var": "list"}
ELEMENT = {"var": ""}


def run(rule: Any, data: Any = DATA) -> Any:
    return compile_rule(rule).rule(data)


def case(number: Any, rule: Any, result: Any) -> Any:
    return pytest.param(rule, result, id=f"{number}: {rule}")


EXAMPLES = [
    case(77, {"var": ["missing", "d"]}, "d"),
    case(78, {"var": ["nil", "d"]}, "d"),
    case(79, {"var": "user.tags.1"}, "y"),
    case(80, {"==": [AGE, "29"]}, True),
    case(81, {"===": [AGE, "29"]}, False),
    case(82, {"==": ["1", True]}, True),
    case(83, {">": ["10", "9"]}, False),
    case(84, {">": ["10", 9]}, True),
    case(85, {"<": [{"var": "missing"}, 1]}, True),
    case(86, {"<=": [29, AGE, 29]}, True),
    case("<= of one", {"<=": [0]}, False),
    case("< of one", {"<": [-1]}, False),
    case("> of one", {">": [1]}, False),
    case(">= of one", {">=": ["7"]}, False),
    case("<= of none", {"<=": []}, False),
    case("<= of null", {"<=": [0, None]}, True),
    case(87, {"!!": [[]]}, False),
    case(88, {"!!": ["0"]}, True),
    case(89, {"if": [0, "a", [], "b", "c"]}, "c"),
    case(90, {"if": [False, "a"]}, None),
    case(91, {"or": [False, 0]}, 0),
    case(92, {"and": [1, "", 3]}, ""),
    case(93, {"in": ["@b", "x@b.c"]}, True),
    case(94, {"in": ["2", LIST]}, False),
    case(95, {"substr": ["flagd", 1, 3]}, "lag"),
    case(96, {"substr": ["flagd", 0, -2]}, "fla"),
    case(97, {"missing": ["email", "nope", "empty"]}, ["nope", "empty"]),
    case(98, {"missing_some": [1, ["nope", "email"]]}, []),
    case(99, {"all": [[], True]}, False),
    case(100, {"none": [LIST, {"==": [ELEMENT, 9]}]}, True),
    case(101, {"==": [None, 0]}, False),
    case(102, {"cat": [{"var": "missing"}, "x"]}, "x"),
    case(103, {"cat": ["a", 1, None, True, 1.5]}, "a1true1.5"),
    case(104, {"%": [-5, 3]}, -2),
    case(105, {"/": [1, 0]}, None),
    case(106, {"+": ["1", 2]}, 3),
    case(107, {"max": []}, None),
    case(108, {"==": [[1], [1]]}, False),
]
MORE = [
    case("data", {}, {}),
    case("data", {"a": 1, "b": {"var": "age"}}, {"a": 1, "b": {"var": "age"}}),
    case("data", [AGE, [1, AGE]], [29, [1, 29]]),
    case("var", {"var": ""}, DATA),
    case("var", {"var": []}, DATA),
    case("var", {"var": [None]}, DATA),
    case("var", {"var": "list.3"}, None),
    case("var", {"var": "list.01"}, None),
    case("var", {"var": "list.-1"}, None),
    case("var", {"var": "list.length"}, 3),
    case("var", {"var": "email.length"}, 7),
    case("var", {"var": "email.1"}, "@"),
    case("var", {"var": "email.9"}, None),
    case("var", {"var": "age.x"}, None),
    case("var", {"var": {"cat": ["user", ".name"]}}, "jo"),
    case("var", {"var": {"if": [AGE, "user.name"]}}, "jo"),
    case("var", {"var": ["missing", AGE]}, 29),
    case("missing", {"missing": [["email", "nope"]]}, ["nope"]),
    case("missing", {"missing": []}, []),
    case("missing", {"missing": {"merge": ["nope", {"if": [AGE, "user.x"]}]}}, ["nope", "user.x"]),
    case("missing_some", {"missing_some": [2, ["nope", "email"]]}, ["nope"]),
    case("missing_some", {"missing_some": ["x", ["email"]]}, []),
    case("if", {"if": []}, None),
    case("if", {"if": [AGE]}, 29),
    case("if", {"if": [AGE, LIST, {"nope": 1}]}, [1, 2, 3]),
    case("if", {"?:": [{"<": [AGE, 1]}, 1, {"<": [AGE, 30]}, AGE, 3]}, 29),
    case("if", {"if": [{"==": [AGE, 1]}, 1, {"==": [AGE, 2]}, 2]}, None),
    case("and", {"and": []}, None),
    case("and", {"and": [AGE, LIST]}, [1, 2, 3]),
    case("and", {"and": [{"<": [AGE, 30]}, {">": [AGE, 28]}, {"!": [{"var": "nil"}]}]}, True),
    case("or", {"or": []}, None),
    case("or", {"or": [{"var": "nil"}, "", AGE]}, 29),
    case("or", {"or": [{"<": [AGE, 3]}, {">": [AGE, 28]}]}, True),
    case("or", {"or": [True, {"nope": 1}]}, True),
    case("!", {"!": [{}]}, False),
    case("!", {"!": [{"var": "nan"}]}, True),
    case("!!", {"!!": [{"var": "no"}]}, True),
    case("!", {"!": []}, True),
    case("==", {"==": [1, 1.0]}, True),
    case("==", {"==": [{"var": "nil"}, False]}, False),
    case("==", {"==": [{"var": "nil"}, {"var": "missing"}]}, True),
    case("==", {"==": [[1, 2], "1,2"]}, True),
    case("==", {"==": [[], 0]}, True),
    case("==", {"==": [[None], ""]}, True),
    case("==", {"==": [{"var": "no"}, "[object Object]"]}, True),
    case("==", {"==": [LIST, {"var": "no"}]}, False),
    case("==", {"==": [" 29 ", AGE]}, True),
    case("==", {"==": ["0x10", 16]}, False),
    case("==", {"==": [{"var": "nan"}, {"var": "nan"}]}, False),
    case("!=", {"!=": [AGE, "x"]}, True),
    case("===", {"===": [1, 1.0]}, True),
    case("===", {"===": [1, True]}, False),
    case("===", {"===": [LIST, LIST]}, False),
    case("!==", {"!==": [1, True]}, True),
    case("<", {"<": ["a", "b"]}, True),
    case("<", {"<": ["a", 1]}, False),
    case("<", {"<": [1, 2, 3]}, True),
    case("<", {"<": [1, 3, 2]}, False),
    case("> of three", {">": [3, 2, 9]}, False),
    case("> of three", {">": [3, 2, 1]}, True),
    case(">= of three", {">=": [8, AGE, 3]}, False),
    case(">= of three", {">=": [30, AGE, 29]}, True),
    case(">=", {">=": [True, 1]}, True),
    case("+", {"+": []}, 0),
    case("+", {"+": ["-1.50"]}, -1.5),
    case("+", {"+": [0.1, 0.2, 0.3]}, 0.1 + 0.2 + 0.3),
    case("+", {"+": ["x", 1]}, None),
    case("+", {"+": [0.5, 0.5]}, 1),
    case("+", {"+": ["1_0"]}, None),
    case("+", {"+": ["inf"]}, None),
    case("+", {"+": [[["7"]]]}, 7),
    case("+", {"+": [{"var": "huge"}, 1]}, None),
    case("-", {"-": [3]}, -3),
    case("-", {"-": [3, "1"]}, 2),
    case("*", {"*": []}, 1),
    case("*", {"*": [2, "3", 0.5]}, 3),
    case("*", {"*": [10**200, 10**200]}, None),
    case("/", {"/": [1, 4]}, 0.25),
    case("/", {"/": [4, 2]}, 2),
    case("/", {"/": [1, "x"]}, None),
    case("%", {"%": [5, 0]}, None),
    case("%", {"%": [5.5, -2]}, 1.5),
    case("%", {"%": [{"var": "endless"}, 2]}, None),
    case("min", {"min": [3, "2", True]}, 1),
    case("max", {"max": [3, "x"]}, None),
    case("cat", {"cat": [1.0, " ", [1, None, [2, "x"]], {}]}, "1 1,,2,x[object Object]"),
    case("cat", {"cat": [1e21, " ", -1.5e300, " ", 10**21, " ", 1e20]}, "1e+21 -1.5e+300 1e+21 100000000000000000000"),
    case("cat", {"cat": [1e-7, " ", 0.000001]}, "1e-7 0.000001"),
    case("cat", {"cat": []}, ""),
    case("substr", {"substr": ["flagd", -2]}, "gd"),
    case("substr", {"substr": ["flagd", -4, -1]}, "lag"),
    case("substr", {"substr": ["flagd", 3, -4]}, ""),
    case("substr", {"substr": ["flagd", "x", 99]}, "flagd"),
    case("substr", {"substr": [12345, 1, 2]}, "23"),
    case("in", {"in": [1, [True]]}, False),
    case("in", {"in": [1.0, [1, "x"]]}, True),
    case("in", {"in": [AGE, [True, 29]]}, True),
    case("in", {"in": [LIST, ["a"]]}, False),
    case("in", {"in": [{"var": "nil"}, [None]]}, True),
    case("in", {"in": [{"cat": ["a", ""]}, ["a", "b"]]}, True),
    case("in", {"in": [1, "2132"]}, True),
    case("in", {"in": ["a", {"var": "no"}]}, False),
    case("in", {"in": ["a"]}, False),
    case("merge", {"merge": [1, [2, [3]], LIST]}, [1, 2, [3], 1, 2, 3]),
    case("map", {"map": [LIST, {"*": [ELEMENT, 2]}]}, [2, 4, 6]),
    case("map", {"map": [{"var": "rows"}, {"var": "n"}]}, [1, 2]),
    case("map", {"map": [AGE, 1]}, []),
    case("map", {"map": [LIST]}, [None, None, None]),
    case("filter", {"filter": [LIST, {">": [ELEMENT, 1]}]}, [2, 3]),
    case("filter", {"filter": [None, True]}, []),
    case("reduce", {"reduce": [LIST, {"+": [{"var": "current"}, {"var": "accumulator"}]}, 10]}, 16),
    case("reduce", {"reduce": [AGE, 1, "initial"]}, "initial"),
    case("reduce", {"reduce": [LIST, {"var": "age"}, 0]}, None),
    case("all", {"all": [LIST, {">": [ELEMENT, 0]}]}, True),
    case("all", {"all": [LIST, {">": [ELEMENT, 1]}]}, False),
    case("all", {"all": [AGE, True]}, False),
    case("some", {"some": [LIST, {"==": [ELEMENT, 3]}]}, True),
    case("some", {"some": [[], True]}, False),
    case("none", {"none": [AGE, True]}, True),
    case("log", {"log": AGE}, 29),
]


@pytest.mark.parametrize(("rule", "result"), [*EXAMPLES, *MORE])
def test_a_rule_has_this_result(rule: Any, result: Any) -> None:
    actual = run(rule)

    assert actual == result
    assert type(actual) is type(result)


@pytest.mark.parametrize(("rule", "result"), [*EXAMPLES, *MORE])
def test_a_rule_that_is_computed_has_the_same_result_as_one_that_is_folded(rule: Any, result: Any) -> None:
    """Each literal argument is read from the data instead, so that nothing is folded."""
    values: dict[str, Any] = {}

    def hidden(value: Any) -> Any:
        if isinstance(value, dict) and len(value) == 1:
            return unfolded(value)
        if isinstance(value, list):
            return [hidden(element) for element in value]
        name = f"v{len(values)}"
        values[name] = value
        return {"var": name}

    def unfolded(value: dict[str, Any]) -> dict[str, Any]:
        ((name, arguments),) = value.items()
        if name in {"var", "missing", "missing_some", "map", "filter", "reduce", "all", "some", "none", "nope"}:
            return value
        return {name: hidden(arguments if isinstance(arguments, list) else [arguments])}

    if isinstance(rule, dict) and len(rule) == 1 and next(iter(rule)) != "var":
        assert run(unfolded(rule), {**DATA, **values}) == result


@pytest.mark.parametrize(
    "rule", [{"nope": [1]}, {"if": [True, {"nope": 1}]}, {"var": ["age", {"nope": 1}]}, {"cat": ["a", {"a.b": 1}]}]
)
def test_an_unknown_operator_fails_when_it_is_reached(rule: Any) -> None:
    compiled = compile_rule(rule)

    with pytest.raises(RuleError, match=r"the operator '(nope|a\.b)' is unknown"):
        compiled.rule(DATA)


@pytest.mark.parametrize(
    "rule",
    [
        pytest.param({"if": [{"==": [AGE, 29]}, "taken", {"nope": 1}]}, id="57: if"),
        pytest.param({"or": ["taken", {"nope": 1}]}, id="57: or"),
        pytest.param({"or": [{"and": [{"var": "nil"}, {"nope": 1}]}, "taken"]}, id="57: and"),
    ],
)
def test_an_unknown_operator_in_a_branch_that_is_not_taken_does_no_harm(rule: Any) -> None:
    assert run(rule) == "taken"


def test_61_division_by_zero_is_false_as_a_condition() -> None:
    assert run({"if": [{"/": [AGE, 0]}, "yes", {"==": [AGE, 29]}, "went on"]}) == "went on"


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner), max_leaves=6
)
NAMES = st.sampled_from(sorted(STANDARD_OPERATORS))
RULES = st.recursive(
    SCALARS | st.lists(SCALARS, max_size=3) | st.sampled_from([{"var": name} for name in ("", "a", "b.c", "list", "list.0")]),
    lambda inner: st.dictionaries(NAMES, inner | st.lists(inner, max_size=4), min_size=1, max_size=1),
    max_leaves=12,
)


@given(RULES, VALUES, VALUES)
def test_a_rule_without_unknown_operators_has_a_result(rule: Any, one: Any, other: Any) -> None:
    data = {"a": one, "b": {"c": other}, "list": [one, other]}

    assert isinstance(run(rule, data), (type(None), bool, int, float, str, list, dict))
    assert repr(run(rule, data)) == repr(run(rule, data))


@given(SCALARS, st.lists(SCALARS, max_size=5))
def test_a_look_up_in_a_literal_array_is_a_search_with_strict_equality(needle: Any, elements: list[Any]) -> None:
    is_member = run({"in": [{"var": "needle"}, elements]}, {"needle": needle})

    assert is_member is any(run({"===": [needle, element]}) for element in elements)
