"""Operators: the tests of clauses, the parsing of their values, and the order of flags with prerequisites.

The values of a clause are prepared at compile time.

Each operator is a factory: it takes the clause's values and returns the test of one context value. That value is never null and
never an array: each element of an array is tested separately. A value of a type that the operator does not support does not match.

Source: ``evaluation.md`` 3.5.
"""

from __future__ import annotations

import datetime as dt
import math
import operator
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias, TypeVar

from aioflags.evaluation.items import ReportProblem
from aioflags.evaluation.patterns import compile_pattern
from aioflags.model.flag import FlagDefinition
from aioflags.model.values import same_json

# -- Ordering: flags after their prerequisites.


def prerequisite_keys(flag: FlagDefinition) -> Sequence[str]:
    """The keys of the prerequisites of a flag in LaunchDarkly's format, in the order in which they are checked."""
    return [prerequisite.key for prerequisite in flag.prerequisites or ()]


def prerequisites_first(
    flags: Mapping[str, Any],
    keys: Iterable[str] | None = None,
    seen: set[str] | None = None,
    prerequisites: Callable[[Any], Sequence[str]] = prerequisite_keys,
) -> Iterator[str]:
    """The keys of flags and of their prerequisites, each once, prerequisites first.

    A circle of prerequisites is cut where the walk returns to it. The walk is not recursive: a chain can be longer than the
    interpreter's recursion limit.

    Args:
        flags: all flags by key.
        keys: the flags to start from; by default all of them.
        seen: keys to leave out. The yielded keys are added to it.
        prerequisites: the keys of the prerequisites of a flag; by default of one in LaunchDarkly's format.
    """
    seen = set() if seen is None else seen
    for start in flags if keys is None else keys:
        stack: list[tuple[str, bool]] = [(start, False)]
        while stack:
            key, is_expanded = stack.pop()
            if is_expanded:
                yield key
            elif key in flags and key not in seen:
                seen.add(key)
                stack.append((key, True))
                stack += [(needed, False) for needed in reversed(prerequisites(flags[key]))]


# -- Parsing: the semantic versions, timestamps and numbers of clauses.
# Source: ``evaluation.md`` 3.6.


_Identifier: TypeAlias = tuple[int, int, str]
Version: TypeAlias = tuple[_Identifier, _Identifier, _Identifier, bool, tuple[_Identifier, ...]]
"""A version, ordered by precedence: three numbers, whether it is a release, and its prerelease identifiers."""

_NUMBER: Final = r"(?:0|[1-9][0-9]*)"
_PRE: Final = rf"(?:{_NUMBER}|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_VERSION: Final = re.compile(
    rf"({_NUMBER})(?:\.({_NUMBER}))?(?:\.({_NUMBER}))?(?:-({_PRE}(?:\.{_PRE})*))?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
)
_TIME: Final = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(\.[0-9]{1,9})?(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))"
)
_EPOCH: Final = dt.date(1970, 1, 1).toordinal()


def parse_version(value: object) -> Version | None:
    """A semantic version 2.0.0, in which minor and patch may be missing; ``None`` for anything else.

    Numbers can have any size: they are compared by length and then by digits, without conversion.
    """
    if not isinstance(value, str) or (match := _VERSION.fullmatch(value)) is None:
        return None
    major, minor, patch, prerelease = match.groups()
    identifiers = tuple(map(_identifier, prerelease.split("."))) if prerelease else ()
    return _identifier(major), _identifier(minor or "0"), _identifier(patch or "0"), not prerelease, identifiers


def _identifier(text: str) -> _Identifier:
    return (0, len(text), text) if text.isdigit() else (1, 0, text)


def parse_time(value: object) -> float | None:
    """Milliseconds since 1970: a number unchanged, a string in the format of RFC 3339; ``None`` for anything else."""
    if not isinstance(value, str):
        return parse_number(value)
    if (match := _TIME.fullmatch(value)) is None:
        return None
    year, month, day, hour, minute, second = map(int, match.groups()[:6])
    fraction, sign, *offset = match.groups()[6:]
    offset_hours, offset_minutes = (int(offset[0]), int(offset[1])) if sign else (0, 0)
    if hour > 23 or minute > 59 or second > 59 or offset_hours > 23 or offset_minutes > 59:
        return None
    try:
        days = dt.date(year, month, day).toordinal() - _EPOCH
    except ValueError:
        return None
    minutes = (days * 24 + hour) * 60 + minute
    ahead = offset_hours * 60 + offset_minutes
    seconds = (minutes + ahead if sign == "-" else minutes - ahead) * 60 + second
    return seconds * 1000 + (float(fraction) * 1000 if fraction else 0.0)


def parse_number(value: object) -> float | None:
    """A number as a double; ``None`` for anything else, booleans included."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


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
