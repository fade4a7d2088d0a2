"""JSON values: comparing, copying, measuring, the names of their types, and the limit on nesting.

In JSON a boolean is not a number, although ``True == 1`` in Python. 1 and 1.0 are the same number.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, TypeAlias, TypeGuard, cast

import msgspec

from aioflags.runtime.logs import class_name

# -- The limit on nesting in JSON: 128 levels, independent of the interpreter and its recursion limit.
#
# Text is checked before it is decoded, because decoders recurse. Values from the program are checked as objects.
#
# Source: ``data-system.md`` 9.1; ``events.md`` 11.3.


MAX_DEPTH: Final = 128
"""Levels of arrays and objects: ``1`` has 0, ``[1]`` has 1."""

_AS_ARRAYS: Final = bytes.maketrans(b"{}", b"[]")
_NOT_STRUCTURE: Final = bytes(set(range(256)) - set(b'[]{}"'))
_STRING: Final = re.compile(rb'"[^"]*"')
SCALARS: Final = frozenset({str, int, float, bool, type(None)})
"""The classes of values without members. Callers test this first, because a function call takes longer."""
_NO_MEMBERS: Final[frozenset[Any]] = frozenset()
_CONTAINERS: Final = (dict, list, tuple, MappingProxyType)


class NestingError(ValueError):
    """JSON with more levels than ``MAX_DEPTH``."""

    def __init__(self, message: str = "nested too deeply") -> None:
        super().__init__(message)


def check_depth(text: bytes | str | msgspec.Raw, envelope: int = 0) -> None:
    """Check that JSON text does not nest too deeply. Text that is not JSON is left to its decoder.

    Args:
        text: JSON text; bytes are UTF-8.
        envelope: How many levels around the content do not count.

    Raises:
        NestingError: It has more than ``MAX_DEPTH`` levels.
    """
    if isinstance(text, str):
        text = text.encode(errors="replace")
    elif text.__class__ is not bytes:
        text = bytes(text)
    if _has_many_brackets(text) and _depth_exceeds(_brackets(text), MAX_DEPTH + envelope):
        raise NestingError


def _has_many_brackets(text: bytes) -> bool:
    """Whether ``text`` has more opening brackets than ``MAX_DEPTH``. Only such text can be too deep; few texts have so many."""
    # ``replace`` jumps from bracket to bracket; ``count`` compares every byte, and took up to twice as long on flags of 800 bytes.
    without = text.replace(b"[", b"", MAX_DEPTH + 1).replace(b"{", b"", MAX_DEPTH + 1)
    return len(text) - len(without) > MAX_DEPTH


def is_too_deep(value: Any, levels: int = MAX_DEPTH) -> bool:
    """Whether a value has more than ``levels`` levels. A value that contains itself has."""
    kind = value.__class__
    if (kind is list or kind is tuple) and SCALARS.issuperset(map(type, value)):
        return levels < 1  # the usual case: a list of scalars
    level: Collection[object] = (value,)
    for depth in range(levels + 1):
        # By identity: otherwise a value that contains itself twice would double the work with each level.
        inside: dict[int, object] = {}
        for container in level:
            members = _members(container)
            if not SCALARS.issuperset(map(type, members)):
                inside.update((id(member), member) for member in members if member.__class__ not in SCALARS)
            if members is not _NO_MEMBERS and depth == levels:
                return True
        if not inside:
            return False
        level = inside.values()
    return True


def _members(value: object) -> Collection[Any]:
    """The members of a container; ``_NO_MEMBERS`` for a scalar."""
    kind = value.__class__
    if kind is list or kind is tuple:
        return cast("list[Any]", value)
    if kind is dict:
        return cast("dict[str, Any]", value).values()
    if not isinstance(value, _CONTAINERS):
        return _NO_MEMBERS
    return cast("Mapping[str, Any]", value).values() if isinstance(value, Mapping) else cast("list[Any]", value)


def _brackets(data: bytes) -> bytes:
    """The brackets and braces outside strings, all written as brackets."""
    if b"\\" in data:
        # Remove escaped backslashes first. A quote that still has a backslash before it is then part of its string.
        data = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    structure = data.translate(_AS_ARRAYS, _NOT_STRUCTURE)
    # Two adjacent quotes are a string without brackets, or the end of one string and the start of the next. Removing both does
    # not change whether a bracket is inside a string.
    structure = structure.replace(b'""', b"")
    return _STRING.sub(b"", structure) if b'"' in structure else structure


def _depth_exceeds(brackets: bytes, limit: int) -> bool:
    """Whether brackets have more than ``limit`` levels. Each step removes the innermost level."""
    too_many = b"[" * (limit + 1)
    for _ in range(limit):
        if not brackets:
            return False
        if too_many in brackets:
            return True
        inner, brackets = brackets, brackets.replace(b"[]", b"")
        if len(brackets) == len(inner):
            # Not balanced, so not JSON. The number of opening brackets is an upper bound of how deep a decoder gets.
            return brackets.count(b"[") > limit
    return bool(brackets)


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
