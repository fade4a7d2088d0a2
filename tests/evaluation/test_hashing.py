"""Buckets, bit by bit. ``floor(100000 * bucket)`` is between which two thresholds the hash lies."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioflags.evaluation.rollouts import bucket_digest, bucket_prefix, bucket_text, threshold


@pytest.mark.parametrize(
    ("key", "salt", "seed", "value", "digits", "share"),
    [
        pytest.param("hashKey", "saltyA", None, "userKeyA", "6bec658111d6ad9", 42157, id="EV-E1 userKeyA"),
        pytest.param("hashKey", "saltyA", None, "userKeyB", "abbcba2157240ad", 67084, id="EV-E2 userKeyB"),
        pytest.param("hashKey", "saltyA", None, "userKeyC", "1a7a754382d1e86", 10343, id="EV-E3 userKeyC"),
        pytest.param("hashKey", "saltyA", 61, "userKeyA", "19175196da26483", 9801, id="EV-E4 a seed replaces key and salt"),
        pytest.param("hashKey", "saltyA", 61, "userKeyB", "2514169d979b419", 14483, id="EV-E5 seed 61, userKeyB"),
        pytest.param("hashKey", "saltyA", 61, "userKeyC", "ec9c925acc68fc9", 92426, id="EV-E6 seed 61, userKeyC"),
        pytest.param("hashKey", "saltyA", 0, "userKeyA", "9d999b595b50543", 61562, id="EV-E7 0 is a seed"),
        pytest.param("hashKey", "saltyA", -7, "userKeyA", "e1308844c0a6b09", 87964, id="EV-E8 a negative seed"),
        pytest.param("hashKey", "", None, "userKeyA", "023a7e00c598f9a", 870, id="EV-E9 without salt"),
        pytest.param("hashKey", "saltyA", None, 33333, "8c37000519e66b0", 54771, id="EV-E10 an integer"),
        pytest.param("hashKey", "saltyA", None, 99999, "bb2093103e3a1a5", 73096, id="EV-E11 another integer"),
        pytest.param("hashKey", "saltyA", None, -5, "12556a23fe05eeb", 7161, id="EV-E12 a negative integer"),
        pytest.param("hashKey", "saltyA", None, "", "7c2319f9e6b66f2", 48491, id="EV-E13 the empty string"),
        pytest.param("flag-é", "saltyA", None, "ユーザー", "364a84eafa4c803", 21207, id="EV-E14 text beyond ASCII"),
        pytest.param("segment3", "salty", None, "user-key", "2645c56765f3e0d", 14950, id="EV-E15 a segment"),
        pytest.param("segment3", "salty", None, "unmatching-key", "5d9a4bf386a64b4", 36563, id="EV-E16 the same segment"),
        pytest.param("s", "salt", None, "userKeyA", "e5a518016903da7", 89705, id="EV-E17 another segment"),
    ],
)
def test_the_hash_and_bucket_of(key: str, salt: str, seed: int | None, value: object, digits: str, share: int) -> None:
    digest = bucket_digest(bucket_prefix(key, salt, seed), bucket_text(value) or "")
    assert digest.hex()[:15] == digits
    assert not digest < threshold(share / 100000.0)
    assert digest < threshold((share + 1) / 100000.0)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param("text", "text", id="a string as it is"),
        pytest.param("", "", id="the empty string"),
        pytest.param(-12, "-12", id="an integer in decimal"),
        pytest.param(5.0, "5", id="a whole number written as a fraction"),
        pytest.param(-0.0, "0", id="minus zero"),
        pytest.param(999.999, None, id="a fraction"),
        pytest.param(float("nan"), None, id="NaN"),
        pytest.param(float("inf"), None, id="infinity"),
        pytest.param(10**5000, None, id="an integer that is too long to convert"),
        pytest.param(True, None, id="a boolean"),
        pytest.param([1], None, id="an array"),
        pytest.param({"a": 1}, None, id="an object"),
        pytest.param(None, None, id="None"),
    ],
)
def test_the_text_that_is_hashed_for(value: Any, text: str | None) -> None:
    assert bucket_text(value) == text


@given(
    digest=st.binary(min_size=20, max_size=20),
    share=st.floats(-0.5, 1.5) | st.integers(-1000, 101000).map(lambda weight: weight / 100000.0),
)
def test_comparing_bytes_is_the_same_as_comparing_buckets(digest: bytes, share: float) -> None:
    bucket = int(digest.hex()[:15], 16) / float(0xFFFFFFFFFFFFFFF)
    assert (digest < threshold(share)) == (bucket < share)


@given(share=st.floats(0.0, 1.0))
def test_the_bucket_next_to_a_share_is_on_the_right_side(share: float) -> None:
    """Where rounding decides: at the share itself."""
    for near in range(max(0, int(share * 2**60) - 130), int(share * 2**60) + 130, 13):
        digest = (near << 100).to_bytes(20, "big") if near < 2**60 else b"\xff" * 20
        bucket = int(digest.hex()[:15], 16) / float(0xFFFFFFFFFFFFFFF)
        assert (digest < threshold(share)) == (bucket < share)


def test_half_a_surrogate_pair_is_hashed() -> None:
    """JSON can contain one."""
    assert bucket_digest(b"k.s.", "\ud800") == hashlib.sha1(b"k.s.\xed\xa0\x80").digest()
    assert bucket_prefix("\ud800", "s", None) == b"\xed\xa0\x80.s."
