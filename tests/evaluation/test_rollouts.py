"""Weighted choice, through whole flags: which variation a context gets, and whether it counts for an experiment."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioflags.evaluation.rollouts import bucket_digest, bucket_prefix, bucket_text, threshold
from tests.evaluation.data import context, flag, outcome, snapshot_of

USER_A = {"kind": "user", "key": "userKeyA"}
FALLTHROUGH = {"kind": "FALLTHROUGH"}
EXPERIMENT = {"kind": "FALLTHROUGH", "inExperiment": True}
MALFORMED = {"kind": "ERROR", "errorKind": "MALFORMED_FLAG"}


def rollout(*weights: int, **properties: Any) -> Any:
    """Weights of the variations from 0 on; a negative one is untracked."""
    shares = [{"variation": i, "weight": abs(w), "untracked": w < 0} for i, w in enumerate(weights)]
    return {"variations": shares, **properties}


def experiment(*weights: int, **properties: Any) -> Any:
    return rollout(*weights, kind="experiment", **properties)


@pytest.mark.parametrize(
    ("served", "subject", "expected"),
    [
        pytest.param(rollout(42157, 57843), USER_A, ("b", 1, FALLTHROUGH), id="EV-E18 a bucket above the first share"),
        pytest.param(rollout(42158, 57842), USER_A, ("a", 0, FALLTHROUGH), id="EV-E19 a bucket below it"),
        pytest.param(
            rollout(22555, 77445), {"kind": "user", "key": "user-1"}, ("a", 0, FALLTHROUGH), id="a bucket barely below it"
        ),
        pytest.param(experiment(60000, 40000), USER_A, ("a", 0, EXPERIMENT), id="EV-E20 in an experiment"),
        pytest.param(experiment(-60000, 40000), USER_A, ("a", 0, FALLTHROUGH), id="EV-E21 in its untracked part"),
        pytest.param(experiment(9000, 1000, 90000, seed=61), USER_A, ("b", 1, EXPERIMENT), id="EV-E22 with a seed"),
        pytest.param(rollout(9000, 1000, 90000, seed=61), USER_A, ("b", 1, FALLTHROUGH), id="EV-E23 rollouts have seeds, too"),
        pytest.param(rollout(1, 1), USER_A, ("b", 1, FALLTHROUGH), id="EV-E24 past the end the last variation is served"),
        pytest.param(experiment(1, 1), USER_A, ("b", 1, EXPERIMENT), id="EV-E25 past the end of an experiment"),
        pytest.param(experiment(1, -1), USER_A, ("b", 1, FALLTHROUGH), id="EV-E26 past the end, untracked"),
        pytest.param(
            experiment(1, 99999, contextKind="org"), USER_A, ("a", 0, FALLTHROUGH), id="EV-E27 an absent kind has bucket 0"
        ),
        pytest.param(rollout(1, 99999, bucketBy="zz"), USER_A, ("a", 0, FALLTHROUGH), id="EV-E28 a missing attribute has bucket 0"),
        pytest.param(
            rollout(0, 100000, bucketBy="zz"), USER_A, ("b", 1, FALLTHROUGH), id="EV-E29 bucket 0 is not below a share of 0"
        ),
        pytest.param(
            experiment(60000, 40000, bucketBy="zz"),
            {**USER_A, "zz": [1]},
            ("a", 0, EXPERIMENT),
            id="EV-E30 an experiment buckets by key",
        ),
        pytest.param(
            rollout(1, 99999, contextKind="user", bucketBy="//"), USER_A, (None, None, MALFORMED), id="EV-E31 a bad reference"
        ),
        pytest.param(
            experiment(60000, 40000, contextKind="user", bucketBy="//"),
            USER_A,
            ("a", 0, EXPERIMENT),
            id="EV-E32 an experiment ignores a bad bucketBy",
        ),
        pytest.param(
            rollout(42158, 57842, bucketBy="/zz"),
            {"kind": "user", "key": "q", "/zz": "userKeyA"},
            ("a", 0, FALLTHROUGH),
            id="EV-E33 without a kind, names are literal",
        ),
        pytest.param(
            rollout(42157, 57843, bucketBy="/zz"),
            {"kind": "user", "key": "q", "/zz": "userKeyA"},
            ("b", 1, FALLTHROUGH),
            id="EV-E33 the literal attribute is used",
        ),
        pytest.param(
            rollout(42157, 57843, contextKind="org"),
            {"kind": "multi", "user": {"key": "x"}, "org": {"key": "userKeyA"}},
            ("b", 1, FALLTHROUGH),
            id="EV-E34 the key of the kind that is named",
        ),
        pytest.param(
            {"variations": [{"variation": 7, "weight": 100000}]},
            USER_A,
            (None, None, MALFORMED),
            id="EV-E35 a missing variation",
        ),
        pytest.param({"variations": []}, USER_A, (None, None, MALFORMED), id="EV-E35 no variations"),
        pytest.param(rollout(0, 0, 0, contextKind="org"), USER_A, ("c", 2, FALLTHROUGH), id="bucket 0 is past an end at 0, too"),
        pytest.param(
            rollout(42158, 57842, contextKind="user", bucketBy="/a/b"),
            {"kind": "user", "key": "q", "a": {"b": "userKeyA"}},
            ("a", 0, FALLTHROUGH),
            id="a path into an object",
        ),
        pytest.param(
            rollout(54771, 45229, bucketBy="n"), {**USER_A, "n": 33333.0}, ("b", 1, FALLTHROUGH), id="a whole number as a float"
        ),
        pytest.param(rollout(1, 99999, bucketBy="n"), {**USER_A, "n": True}, ("a", 0, FALLTHROUGH), id="a boolean has bucket 0"),
        pytest.param(rollout(100000, kind="else"), USER_A, ("a", 0, FALLTHROUGH), id="an unknown sort is a rollout"),
        pytest.param(
            rollout(0, 100000, contextKind="multi"),
            {"kind": "multi", "user": {"key": "x"}, "org": {"key": "userKeyA"}},
            ("b", 1, FALLTHROUGH),
            id="no context has the kind multi",
        ),
    ],
)
def test_a_rollout_serves(served: dict[str, Any], subject: Any, expected: Any) -> None:
    one = flag("hashKey", salt="saltyA", fallthrough={"rollout": served})
    assert outcome(snapshot_of(one).evaluate("hashKey", context(subject), None)) == expected


@pytest.mark.parametrize("value", [pytest.param(v, id=str(v)) for v in (True, 999.999, ["userKeyA"], {"key": "userKeyA"}, None)])
def test_a_value_that_cannot_be_hashed_has_bucket_0(value: Any) -> None:
    """All of them have bucket 0: the least share suffices."""
    one = flag("hashKey", salt="saltyA", fallthrough={"rollout": rollout(1, 99999, bucketBy="v")})
    assert outcome(snapshot_of(one).evaluate("hashKey", context({**USER_A, "v": value}), None))[1] == 0


def test_an_invalid_reference_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    one = flag("hashKey", fallthrough={"rollout": rollout(1, 99999, bucketBy="//", contextKind="user")})
    snapshot_of(one).evaluate("hashKey", context(USER_A), None)
    (message,) = caplog.messages
    assert re.fullmatch(r"flag hashKey, version 1, buckets by an invalid attribute reference: \w.+", message)
    assert not message.endswith("None")


def test_a_rule_can_serve_an_experiment() -> None:
    rule = {"id": "r", "clauses": [], "rollout": experiment(60000, 40000)}
    one = flag("hashKey", salt="saltyA", rules=[rule])
    evaluation = snapshot_of(one).evaluate("hashKey", context(USER_A), None)
    assert outcome(evaluation) == ("a", 0, {"kind": "RULE_MATCH", "ruleIndex": 0, "ruleId": "r", "inExperiment": True})
    assert evaluation.is_experiment


def test_a_key_that_is_half_a_surrogate_pair_is_bucketed() -> None:
    one = flag("hashKey", salt="saltyA", fallthrough={"rollout": rollout(100000)})
    assert outcome(snapshot_of(one).evaluate("hashKey", context({"kind": "user", "key": "\ud800"}), None)) == ("a", 0, FALLTHROUGH)


# -- Buckets, bit by bit. ``floor(100000 * bucket)`` is between which two thresholds the hash lies.


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
