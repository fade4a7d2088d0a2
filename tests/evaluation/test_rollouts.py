"""Weighted choice, through whole flags: which variation a context gets, and whether it counts for an experiment."""

from __future__ import annotations

import re
from typing import Any

import pytest

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
