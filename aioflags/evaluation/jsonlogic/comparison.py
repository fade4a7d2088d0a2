"""Comparison: the operators ``==``, ``!=``, ``===``, ``!==``, ``<``, ``<=``, ``>`` and ``>=``.

Source: ``flagd.md`` 6.3.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from aioflags.evaluation.jsonlogic.coercion import Kind, kind_of, to_number, to_text
from aioflags.evaluation.jsonlogic.expressions import Expression, Operator, Rule, Site, function


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
