"""Values of flagd's calls: protobuf's Struct, results as plain values, and the failure of a call.

Converts Python values to protobuf's Struct and back. A Struct has JSON values, and all its numbers are doubles.

Source: ``flagd.md`` 4.3, 7.1.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, cast

from google.protobuf.struct_pb2 import ListValue, Struct, Value

from aioflags.model.values import is_unicode, utc_text
from aioflags.runtime.logs import class_name

# -- What calls of flagd return, as plain values, and RpcFailed, which they raise.
# Source: ``flagd.md`` 2.


class RpcFailed(Exception):  # noqa: N818 -- as RequestFailed, it reports what happened
    """A call failed. ``code`` is the name of gRPC's code, ``details`` the text of the server or of gRPC."""

    def __init__(self, code: str, details: str) -> None:
        super().__init__(f"{code}: {details}" if details else code)
        self.code = code
        self.details = details


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncMessage:
    """A message of the sync stream: the text of a flag set, and the static context; ``None`` if the message has none."""

    flag_configuration: str
    sync_context: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerEvent:
    """A message of the event stream."""

    type: str
    data: Mapping[str, Any]


class ValueKind(StrEnum):
    """The type that a call asks for, as the methods of the service name it."""

    BOOLEAN = "Boolean"
    STRING = "String"
    FLOAT = "Float"
    INT = "Int"
    OBJECT = "Object"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerValue:
    """The server's evaluation of a flag. Without ``has_value`` the caller has to use its default."""

    value: Any
    has_value: bool
    reason: str
    variant: str | None
    metadata: Mapping[str, Any]


EXACT: Final = 2**53
"""Up to here a double represents every whole number."""
_MAX_DEPTH: Final = 128


def to_struct(values: Mapping[str, Any], inexact: Callable[[str], object] = lambda _: None) -> Struct:
    """The values as a Struct. ``inexact`` gets the name of each value that has a whole number beyond ±2⁵³.

    Raises:
        ValueError: a Struct cannot represent a value. The message names it.
    """
    struct = Struct()
    for name, value in values.items():
        target = struct.fields[_name(name, name)]
        if not _set(target, value, str(name), _MAX_DEPTH):
            inexact(str(name))
    return struct


def from_struct(struct: Struct) -> dict[str, Any]:
    """The values of a Struct. Whole numbers become int."""
    return {name: _value(value) for name, value in struct.fields.items()}


def whole(number: float) -> int | float:
    """The number as an int if it is whole, and small enough to be exact."""
    return int(number) if number.is_integer() and -EXACT <= number <= EXACT else number


def _value(value: Value) -> Any:
    match value.WhichOneof("kind"):
        case "struct_value":
            return from_struct(value.struct_value)
        case "list_value":
            return [_value(item) for item in value.list_value.values]
        case "number_value":
            return whole(value.number_value)
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case _:
            return None


def _set(target: Value, value: Any, name: str, depth: int) -> bool:
    """Set a field of a Struct. Returns whether its numbers are exact."""
    if depth == 0:
        raise ValueError(f"{name}: nested more than {_MAX_DEPTH} levels deep")
    exact = True
    if value is None:
        target.null_value = 0  # type: ignore[assignment]  # the enumeration has this member only, and is a number
    elif isinstance(value, bool):
        target.bool_value = value
    elif isinstance(value, str):
        target.string_value = _text(value, name)
    elif isinstance(value, (int, float)):
        exact = isinstance(value, float) or -EXACT <= value <= EXACT
        target.number_value = _number(value, name)
    elif isinstance(value, dt.datetime):
        target.string_value = utc_text(value)
    elif isinstance(value, Mapping):
        # A merge of an empty message: without it an empty object would be no value at all.
        target.struct_value.SetInParent()
        for key, item in cast("Mapping[object, Any]", value).items():
            exact = _set(target.struct_value.fields[_name(key, name)], item, name, depth - 1) and exact
    elif isinstance(value, (list, tuple)):
        exact = _set_list(target.list_value, cast("list[Any]", value), name, depth)
    else:
        raise ValueError(f"{name}: {class_name(value)} is not a JSON value")
    return exact


def _set_list(target: ListValue, items: list[Any], name: str, depth: int) -> bool:
    target.SetInParent()
    exact = True
    for item in items:
        exact = _set(target.values.add(), item, name, depth - 1) and exact
    return exact


def _name(key: object, name: object) -> str:
    if not isinstance(key, str):
        raise ValueError(f"{name}: the name {key!r} is not a string")  # noqa: TRY004 -- a value, as the others here
    return _text(key, name)


def _text(text: str, name: object) -> str:
    if not is_unicode(text):
        raise ValueError(f"{name!r}: the text is not valid Unicode")
    return text


def _number(number: float, name: str) -> float:
    try:
        double = float(number)
    except OverflowError:
        double = math.inf
    if not math.isfinite(double):
        raise ValueError(f"{name}: {'nan' if double != double else 'the number'} is not a JSON number")  # noqa: PLR0124 -- NaN
    return double
