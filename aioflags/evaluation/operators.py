"""Operators: what a clause may ask of one value, with the clause's own values worked out beforehand.

Each operator is a factory: it takes the clause's values and gives the test of one context value, which is never null and
never an array (of arrays, each element is tested). A value of a type that the operator does not know is no match.

Source: ``evaluation.md`` 3.5.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias, TypeVar

from aioflags.evaluation.compiled import Note
from aioflags.evaluation.parsing import parse_number, parse_time, parse_version
from aioflags.evaluation.patterns import compile_pattern
from aioflags.model.values import same_json

__all__ = ["NO_SCALAR", "OPERATORS", "Test", "never", "scalar"]

Test: TypeAlias = Callable[[Any], bool]

NO_SCALAR: Final = object()
_TRUE: Final = object()
_FALSE: Final = object()
T = TypeVar("T")


def scalar(value: object) -> object:
    """``value`` as a key under which equal JSON scalars meet, and only they: not ``True`` and 1.

    :data:`NO_SCALAR` for null, arrays and objects.
    """
    if isinstance(value, str):
        return value
    if value is True:
        return _TRUE
    if value is False:
        return _FALSE
    return value if isinstance(value, (int, float)) else NO_SCALAR


def never(value: object) -> bool:
    """The test of an operator that nobody knows."""
    return False


def _is_one_of(values: Sequence[Any], note: Note) -> Test:
    scalars = frozenset(map(scalar, values)) - {NO_SCALAR}
    others = tuple(value for value in values if scalar(value) is NO_SCALAR)

    def is_one_of(found: Any) -> bool:
        key = scalar(found)
        return key in scalars if key is not NO_SCALAR else any(same_json(found, value) for value in others)

    return is_one_of


def _starts_with(values: Sequence[Any], note: Note) -> Test:
    wanted = tuple(_strings(values))
    return lambda found: isinstance(found, str) and found.startswith(wanted)


def _ends_with(values: Sequence[Any], note: Note) -> Test:
    wanted = tuple(_strings(values))
    return lambda found: isinstance(found, str) and found.endswith(wanted)


def _contains(values: Sequence[Any], note: Note) -> Test:
    wanted = tuple(_strings(values))
    return lambda found: isinstance(found, str) and any(value in found for value in wanted)


def _matches(values: Sequence[Any], note: Note) -> Test:
    searches = tuple(compile_pattern(value, note) for value in _strings(values))
    return lambda found: isinstance(found, str) and any(search(found) for search in searches)


def _strings(values: Sequence[Any]) -> Iterable[str]:
    return (value for value in values if isinstance(value, str))


def _compares(
    parse: Callable[[object], T | None], holds: Callable[[Any, Any], bool], strictest: Callable[[list[T]], T]
) -> Callable[[Sequence[Any], Note], Test]:
    """Something is less than any of several values exactly if it is less than the greatest; so one of them is enough."""

    def factory(values: Sequence[Any], note: Note) -> Test:
        wanted = [parsed for value in values if (parsed := parse(value)) is not None]
        if not wanted:
            return never
        limit = strictest(wanted)

        def compares(found: Any) -> bool:
            parsed = parse(found)
            return parsed is not None and holds(parsed, limit)

        return compares

    return factory


def _is_same_version(values: Sequence[Any], note: Note) -> Test:
    wanted = frozenset(map(parse_version, values)) - {None}
    return lambda found: parse_version(found) in wanted


OPERATORS: Final[Mapping[str, Callable[[Sequence[Any], Note], Test]]] = {
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
