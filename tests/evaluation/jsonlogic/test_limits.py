"""Limits: deep rules do not compile, and an evaluation does a bounded amount of work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from aioflags.evaluation.jsonlogic.coercion import MAX_TEXT, MAX_WORK, RuleError
from aioflags.evaluation.jsonlogic.compiler import SharedRules, compile_rule
from tests.evaluation.data import with_frames_left

BIG = {"list": list(range(1000)), "text": "x" * (MAX_TEXT // 2 + 1), "needle": "y"}
LIST = {"var": "list"}
CURRENT = {"var": "current"}
ACCUMULATOR = {"var": "accumulator"}


def nested(levels: int, name: str = "!", leaf: Any = True) -> Any:
    rule = leaf
    for _ in range(levels):
        rule = {name: rule}
    return rule


def test_a_rule_may_have_128_levels() -> None:
    assert compile_rule(nested(128, leaf={"var": "x"}["var"])).rule({}) is True
    assert compile_rule(nested(127, leaf={"var": "x"})).rule({}) is True


@pytest.mark.holds("RB-R18")
@pytest.mark.parametrize("levels", [129, 10_000, 200_000])
def test_a_rule_with_more_levels_does_not_compile(levels: int) -> None:
    with pytest.raises(RuleError, match="more than 128 levels"):
        compile_rule(nested(levels))


@pytest.mark.holds("RB-R18")
def test_a_stack_that_is_nearly_full_ends_an_evaluation_and_does_no_harm_to_later_ones() -> None:
    rule = nested(127, leaf={"var": "x"})
    compiled = compile_rule(rule)
    with pytest.raises(RecursionError):
        with_frames_left(40, lambda: compiled.rule({}))
    # A flag is compiled once. It must not matter where.
    assert with_frames_left(40, lambda: compile_rule(rule)).rule({}) is True


SHAPES: dict[str, tuple[Callable[[Any], Any], int]] = {
    "operations": (lambda inner: {"!": inner}, 1),
    "operations with lists": (lambda inner: {"!": [inner]}, 2),
    "arrays": (lambda inner: [inner], 1),
    "data": (lambda inner: {"a": inner, "b": 1}, 1),
    "alternatives": (lambda inner: {"if": [False, 1, inner]}, 2),
    "unknown operators": (lambda inner: {"unknown": [inner]}, 2),
}
"""A rule around another one, and how many levels it adds."""


@pytest.mark.parametrize(("wrap", "levels"), SHAPES.values(), ids=SHAPES)
def test_levels_are_counted_in_every_shape(wrap: Callable[[Any], Any], levels: int) -> None:
    def wrapped(times: int, inner: Any) -> Any:
        for _ in range(times):
            inner = wrap(inner)
        return inner

    most = 128 // levels
    compile_rule(wrapped(most, "x"))
    compile_rule(wrapped(most - 1, ["x"]))
    shared = wrapped(most // 2, "x")
    known = SharedRules([shared])
    compile_rule(wrapped(most - most // 2, shared), shared=known)
    for rule in (wrapped(most + 1, "x"), wrapped(most, ["x"]), wrapped(most - most // 2 + 1, shared)):
        with pytest.raises(RuleError, match="more than 128 levels"):
            compile_rule(rule, shared=known)


@pytest.mark.parametrize(
    "rule",
    [
        pytest.param({"map": [LIST, {"map": [{"var": "x"}, 1]}]}, id="cheap inside"),
        pytest.param({"filter": [LIST, {"<": [{"var": ""}, 5]}]}, id="one loop"),
    ],
)
def test_usual_loops_end(rule: Any) -> None:
    assert isinstance(compile_rule(rule).rule(BIG), list)


DOUBLED = {"reduce": [LIST, {"cat": [ACCUMULATOR, ACCUMULATOR]}, "x"]}
MANY = [[0] * 1000] * 1000
EXPENSIVE = [
    pytest.param({"map": [MANY, {"map": [{"var": ""}, {"+": [{"var": ""}, 1]}]}]}, id="loop in a loop"),
    pytest.param({"reduce": [MANY, {"reduce": [CURRENT, 1, 2]}, 0]}, id="reduce in reduce"),
    pytest.param({"all": [MANY, {"none": [{"var": ""}, {"var": ""}]}]}, id="all and none"),
    pytest.param(DOUBLED, id="a text that doubles"),
    pytest.param({"reduce": [LIST, {"merge": [ACCUMULATOR, ACCUMULATOR]}, [1]]}, id="an array that doubles"),
    pytest.param({"cat": [{"reduce": [LIST, [ACCUMULATOR, ACCUMULATOR], 0]}]}, id="text of an array that contains itself doubled"),
    pytest.param({"cat": [{"reduce": [LIST, [ACCUMULATOR], 0]}]}, id="text of a deep array"),
    pytest.param({"cat": [{"var": "text"}, {"var": "text"}]}, id="a long text"),
    pytest.param({"merge": [{"cat": [{"var": "text"}, "x"]}] * 300}, id="many long texts"),
    pytest.param({"map": [LIST, {"substr": [{"cat": ["x" * 100_000, {"var": ""}]}, 1]}]}, id="long texts in a loop"),
]


@pytest.mark.parametrize("rule", EXPENSIVE)
def test_an_evaluation_that_is_too_much_work_ends_with_the_problem(rule: Any) -> None:
    compiled = compile_rule(rule)

    with pytest.raises(RuleError, match=r"too much work|too deeply"):
        compiled.rule(BIG)
    assert compile_rule({"map": [[1], {"var": ""}]}).rule({}) == [1], "the next evaluation has its own allowance"


def test_numbers_stay_bounded() -> None:
    squares = {"reduce": [LIST, {"*": [ACCUMULATOR, ACCUMULATOR]}, 10]}

    # Infinity becomes null, and null counts as 0.
    assert compile_rule(squares).rule(BIG) == 0
    assert compile_rule({"cat": [{"var": "n"}]}).rule({"n": 10**10_000}) == "Infinity"


def test_a_loop_that_ends_early_costs_only_what_it_did() -> None:
    rule = {"some": [{"var": "long"}, {"==": [{"var": ""}, 0]}]}

    assert compile_rule(rule).rule({"long": [0] * (MAX_WORK + 1)}) is True
