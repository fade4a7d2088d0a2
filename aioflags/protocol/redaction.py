"""Contexts as events show them: what is private removed, and named as removed.

Source: ``events.md`` 6.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, cast

from aioflags.model.context import Context
from aioflags.model.reference import AttributeReference
from aioflags.model.values import is_array, is_small, plain_text

__all__ = ["Redaction", "is_large", "plain"]

_MOST_BITS: Final = 14_000
"""Python refuses to write integers of more than 4300 digits, because that takes long."""
_AT_ONCE: Final = 64
"""How many attributes, or elements of a long array, are dealt with at once."""
_NOTHING: Final[frozenset[tuple[str, ...]]] = frozenset()


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
            return self._single({"kind": context.kind}, context, hides_anonymous=hides_anonymous)
        members = {kind: self._single({}, single, hides_anonymous=hides_anonymous) for kind, single in context.members.items()}
        return {"kind": "multi", **members}

    def shaping(self, context: Context, *, hides_anonymous: bool = False) -> Generator[None, None, dict[str, Any]]:
        """The same in slices, for a context that is large: yields after each, and returns what came of it."""
        if context.members is None:
            return (yield from self._shaping_single({"kind": context.kind}, context, hides_anonymous=hides_anonymous))
        shaped: dict[str, Any] = {"kind": "multi"}
        for kind, member in context.members.items():
            shaped[kind] = yield from self._shaping_single({}, member, hides_anonymous=hides_anonymous)
        return shaped

    def _single(self, shaped: dict[str, Any], context: Context, *, hides_anonymous: bool) -> dict[str, Any]:
        single = self._begun(shaped, context, hides_anonymous=hides_anonymous)
        named = context.attributes if context.name is None else {"name": context.name, **context.attributes}
        for name, value in named.items():
            single.tell(name, value)
        return single.whole()

    def _shaping_single(
        self, shaped: dict[str, Any], context: Context, *, hides_anonymous: bool
    ) -> Generator[None, None, dict[str, Any]]:
        single = self._begun(shaped, context, hides_anonymous=hides_anonymous)
        single.tell("name", context.name)
        for count, (name, value) in enumerate(context.attributes.items(), 1):
            if value is None or isinstance(value, (str, int, float)):
                single.tell(name, value)
            else:
                yield from single.telling(name, value)
            if not count % _AT_ONCE:
                yield
        return single.whole()

    def _begun(self, shaped: dict[str, Any], context: Context, *, hides_anonymous: bool) -> _Single:
        hides_all = self._all_private or (hides_anonymous and context.anonymous)
        private = self._private | _paths(context.private) if context.private else self._private
        shaped["key"] = context.key
        if context.anonymous:
            shaped["anonymous"] = True
        return _Single(shaped, private, hides_all=hides_all)


def is_large(context: Context) -> bool:
    """Whether shaping it takes longer than some microseconds, which is a matter of its attributes."""
    try:
        if context.members is None:
            return not is_small(context.attributes)
        return not all(is_small(member.attributes) for member in context.members.values())
    except Exception:  # noqa: BLE001 -- a mapping of the program's own may raise anything when it is read
        return False


class _Single:
    """A context of one kind, on its way into JSON."""

    __slots__ = ("_hides_all", "_private", "_redacted", "_shaped")

    def __init__(self, shaped: dict[str, Any], private: frozenset[tuple[str, ...]], *, hides_all: bool) -> None:
        self._shaped = shaped
        self._private = private
        self._hides_all = hides_all
        self._redacted: list[str] = []

    def tell(self, name: str, value: object) -> None:
        """Adds an attribute, or its name where it is private."""
        if value is None or self._hides(name):
            return
        private = self._private
        try:
            if private and _reaches_into(name, private):
                inside: list[str] = []
                self._shaped[name] = _without(value, (name,), private, inside)
                self._redacted += inside
            else:
                self._shaped[name] = plain(value)
        except Exception:  # noqa: BLE001 -- a mapping of the program's own may raise anything when it is read
            return  # what JSON cannot carry is left out, and takes nothing else with it

    def telling(self, name: str, value: object) -> Iterator[None]:
        """The same of an array or object, in slices."""
        if self._hides(name):
            return
        inside: list[str] = []
        try:
            self._shaped[name] = yield from _copying(value, (name,), self._private, inside)
        except Exception:  # noqa: BLE001 -- as above
            # Perhaps the program has changed it meanwhile, which it cannot do while it is copied at once.
            self.tell(name, value)
            return
        self._redacted += inside

    def whole(self) -> dict[str, Any]:
        """The context, when all of it is told."""
        if self._redacted:
            self._shaped["_meta"] = {"redactedAttributes": self._redacted}
        return self._shaped

    def _hides(self, name: str) -> bool:
        if self._hides_all or (name,) in self._private:
            self._redacted.append(_shown(name))
            return True
        return False


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
    for inner_path, inner in _members(cast("Mapping[object, Any]", value), path, private, redacted):
        kept[inner_path[-1]] = _without(inner, inner_path, private, redacted)
    return kept


def _copying(
    value: Any, path: tuple[str, ...], private: frozenset[tuple[str, ...]], redacted: list[str]
) -> Generator[None, None, Any]:
    """The same in slices. Arrays may be long, too; nothing in them is private."""
    if is_small(value):
        yield
        return _without(value, path, private, redacted)
    if isinstance(value, Mapping):
        kept: dict[str, Any] = {}
        for inner_path, inner in _members(cast("Mapping[object, Any]", value), path, private, redacted):
            kept[inner_path[-1]] = yield from _copying(inner, inner_path, private, redacted)
        return kept
    if not is_array(value):
        return plain(value)
    copied: list[Any] = []
    for start in range(0, len(value), _AT_ONCE):
        part = cast("Sequence[Any]", value[start : start + _AT_ONCE])
        if is_small(part):
            copied += plain(part)
            yield
        else:
            for inner in part:
                copied.append((yield from _copying(inner, path, _NOTHING, redacted)))
    return copied


def _members(
    value: Mapping[object, Any], path: tuple[str, ...], private: frozenset[tuple[str, ...]], redacted: list[str]
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """What of an object is not private, each with its path. What is, is named as redacted."""
    for key, inner in value.items():
        inner_path = (*path, _name(key))
        if inner_path in private:
            redacted.append(str(AttributeReference(inner_path)))
        else:
            yield inner_path, inner


def _reaches_into(name: str, private: frozenset[tuple[str, ...]]) -> bool:
    return any(len(path) > 1 and path[0] == name for path in private)


def _shown(name: str) -> str:
    """A top-level name among those that were redacted: bare, unless that would read as a path."""
    return str(AttributeReference.literal(name))


def _paths(references: Iterable[str]) -> frozenset[tuple[str, ...]]:
    return frozenset(path for text in references if (path := AttributeReference.parse(text).path))
