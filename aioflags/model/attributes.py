"""Attributes of contexts: the one rule for values that JSON lacks, and references to attributes.

Conversion: the one rule for values of the program that JSON lacks, in contexts and in the data of events.

``datetime`` and ``date`` become text of RFC 3339 in UTC, ``UUID`` and ``Path`` text, an ``Enum`` its value, ``Decimal`` a float, a
tuple an array, a scalar of numpy what it holds. A subclass of a type of JSON becomes that type, and so does a lazy object whose
``__class__`` says that it is one. Everything else is left out. Nothing here raises, whatever a value does when it is read.

Values that JSON has are not copied.
"""

from __future__ import annotations

import datetime as dt
import functools
import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from enum import Enum
from functools import partial
from types import NoneType
from typing import Any, Final, cast

import msgspec

from aioflags.model.values import MAX_DEPTH, plain_text, utc_text
from aioflags.runtime.logs import Once, class_name, logger, printable

# -- AttributeReference: how flags and lists of private attributes refer to an attribute of a context.
#
# ``city`` is a top-level name. ``/address/city`` is a path into objects, with ``~1`` for a slash and ``~0`` for a tilde in a
# name.
#
# Source: ``evaluation.md`` 1.7.


_BAD_ESCAPE = re.compile(r"~(?![01])")


class AttributeReference(msgspec.Struct, frozen=True):
    """A parsed attribute reference: a path of names, or an error.

    Two references are equal if they have the same path: ``/a`` equals ``a``. An invalid one has an empty path and an ``error``.
    """

    path: tuple[str, ...]
    error: str | None = None

    @staticmethod
    def parse(text: str) -> AttributeReference:
        """Parse ``text`` as a path if it starts with a slash, otherwise as a plain name. Never raises."""
        return _parse(text)

    @staticmethod
    def literal(name: str) -> AttributeReference:
        """A top-level attribute with exactly this name, including slashes and tildes."""
        return AttributeReference((name,)) if name else _EMPTY

    @property
    def is_valid(self) -> bool:
        """Whether it has a path."""
        return self.error is None

    def __str__(self) -> str:
        """The shortest text that parses to this reference; empty for an invalid reference."""
        if len(self.path) == 1 and not self.path[0].startswith("/"):
            return self.path[0]
        return "".join("/" + name.replace("~", "~0").replace("/", "~1") for name in self.path)


_EMPTY = AttributeReference((), "an attribute reference cannot be empty")


@functools.lru_cache(maxsize=4096)
def _parse(text: str) -> AttributeReference:
    if text in {"", "/"}:
        return _EMPTY
    if not text.startswith("/"):
        return AttributeReference((text,))
    parts = text[1:].split("/")
    if "" in parts:
        return AttributeReference((), "a double or trailing slash leaves a part of the path empty")
    if _BAD_ESCAPE.search(text):
        return AttributeReference((), "a tilde in a path stands before 0 or 1 only")
    return AttributeReference(tuple(part.replace("~1", "/").replace("~0", "~") for part in parts))


# The type of any value at all is partially unknown to pyright.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
REPORTED: Final = Once()
"""Attributes for which this process already logged what is left out, each with its reason."""
ALWAYS_JSON: Final = frozenset({str, int, bool, NoneType})
"""Classes whose values JSON has. It does not have every ``float``."""

_MAX_ATTRIBUTE_DEPTH: Final = MAX_DEPTH - 2
"""The limit on nesting within an attribute. In the JSON of a multi-kind context there are two levels around it."""
_MAX_PARTS: Final = 1_000_000
"""The limit on members and elements of a value that has to be converted: some objects have no end."""
_NOT_FINITE: Final = "a float that is not finite is not JSON"
_TOO_DEEP: Final = "it is nested too deeply, or contains itself"
_TOO_LONG: Final = f"it has more than {_MAX_PARTS:,} parts"
_TEXTS: Final = frozenset({str})
_NUMBERS: Final = frozenset({int, float})


class NotJsonError(ValueError):
    """A value that JSON lacks. The message says why, without the value."""


def json_attributes(attributes: Mapping[str, object]) -> dict[str, object]:
    """A copy of the attributes in which every value is JSON. What is left out is logged, once for each attribute and reason."""
    usable: dict[str, object] = {}
    for name, value in text_names(attributes).items():
        try:
            usable[name] = json_value(value, partial(_warn_naive, name), levels=_MAX_ATTRIBUTE_DEPTH)
        except NotJsonError as problem:
            warn_left_out(name, str(problem))
    return usable


def text_names(attributes: Mapping[str, object]) -> Mapping[str, object]:
    """The attributes with names that are text: the same object if all are. Others are left out, with a warning."""
    with suppress(Exception):  # see json_value
        if _TEXTS.issuperset(map(type, attributes)):
            return attributes
    usable: dict[str, object] = {}
    for name in attributes:
        try:
            text = _name(name)
        except NotJsonError as problem:
            warn_left_out(None, str(problem))
            continue
        try:
            usable[text] = attributes[name]
        except Exception as error:  # noqa: BLE001 -- a mapping of the program may raise anything when it is read
            warn_left_out(text, f"reading it raised {class_name(error)}")
    return usable


def json_or_same(value: Any) -> Any:
    """A property of a context, such as its key, by the rule; the value itself if JSON lacks it: its type is an error then."""
    try:
        return json_value(value)
    except NotJsonError:
        return value


def json_value(value: Any, note_naive: Callable[[], object] = lambda: None, *, levels: int = MAX_DEPTH) -> Any:
    """Any object of the program as JSON.

    Args:
        value: The object.
        note_naive: Called for a datetime without a time zone.
        levels: How many levels of arrays and objects the value may have.

    Raises:
        NotJsonError: JSON lacks the value, or a part of it.
    """
    with suppress(Exception):  # another thread may change it, and the class of an object may have a __hash__ that raises
        if _is_scalar(value) or is_json(value, levels):
            return value
    return _Conversion(note_naive).convert(value, levels)


def is_json(value: Any, levels: int = _MAX_ATTRIBUTE_DEPTH) -> bool:
    """Whether the value has no part that JSON lacks, and at most ``levels`` levels. Reads nothing but lists, dicts and scalars."""
    kind = type(value)
    if kind is list and ALWAYS_JSON.issuperset(map(type, value)):
        return levels > 0  # the usual case: a list of scalars
    level: Collection[Any] = (value,)
    for depth in range(levels + 1):
        # By identity: otherwise a list that contains another twice would double the work with each level.
        inside: dict[int, Any] = {}
        for part in level:
            kind = type(part)
            if kind is list:
                members: Collection[Any] = part
            elif kind is dict and _TEXTS.issuperset(map(type, part)):
                members = part.values()
            elif kind in ALWAYS_JSON or (kind is float and math.isfinite(part)):
                continue
            else:
                return False
            if depth == levels:
                return False
            if not ALWAYS_JSON.issuperset(map(type, members)) and not _are_numbers(members):
                inside.update((id(member), member) for member in members if type(member) not in ALWAYS_JSON)
        if not inside:
            return True
        level = inside.values()
    return False


def _is_scalar(value: Any) -> bool:
    """Whether the value is a scalar of JSON."""
    kind = type(value)
    return kind is str or kind is int or kind is bool or value is None or (kind is float and math.isfinite(value))


def _are_numbers(values: Collection[Any]) -> bool:
    """Whether all values are numbers of JSON; an integer that is too large for a double may count as another value."""
    try:
        return _NUMBERS.issuperset(map(type, values)) and all(map(math.isfinite, values))
    except OverflowError:
        return False


class _Conversion:
    """One value, and what was made of its containers so far: a list that occurs twice is converted once."""

    def __init__(self, note_naive: Callable[[], object]) -> None:
        self._note_naive = note_naive
        self._containers: dict[int, tuple[object, Any]] = {}
        self._parts = 0

    def convert(self, value: Any, levels: int) -> Any:
        """The value as JSON. Raises :class:`NotJsonError`."""
        self._parts += 1
        if self._parts > _MAX_PARTS:
            raise NotJsonError(_TOO_LONG)
        try:
            return self._converted(value, levels)
        except NotJsonError:
            raise
        except RecursionError:
            raise NotJsonError(_TOO_DEEP) from None
        except Exception as error:  # noqa: BLE001 -- an object of the program may raise anything when it is read
            raise NotJsonError(f"reading a value of the type {class_name(value)} raised {class_name(error)}") from None

    def _converted(self, value: Any, levels: int) -> Any:
        if _is_scalar(value):
            return value
        # `isinstance` asks for `__class__`, too, so that lazy objects are what they stand for.
        if isinstance(value, Enum):
            return self.convert(value.value, levels)
        if isinstance(value, str):
            return plain_text(value)
        if isinstance(value, NoneType):
            return None
        if isinstance(value, bool):
            return bool(value)
        if isinstance(value, int):
            return int.__int__(value) if issubclass(type(value), int) else int(value)
        if isinstance(value, float):
            return _double(float.__float__(value) if issubclass(type(value), float) else float(value))
        if isinstance(value, dt.datetime):
            return self._moment(value)
        if isinstance(value, dt.date):
            return utc_text(dt.datetime(value.year, value.month, value.day))  # noqa: DTZ001 -- counts as UTC
        if isinstance(value, (list, tuple, Mapping)):
            return self._container(value, levels)
        for base in value.__class__.__mro__:
            if (convert := _BY_CLASS.get((base.__module__, base.__name__))) is not None:
                return self.convert(convert(value), levels)
        raise NotJsonError(f"a value of the type {class_name(value)} is not JSON")

    def _container(self, value: Any, levels: int) -> Any:
        _, converted = self._containers.get(id(value), (value, None))
        if converted is not None and not is_json(converted, levels):  # it is nested more deeply here than where it was converted
            raise NotJsonError(_TOO_DEEP)
        if converted is None:
            if levels <= 0:
                raise NotJsonError(_TOO_DEEP)
            if isinstance(value, Mapping):
                members = cast("Mapping[object, Any]", value)
                converted = {_name(name): self.convert(member, levels - 1) for name, member in members.items()}
            else:
                converted = [self.convert(element, levels - 1) for element in cast("Iterable[Any]", value)]
            self._containers[id(value)] = value, converted
        return converted

    def _moment(self, moment: dt.datetime) -> str:
        offset = moment.utcoffset()
        if offset is None:
            self._note_naive()
        # A plain datetime: a subclass such as pandas.Timestamp writes other text, and its "not a time" has no year.
        date, time = (moment.year, moment.month, moment.day), (moment.hour, moment.minute, moment.second, moment.microsecond)
        return utc_text(dt.datetime(*date, *time, tzinfo=None if offset is None else dt.timezone(offset)))


def _name(name: object) -> str:
    """The name of an attribute or member. Raises :class:`NotJsonError`."""
    try:
        if isinstance(name, str):
            return plain_text(name)
    except Exception as error:  # noqa: BLE001 -- an object of the program may raise anything when it is read
        raise NotJsonError(f"reading a name of the type {class_name(name)} raised {class_name(error)}") from None
    raise NotJsonError(f"its name is not text but of the type {class_name(name)}")


def _double(number: float) -> float:
    if not math.isfinite(number):
        raise NotJsonError(_NOT_FINITE)
    return number


def _of_numpy(scalar: Any) -> Any:
    """What a scalar of numpy holds, as an object of Python."""
    if scalar.dtype.kind == "M":  # in nanoseconds, `item` returns an integer
        scalar = scalar.astype("datetime64[us]")
    elif scalar.dtype.kind == "m":
        raise NotJsonError("a duration is not JSON")
    elif scalar.dtype.kind == "f":  # `item` of a longdouble returns a longdouble
        return float(scalar)
    return scalar.item()


_BY_CLASS: Final[Mapping[tuple[str, str], Callable[[Any], Any]]] = {
    ("decimal", "Decimal"): float,
    ("numpy", "generic"): _of_numpy,
    ("pathlib", "PurePath"): str,
    ("pathlib._local", "PurePath"): str,  # Python 3.13
    ("uuid", "UUID"): str,
}
"""Conversions of classes by module and name, so that their modules need not be imported."""


def encodable(attributes: Mapping[str, Any], encode: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    """The attributes that ``encode`` takes. The others are left out, with a warning.

    Few are not taken: text with half a surrogate pair, numbers with hundreds of digits, and what the program put into an array or
    object after it had made the context.
    """
    usable: dict[str, Any] = {}
    for name, value in attributes.items():
        try:
            encode({name: value})
            usable[name] = value
        except ValueError:  # its message may have a part of the value
            warn_left_out(name, "it has a number that is too large, or text that is not valid Unicode")
        except Exception as error:  # noqa: BLE001 -- an object of the program may raise anything when it is read
            warn_left_out(name, f"reading it raised {class_name(error)}")
    return usable


def warn_left_out(name: str | None, problem: str) -> None:
    """Log, once for each attribute and reason, that an attribute is left out. ``None``: its name is not text."""
    if REPORTED((name, problem)):
        shown = "an attribute" if name is None else f"the attribute {printable(name)!r}"
        logger.warning("Context: %s is left out: %s; give text, numbers, booleans, lists or dicts", shown, problem)


def _warn_naive(name: str) -> None:
    if REPORTED((name, "naive")):
        logger.warning("Context: the attribute %r has a datetime without a time zone, which counts as UTC", printable(name))
