"""The operator ``fractional``: rollouts, with the hashes and encodings that they need.

The same seed always gets the same variant. The hash of the seed, scaled to the sum of the weights, falls into the range of one
bucket. Version 3 hashes a CBOR encoding of the seed, version 2 its text.

Source: ``flagd.md`` 6.4.
"""

from __future__ import annotations

import functools
import math
import struct
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from aioflags.evaluation.jsonlogic.coercion import UNIT, Kind, charge, check_length, kind_of
from aioflags.evaluation.jsonlogic.expressions import Data, Expression, Operator, Rule, Site, member
from aioflags.model.values import MAX_DEPTH, is_array, is_object
from aioflags.runtime.logs import class_name

# -- MurmurHash3, the 32-bit variant for x86 with seed 0.
# Source: ``flagd.md`` 6.4.


_MASK: Final = 0xFFFFFFFF


def murmur3(data: bytes) -> int:
    """The hash of bytes, as an unsigned number of 32 bits."""
    length = len(data)
    blocks, tail = length >> 2, length & 3
    result = 0
    # The mask is written out here: the loop runs for every four bytes, and would look the name up.
    for block in struct.unpack_from(f"<{blocks}I", data):
        mixed = block * 0xCC9E2D51 & 0xFFFFFFFF
        result ^= (mixed << 15 | mixed >> 17) * 0x1B873593 & 0xFFFFFFFF
        result = ((result << 13 | result >> 19) * 5 + 0xE6546B64) & 0xFFFFFFFF
    if tail:
        mixed = int.from_bytes(data[-tail:], "little") * 0xCC9E2D51 & _MASK
        result ^= (mixed << 15 | mixed >> 17) * 0x1B873593 & _MASK
    result ^= length
    result = (result ^ result >> 16) * 0x85EBCA6B & _MASK
    result = (result ^ result >> 13) * 0xC2B2AE35 & _MASK
    return result ^ result >> 16


# -- CBOR: the deterministic encoding of JSON values (RFC 8949, 4.2.1), which rollouts hash.
# Source: ``flagd.md`` 6.4.


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
    encoder = _Encoder()
    encoder.write(value, 0)
    return b"".join(encoder.parts)


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

    __slots__ = ("_length", "parts")

    def __init__(self) -> None:
        self.parts: list[bytes] = []
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
        self.parts.append(item)


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
    # The bytes are hashed: a longer form of the same number would give another variant than flagd.
    for layout, first in _FLOATS:
        try:
            packed = struct.pack(layout, value)
        except OverflowError:
            continue
        if struct.unpack(layout, packed)[0] == value:
            return first + packed
    raise NotEncodableError("not a finite number")


LATEST_VERSION: Final = 3
VERSIONS: Final = (2, 3)
MAX_WEIGHT: Final = 2_147_483_647
_KEY: Final = "targetingKey"
_REMEMBERED: Final = 8192
_MAX_REMEMBERED_LENGTH: Final = 128
"""The longest text, in characters, whose hash is remembered. So the remembered hashes take less than 5 MB."""

_Hash: TypeAlias = Callable[[Any], "int | None"]


@dataclass(frozen=True, slots=True)
class Buckets:
    """Variants and the ends of their ranges."""

    variants: Sequence[Any]
    ends: Sequence[int]
    total: int

    def variant(self, hash_: int) -> Any:
        """The variant of a seed with this hash. A bucket of weight 0 is never chosen."""
        # Such a bucket ends where the one before it ends: `bisect_right` passes over it, `bisect_left` would choose it. The hash is
        # scaled, as flagd does it; a remainder would put every seed elsewhere.
        return self.variants[bisect_right(self.ends, hash_ * self.total >> 32)]

    def position(self, hash_: int) -> int:
        """Where a seed with this hash falls, from 0 to below ``total``."""
        return hash_ * self.total >> 32


def read_buckets(values: Sequence[Any]) -> Buckets | None:
    """The buckets of evaluated arguments; ``None`` if one is malformed or the sum of the weights is 0 or too large."""
    charge(len(values))
    variants: list[Any] = []
    ends: list[int] = []
    total = 0
    for value in values:
        if not is_array(value) or not 1 <= len(value) <= 2 or kind_of(value[0]) >= Kind.ARRAY:
            return None
        weight = read_weight(value[1]) if len(value) == 2 else 1
        if weight is None:
            return None
        total += weight
        variants.append(value[0])
        ends.append(total)
    return Buckets(tuple(variants), tuple(ends), total) if 0 < total <= MAX_WEIGHT else None


def read_weight(value: Any) -> int | None:
    """A whole number up to the limit. Negative ones count as 0: formulas for rollouts produce them."""
    if kind_of(value) is not Kind.NUMBER:
        return None
    if isinstance(value, float) and not value.is_integer():
        return None
    return max(0, int(value)) if value <= MAX_WEIGHT else None


def _computed_hash(prefix: bytes, text: str, version: int) -> int:
    """The hash of a text behind a prefix."""
    check_length(len(text))
    return murmur3(prefix + (encode_text(text) if version == LATEST_VERSION else text.encode()))


_remembered_hash: Final = functools.lru_cache(maxsize=_REMEMBERED)(_computed_hash)
"""Services evaluate many flags for one subject, and the same subjects again."""


def _text_hash(prefix: bytes, text: str, version: int) -> int | None:
    try:
        if len(text) <= _MAX_REMEMBERED_LENGTH:
            return _remembered_hash(prefix, text, version)
        charge(len(text) // UNIT * 8)
        return _computed_hash(prefix, text, version)
    except ValueError:  # half a surrogate pair
        return None


def seed_hash(version: int) -> _Hash:
    """The function that hashes a seed; its result is ``None`` if the seed is not usable."""

    def hash_(seed: Any) -> int | None:
        if seed.__class__ is str:
            return _text_hash(b"", seed, version)
        if seed is None:
            return None
        if version != LATEST_VERSION:
            return _text_hash(b"", str(seed), version) if isinstance(seed, str) else None
        try:
            encoded = encode(seed)
        except NotEncodableError:
            return None
        charge(len(encoded) // UNIT * 8)
        return murmur3(encoded)

    return hash_


def subject_hash(flag_key: str, version: int) -> _Hash:
    """The function that hashes a targeting key together with the key of the flag."""
    prefix: bytes | None
    try:
        prefix = head(4, 2) + encode_text(flag_key) if version == LATEST_VERSION else flag_key.encode()
    except ValueError:  # half a surrogate pair
        prefix = None

    def hash_(targeting_key: Any) -> int | None:
        if prefix is None or not isinstance(targeting_key, str) or not targeting_key:
            return None
        return _text_hash(prefix, targeting_key, version)

    return hash_


def fractional(flag_key: str, version: int, on_compiled: Callable[[], object] = lambda: None) -> Operator:
    """The operator for the rules of one flag. Calls ``on_compiled`` for each use that is compiled."""
    of_seed, of_subject = seed_hash(version), subject_hash(flag_key, version)

    def variant(buckets: Buckets | None, hash_: int | None) -> Any:
        return None if buckets is None or hash_ is None else buckets.variant(hash_)

    def evaluate(data: Data, values: Sequence[Any]) -> Any:
        if values and not is_array(values[0]):
            return variant(read_buckets(values[1:]), of_seed(values[0]))
        return variant(read_buckets(values), of_subject(member(data, _KEY)))

    def build(arguments: Sequence[Expression], site: Site) -> Expression:
        on_compiled()
        site.is_bound = True  # It knows the key of the flag.
        if not site.in_loop:
            site.reads.add(_KEY)
        first, rest = arguments[:1], arguments[1:]
        if first and all(argument.is_literal for argument in rest):
            literals = [argument.value for argument in rest]
            if not first[0].is_literal:
                return Expression(_seeded(first[0].rule, literals, of_seed, evaluate))
            if is_array(first[0].value):
                return Expression(_by_subject(read_buckets([first[0].value, *literals]), of_subject))
        rules = [argument.rule for argument in arguments]
        return Expression(lambda data: evaluate(data, [rule(data) for rule in rules]))

    return Operator(build)


def _seeded(seed: Rule, rest: Sequence[Any], of_seed: _Hash, evaluate: Callable[[Data, Sequence[Any]], Any]) -> Rule:
    """The usual form: the seed is a rule, the buckets are literals."""
    buckets = read_buckets(rest)

    def seeded(data: Data) -> Any:
        value = seed(data)
        if value.__class__ is not str and is_array(value):
            return evaluate(data, [value, *rest])  # It is the first bucket.
        hash_ = of_seed(value)
        return None if buckets is None or hash_ is None else buckets.variant(hash_)

    return seeded


def _by_subject(buckets: Buckets | None, of_subject: _Hash) -> Rule:
    """The short form: no seed, and all buckets are literals."""

    def by_subject(data: Data) -> Any:
        hash_ = of_subject(data.get(_KEY) if data.__class__ is dict else member(data, _KEY))
        return None if buckets is None or hash_ is None else buckets.variant(hash_)

    return by_subject
