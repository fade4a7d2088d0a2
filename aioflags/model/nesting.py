"""The limit on nesting in JSON: 128 levels, independent of the interpreter and its recursion limit.

Text is checked before it is decoded, because decoders recurse. Values from the program are checked as objects.

Source: ``data-system.md`` 9.1; ``events.md`` 11.3.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any, Final, cast

import msgspec

__all__ = ["MAX_DEPTH", "SCALARS", "NestingError", "check_depth", "is_too_deep"]

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
