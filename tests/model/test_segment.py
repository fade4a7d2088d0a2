"""Segments as they are decoded: ``evaluation.md`` 2.2."""

from __future__ import annotations

import msgspec
import pytest

from aioflags.model.change import SegmentDefinition


def decoded(document: object) -> SegmentDefinition:
    return msgspec.json.decode(msgspec.json.encode(document), type=SegmentDefinition)


def test_a_segment_may_lack_everything() -> None:
    segment = decoded({})
    assert (segment.key, segment.version, segment.unbounded, segment.generation, segment.salt) == ("", 0, False, None, "")
    assert (segment.included, segment.excluded, segment.included_contexts, segment.excluded_contexts, segment.rules) == ((),) * 5


@pytest.mark.parametrize(
    "name",
    [
        "deleted",
        "included",
        "excluded",
        "includedContexts",
        "excludedContexts",
        "rules",
        "salt",
        "unbounded",
        "unboundedContextKind",
        "generation",
    ],
)
def test_null_is_accepted(name: str) -> None:
    assert decoded({"key": "a", name: None}).key == "a"


def test_all_properties_are_decoded() -> None:
    segment = decoded(
        {
            "key": "s",
            "version": 3,
            "included": ["u"],
            "excluded": ["v"],
            "includedContexts": [{"contextKind": "org", "values": ["o"]}],
            "excludedContexts": [{"values": ["w"]}],
            "rules": [
                {"id": "r", "clauses": [{"op": "in"}], "weight": 500, "bucketBy": "a", "rolloutContextKind": "org", "more": 1}
            ],
            "salt": "x",
            "unbounded": True,
            "unboundedContextKind": "org",
            "generation": 2,
            "more": 1,
        }
    )
    assert (segment.key, segment.version, segment.included, segment.excluded, segment.salt) == ("s", 3, ("u",), ("v",), "x")
    assert [(target.context_kind, target.values) for target in segment.included_contexts or ()] == [("org", ("o",))]
    assert [(target.context_kind, target.values) for target in segment.excluded_contexts or ()] == [(None, ("w",))]
    assert segment.rules
    rule = segment.rules[0]
    assert (rule.id, rule.weight, rule.bucket_by, rule.rollout_context_kind) == ("r", 500, "a", "org")
    assert [clause.op for clause in rule.clauses or ()] == ["in"]
    assert (segment.unbounded, segment.unbounded_context_kind, segment.generation) == (True, "org", 2)


@pytest.mark.parametrize(
    ("document", "place"),
    [
        pytest.param({"included": [3]}, "$.included[0]", id="a key that is a number"),
        pytest.param({"rules": [{"weight": 0.5}]}, "$.rules[0].weight", id="a weight that is a fraction"),
        pytest.param({"unbounded": "yes"}, "$.unbounded", id="a string for a boolean"),
    ],
)
def test_a_value_of_a_wrong_type_is_refused_with_its_place(document: object, place: str) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        decoded(document)
    assert place in str(caught.value)
