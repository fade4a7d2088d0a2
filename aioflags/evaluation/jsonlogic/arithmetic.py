"""Arithmetic: the operators ``+``, ``-``, ``*``, ``/``, ``%``, ``min`` and ``max``.

Whole numbers are exact. What exceeds the largest double, or is not a number, becomes null.

Source: ``flagd.md`` 6.2 and 6.3.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias

from aioflags.evaluation.jsonlogic.coercion import finite, to_number
from aioflags.evaluation.jsonlogic.expressions import Operator, function

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
