"""Rollouts: the operator ``fractional``.

The same seed always gets the same variant. The hash of the seed, scaled to the sum of the weights, falls into the range of one
bucket. Version 3 hashes a CBOR encoding of the seed, version 2 its text.

Source: ``flagd.md`` 6.4.
"""

from __future__ import annotations

import functools
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from aioflags.evaluation.flagd.cbor import NotEncodableError, encode, encode_text, head
from aioflags.evaluation.flagd.murmur3 import murmur3
from aioflags.evaluation.jsonlogic.coercion import Kind, is_array, kind_of
from aioflags.evaluation.jsonlogic.expressions import Data, Expression, Operator, Rule, Site
from aioflags.evaluation.jsonlogic.variables import member
from aioflags.evaluation.jsonlogic.work import UNIT, charge, check_length

LATEST_VERSION: Final = 3
VERSIONS: Final = (2, 3)
MAX_WEIGHT: Final = 2_147_483_647
_KEY: Final = "targetingKey"
_REMEMBERED: Final = 8192
_MAX_REMEMBERED_LENGTH: Final = 128
"""In characters. So the remembered hashes take less than 5 MB."""

_Hash: TypeAlias = Callable[[Any], "int | None"]


@dataclass(frozen=True, slots=True)
class Buckets:
    """Variants and the ends of their ranges."""

    variants: Sequence[Any]
    ends: Sequence[int]
    total: int

    def variant(self, hash_: int) -> Any:
        """The variant of a seed with this hash. A bucket of weight 0 is never chosen."""
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


@functools.lru_cache(maxsize=_REMEMBERED)
def _remembered_hash(prefix: bytes, text: str, version: int) -> int:
    """The hash of a text behind a prefix. Services evaluate many flags for one subject, and the same subjects again."""
    return _computed_hash(prefix, text, version)


def _computed_hash(prefix: bytes, text: str, version: int) -> int:
    check_length(len(text))
    return murmur3(prefix + (encode_text(text) if version == LATEST_VERSION else text.encode()))


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
