"""Hashing: where a context falls in a rollout.

A bucket is the first 60 bits of a SHA-1, scaled to [0, 1] in double precision. To compare a bucket with a share, it suffices to
compare the hash with a constant, which :func:`threshold` computes once. So evaluations compute no buckets; explanations do.

Source: ``evaluation.md`` 3.10.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
from collections.abc import Callable
from typing import Any, Final

__all__ = ["bucket", "bucket_digest", "bucket_prefix", "bucket_text", "sha1", "threshold"]

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
