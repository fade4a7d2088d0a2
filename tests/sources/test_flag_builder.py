"""FlagBuilder: tested by evaluating the flags that it builds."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeAlias, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioflags.errors import ConfigError
from aioflags.evaluation.snapshot import Snapshot
from aioflags.model.change import ChangeKind, ChangeSet, ObjectKind
from aioflags.model.context import Context
from aioflags.model.flag import FlagDefinition
from aioflags.protocol.definitions import put
from aioflags.protocol.flag_documents import read_document
from aioflags.sources.flag_builder import FlagBuilder

ANN, BEN = Context("ann", attributes={"country": "de", "plan": "free"}), Context("ben", attributes={"country": "fr"})
ACME = Context("acme", kind="org", attributes={"country": "de"})
NOBODY = Context("nobody")
Build: TypeAlias = Callable[[FlagBuilder], FlagBuilder]

CONTEXTS = {"ann": ANN, "ben": BEN, "acme": ACME, "nobody": NOBODY}


def served(flag: FlagBuilder) -> dict[str, Any]:
    """What each context gets."""
    change = put(ObjectKind.FLAG, "f", 1, flag.definition(1))
    snapshot = Snapshot.empty().apply(ChangeSet(kind=ChangeKind.FULL, changes=(change,)))
    return {name: snapshot.evaluate("f", context, "default", wanted=object).detail.value for name, context in CONTEXTS.items()}


def everybody(value: object, **others: object) -> dict[str, object]:
    return dict.fromkeys(CONTEXTS, value) | others


BUILT: dict[str, tuple[Build, dict[str, object]]] = {
    "a new flag is true for all contexts": (lambda flag: flag, everybody(True)),
    "and false when it is off": (lambda flag: flag.on(False), everybody(False)),
    "the fallthrough": (lambda flag: flag.fallthrough_variation(False), everybody(False)),
    "the off variation": (lambda flag: flag.on(False).off_variation(0), everybody(True)),
    "other variations": (lambda flag: flag.variations("a", "b", "c").fallthrough_variation(2), everybody("c")),
    "off with one's own": (lambda flag: flag.variations("a", "b").off_variation(1).on(False), everybody("b")),
    "a boolean makes it boolean": (lambda flag: flag.variations("a", "b").fallthrough_variation(False), everybody(False)),
    "the same variation for all": (
        lambda flag: flag.on(False).variation_for_user("ann", True).variation_for_all(False),
        everybody(False),
    ),
    "for all forgets rules": (
        lambda flag: flag.if_match("country", "de").then_return(False).variation_for_all(True),
        everybody(True),
    ),
    "the same value for all": (lambda flag: flag.value_for_all({"size": 5}), everybody({"size": 5})),
    "a value is all there is": (lambda flag: flag.value_for_all("x").on(False), everybody("default")),
    "a user": (lambda flag: flag.variation_for_user("ann", False), everybody(True, ann=False)),
    "a context of another kind": (lambda flag: flag.variation_for_key("org", "acme", False), everybody(True, acme=False)),
    "a user and another kind": (
        lambda flag: flag.variation_for_user("ann", False).variation_for_key("org", "acme", False),
        everybody(True, ann=False, acme=False),
    ),
    "the last word on a key counts": (
        lambda flag: flag.variation_for_user("ann", False).variation_for_user("ann", True),
        everybody(True),
    ),
    "targets can be forgotten": (lambda flag: flag.variation_for_user("ann", False).clear_targets(), everybody(True)),
    "a rule": (lambda flag: flag.if_match("country", "de", "at").then_return(False), everybody(True, ann=False)),
    "a negated rule asks for the attribute": (
        lambda flag: flag.if_not_match("country", "de").then_return(False),
        everybody(True, ben=False),
    ),
    "both clauses have to match": (
        lambda flag: flag.if_match("country", "de", "fr").and_match("plan", "free").then_return(False),
        everybody(True, ann=False),
    ),
    "one of both may be negated": (
        lambda flag: flag.if_match("country", "de").and_not_match("plan", "free").then_return(False),
        everybody(True),
    ),
    "a rule on another kind": (
        lambda flag: flag.if_match("country", "de", kind="org").then_return(False),
        everybody(True, acme=False),
    ),
    "a negated rule on another kind": (
        lambda flag: flag.if_not_match("country", "fr", kind="org").then_return(False),
        everybody(True, acme=False),
    ),
    "clauses on two kinds need a context of both": (
        lambda flag: flag.if_match("country", "de").and_match("country", "de", kind="org").then_return(False),
        everybody(True),
    ),
    "and a clause on another kind may be negated": (
        lambda flag: flag.if_match("country", "de", kind="org").and_not_match("country", "fr", kind="org").then_return(False),
        everybody(True, acme=False),
    ),
    "the first rule that matches counts": (
        lambda flag: flag.if_match("country", "de").then_return(False).if_match("plan", "free").then_return(True),
        everybody(True, ann=False),
    ),
    "rules can be forgotten": (
        lambda flag: flag.if_match("country", "de").then_return(False).clear_rules(),
        everybody(True),
    ),
    "a rollout, by user": (
        lambda flag: flag.fallthrough_rollout({True: 50, False: 50}),
        {"ann": False, "ben": True, "acme": True, "nobody": False},
    ),
    "a rollout in the order of its shares": (
        lambda flag: flag.fallthrough_rollout({False: 50, True: 50}),
        {"ann": True, "ben": False, "acme": False, "nobody": True},
    ),
    "a rollout of several values": (
        lambda flag: flag.variations("a", "b", "c").fallthrough_rollout({0: 0, 1: 0.5, 2: 99.5}),
        everybody("c", acme="b"),
    ),
    "a rollout by another kind": (
        lambda flag: flag.fallthrough_rollout({True: 1, False: 99}, kind="org"),
        everybody(True, acme=False),
    ),
    "a rollout by an attribute": (
        lambda flag: flag.fallthrough_rollout({True: 1, False: 99}, by="country"),
        everybody(False, acme=True, nobody=True),
    ),
    "a rollout of a rule": (
        lambda flag: flag.if_match("country", "de").then_rollout({False: 100, True: 0}),
        everybody(True, ann=False),
    ),
    "a rollout of a rule, by an attribute of another kind": (
        lambda flag: flag.if_match("country", "de", kind="org").then_rollout({True: 1, False: 99}, kind="org", by="country"),
        everybody(True, acme=False),
    ),
    "targets come before rules": (
        lambda flag: flag.variation_for_user("ann", True).if_match("country", "de", "fr").then_return(False),
        everybody(True, ben=False),
    ),
}


@pytest.mark.parametrize(("build", "expected"), BUILT.values(), ids=BUILT)
def test_a_flag_serves(build: Build, expected: dict[str, object]) -> None:
    assert served(build(FlagBuilder("f"))) == expected


def test_each_rule_has_its_own_id() -> None:
    flag = FlagBuilder("f").if_match("a", 1).then_return(True).if_match("b", 1).then_return(True).definition(1)
    assert [rule.id for rule in flag.rules or ()] == ["rule0", "rule1"]


def test_a_rule_is_added_when_it_is_finished() -> None:
    flag = FlagBuilder("f")
    rule = flag.if_match("country", "de")
    assert served(flag) == everybody(True)
    rule.then_return(False)
    assert served(flag) == everybody(True, ann=False)


FULL_FLAG: dict[str, Any] = {
    "version": 4,
    "on": True,
    "salt": "s",
    "trackEvents": True,
    "variations": ["a", "b"],
    "offVariation": 1,
    "fallthrough": {"rollout": {"variations": [{"variation": 0, "weight": 100000}]}},
    "targets": [{"variation": 1, "values": ["ann"]}, {"variation": 0, "values": ["ben"]}],
    "contextTargets": [
        {"variation": 1, "contextKind": "org", "values": ["acme"]},
        {"variation": 1, "contextKind": "user", "values": []},
    ],
    "rules": [{"id": "r", "variation": 1, "clauses": [{"op": "startsWith", "attribute": "key", "values": ["no"]}]}],
}


def definition_of(document: dict[str, object]) -> FlagDefinition:
    definition = read_document({"flags": {"f": document}}).changes[0].definition
    assert isinstance(definition, FlagDefinition)
    return definition


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(FULL_FLAG, id="with everything"),
        pytest.param(FULL_FLAG | {"contextTargets": []}, id="with targets for users only"),
        pytest.param(FULL_FLAG | {"contextTargets": FULL_FLAG["contextTargets"][:1]}, id="with targets for other kinds only"),
        pytest.param({}, id="with nothing"),
    ],
)
def test_a_builder_continues_from_a_definition(document: dict[str, object]) -> None:
    before = definition_of(document)
    after = FlagBuilder("f", before)
    assert served(after) == served_as_written(before)
    assert (after.definition(9).salt, after.definition(9).track_events, after.definition(9).version) == (
        before.salt,
        before.track_events,
        9,
    )


def served_as_written(definition: FlagDefinition) -> dict[str, Any]:
    snapshot = Snapshot.empty().apply(ChangeSet(kind=ChangeKind.FULL, changes=(put(ObjectKind.FLAG, "f", 1, definition),)))
    return {name: snapshot.evaluate("f", context, "default", wanted=object).detail.value for name, context in CONTEXTS.items()}


def test_a_definition_does_not_change_with_its_builder() -> None:
    flag = FlagBuilder("f").variation_for_user("ann", False)
    built = flag.definition(1)
    flag.variation_for_user("ben", False).if_match("a", 1).then_return(False)
    assert (len(built.targets or ()), len(built.rules or ())) == (1, 0)


REFUSED: dict[str, Callable[[FlagBuilder], object]] = {
    "a negative index": lambda flag: flag.fallthrough_variation(-1),
    "a value where an index is meant": lambda flag: flag.off_variation(cast("int", "b")),
    "a variation that is not JSON": lambda flag: flag.variations({1}),
    "a clause's value that is not JSON": lambda flag: flag.if_match("a", object()),
    "a clause without values": lambda flag: flag.if_match("country"),
    "a negated clause without values": lambda flag: flag.if_not_match("country"),
    "a second clause without values": lambda flag: flag.if_match("country", "de").and_match("plan", kind="org"),
    "an attribute that is not a string": lambda flag: flag.if_match(cast("str", 5), "de"),
    "a kind that is not a string": lambda flag: flag.if_match("country", "de", kind=cast("str", None)),
}


@pytest.mark.parametrize("call", REFUSED.values(), ids=REFUSED)
def test_an_invalid_option_is_refused(call: Callable[[FlagBuilder], object]) -> None:
    with pytest.raises(ConfigError):
        call(FlagBuilder("f"))


@pytest.mark.parametrize(
    ("percentages", "message"),
    [
        pytest.param({True: 10, False: 80}, "f: expected percentages that add up to 100, got 90", id="too little"),
        pytest.param({True: 0.1, False: 0.9}, "f: expected percentages that add up to 100, got 1", id="shares of 1"),
        pytest.param({}, "f: expected percentages that add up to 100, got 0", id="nothing"),
        pytest.param({True: -10, False: 110}, "f: expected percentages of at least 0, got -10", id="a negative one"),
        pytest.param({True: float("nan"), False: 1}, "f: expected percentages of at least 0, got nan", id="not a number"),
        pytest.param({True: "10", False: 90}, "percentages: expected int or float, got str", id="a text"),
        pytest.param([10, 90], "percentages: expected Mapping, got list", id="a list"),
        pytest.param({"a": 100}, "f: expected a variation as an index, True or False, got 'a'", id="a value"),
    ],
)
def test_a_rollout_that_makes_no_sense_is_refused(percentages: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        FlagBuilder("f").fallthrough_rollout(percentages)


@given(st.lists(st.floats(0.001, 100), min_size=1, max_size=9))
def test_the_weights_of_a_rollout_add_up(parts: list[float]) -> None:
    percentages = {index: part * 100 / sum(parts) for index, part in enumerate(parts)}
    fallthrough = FlagBuilder("f").variations(*parts).fallthrough_rollout(percentages).definition(1).fallthrough
    assert fallthrough is not None
    assert fallthrough.rollout is not None
    weights = [weighted.weight for weighted in fallthrough.rollout.variations or ()]
    assert sum(weights) == 100_000
    assert all(abs(weight - percentages[index] * 1000) <= 1 for index, weight in enumerate(weights))
