"""Flags as they are decoded: ``evaluation.md`` 2.1."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioflags.model.flag import FlagDefinition, Rollout, WeightedVariation


def decoded(document: object) -> FlagDefinition:
    return msgspec.json.decode(msgspec.json.encode(document), type=FlagDefinition)


NULLABLE = [
    "deleted",
    "on",
    "variations",
    "offVariation",
    "fallthrough",
    "prerequisites",
    "targets",
    "contextTargets",
    "rules",
    "salt",
    "trackEvents",
    "trackEventsFallthrough",
    "debugEventsUntilDate",
    "clientSide",
    "clientSideAvailability",
    "migration",
    "samplingRatio",
    "excludeFromSummaries",
]


def test_a_flag_may_lack_everything() -> None:
    flag = decoded({})
    assert (flag.key, flag.version, flag.on, flag.variations, flag.off_variation, flag.fallthrough) == (
        "",
        0,
        False,
        (),
        None,
        None,
    )
    assert (flag.prerequisites, flag.targets, flag.context_targets, flag.rules, flag.salt) == ((), (), (), (), "")


@pytest.mark.parametrize("name", NULLABLE)
def test_null_is_accepted(name: str) -> None:
    assert decoded({"key": "a", name: None}).key == "a"


def test_all_properties_are_decoded() -> None:
    flag = decoded(
        {
            "key": "a",
            "version": 7,
            "deleted": False,
            "on": True,
            "variations": [True, 1, 2.5, "x", None, {"a": [1]}],
            "offVariation": 1,
            "fallthrough": {
                "rollout": {
                    "kind": "experiment",
                    "contextKind": "org",
                    "bucketBy": "/a",
                    "seed": -7,
                    "variations": [{"variation": 0, "weight": 60000, "untracked": True}, {"variation": 1, "weight": 40000}],
                }
            },
            "prerequisites": [{"key": "b", "variation": 2}],
            "targets": [{"variation": 0, "values": ["u"]}],
            "contextTargets": [{"contextKind": "org", "variation": 1, "values": ["o"]}],
            "rules": [
                {
                    "id": "r",
                    "variation": 1,
                    "trackEvents": True,
                    "clauses": [
                        {"contextKind": "org", "attribute": "a", "op": "in", "values": [1, None, {"b": []}], "negate": True}
                    ],
                }
            ],
            "salt": "s",
            "trackEvents": True,
            "trackEventsFallthrough": True,
            "debugEventsUntilDate": 1000,
            "clientSide": True,
            "clientSideAvailability": {"usingMobileKey": True, "usingEnvironmentId": False},
            "migration": {"checkRatio": 4},
            "samplingRatio": 2,
            "excludeFromSummaries": True,
        }
    )
    assert flag.variations == (True, 1, 2.5, "x", None, {"a": [1]})
    assert (flag.version, flag.on, flag.off_variation, flag.salt, flag.debug_events_until_date) == (7, True, 1, "s", 1000)
    assert flag.fallthrough is not None
    assert flag.fallthrough.rollout == Rollout(
        (WeightedVariation(0, 60000, untracked=True), WeightedVariation(1, 40000)), "experiment", "org", "/a", -7
    )
    assert [(item.key, item.variation) for item in flag.prerequisites or ()] == [("b", 2)]
    assert [(item.variation, item.values, item.context_kind) for item in flag.targets or ()] == [(0, ("u",), None)]
    assert [(item.variation, item.values, item.context_kind) for item in flag.context_targets or ()] == [(1, ("o",), "org")]
    assert flag.rules
    rule = flag.rules[0]
    assert rule.clauses
    clause = rule.clauses[0]
    assert (rule.id, rule.variation, rule.rollout, rule.track_events) == ("r", 1, None, True)
    assert (clause.op, clause.attribute, clause.context_kind, clause.negate) == ("in", "a", "org", True)
    assert clause.values == (1, None, {"b": []})
    assert (flag.track_events, flag.track_events_fallthrough, flag.exclude_from_summaries, flag.sampling_ratio) == (
        True,
        True,
        True,
        2,
    )
    assert flag.migration is not None
    assert flag.migration.check_ratio == 4


def test_unknown_properties_are_skipped() -> None:
    later = {"key": "a", "novelty": {"deep": [1]}, "rules": [{"ref": "x", "clauses": [{"op": "in", "hint": 1}]}]}
    assert decoded(later) == decoded({"key": "a", "rules": [{"clauses": [{"op": "in"}]}]})


@pytest.mark.parametrize(
    ("document", "place"),
    [
        pytest.param({"on": "yes"}, "$.on", id="a string for a boolean"),
        pytest.param({"on": 1}, "$.on", id="a number for a boolean"),
        pytest.param({"version": True}, "$.version", id="a boolean for a number"),
        pytest.param({"version": 1.5}, "$.version", id="a fraction for a whole number"),
        pytest.param({"version": None}, "$.version", id="null for the version"),
        pytest.param({"key": None}, "$.key", id="null for the key"),
        pytest.param({"variations": {}}, "$.variations", id="an object for an array"),
        pytest.param({"rules": [{"clauses": [{"op": 3}]}]}, "$.rules[0].clauses[0].op", id="deep inside"),
        pytest.param({"targets": [{"variation": 0, "values": [3]}]}, "$.targets[0].values[0]", id="a target that is not a string"),
        pytest.param({"prerequisites": [{"key": "a"}]}, "$.prerequisites[0]", id="a prerequisite without a variation"),
        pytest.param([], "Expected `object`", id="an array for a flag"),
    ],
)
def test_a_value_of_a_wrong_type_is_refused_with_its_place(document: object, place: str) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        decoded(document)
    assert place in str(caught.value)


@pytest.mark.parametrize(
    ("document", "visible"),
    [
        pytest.param({}, False, id="no properties"),
        pytest.param({"clientSide": True}, True, id="the older property"),
        pytest.param({"clientSide": None}, False, id="the older property, null"),
        pytest.param(
            {"clientSide": True, "clientSideAvailability": {"usingEnvironmentId": False}}, False, id="the newer one decides"
        ),
        pytest.param({"clientSideAvailability": {"usingEnvironmentId": True}}, True, id="the newer one alone"),
        pytest.param({"clientSideAvailability": {"usingMobileKey": True}}, False, id="a mobile key is another matter"),
        pytest.param({"clientSide": True, "clientSideAvailability": None}, True, id="null leaves it to the older one"),
    ],
)
def test_client_side_sdks_may_see_the_flag(document: object, visible: bool) -> None:
    assert decoded(document).is_client_visible is visible


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from([*NULLABLE, "key", "variation", "values"]), inner),
    )
)
def test_decoding_raises_only_validation_errors(document: Any) -> None:
    try:
        flag = decoded(document)
    except msgspec.ValidationError:
        return
    assert isinstance(flag.key, str)


def test_definitions_cannot_be_changed() -> None:
    flag: Any = decoded({"key": "a"})
    with pytest.raises(AttributeError):
        flag.key = "b"
