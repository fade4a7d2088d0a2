"""JSON values: comparing, copying, measuring, and the names of their types.

In JSON a boolean is not a number, although ``True == 1`` in Python. 1 and 1.0 are the same number.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias, TypeGuard

from aioflags.runtime.logs import class_name

__all__ = [
    "JsonValue",
    "fresh",
    "is_array",
    "is_number",
    "is_object",
    "is_small",
    "is_unicode",
    "plain_text",
    "same_json",
    "type_name",
    "utc_text",
]

JsonValue: TypeAlias = bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"] | None
"""A value that ``json.loads`` returns."""

_MAX_SMALL: Final = 256
"""How many members and elements a small value has at most, long strings counting for several."""
_CHARACTERS: Final = 256
"""The length of text that takes as long to process as one element."""


def plain_text(text: str) -> str:
    """``text`` as a ``str``, if it is of a subclass such as an enumeration, whose ``str()`` may be different text.

    A lazy object whose ``__class__`` says that it is a ``str`` becomes the text that it stands for.
    """
    kind: type = type(text)
    if kind is str:
        return text
    return str.__str__(text if issubclass(kind, str) else str(text))


def is_unicode(text: str) -> bool:
    """Whether ``text`` can be encoded, so that it can be sent: half of a surrogate pair cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_number(value: object) -> bool:
    """Whether ``value`` is a JSON number: an int or a float, not a bool."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_small(value: object) -> bool:
    """Whether processing all of ``value`` takes only microseconds: it has at most 256 parts, long strings counting for several.

    The check is quick for a value of any size, also for one that contains itself.
    """
    left = _MAX_SMALL
    pending: list[Any] = [value]
    while pending:
        part = pending.pop()
        kind = part.__class__
        if kind is str or isinstance(part, str):
            if len(part) >= _CHARACTERS:
                left -= len(part) // _CHARACTERS
        elif kind is int or kind is bool or kind is float or part is None:
            continue
        elif kind is list or kind is tuple or is_array(part):
            left -= len(part)
            if left < 0:
                break
            pending += part
        elif kind is dict or is_object(part):
            left -= len(part)
            if left < 0:
                break
            pending += part.values()
    return left >= 0


def is_object(value: object) -> TypeGuard[Mapping[str, Any]]:
    """Whether ``value`` is a JSON object: a mapping, most often a dict."""
    return value.__class__ is dict or isinstance(value, Mapping)


def is_array(value: object) -> TypeGuard[Sequence[Any]]:
    """Whether ``value`` is a JSON array: a list, or a tuple."""
    return isinstance(value, (list, tuple))


def same_json(left: object, right: object) -> bool:
    """Whether two values are deeply equal in JSON: ``1`` equals ``1.0``, but a boolean never equals a number.

    Values that nest deeper than the interpreter's recursion limit count as different.
    """
    try:
        return _same(left, right)
    except RecursionError:
        return False


def _same(left: object, right: object) -> bool:
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if is_array(left):
        return is_array(right) and len(left) == len(right) and all(map(_same, left, right))
    if is_object(left):
        return (
            is_object(right)
            and len(left) == len(right)
            and all(name in right and _same(value, right[name]) for name, value in left.items())
        )
    return left == right


def fresh(value: Any) -> Any:
    """A copy of ``value`` that shares no list or object with it, so that the caller may change it."""
    if is_object(value):
        return {key: fresh(inner) for key, inner in value.items()}
    if is_array(value):
        return [fresh(inner) for inner in value]
    return value


def type_name(value: object) -> str:
    """The name of the type of ``value`` in JSON, for messages."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if is_number(value):
        return "number"
    if isinstance(value, str):
        return "string"
    if is_array(value):
        return "array"
    return "object" if is_object(value) else class_name(value)


def utc_text(moment: dt.datetime) -> str:
    """RFC 3339 in UTC. A time without zone counts as UTC."""
    if moment.tzinfo is not None:
        try:
            moment = moment.astimezone(dt.UTC)
        except OverflowError:  # in the year 1 or 9999
            return moment.isoformat()
    return moment.replace(tzinfo=None).isoformat() + "Z"
