"""Where a context falls in a rollout, decided on the bytes of a hash.

A bucket is the first 60 bits of a SHA-1, scaled into [0, 1] in double precision. Comparing a bucket with a share comes down
to comparing the hash with a constant, so no evaluation ever computes a bucket (explanations do): :func:`threshold` finds the
constant once.

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
    # The interpreter's own is quicker to set up than OpenSSL's, and there even where a policy takes SHA-1 out of OpenSSL.
    sha1: Callable[[bytes], Any] = importlib.import_module("_sha1").sha1
except ImportError:  # an interpreter that was built without it
    sha1 = hashlib.sha1

_SCALE: Final = float(0xFFFFFFFFFFFFFFF)  # a double holds 53 bits, so this is 2**60
_ABOVE_ALL: Final = b"\xff" * 21


def bucket_prefix(key: str, salt: str, seed: int | None) -> bytes:
    """What the hash of every context starts with: the seed, if there is one, else key and salt."""
    return _encoded(f"{key}.{salt}." if seed is None else f"{seed}.")


def bucket_text(value: object) -> str | None:
    """What of an attribute's value goes into the hash; ``None`` for values that nothing can be bucketed by.

    Strings as they are, whole numbers in decimal.
    """
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
    except ValueError:  # more digits than the interpreter writes
        return None


def bucket_digest(prefix: bytes, text: str) -> bytes:
    """The hash of one context, to be compared with thresholds."""
    try:
        digest: bytes = sha1(prefix + text.encode()).digest()
    except UnicodeEncodeError:
        digest = sha1(prefix + _encoded(text)).digest()
    return digest


def bucket(digest: bytes) -> float:
    """The bucket itself, in [0, 1]: for people to read."""
    return (int.from_bytes(digest[:8], "big") >> 4) / _SCALE


@functools.lru_cache(maxsize=4096)
def threshold(share: float) -> bytes:
    """The bytes that are greater than a digest exactly when its bucket is less than ``share``.

    The bucket grows with the hash, so bisection finds the least hash whose bucket reaches the share: bit-exact, since
    it asks the same division.
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
    except UnicodeEncodeError:  # half a surrogate pair, as JSON can write it: still someone's key
        return text.encode("utf-8", "surrogatepass")
