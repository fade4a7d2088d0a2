"""Rollouts and experiments: where a context falls, compiled to comparisons of one hash with constants.

Source: ``evaluation.md`` 3.10.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from aioflags.evaluation.answers import Answer
from aioflags.evaluation.clauses import Find, clean_kind, finder, reference
from aioflags.evaluation.scope import Evaluate, MalformedError, Predicate, Scope
from aioflags.model.flag import Rollout

if TYPE_CHECKING:
    from aioflags.model.context import Context


# -- Hashing: where a context falls in a rollout.
#
# A bucket is the first 60 bits of a SHA-1, scaled to [0, 1] in double precision. To compare a bucket with a share, it
# suffices to compare the hash with a constant, which :func:`threshold` computes once. So evaluations compute no buckets;
# explanations do.
#
# Source: ``evaluation.md`` 3.10.


try:
    # CPython's own SHA-1 starts faster than OpenSSL's, and exists even where a policy removes SHA-1 from OpenSSL.
    sha1: Callable[[bytes], Any] = importlib.import_module("_sha1").sha1
except ImportError:  # an interpreter built without this module
    sha1 = hashlib.sha1

_SCALE: Final = float(0xFFFFFFFFFFFFFFF)  # a double holds 53 bits, so this is 2**60
_ABOVE_ALL: Final = b"\xff" * 21


def bucket_prefix(key: str, salt: str, seed: int | None) -> bytes:
    """The start of the hashed text: the seed if it is given, otherwise key and salt."""
    return _encoded(f"{key}.{salt}." if seed is None else f"{seed}.")


def bucket_text(value: object) -> str | None:
    """The text of an attribute's value that is hashed: a string unchanged, a whole number in decimal; ``None`` for other values."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int):
        return None
    try:
        return str(value)
    except ValueError:  # more digits than the interpreter converts
        return None


def bucket_digest(prefix: bytes, text: str) -> bytes:
    """The hash of one context. Compare it with thresholds."""
    try:
        digest: bytes = sha1(prefix + text.encode()).digest()
    except UnicodeEncodeError:
        digest = sha1(prefix + _encoded(text)).digest()
    return digest


def bucket(digest: bytes) -> float:
    """The bucket, in [0, 1]. Explanations show it."""
    return (int.from_bytes(digest[:8], "big") >> 4) / _SCALE


@functools.lru_cache(maxsize=4096)
def threshold(share: float) -> bytes:
    """The bytes that are greater than a digest exactly when its bucket is less than ``share``.

    The bucket grows with the hash, so bisection finds the smallest hash whose bucket is not less than the share. The result is
    exact to the bit, because it uses the same division.
    """
    low, high = 0, 1 << 60
    while low < high:
        middle = (low + high) // 2
        if middle / _SCALE < share:
            low = middle + 1
        else:
            high = middle
    return _ABOVE_ALL if low >= 1 << 60 else (low << 4).to_bytes(8, "big")


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:  # half a surrogate pair, which JSON can contain
        return text.encode("utf-8", "surrogatepass")


def choose(rollout: Rollout, *, key: str, salt: str, answer: Callable[[int, bool], Answer]) -> Evaluate:
    """The function that picks one of the rollout's variations. ``rollout`` has at least one.

    An experiment buckets by key and ignores ``bucket_by``. ``answer`` makes the answer for a variation, in an experiment or not.
    """
    is_experiment = rollout.kind == "experiment"
    kind = clean_kind(rollout.context_kind)
    prefix = bucket_prefix(key, salt, rollout.seed)
    shares: list[tuple[float, bytes, Answer, Answer]] = []
    share = 0.0
    for weighted in rollout.variations or ():
        share += weighted.weight / 100000.0
        untracked = answer(weighted.variation, False)  # noqa: FBT003 -- whether in an experiment
        is_tracked = is_experiment and not weighted.untracked
        tracked = answer(weighted.variation, True) if is_tracked else untracked  # noqa: FBT003 -- whether in an experiment
        shares.append((share, threshold(share), tracked, untracked))
    # Without a context of that kind, or if the value cannot be hashed, the bucket is 0.
    lowest = next((choice for choice in shares if choice[0] > 0.0), shares[-1])
    # Most rollouts have two variations, so the first comparison stands before the loop. The last variation needs no comparison.
    (first_bound, first), *steps = [(bound, tracked) for _, bound, tracked, _ in shares]
    between, last, absent = tuple(steps[:-1]), shares[-1][2], lowest[3]

    if is_experiment or not rollout.bucket_by:

        def choose_by_key(context: Context, scope: Scope) -> Answer:
            single = context if context.kind == kind else context.member(kind)
            if single is None:
                return absent
            # Inlined from bucket_digest: the hash is most of the cost of a rollout, and a call would be most of the rest.
            try:
                digest = sha1(prefix + single.key.encode()).digest()
            except UnicodeEncodeError:
                digest = bucket_digest(prefix, single.key)
            if digest < first_bound:
                return first
            for bound, tracked in between:
                if digest < bound:
                    return tracked
            return last

        return choose_by_key

    text_of = _text_of(rollout.bucket_by, rollout.context_kind)

    def choose_by_attribute(context: Context, scope: Scope) -> Answer:
        text = text_of(context.member(kind))
        if text is None:
            return absent
        digest = bucket_digest(prefix, text)
        if digest < first_bound:
            return first
        for bound, tracked in between:
            if digest < bound:
                return tracked
        return last

    return choose_by_attribute


def within_weight(weight: int, *, key: str, salt: str, bucket_by: str | None, context_kind: str | None) -> Predicate:
    """Whether a context is in the share of a segment rule's ``weight``. False without a context of ``context_kind``."""
    kind = clean_kind(context_kind)
    prefix, share = bucket_prefix(key, salt, None), weight / 100000.0
    bound, holds_zero = threshold(share), share > 0.0
    text_of = _text_of(bucket_by or "key", context_kind)

    def is_within(context: Context, scope: Scope) -> bool:
        single = context.member(kind)
        text = text_of(single)
        if text is None:
            return holds_zero and single is not None
        return bucket_digest(prefix, text) < bound

    return is_within


def _text_of(bucket_by: str, context_kind: str | None) -> Callable[[Context | None], str | None]:
    """The function that returns the text to hash. An invalid attribute reference raises when the function is called."""
    parsed = reference(bucket_by, context_kind)
    find: Find = finder(parsed)

    def text_of(single: Context | None) -> str | None:
        if parsed.error is not None:
            raise MalformedError(f"buckets by an invalid attribute reference: {parsed.error}")
        return None if single is None else bucket_text(find(single))

    return text_of
