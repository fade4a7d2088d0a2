"""Expressions: the compiled parts of a rule, the operators that make them, comparisons and variables.

An operator is a factory: it takes the expressions of its arguments and returns the expression of the whole operation. Whatever can
be known without data is worked out then.

Source: ``flagd.md`` 6.1 and 6.3.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from aioflags.evaluation.jsonlogic.coercion import Kind, RuleError, charge, check_length, kind_of, to_number, to_text, truthy
from aioflags.model.values import is_array, is_object

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


# -- Comparison: the operators ``==``, ``!=``, ``===``, ``!==``, ``<``, ``<=``, ``>`` and ``>=``.
# Source: ``flagd.md`` 6.3.


def loosely_equal(left: Any = None, right: Any = None, *_ignored: Any) -> bool:
    """Equality with JavaScript's conversions. Two arrays or objects are never equal, and null equals only null."""
    kind, other = kind_of(left), kind_of(right)
    if kind is other:
        return kind < Kind.ARRAY and bool(left == right)
    if kind is Kind.NULL or other is Kind.NULL:
        return False
    if kind is Kind.BOOLEAN:
        return loosely_equal(int(left), right)
    if other is Kind.BOOLEAN:
        return loosely_equal(left, int(right))
    if kind >= Kind.ARRAY:
        return other < Kind.ARRAY and loosely_equal(to_text(left), right)
    if other >= Kind.ARRAY:
        return loosely_equal(left, to_text(right))
    return to_number(left) == to_number(right)


def strictly_equal(left: Any = None, right: Any = None, *_ignored: Any) -> bool:
    """Equality of type and value. 1 and 1.0 are the same number; two arrays or objects are never equal."""
    kind = kind_of(left)
    return kind is kind_of(right) and kind < Kind.ARRAY and bool(left == right)


def _equality(equal: Callable[..., bool], *, negated: bool) -> Operator:
    """``==`` and its relatives, with a short way for the usual test: whether a variable has the value of a text."""
    general = function((lambda *values: not equal(*values)) if negated else equal, is_boolean=True)

    def build(arguments: Sequence[Expression], site: Site) -> Expression:
        if len(arguments) == 2:
            for variable, constant in (arguments, arguments[::-1]):
                if variable.name is not None and constant.is_literal and constant.value.__class__ is str:
                    compiled = _has_text(equal, variable, constant.value, negated=negated)
                    choices = None if negated else {variable.name: frozenset({constant.value})}
                    return Expression(compiled, is_boolean=True, choices=choices)
        return general.build(arguments, site)

    return Operator(build)


def _has_text(equal: Callable[..., bool], variable: Expression, text: str, *, negated: bool) -> Rule:
    name, read = variable.name, variable.rule
    wanted = not negated

    def has_text(data: Any) -> bool:
        try:
            value = data.get(name)
        except AttributeError:  # not an object
            value = read(data)
        if value.__class__ is str:
            return (value == text) is wanted
        return equal(value, text) is wanted

    return has_text


def _ordering(holds: Callable[[Any, Any], bool]) -> Operator:
    """``<`` and its relatives. With a third argument, the second is between the others.

    An argument that is absent is not a number, as in JavaScript. One that is null counts as 0.
    """

    def compare(left: Any, right: Any) -> bool:
        if left.__class__ is int and right.__class__ is int:
            return holds(left, right)
        if kind_of(left) is Kind.TEXT and kind_of(right) is Kind.TEXT:
            return holds(left, right)
        return holds(to_number(left), to_number(right))

    def in_order(left: Any = math.nan, right: Any = math.nan, *more: Any) -> bool:
        return compare(left, right) and (not more or compare(right, more[0]))

    return function(in_order, is_boolean=True)


COMPARISON: Final[Mapping[str, Operator]] = {
    "==": _equality(loosely_equal, negated=False),
    "!=": _equality(loosely_equal, negated=True),
    "===": _equality(strictly_equal, negated=False),
    "!==": _equality(strictly_equal, negated=True),
    "<": _ordering(operator.lt),
    "<=": _ordering(operator.le),
    ">": _ordering(operator.gt),
    ">=": _ordering(operator.ge),
}


# -- Variables: the operators ``var``, ``missing`` and ``missing_some``.
#
# A path that is a literal is split when the rule is compiled.
#
# Source: ``flagd.md`` 6.3.


def member(value: Any, name: str) -> Any:
    """A member of an object, an element of an array, a character of a text, or the ``length`` of both; otherwise null."""
    kind = kind_of(value)
    if kind is Kind.ARRAY or kind is Kind.TEXT:
        if _is_index(name):
            return value[int(name)] if int(name) < len(value) else None
        return len(value) if name == "length" else None
    return value.get(name) if is_object(value) else None


def _is_index(name: str) -> bool:
    """Whether a name is a whole number as JavaScript writes it: without zeros in front."""
    return name.isdigit() and name.isascii() and len(name) < 16 and (name[0] != "0" or len(name) == 1)


def _path_text(path: Any) -> str:
    return "" if path is None else to_text(path)


def _walk(data: Data, names: Iterable[str]) -> Any:
    for name in names:
        data = data.get(name) if data.__class__ is dict else member(data, name)
        if data is None:
            return None
    return data


def _look_up(data: Data, path: Any) -> Any:
    """The value at a path that is not known before."""
    text = path if path.__class__ is str else _path_text(path)
    check_length(len(text))
    return _walk(data, text.split(".")) if text else data


def _build_var(arguments: Sequence[Expression], site: Site) -> Expression:
    path, fallback = argument(arguments, 0), argument(arguments, 1)
    if not path.is_literal:
        _note_reads(None, site)
        find = path.rule
        return Expression(_with_fallback(lambda data: _look_up(data, find(data)), fallback))
    text = _path_text(path.value)
    names = text.split(".") if text else []
    _note_reads(names[0] if names else None, site)
    read = _reader(names)
    if fallback.is_literal and fallback.value is None:
        return Expression(read, name=names[0] if len(names) == 1 else None)
    return Expression(_with_fallback(read, fallback))


def _note_reads(name: str | None, site: Site) -> None:
    """Note which member of the rule's data is read. ``None``: any. Inside a loop the data is an element of an array."""
    if site.in_loop:
        return
    if name is None:
        site.reads_all = True
    else:
        site.reads.add(name)


def _reader(names: Sequence[str]) -> Rule:
    if not names:
        return lambda data: data
    if len(names) > 1:
        return lambda data: _walk(data, names)
    (name,) = names

    def read(data: Data) -> Any:
        return data.get(name) if data.__class__ is dict else member(data, name)

    return read


def _with_fallback(read: Rule, fallback: Expression) -> Rule:
    if fallback.is_literal:
        value = fallback.value

        def read_or_literal(data: Data) -> Any:
            present = read(data)
            return value if present is None else present

        return read_or_literal
    compute = fallback.rule

    def read_or_compute(data: Data) -> Any:
        # All arguments are evaluated, whether they are needed or not: an unknown operator in the fallback is always reached.
        instead, present = compute(data), read(data)
        return instead if present is None else present

    return read_or_compute


def _missing(data: Data, names: Sequence[Any]) -> list[Any]:
    check_length(len(names))
    charge(len(names))
    missing: list[Any] = []
    for name in names:
        value = _look_up(data, name)
        if value is None or value == "":
            missing.append(name)
    return missing


def _build_missing(arguments: Sequence[Expression], site: Site) -> Expression:
    for name in arguments:
        _note_reads(_first_name(name), site)
    rules = [expression.rule for expression in arguments]

    def missing(data: Data) -> list[Any]:
        values = [rule(data) for rule in rules]
        return _missing(data, values[0] if values and is_array(values[0]) else values)

    return Expression(missing)


def _first_name(path: Expression) -> str | None:
    if not path.is_literal or is_array(path.value):
        return None
    return _path_text(path.value).partition(".")[0] or None


def _build_missing_some(arguments: Sequence[Expression], site: Site) -> Expression:
    _note_reads(None, site)
    count, options = argument(arguments, 0).rule, argument(arguments, 1).rule

    def missing_some(data: Data) -> list[Any]:
        needed, names = count(data), options(data)
        if not is_array(names):
            names = [names]
        missing = _missing(data, names)
        return [] if len(names) - len(missing) >= to_number(needed) else missing

    return Expression(missing_some)


VARIABLES: Final[Mapping[str, Operator]] = {
    "var": Operator(_build_var),
    "missing": Operator(_build_missing),
    "missing_some": Operator(_build_missing_some),
}
