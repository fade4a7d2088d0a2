"""Operators: the tests of clauses, with the clause's values prepared at compile time.

Each operator is a factory: it takes the clause's values and returns the test of one context value. That value is never null and
never an array: each element of an array is tested separately. A value of a type that the operator does not support does not match.

Source: ``evaluation.md`` 3.5.
"""

from __future__ import annotations

import operator
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias, TypeVar

from aioflags.evaluation.compiled import ReportProblem
from aioflags.evaluation.parsing import parse_number, parse_time, parse_version
from aioflags.evaluation.patterns import compile_pattern
from aioflags.model.values import same_json

Test: TypeAlias = Callable[[Any], bool]

_MANY: Final = 16
"""From more prefixes or suffixes on, a search in a sorted list is faster than testing all of them."""
NOT_SCALAR: Final = object()
_TRUE: Final = object()
_FALSE: Final = object()
T = TypeVar("T")


def scalar_key(value: object) -> object:
    """A dictionary key for ``value`` that is equal for equal JSON scalars only: not for ``True`` and 1.

    :data:`NOT_SCALAR` for null, arrays and objects.
    """
    if isinstance(value, str):
        return value
    if value is True:
        return _TRUE
    if value is False:
        return _FALSE
    return value if isinstance(value, (int, float)) else NOT_SCALAR


def never(value: object) -> bool:
    """The test of an unknown operator, and of one without a value to compare with: it never matches."""
    return False


def _is_one_of(values: Sequence[Any], note: ReportProblem) -> Test:
    scalars = frozenset(map(scalar_key, values)) - {NOT_SCALAR}
    others = tuple(value for value in values if scalar_key(value) is NOT_SCALAR)

    def is_one_of(value: Any) -> bool:
        key = scalar_key(value)
        return key in scalars if key is not NOT_SCALAR else any(same_json(value, other) for other in others)

    return is_one_of


def _starts_with(values: Sequence[Any], note: ReportProblem) -> Test:
    prefixes = tuple(_strings(values))
    if len(prefixes) > _MANY:
        starts = _starts_with_one_of(prefixes)
        return lambda value: isinstance(value, str) and starts(value)
    return lambda value: isinstance(value, str) and value.startswith(prefixes)


def _ends_with(values: Sequence[Any], note: ReportProblem) -> Test:
    suffixes = tuple(_strings(values))
    if len(suffixes) > _MANY:
        starts = _starts_with_one_of([suffix[::-1] for suffix in suffixes])
        return lambda value: isinstance(value, str) and starts(value[::-1])
    return lambda value: isinstance(value, str) and value.endswith(suffixes)


def _starts_with_one_of(prefixes: Iterable[str]) -> Callable[[str], bool]:
    """The test for many prefixes. It compares with a few of them: no prefix begins another one, so only one can fit."""
    fewest: list[str] = []
    for prefix in sorted(prefixes):
        if not fewest or not prefix.startswith(fewest[-1]):
            fewest.append(prefix)

    def starts(value: str) -> bool:
        place = bisect_right(fewest, value)
        return place > 0 and value.startswith(fewest[place - 1])

    return starts


def _contains(values: Sequence[Any], note: ReportProblem) -> Test:
    parts = tuple(_strings(values))
    return lambda value: isinstance(value, str) and any(part in value for part in parts)


def _matches(values: Sequence[Any], note: ReportProblem) -> Test:
    searches = tuple(compile_pattern(value, note) for value in _strings(values))
    return lambda value: isinstance(value, str) and any(search(value) for search in searches)


def _strings(values: Sequence[Any]) -> Iterable[str]:
    return (value for value in values if isinstance(value, str))


def _compares(
    parse: Callable[[object], T | None], holds: Callable[[Any, Any], bool], widest: Callable[[list[T]], T]
) -> Callable[[Sequence[Any], ReportProblem], Test]:
    """Makes an operator that compares with one limit:

    a value is less than any of several limits if it is less than the greatest.
    """

    def factory(values: Sequence[Any], note: ReportProblem) -> Test:
        limits = [parsed for value in values if (parsed := parse(value)) is not None]
        if not limits:
            return never
        limit = widest(limits)

        def compares(value: Any) -> bool:
            parsed = parse(value)
            return parsed is not None and holds(parsed, limit)

        return compares

    return factory


def _is_same_version(values: Sequence[Any], note: ReportProblem) -> Test:
    versions = frozenset(map(parse_version, values)) - {None}
    return lambda value: parse_version(value) in versions


OPERATORS: Final[Mapping[str, Callable[[Sequence[Any], ReportProblem], Test]]] = {
    "in": _is_one_of,
    "startsWith": _starts_with,
    "endsWith": _ends_with,
    "contains": _contains,
    "matches": _matches,
    "lessThan": _compares(parse_number, operator.lt, max),
    "lessThanOrEqual": _compares(parse_number, operator.le, max),
    "greaterThan": _compares(parse_number, operator.gt, min),
    "greaterThanOrEqual": _compares(parse_number, operator.ge, min),
    "before": _compares(parse_time, operator.lt, max),
    "after": _compares(parse_time, operator.gt, min),
    "semVerEqual": _is_same_version,
    "semVerLessThan": _compares(parse_version, operator.lt, max),
    "semVerGreaterThan": _compares(parse_version, operator.gt, min),
}
