"""Contexts as events show them: what is private removed, and named as removed.

Source: ``events.md`` 6.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

from aioflags.model.context import Context
from aioflags.model.reference import AttributeReference
from aioflags.model.values import is_array, plain_text

__all__ = ["Redaction", "plain"]

_MOST_BITS: Final = 14_000
"""Python refuses to write integers of more than 4300 digits, because that takes long."""


class Redaction:
    """What may not leave the process: every attribute, or those that the options and each context name.

    ``private``: references that hold for all contexts; one that is not valid names nothing. Kind, key and ``anonymous`` are
    no attributes, so that no reference hides them.
    """

    __slots__ = ("_all_private", "_private")

    def __init__(self, *, all_attributes_private: bool = False, private: Iterable[str] = ()) -> None:
        self._all_private = all_attributes_private
        self._private = _paths(private)

    def shape(self, context: Context, *, hides_anonymous: bool = False) -> dict[str, Any]:
        """The context as JSON. ``hides_anonymous``: of an anonymous one no attribute is told at all."""
        if context.members is None:
            return {"kind": context.kind, **self._single(context, hides_anonymous=hides_anonymous)}
        members = {kind: self._single(single, hides_anonymous=hides_anonymous) for kind, single in context.members.items()}
        return {"kind": "multi", **members}

    def _single(self, context: Context, *, hides_anonymous: bool) -> dict[str, Any]:
        shaped: dict[str, Any] = {"key": context.key}
        if context.anonymous:
            shaped["anonymous"] = True
        redacted: list[str] = []
        hides_all = self._all_private or (hides_anonymous and context.anonymous)
        private = self._private | _paths(context.private) if context.private else self._private
        named = context.attributes if context.name is None else {"name": context.name, **context.attributes}
        for name, value in named.items():
            if value is None:
                continue
            if hides_all or (name,) in private:
                redacted.append(_shown(name))
                continue
            inside: list[str] = []
            try:
                shaped[name] = _without(value, (name,), private, inside) if _reaches_into(name, private) else plain(value)
            except Exception:  # noqa: BLE001, S112 -- a mapping of the program's own may raise anything when it is read
                continue  # what JSON cannot carry is left out, and takes nothing else with it
            redacted += inside
        if redacted:
            shaped["_meta"] = {"redactedAttributes": redacted}
        return shaped


def plain(value: Any) -> Any:
    """``value`` made of nothing but what JSON has.

    Raises:
        TypeError: it is, or holds, something of another type.
        ValueError: a number that is not finite, or has thousands of digits.
        RecursionError: it holds itself, or is nested beyond all measure.
    """
    kind = value.__class__
    if kind is str or kind is bool or value is None:
        return value
    if kind is int:
        if value.bit_length() > _MOST_BITS:
            raise ValueError("JSON has numbers of thousands of digits, but Python writes none")
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError("JSON has finite numbers alone")
        return float(value)
    if isinstance(value, Mapping):
        return {_name(key): plain(inner) for key, inner in cast("Mapping[object, Any]", value).items()}
    if is_array(value):
        return [plain(inner) for inner in value]
    # Members of enumerations, and others that are one of these and more.
    if isinstance(value, str):
        return plain_text(value)
    if isinstance(value, int):
        return plain(int(value))
    raise TypeError(f"JSON has no {type(value).__name__}")


def _name(key: object) -> str:
    if isinstance(key, str):
        return plain_text(key)
    raise TypeError("names in JSON are strings")


def _without(value: Any, path: tuple[str, ...], private: frozenset[tuple[str, ...]], redacted: list[str]) -> Any:
    """A copy without the parts that are private. Arrays are not looked into."""
    if not isinstance(value, Mapping):
        return plain(value)
    kept: dict[str, Any] = {}
    for key, inner in cast("Mapping[object, Any]", value).items():
        name = _name(key)
        inner_path = (*path, name)
        if inner_path in private:
            redacted.append(str(AttributeReference(inner_path)))
        else:
            kept[name] = _without(inner, inner_path, private, redacted)
    return kept


def _reaches_into(name: str, private: frozenset[tuple[str, ...]]) -> bool:
    return any(len(path) > 1 and path[0] == name for path in private)


def _shown(name: str) -> str:
    """A top-level name among those that were redacted: bare, unless that would read as a path."""
    return str(AttributeReference.literal(name))


def _paths(references: Iterable[str]) -> frozenset[tuple[str, ...]]:
    return frozenset(path for text in references if (path := AttributeReference.parse(text).path))
