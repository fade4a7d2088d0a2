"""Parsing: the semantic versions, timestamps and numbers of clauses.

Source: ``evaluation.md`` 3.6.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from typing import Final, TypeAlias

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
