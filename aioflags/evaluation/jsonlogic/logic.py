"""Logic: the operators ``if``, ``?:``, ``and``, ``or``, ``!``, ``!!`` and ``log``.

The first four evaluate only the arguments they need. Conditions that are literals are decided when the rule is compiled.

Source: ``flagd.md`` 6.1 and 6.3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from aioflags.evaluation.jsonlogic.coercion import truthy
from aioflags.evaluation.jsonlogic.decision_table import decision_table, intersection
from aioflags.evaluation.jsonlogic.expressions import (
    ABSENT,
    Data,
    Expression,
    Operator,
    Rule,
    Site,
    condition,
    function,
)


def _build_if(arguments: Sequence[Expression], site: Site) -> Expression:
    """The first branch whose condition holds. The last argument is the alternative if their number is odd."""
    pairs = list(zip(arguments[::2], arguments[1::2], strict=False))
    otherwise = arguments[-1] if len(arguments) % 2 else ABSENT
    branches: list[tuple[Expression, Expression]] = []
    for test, branch in pairs:
        if not test.is_literal:
            branches.append((test, branch))
        elif truthy(test.value):
            otherwise = branch
            break
    if not branches:
        return otherwise
    is_boolean = otherwise.is_boolean and all(branch.is_boolean for _, branch in branches)
    choose = _choose(branches, otherwise)
    outcomes = [*(branch.rule for _, branch in branches), otherwise.rule]
    table = decision_table([test.choices for test, _ in branches], outcomes, choose)
    return Expression(table or choose, is_boolean=is_boolean)


def _choose(branches: Sequence[tuple[Expression, Expression]], otherwise: Expression) -> Rule:
    tests = [(condition(test), branch) for test, branch in branches]
    if len(tests) == 1:
        test, branch = tests[0]
        return _choose_one(test, branch, otherwise)
    default = otherwise.rule
    if all(branch.is_literal for _, branch in tests):
        values = tuple((test, branch.value) for test, branch in tests)

        def choose_value(data: Data) -> Any:
            for test, value in values:
                if test(data):
                    return value
            return default(data)

        return choose_value
    rules = tuple((test, branch.rule) for test, branch in tests)

    def choose(data: Data) -> Any:
        for test, rule in rules:
            if test(data):
                return rule(data)
        return default(data)

    return choose


def _choose_one(test: Rule, branch: Expression, otherwise: Expression) -> Rule:
    if branch.is_literal and otherwise.is_literal:
        value, alternative = branch.value, otherwise.value
        return lambda data: value if test(data) else alternative
    rule, default = branch.rule, otherwise.rule
    return lambda data: rule(data) if test(data) else default(data)


def _build_and(arguments: Sequence[Expression], site: Site) -> Expression:
    return _build_shortcut(arguments, stops_at=False)


def _build_or(arguments: Sequence[Expression], site: Site) -> Expression:
    return _build_shortcut(arguments, stops_at=True)


def _build_shortcut(arguments: Sequence[Expression], *, stops_at: bool) -> Expression:
    """The value of the first argument with this truthiness, otherwise of the last."""
    kept: list[Expression] = []
    for position, expression in enumerate(arguments):
        if not expression.is_literal:
            kept.append(expression)
        elif truthy(expression.value) is stops_at or position == len(arguments) - 1:
            kept.append(expression)
            break
    if not kept:
        return ABSENT
    if len(kept) == 1:
        return kept[0]
    if all(expression.is_boolean for expression in kept):
        choices = None if stops_at else intersection([expression.choices for expression in kept])
        rule = _boolean_shortcut([expression.rule for expression in kept], stops_at=stops_at)
        return Expression(rule, is_boolean=True, choices=choices)
    *before, last = (expression.rule for expression in kept)

    def first_or_last(data: Data) -> Any:
        for rule in before:
            value = rule(data)
            if truthy(value) is stops_at:
                return value
        return last(data)

    return Expression(first_or_last)


def _boolean_shortcut(rules: Sequence[Rule], *, stops_at: bool) -> Rule:
    if len(rules) == 2:
        first, second = rules
        if stops_at:
            return lambda data: first(data) or second(data)
        return lambda data: first(data) and second(data)

    def any_or_all(data: Data) -> Any:
        for rule in rules:
            if rule(data) is stops_at:
                return stops_at
        return not stops_at

    return any_or_all


def _not(value: Any = None, *_ignored: Any) -> bool:
    return not truthy(value)


def _is_true(value: Any = None, *_ignored: Any) -> bool:
    return truthy(value)


def _first(value: Any = None, *_ignored: Any) -> Any:
    return value


LOGIC: Final[Mapping[str, Operator]] = {
    "if": Operator(_build_if),
    "?:": Operator(_build_if),
    "and": Operator(_build_and),
    "or": Operator(_build_or),
    "!": function(_not, is_boolean=True),
    "!!": function(_is_true, is_boolean=True),
    "log": function(_first),
}
