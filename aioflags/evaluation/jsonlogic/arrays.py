"""Arrays: the operator ``merge``, and the loops ``map``, ``filter``, ``reduce``, ``all``, ``some`` and ``none``.

Inside a loop the data is the element of the array, or for ``reduce`` an object with the members ``current`` and ``accumulator``.

Source: ``flagd.md`` 6.3.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from aioflags.evaluation.jsonlogic.coercion import is_array
from aioflags.evaluation.jsonlogic.expressions import Data, Expression, Operator, Rule, Site, argument, condition, function
from aioflags.evaluation.jsonlogic.work import charge, check_length

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
