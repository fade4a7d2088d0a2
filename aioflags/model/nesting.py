"""How deeply JSON may nest: 128 levels, the same on every interpreter, whatever its recursion limit is and however it counts.

Text is measured before it is decoded, since decoders recurse. Values that a program gives are measured as they are.

Source: ``data-system.md`` 9.1; ``events.md`` 11.3.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any, Final, cast

import msgspec

__all__ = ["MAX_DEPTH", "SCALARS", "NestingError", "check_depth", "check_value_depth", "is_too_deep"]

MAX_DEPTH: Final = 128
"""Levels: ``1`` has none, ``[1]`` has one."""

_AS_ARRAYS: Final = bytes.maketrans(b"{}", b"[]")
_NOT_STRUCTURE: Final = bytes(set(range(256)) - set(b'[]{}"'))
_STRING: Final = re.compile(rb'"[^"]*"')
SCALARS: Final = frozenset({str, int, float, bool, type(None)})
"""Classes of values that nothing is in. Asked first: to call a function takes longer."""
_NOTHING: Final[frozenset[Any]] = frozenset()
_CONTAINERS: Final = (dict, list, tuple, MappingProxyType)


class NestingError(ValueError):
    """JSON that nests more deeply than ``MAX_DEPTH``."""

    def __init__(self) -> None:
        super().__init__("nested too deeply")


def check_depth(text: bytes | str | msgspec.Raw, envelope: int = 0) -> None:
    """Raise :class:`NestingError` if JSON text nests too deeply. Text that is not JSON is left to its decoder.

    ``envelope``: how many levels around the content do not count.
    """
    # Nearly all texts end with the count: it takes a tenth of the time of decoding, and to find each bracket's depth thrice that.
    if isinstance(text, str):
        if text.count("[") + text.count("{") <= MAX_DEPTH:
            return
        text = text.encode(errors="replace")
    else:
        if text.__class__ is not bytes:
            text = bytes(text)
        if text.count(b"[") + text.count(b"{") <= MAX_DEPTH:
            return
    if _depth_exceeds(_brackets(text), MAX_DEPTH + envelope):
        raise NestingError


def check_value_depth(value: object) -> None:
    """Raise :class:`NestingError` if a value nests too deeply, or holds itself."""
    if value.__class__ not in SCALARS and is_too_deep(value):
        raise NestingError


def is_too_deep(value: object, levels: int = MAX_DEPTH) -> bool:
    """Whether a value nests more deeply than ``levels``. A value that holds itself does."""
    kind = value.__class__
    if (kind is list or kind is tuple) and SCALARS.issuperset(map(type, cast("list[Any]", value))):
        return levels < 1  # nearly always
    level: Collection[object] = (value,)
    for depth in range(levels + 1):
        # By identity, or a value that holds itself twice would double with each level.
        inside: dict[int, object] = {}
        for container in level:
            members = _members(container)
            if not SCALARS.issuperset(map(type, members)):
                inside.update((id(member), member) for member in members if member.__class__ not in SCALARS)
            if members is not _NOTHING and depth == levels:
                return True
        if not inside:
            return False
        level = inside.values()
    return True


def _members(value: object) -> Collection[Any]:
    """The members of a container. Of anything else ``_NOTHING``."""
    kind = value.__class__
    if kind is list or kind is tuple:
        return cast("list[Any]", value)
    if kind is dict:
        return cast("dict[str, Any]", value).values()
    if not isinstance(value, _CONTAINERS):
        return _NOTHING
    return cast("Mapping[str, Any]", value).values() if isinstance(value, Mapping) else cast("list[Any]", value)


def _brackets(data: bytes) -> bytes:
    """The brackets and braces outside of strings, as brackets."""
    if b"\\" in data:
        # Escaped backslashes first: then each quote that still has a backslash before it is a part of its string.
        data = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    structure = data.translate(_AS_ARRAYS, _NOT_STRUCTURE)
    # Quotes beside each other are a string without brackets, or the end of one string and the beginning of the next. Without
    # them each bracket is still inside of a string, or outside, as it was.
    structure = structure.replace(b'""', b"")
    return _STRING.sub(b"", structure) if b'"' in structure else structure


def _depth_exceeds(brackets: bytes, limit: int) -> bool:
    """Whether brackets nest more deeply than ``limit``. Each step takes the innermost level away."""
    too_many = b"[" * (limit + 1)
    for _ in range(limit):
        if not brackets:
            return False
        if too_many in brackets:
            return True
        inner, brackets = brackets, brackets.replace(b"[]", b"")
        if len(brackets) == len(inner):
            # Not balanced: no JSON. What is open at once is still an upper bound of how far a decoder gets.
            return brackets.count(b"[") > limit
    return bool(brackets)
