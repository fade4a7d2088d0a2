"""JSON values: how they compare, how they are copied, and what they are called in messages.

In JSON a boolean is no number, although Python calls ``True == 1``; and 1 and 1.0 are one number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias, cast

__all__ = ["JsonValue", "fresh", "is_array", "is_number", "is_small", "plain_text", "same_json", "type_name"]

JsonValue: TypeAlias = bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"] | None
"""What ``json.loads`` gives."""

_SMALL: Final = 256
_PART: Final = 256
"""Characters of text that take as long as a number in a list."""


def plain_text(text: str) -> str:
    """``text`` as a plain string, whatever class of strings it is of: a member of an enumeration is shown by another name."""
    return text if text.__class__ is str else str.__str__(text)


def is_number(value: object) -> bool:
    """Whether JSON would call ``value`` a number: an int or a float, never a bool."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_small(value: object) -> bool:
    """Whether work on all of ``value`` takes some microseconds: it has some hundred parts, long text counting for several.

    Answers soon, however large it is, and although it holds itself.
    """
    left = _SMALL
    unseen: list[Any] = [value]
    while unseen:
        each = unseen.pop()
        kind = each.__class__
        if kind is str or isinstance(each, str):
            if len(each) >= _PART:
                left -= len(each) // _PART
        elif kind is int or kind is bool or kind is float or each is None:
            continue
        elif kind is list or kind is tuple or is_array(each):
            left -= len(each)
            if left < 0:
                break
            unseen += each
        elif kind is dict or _is_object(each):
            left -= len(each)
            if left < 0:
                break
            unseen += each.values()
    return left >= 0


def _is_object(value: object) -> bool:
    return isinstance(value, Mapping)


def is_array(value: object) -> bool:
    """Whether ``value`` stands for a JSON array: a list, or a tuple that a caller wrote instead."""
    return isinstance(value, (list, tuple))


def same_json(one: object, other: object) -> bool:
    """Deep equality as JSON means it: ``1 == 1.0``, but a boolean never equals a number, at any depth.

    Values nested deeper than the interpreter recurses count as different.
    """
    try:
        return _same(one, other)
    except RecursionError:
        return False


def _same(one: object, other: object) -> bool:
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if is_array(one):
        left = cast("Sequence[object]", one)
        right = cast("Sequence[object]", other)
        return is_array(other) and len(left) == len(right) and all(map(_same, left, right))
    if isinstance(one, Mapping):
        if not isinstance(other, Mapping):
            return False
        here, there = cast("Mapping[str, object]", one), cast("Mapping[str, object]", other)
        return len(here) == len(there) and all(k in there and _same(v, there[k]) for k, v in here.items())
    return one == other


def fresh(value: Any) -> Any:
    """``value`` with every list and object in it copied, so that whoever gets it may change it."""
    if isinstance(value, Mapping):
        return {key: fresh(inner) for key, inner in cast("Mapping[str, Any]", value).items()}
    if is_array(value):
        return [fresh(inner) for inner in value]
    return value


def type_name(value: object) -> str:
    """What JSON calls the type of ``value``: for messages."""
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
    return "object" if isinstance(value, Mapping) else type(value).__name__
