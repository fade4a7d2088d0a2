"""Redaction: contexts as events contain them, without private attributes and with a list of what was removed.

Source: ``events.md`` 6.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, cast

from aioflags.model.attributes import AttributeReference, text_names, warn_left_out
from aioflags.model.context import Context
from aioflags.model.values import is_array, is_small, plain_text
from aioflags.runtime.cooperative import Cooperative, sliced
from aioflags.runtime.logs import class_name

_MAX_INT_BITS: Final = 14_000
"""Python refuses to convert integers of more than 4300 digits to text, because it takes long."""
_SLICE_PARTS: Final = 64
"""How many attributes, or elements of a long array, are copied in one slice."""
_NO_PATHS: Final[frozenset[tuple[str, ...]]] = frozenset()


class Redaction:
    """Removes private attributes: all of them, or those that the options and the context list.

    ``private``: references for all contexts; invalid ones are ignored. Kind, key and ``anonymous`` are not attributes, and are
    never removed.
    """

    __slots__ = ("_all_private", "_private")

    def __init__(self, *, all_attributes_private: bool = False, private: Iterable[str] = ()) -> None:
        self._all_private = all_attributes_private
        self._private = _paths(private)

    def redact(self, context: Context, *, hides_anonymous: bool = False) -> dict[str, Any]:
        """The context as JSON, without its private attributes. ``hides_anonymous``: remove all attributes of anonymous contexts."""
        if context.members is None:
            return self._redact_single({"kind": context.kind}, context, hides_anonymous=hides_anonymous)
        members = {
            kind: self._redact_single({}, single, hides_anonymous=hides_anonymous) for kind, single in context.members.items()
        }
        return {"kind": "multi", **members}

    def redact_in_slices(self, context: Context, *, hides_anonymous: bool = False) -> Cooperative[dict[str, Any]]:
        """The same as :meth:`redact` for a large context: yields after each slice, and returns the result."""
        if context.members is None:
            return (yield from self._redact_single_in_slices({"kind": context.kind}, context, hides_anonymous=hides_anonymous))
        redacted: dict[str, Any] = {"kind": "multi"}
        for kind, member in context.members.items():
            redacted[kind] = yield from self._redact_single_in_slices({}, member, hides_anonymous=hides_anonymous)
        return redacted

    def _redact_single(self, properties: dict[str, Any], context: Context, *, hides_anonymous: bool) -> dict[str, Any]:
        single = self._start(properties, context, hides_anonymous=hides_anonymous)
        single.add("name", context.name)
        for name, value in text_names(context.attributes).items():
            single.add(name, value)
        return single.finish()

    def _redact_single_in_slices(
        self, properties: dict[str, Any], context: Context, *, hides_anonymous: bool
    ) -> Cooperative[dict[str, Any]]:
        single = self._start(properties, context, hides_anonymous=hides_anonymous)
        single.add("name", context.name)
        for attributes in sliced(text_names(context.attributes).items(), _SLICE_PARTS):
            for name, value in attributes:
                if value is None or isinstance(value, (str, int, float)):
                    single.add(name, value)
                else:
                    yield from single.add_in_slices(name, value)
            yield
        return single.finish()

    def _start(self, properties: dict[str, Any], context: Context, *, hides_anonymous: bool) -> _Single:
        hides_all = self._all_private or (hides_anonymous and context.anonymous)
        private = self._private | _paths(context.private) if context.private else self._private
        properties["key"] = context.key
        if context.anonymous:
            properties["anonymous"] = True
        return _Single(properties, private, hides_all=hides_all)


def is_large(context: Context) -> bool:
    """Whether redacting the context takes longer than some microseconds, because of the size of its attributes."""
    try:
        if context.members is None:
            return not is_small(context.attributes)
        return not all(is_small(member.attributes) for member in context.members.values())
    except Exception:  # noqa: BLE001 -- reading a mapping of the program may raise anything
        return False


class _Single:
    """The JSON of one single-kind context, built attribute by attribute."""

    __slots__ = ("_hides_all", "_private", "_properties", "_redacted")

    def __init__(self, properties: dict[str, Any], private: frozenset[tuple[str, ...]], *, hides_all: bool) -> None:
        self._properties = properties
        self._private = private
        self._hides_all = hides_all
        self._redacted: list[str] = []

    def add(self, name: str, value: object) -> None:
        """Add an attribute, or list its name as redacted if it is private."""
        if value is None or self._hides(name):
            return
        private = self._private
        try:
            if private and _reaches_into(name, private):
                redacted: list[str] = []
                self._properties[name] = _without(value, (name,), private, redacted)
                self._redacted += redacted
            else:
                self._properties[name] = plain(value)
        except Exception as error:  # noqa: BLE001 -- reading a mapping of the program may raise anything
            warn_left_out(name, f"it cannot be written into events ({class_name(error)})")  # the other attributes are kept

    def add_in_slices(self, name: str, value: object) -> Iterator[None]:
        """The same as :meth:`add` for an array or object, in slices."""
        if self._hides(name):
            return
        redacted: list[str] = []
        try:
            self._properties[name] = yield from _without_in_slices(value, (name,), self._private, redacted)
        except Exception:  # noqa: BLE001 -- reading a mapping of the program may raise anything
            # The program may have changed it between two slices. It cannot while add() copies the value without a pause.
            self.add(name, value)
            return
        self._redacted += redacted

    def finish(self) -> dict[str, Any]:
        """The JSON, after all attributes were added."""
        if self._redacted:
            self._properties["_meta"] = {"redactedAttributes": self._redacted}
        return self._properties

    def _hides(self, name: str) -> bool:
        if self._hides_all or (name,) in self._private:
            self._redacted.append(str(AttributeReference.literal(name)))  # bare, unless it would read as a path
            return True
        return False


def plain(value: Any) -> Any:
    """A copy of ``value`` that consists of JSON types.

    Raises:
        TypeError: It is or contains an object of another type.
        ValueError: A number is not finite, or has thousands of digits.
        RecursionError: It contains itself, or nests deeper than the interpreter's recursion limit.
    """
    kind = value.__class__
    if kind is str or kind is bool or value is None:
        return value
    if kind is int:
        if value.bit_length() > _MAX_INT_BITS:
            raise ValueError("expected a number of at most 4300 digits")
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError("expected a finite number")
        return float(value)
    if isinstance(value, Mapping):
        return {_name(key): plain(inner) for key, inner in cast("Mapping[object, Any]", value).items()}
    if is_array(value):
        return [plain(inner) for inner in value]
    # Members of enumerations, and other subclasses.
    if isinstance(value, str):
        return plain_text(value)
    if isinstance(value, int):
        return plain(int(value))
    raise TypeError(f"expected a JSON value, got {class_name(value)}")


def _name(key: object) -> str:
    if isinstance(key, str):
        return plain_text(key)
    raise TypeError(f"expected strings as names, got {class_name(key)}")


def _without(value: Any, path: tuple[str, ...], private: frozenset[tuple[str, ...]], redacted: list[str]) -> Any:
    """A copy of the value without its private parts. Arrays have no private parts."""
    if not isinstance(value, Mapping):
        return plain(value)
    kept: dict[str, Any] = {}
    for inner_path, inner in _members(cast("Mapping[object, Any]", value), path, private, redacted):
        kept[inner_path[-1]] = _without(inner, inner_path, private, redacted)
    return kept


def _without_in_slices(
    value: Any, path: tuple[str, ...], private: frozenset[tuple[str, ...]], redacted: list[str]
) -> Cooperative[Any]:
    """The same as :func:`_without` in slices, also of long arrays."""
    if is_small(value):
        yield
        return _without(value, path, private, redacted)
    if isinstance(value, Mapping):
        kept: dict[str, Any] = {}
        for inner_path, inner in _members(cast("Mapping[object, Any]", value), path, private, redacted):
            kept[inner_path[-1]] = yield from _without_in_slices(inner, inner_path, private, redacted)
        return kept
    if not is_array(value):
        return plain(value)
    copied: list[Any] = []
    for part in sliced(value, _SLICE_PARTS):
        if is_small(part):
            copied += plain(part)
            yield
        else:
            for inner in part:
                copied.append((yield from _without_in_slices(inner, path, _NO_PATHS, redacted)))
    return copied


def _members(
    value: Mapping[object, Any], path: tuple[str, ...], private: frozenset[tuple[str, ...]], redacted: list[str]
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The members of an object that are not private, each with its path. The paths of private members go into ``redacted``."""
    for key, inner in value.items():
        inner_path = (*path, _name(key))
        if inner_path in private:
            redacted.append(str(AttributeReference(inner_path)))
        else:
            yield inner_path, inner


def _reaches_into(name: str, private: frozenset[tuple[str, ...]]) -> bool:
    return any(len(path) > 1 and path[0] == name for path in private)


def _paths(references: Iterable[str]) -> frozenset[tuple[str, ...]]:
    return frozenset(path for text in references if (path := AttributeReference.parse(text).path))
