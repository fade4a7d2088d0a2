"""The evaluation of flags for the clients of flagd's services."""

from __future__ import annotations

import gc
import weakref

import pytest

from aioflags.devserver import ServerState
from aioflags.devserver.data.flagd_flags import read_selector
from aioflags.devserver.flagd.evaluation import ServedEvaluator, explain_flagd


def test_a_selector_that_is_not_used_any_more_takes_no_memory() -> None:
    state = ServerState.of({"flags": {"on": {"state": "ENABLED", "variants": {"on": True}}}})
    assert state.flagd is not None
    evaluator = ServedEvaluator(state)
    evaluator.resolve("flag", {}, "source=first")
    first = weakref.ref(state.flagd.view(read_selector("source=first")))
    for number in range(200):
        evaluator.resolve("flag", {}, f"source={number}")
    gc.collect()
    assert first() is None


@pytest.mark.parametrize(
    ("version", "variant"),
    [
        pytest.param(None, "beta", id="the newest version is the default"),
        pytest.param(3, "beta", id="version 3"),
        pytest.param(2, "alpha", id="version 2"),
    ],
)
def test_fractional_has_the_version_of_the_server(version: int | None, variant: str) -> None:
    seed = {"cat": [{"var": "$flagd.flagKey"}, {"var": "email"}]}
    flag = {
        "state": "ENABLED",
        "variants": {"alpha": "a", "beta": "b", "gamma": "c"},
        "targeting": {"fractional": [seed, ["alpha", 50], ["beta", 30], ["gamma", 20]]},
    }
    document = {"flags": {"checkout-v2": flag}}
    state = ServerState.of(document) if version is None else ServerState.of(document, fractional_version=version)
    evaluator = ServedEvaluator(state)
    context = {"email": "ada@example.com"}
    assert evaluator.resolve("checkout-v2", context).variant == variant
    assert evaluator.resolve("checkout-v2", context, "flagSetId=").variant == variant
    assert state.flagd is not None
    assert explain_flagd(state.flagd, "checkout-v2", context)["variant"] == variant


def test_a_server_has_a_version_of_fractional_that_exists() -> None:
    with pytest.raises(ValueError, match="expected 2 or 3 as version of fractional, got 4"):
        ServerState(fractional_version=4)


def test_rules_of_flagd_read_a_targeting_key_of_any_type() -> None:
    rule = {"if": [{"===": [{"var": "targetingKey"}, 5]}, "five", "other"]}
    flag = {"state": "ENABLED", "variants": {"five": 5, "other": 0}, "targeting": rule}
    evaluator = ServedEvaluator(ServerState.of({"flags": {"a": flag}}))
    assert evaluator.resolve("a", {"targetingKey": 5}).variant == "five", "flagd passes the key on, and clients would refuse it"
    assert evaluator.resolve("a", {"targetingKey": "5"}).variant == "other"
