"""The operators of JSONLogic for numbers, arrays, texts and membership.

Source: ``flagd.md`` 6.3.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from aioflags.evaluation.jsonlogic.coercion import UNIT, Kind, charge, check_length, finite, kind_of, to_index, to_number, to_text
from aioflags.evaluation.jsonlogic.expressions import (
    Data,
    Expression,
    Operator,
    Rule,
    Site,
    argument,
    condition,
    function,
    strictly_equal,
)
from aioflags.model.values import is_array

# -- Arithmetic: the operators ``+``, ``-``, ``*``, ``/``, ``%``, ``min`` and ``max``.
#
# Whole numbers are exact. What exceeds the largest double, or is not a number, becomes null.
#
# Source: ``flagd.md`` 6.2 and 6.3.


_Number: TypeAlias = int | float


def _add(*values: Any) -> _Number | None:
    numbers = [to_number(value) for value in values]
    if all(number.__class__ is int for number in numbers):
        return finite(sum(numbers))
    # Each becomes a float first, because the sum of integers could be too large for one. ``sum`` would round in its own way.
    return finite(functools.reduce(operator.add, map(float, numbers)))


def _multiply(*values: Any) -> _Number | None:
    product: _Number = 1
    for value in values:
        product *= to_number(value)
        # An integer beyond all doubles counts as infinite. So it has never more than twice as many digits as they have.
        product = to_number(product)
    return finite(product)


def _subtract(*values: Any) -> _Number | None:
    if len(values) < 2:
        return finite(-to_number(values[0] if values else None))
    return finite(to_number(values[0]) - to_number(values[1]))


def _divide(left: Any = None, right: Any = None, *_ignored: Any) -> _Number | None:
    divisor = to_number(right)
    return finite(to_number(left) / divisor) if divisor else None


def _remainder(left: Any = None, right: Any = None, *_ignored: Any) -> _Number | None:
    dividend, divisor = to_number(left), to_number(right)
    if not divisor or not math.isfinite(dividend):
        return None
    if isinstance(dividend, int) and isinstance(divisor, int):
        rest = abs(dividend) % abs(divisor)
        return -rest if dividend < 0 else rest
    return finite(math.fmod(dividend, divisor))


def _extreme(select: Callable[[Iterable[Any]], Any]) -> Operator:
    def extreme(*values: Any) -> _Number | None:
        numbers = [to_number(value) for value in values]
        if not numbers or any(number != number for number in numbers):  # noqa: PLR0124 - NaN differs from itself
            return None
        return finite(select(numbers))

    return function(extreme)


ARITHMETIC: Final[Mapping[str, Operator]] = {
    "+": function(_add),
    "-": function(_subtract),
    "*": function(_multiply),
    "/": function(_divide),
    "%": function(_remainder),
    "min": _extreme(min),
    "max": _extreme(max),
}


# -- Arrays: the operator ``merge``, and the loops ``map``, ``filter``, ``reduce``, ``all``, ``some`` and ``none``.
#
# Inside a loop the data is the element of the array, or for ``reduce`` an object with the members ``current`` and
# ``accumulator``.
#
# Source: ``flagd.md`` 6.3.


_Loop: TypeAlias = Callable[[Rule, Expression, int], Rule]
"""Makes a loop of the rule for the array, the expression for each element, and the work for each element."""


def _merge(*values: Any) -> list[Any]:
    check_length(sum(len(value) if is_array(value) else 1 for value in values))
    merged: list[Any] = []
    for value in values:
        if is_array(value):
            merged += value
        else:
            merged.append(value)
    return merged


def _map(array: Rule, each: Expression, work: int) -> Rule:
    rule = each.rule

    def map_(data: Data) -> list[Any]:
        elements = array(data)
        if not is_array(elements):
            return []
        charge(len(elements) * work)
        return [rule(element) for element in elements]

    return map_


def _filter(array: Rule, each: Expression, work: int) -> Rule:
    test = condition(each)

    def filter_(data: Data) -> list[Any]:
        elements = array(data)
        if not is_array(elements):
            return []
        charge(len(elements) * work)
        return [element for element in elements if test(element)]

    return filter_


def _first_match(*, stops_at: bool, result: bool, if_empty: bool) -> _Loop:
    """A loop that ends at the first element whose truthiness is ``stops_at``, with ``result``."""

    def make(array: Rule, each: Expression, work: int) -> Rule:
        test = condition(each)

        def first_match(data: Data) -> bool:
            elements = array(data)
            if not is_array(elements) or not elements:
                return if_empty
            for element in elements:
                charge(work)
                if test(element) is stops_at:
                    return result
            return not result

        return first_match

    return make


def _loop(make: _Loop, *, is_boolean: bool = False) -> Operator:
    def build(arguments: Sequence[Expression], site: Site) -> Expression:
        site.has_loop = True
        rule = make(argument(arguments, 0).rule, argument(arguments, 1), 1 + site.loop_size)
        return Expression(rule, is_boolean=is_boolean)

    return Operator(build, loop_argument=1)


def _build_reduce(arguments: Sequence[Expression], site: Site) -> Expression:
    site.has_loop = True
    array, each, initial = (argument(arguments, position).rule for position in range(3))
    work = 1 + site.loop_size

    def reduce(data: Data) -> Any:
        elements, accumulator = array(data), initial(data)
        if not is_array(elements):
            return accumulator
        charge(len(elements) * work)
        for element in elements:
            accumulator = each({"current": element, "accumulator": accumulator})
        return accumulator

    return Expression(reduce)


ARRAYS: Final[Mapping[str, Operator]] = {
    "merge": function(_merge),
    "map": _loop(_map),
    "filter": _loop(_filter),
    "reduce": Operator(_build_reduce, loop_argument=1),
    "all": _loop(_first_match(stops_at=False, result=False, if_empty=False), is_boolean=True),
    "some": _loop(_first_match(stops_at=True, result=True, if_empty=False), is_boolean=True),
    "none": _loop(_first_match(stops_at=True, result=False, if_empty=True), is_boolean=True),
}


# -- Text: the operators ``cat`` and ``substr``.
#
# Texts are counted in code points.
#
# Source: ``flagd.md`` 6.3.


def _cat(*values: Any) -> str:
    try:
        text = "".join(values)
    except TypeError:
        pass  # Some values are not texts.
    else:
        check_length(len(text))
        return text
    parts = [value if value.__class__ is str else "" if value is None else to_text(value) for value in values]
    check_length(sum(map(len, parts)))
    return "".join(parts)


def _substr(source: Any = None, start: Any = None, *more: Any) -> str:
    text, first = to_text(source), to_index(start)
    if first < 0:
        first = max(0, len(text) + first)
    if not more:
        end = len(text)
    else:
        length = to_index(more[0])
        end = len(text) + length if length < 0 else first + length
    check_length(len(text))
    return text[first : max(first, end)]


TEXT: Final[Mapping[str, Operator]] = {"cat": function(_cat), "substr": function(_substr)}


def _contains(needle: Any = None, haystack: Any = None, *_ignored: Any) -> bool:
    """Whether ``haystack`` is a text with ``needle`` in it, or an array that has it as an element."""
    if kind_of(haystack) is Kind.TEXT:
        if len(haystack) > UNIT:
            charge(len(haystack) // UNIT)
        return to_text(needle) in haystack
    if not is_array(haystack):
        return False
    charge(1 + len(haystack) // UNIT * 8)
    return any(strictly_equal(needle, element) for element in haystack)


_GENERAL: Final = function(_contains, is_boolean=True)


def _build(arguments: Sequence[Expression], site: Site) -> Expression:
    """``in``, with a lookup instead of a search if the array is a literal."""
    if len(arguments) < 2 or not all(argument.is_literal for argument in arguments[1:]) or not is_array(arguments[1].value):
        return _GENERAL.build(arguments, site)
    return _is_one_of(arguments[0], arguments[1].value)


def _is_one_of(needle: Expression, elements: Iterable[Any]) -> Expression:
    """Whether a value is one of the elements. Arrays and objects are not equal to anything, so only scalars count."""
    scalars = frozenset(_distinct(element) for element in elements if kind_of(element) < Kind.ARRAY)
    texts = frozenset(element for element in scalars if kind_of(element) is Kind.TEXT)
    read, name = needle.rule, needle.name

    def is_scalar(data: Any) -> bool:
        value = read(data)
        return kind_of(value) < Kind.ARRAY and _distinct(value) in scalars

    def is_text(data: Any) -> bool:
        value = read(data)
        return kind_of(value) is Kind.TEXT and value in texts

    def variable_is_text(data: Any) -> bool:
        try:
            return data.get(name) in texts
        except (AttributeError, TypeError):  # The data are not an object, or the value is an array or an object.
            return is_text(data)

    if len(texts) < len(scalars):
        return Expression(is_scalar, is_boolean=True)
    if name is None:
        return Expression(is_text, is_boolean=True)
    return Expression(variable_is_text, is_boolean=True, choices={name: texts})


def _distinct(value: Any) -> Any:
    """A key of a scalar that is equal for equal JSON values only: not for ``true`` and 1."""
    return (value,) if value.__class__ is bool else value


MEMBERSHIP: Final[Mapping[str, Operator]] = {"in": Operator(_build)}
