"""Expressions: the compiled parts of a rule, and the operators that make them.

An operator is a factory: it takes the expressions of its arguments and returns the expression of the whole operation. Whatever can
be known without data is worked out then.

Source: ``flagd.md`` 6.1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from aioflags.evaluation.jsonlogic.coercion import truthy
from aioflags.evaluation.jsonlogic.work import RuleError

Data: TypeAlias = Any
"""What a rule reads: any JSON value, usually an object. Tuples are arrays and mappings are objects, too."""
Rule: TypeAlias = Callable[[Data], Any]
"""A compiled rule: a function of the data."""
Choices: TypeAlias = Mapping[str, frozenset[str]]
"""A condition: each of these members of the data is one of its texts."""


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled part of a rule, and what is known about it without data."""

    rule: Rule
    is_literal: bool = False
    value: Any = None
    """The value of a literal."""
    name: str | None = None
    """The name that a variable without fallback reads, if it is one name that is no array index."""
    is_boolean: bool = False
    """Whether every result is ``True`` or ``False``."""
    choices: Choices | None = None
    """The same condition, if there is one. It holds for data whose members are texts or null."""


@dataclass(slots=True)
class Site:
    """Where an operation stands in its rule, and what the compiler notes about the rule while it compiles it."""

    in_loop: bool = False
    """The data of the operation is not the data of the rule, but an element of an array."""
    has_loop: bool = False
    """The rule has a loop, so its evaluations need an allowance."""
    reads_all: bool = False
    """The rule may read any part of its data, or all of it."""
    reads: set[str] = field(default_factory=set[str])
    """The members of the data that the rule reads."""
    is_bound: bool = False
    """The compiled form holds for one flag only."""
    loop_size: int = 0
    """How many operations the loop argument of the current operation has."""


Build: TypeAlias = Callable[[Sequence[Expression], Site], Expression]


@dataclass(frozen=True, slots=True)
class Operator:
    """How an operation is compiled.

    ``loop_argument``: the argument that is a rule for each element of an array, if there is one.
    """

    build: Build
    loop_argument: int | None = None


def literal(value: Any) -> Expression:
    """The expression that always has this value."""
    return Expression(lambda data: value, is_literal=True, value=value, is_boolean=value is True or value is False)


ABSENT: Final = literal(None)
"""An argument that is not there."""


def argument(arguments: Sequence[Expression], position: int) -> Expression:
    """The argument at this position; ``ABSENT`` if there are fewer."""
    return arguments[position] if position < len(arguments) else ABSENT


def condition(expression: Expression) -> Rule:
    """The rule whose result is the truthiness of the expression."""
    if expression.is_boolean:
        return expression.rule
    rule = expression.rule
    return lambda data: truthy(rule(data))


def function(compute: Callable[..., Any], *, is_boolean: bool = False) -> Operator:
    """The operator that evaluates all its arguments, left to right, and calls ``compute`` with them.

    ``compute`` depends on its arguments only, and accepts any number of them. Arguments that are literals make a literal.
    """

    def build(arguments: Sequence[Expression], site: Site) -> Expression:
        if all(argument.is_literal for argument in arguments):
            try:
                return literal(compute(*(argument.value for argument in arguments)))
            except RuleError:
                pass  # The evaluation reports it, if it gets there.
        return Expression(_call(compute, [argument.rule for argument in arguments]), is_boolean=is_boolean)

    return Operator(build)


def _call(compute: Callable[..., Any], rules: Sequence[Rule]) -> Rule:
    if len(rules) == 1:
        (only,) = rules
        return lambda data: compute(only(data))
    if len(rules) == 2:
        first, second = rules
        return lambda data: compute(first(data), second(data))
    return lambda data: compute(*[rule(data) for rule in rules])
