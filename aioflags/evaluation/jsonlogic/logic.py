"""Logic: the operators ``if``, ``?:``, ``and``, ``or``, ``!``, ``!!`` and ``log``.

The first four evaluate only the arguments they need. Conditions that are literals are decided when the rule is compiled.

Source: ``flagd.md`` 6.1 and 6.3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeAlias

from aioflags.evaluation.jsonlogic.coercion import truthy
from aioflags.evaluation.jsonlogic.expressions import ABSENT, Choices, Data, Expression, Operator, Rule, Site, condition, function

# -- The decision table: an ``if`` with several branches whose conditions test variables for membership in lists of texts.
#
# One lookup for each variable gives the branches that its value allows, as bits. So the time does not depend on the number of
# branches.


_FEWEST: Final = 3
"""With fewer branches it is quicker to test one after the other."""
_MOST: Final = 64
_MOST_TEXTS: Final = 4096
"""The texts of a table need memory a second time."""
_Column: TypeAlias = tuple[str, Mapping[str | None, int], int]
"""A variable, the branches that each of its texts allows, and the branches that all other values allow."""


def intersection(conditions: Sequence[Choices | None]) -> Choices | None:
    """The condition that all of these hold; ``None`` if one of them is not known."""
    joint: dict[str, frozenset[str]] = {}
    for choices in conditions:
        if choices is None:
            return None
        for name, texts in choices.items():
            joint[name] = joint[name] & texts if name in joint else texts
    return joint


def decision_table(conditions: Sequence[Choices | None], outcomes: Sequence[Rule], one_by_one: Rule) -> Rule | None:
    """The rule that chooses an outcome; ``None`` if there cannot be a table.

    Args:
        conditions: of the branches.
        outcomes: of the branches, and the one if no condition holds.
        one_by_one: the same rule, which tests the conditions one after the other.
    """
    branches = [condition for condition in conditions if condition is not None]
    texts = sum(len(allowed) for branch in branches for allowed in branch.values())
    if len(branches) < len(conditions) or not _FEWEST <= len(branches) <= _MOST or texts > _MOST_TEXTS:
        return None
    columns = [_column(name, branches) for name in dict.fromkeys(name for branch in branches for name in branch)]
    everything = (1 << len(branches)) - 1
    # By the lowest bit that is left. Its length is 0 if there is none.
    by_length = (outcomes[-1], *outcomes[:-1])

    def choose(data: Data) -> Any:
        left = everything
        for name, allowed, others in columns:
            try:
                value = data.get(name)
            except AttributeError:  # not an object
                return one_by_one(data)
            if value.__class__ is not str and value is not None:
                return one_by_one(data)
            left &= allowed.get(value, others)
            if not left:
                break
        return by_length[(left & -left).bit_length()](data)

    return choose


def _column(name: str, branches: Sequence[Choices]) -> _Column:
    others = 0
    allowed: dict[str | None, int] = {}
    for number, branch in enumerate(branches):
        if name not in branch:
            others |= 1 << number
        else:
            for text in branch[name]:
                allowed[text] = allowed.get(text, 0) | 1 << number
    return name, {text: bits | others for text, bits in allowed.items()}, others


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
    if len(branches) == 1:
        return _choose_one(*branches[0], otherwise)
    tests = [(condition(test), branch) for test, branch in branches]
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


def _choose_one(tested: Expression, branch: Expression, otherwise: Expression) -> Rule:
    test = condition(tested)
    if not (branch.is_literal and otherwise.is_literal):
        rule, default = branch.rule, otherwise.rule
        return lambda data: rule(data) if test(data) else default(data)
    value, alternative = branch.value, otherwise.value
    if tested.choices is None or len(tested.choices) > 1:
        return lambda data: value if test(data) else alternative
    ((name, texts),) = tested.choices.items()

    def choose(data: Data) -> Any:
        # The most frequent rule: the test of one variable is made here, since its call would take as long as the test.
        if data.__class__ is dict and (present := data.get(name)).__class__ is str:
            return value if present in texts else alternative
        return value if test(data) else alternative

    return choose


def _build_shortcut(arguments: Sequence[Expression], site: Site, *, stops_at: bool) -> Expression:
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
    "and": Operator(partial(_build_shortcut, stops_at=False)),
    "or": Operator(partial(_build_shortcut, stops_at=True)),
    "!": function(_not, is_boolean=True),
    "!!": function(_is_true, is_boolean=True),
    "log": function(_first),
}
