"""CBOR: the deterministic encoding of JSON values (RFC 8949, 4.2.1), which rollouts hash.

Source: ``flagd.md`` 6.4.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final

from aioflags.evaluation.jsonlogic.coercion import Kind, is_object, kind_of
from aioflags.evaluation.jsonlogic.work import check_length
from aioflags.model.nesting import MAX_DEPTH
from aioflags.runtime.logs import class_name

_MIN_INTEGER: Final = -(2**63)
_MAX_INTEGER: Final = 2**64 - 1
_FLOATS: Final = ((">e", b"\xf9"), (">f", b"\xfa"), (">d", b"\xfb"))
_UNSIGNED, _NEGATIVE, _TEXT, _ARRAY, _MAP = 0, 1, 3, 4, 5


class NotEncodableError(ValueError):
    """A value without an encoding: NaN, an infinity, half a surrogate pair, an unknown type, or nesting without end."""


def encode(value: Any) -> bytes:
    """Encode a JSON value.

    Raises:
        NotEncodableError: The value, or a part of it, has no encoding.
        RuleError: The encoding is too long.
    """
    parts: list[bytes] = []
    _Encoder(parts).write(value, 0)
    return b"".join(parts)


def head(major: int, number: int) -> bytes:
    """The first bytes of an item: its major type and its number, in the shortest form."""
    if number < 24:
        return bytes([major << 5 | number])
    size = 0 if number < 1 << 8 else 1 if number < 1 << 16 else 2 if number < 1 << 32 else 3
    return bytes([major << 5 | 24 + size]) + number.to_bytes(1 << size, "big")


def encode_text(text: str) -> bytes:
    """Encode a text."""
    try:
        data = text.encode()
    except UnicodeEncodeError:
        raise NotEncodableError("half a surrogate pair") from None
    return head(_TEXT, len(data)) + data


class _Encoder:
    """Writes items to a list. It counts bytes, because ``reduce`` can make arrays that contain one array very often."""

    __slots__ = ("_length", "_parts")

    def __init__(self, parts: list[bytes]) -> None:
        self._parts = parts
        self._length = 0

    def write(self, value: Any, depth: int) -> None:
        kind = kind_of(value)
        if kind < Kind.ARRAY:
            self._add(_scalar(kind, value))
        elif depth >= MAX_DEPTH:
            raise NotEncodableError("nested too deeply")
        elif kind is Kind.ARRAY:
            self._write_array(value, depth + 1)
        elif is_object(value):
            self._write_map(value, depth + 1)
        else:
            raise NotEncodableError(f"not a JSON value: {class_name(value)}")

    def _write_array(self, values: Sequence[Any], depth: int) -> None:
        self._add(head(_ARRAY, len(values)))
        for value in values:
            self.write(value, depth)

    def _write_map(self, members: Mapping[Any, Any], depth: int) -> None:
        self._add(head(_MAP, len(members)))
        encoded = [(encode_text(name), value) for name, value in members.items() if isinstance(name, str)]
        if len(encoded) < len(members):
            raise NotEncodableError("a name that is not a text")
        # Shorter names come first, because the length is encoded in front of them.
        for name, value in sorted(encoded, key=lambda member: member[0]):
            self._add(name)
            self.write(value, depth)

    def _add(self, item: bytes) -> None:
        self._length += len(item)
        check_length(self._length, charged=len(item))
        self._parts.append(item)


def _scalar(kind: Kind, value: Any) -> bytes:
    if kind is Kind.TEXT:
        return encode_text(value)
    if kind is Kind.NUMBER:
        return _number(value)
    return b"\xf6" if kind is Kind.NULL else b"\xf5" if value else b"\xf4"


def _number(value: float) -> bytes:
    """A whole number in the range of 64 bits as an integer, any other as a float."""
    if not isinstance(value, int):
        if not math.isfinite(value):
            raise NotEncodableError("not a finite number")
        if not value.is_integer():
            return _float(value)
    whole = int(value)
    if _MIN_INTEGER <= whole <= _MAX_INTEGER:
        return head(_UNSIGNED, whole) if whole >= 0 else head(_NEGATIVE, -1 - whole)
    try:
        return _float(float(whole))
    except OverflowError:
        raise NotEncodableError("a number beyond all floats") from None


def _float(value: float) -> bytes:
    """The shortest of three forms that gives back the same value."""
    for layout, first in _FLOATS:
        try:
            packed = struct.pack(layout, value)
        except OverflowError:
            continue
        if struct.unpack(layout, packed)[0] == value:
            return first + packed
    raise NotEncodableError("not a finite number")
