"""Served flags have all properties that SDKs rely on, and the same meaning as written."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from aioflags.devserver import ServerState, read_objects
from aioflags.devserver.data.history import fill_defaults
from aioflags.model.change import ObjectKind
from aioflags.protocol.definitions import read_definition

FLAG, SEGMENT = ObjectKind.FLAG, ObjectKind.SEGMENT
CLAUSE = {"attribute": "plan", "op": "in", "values": ["pro"]}
WHOLE_FLAG: dict[str, Any] = {
    "on": True,
    "variations": [1],
    "fallthrough": {"rollout": {"variations": [{"variation": 0, "weight": 100_000}]}},
    "prerequisites": [{"key": "other", "variation": 0}],
    "targets": [{"values": ["ann"], "variation": 0}],
    "contextTargets": [{"contextKind": "org", "values": ["acme"], "variation": 0}],
    "rules": [{"clauses": [CLAUSE], "variation": 0, "trackEvents": True}],
    "salt": "x",
}
WHOLE_SEGMENT: dict[str, Any] = {
    "included": ["ann"],
    "excluded": [],
    "includedContexts": [{"contextKind": "org", "values": ["acme"]}],
    "rules": [{"clauses": [CLAUSE]}],
    "salt": "x",
}


@pytest.mark.parametrize(
    ("kind", "whole", "written", "served"),
    [
        pytest.param(
            FLAG,
            {},
            {},
            {"on": False, "variations": [], "fallthrough": {}, "prerequisites": [], "targets": [], "rules": [], "salt": ""},
            id="an empty flag",
        ),
        pytest.param(SEGMENT, {}, {}, {"included": [], "excluded": [], "rules": [], "salt": ""}, id="an empty segment"),
        pytest.param(FLAG, WHOLE_FLAG, {"rules": None}, {"rules": []}, id="a null counts as missing"),
        pytest.param(
            FLAG,
            WHOLE_FLAG,
            {"rules": [{"variation": 0, "clauses": [{"op": "segmentMatch", "values": ["beta"]}]}]},
            {
                "rules": [
                    {
                        "variation": 0,
                        "trackEvents": False,
                        "clauses": [{"attribute": "", "op": "segmentMatch", "values": ["beta"]}],
                    }
                ]
            },
            id="a clause about segments without an attribute",
        ),
        pytest.param(
            FLAG,
            WHOLE_FLAG,
            {"rules": [{"variation": 0, "trackEvents": True, "clauses": None}, *WHOLE_FLAG["rules"]]},
            {"rules": [{"variation": 0, "trackEvents": True, "clauses": []}, *WHOLE_FLAG["rules"]]},
            id="a rule without clauses and a complete rule",
        ),
        pytest.param(
            FLAG,
            WHOLE_FLAG,
            {"rules": [{"clauses": [], "rollout": {}}], "fallthrough": {"rollout": {"variations": None}}},
            {
                "rules": [{"clauses": [], "rollout": {"variations": []}, "trackEvents": False}],
                "fallthrough": {"rollout": {"variations": []}},
            },
            id="rollouts without variations",
        ),
        pytest.param(
            FLAG,
            WHOLE_FLAG,
            {"targets": [{"variation": 0}], "contextTargets": [{"variation": 0}]},
            {
                "targets": [{"variation": 0, "values": []}],
                "contextTargets": [{"variation": 0, "contextKind": "user", "values": []}],
            },
            id="targets without values",
        ),
        pytest.param(
            SEGMENT,
            WHOLE_SEGMENT,
            {"excludedContexts": [{"values": ["bob"]}], "rules": [{"clauses": [{}]}, {"weight": 1}]},
            {
                "excludedContexts": [{"contextKind": "user", "values": ["bob"]}],
                "rules": [{"clauses": [{"attribute": "", "op": "", "values": []}]}, {"weight": 1, "clauses": []}],
            },
            id="a segment's rules and targets",
        ),
        pytest.param(FLAG, WHOLE_FLAG, {"new": [{}]}, {"new": [{}]}, id="unknown properties are kept"),
    ],
)
def test_missing_properties_get_their_defaults(
    kind: ObjectKind, whole: dict[str, Any], written: dict[str, Any], served: dict[str, Any]
) -> None:
    document = {**whole, **written}
    before = msgspec.json.encode(document)
    assert fill_defaults(kind, document) == {**whole, **served}
    assert msgspec.json.encode(document) == before


@pytest.mark.parametrize(
    ("kind", "whole"), [pytest.param(FLAG, WHOLE_FLAG, id="a flag"), pytest.param(SEGMENT, WHOLE_SEGMENT, id="a segment")]
)
def test_a_complete_object_is_not_copied(kind: ObjectKind, whole: dict[str, Any]) -> None:
    assert fill_defaults(kind, whole) is whole


def test_defaults_do_not_change_the_meaning() -> None:
    written = {"fallthrough": {}, "rules": [{"variation": 0, "clauses": [{"op": "segmentMatch", "values": ["beta"]}]}]}
    as_written, as_served = (read_definition(FLAG, msgspec.json.encode(form)) for form in (written, fill_defaults(FLAG, written)))
    assert as_served == as_written


def test_serving_the_same_document_again_changes_nothing() -> None:
    document: dict[str, Any] = {"flags": {"a": {"rules": [{"variation": 0}]}}, "segments": {"b": {}}}
    state = ServerState.of(document)
    version = state.version
    state.replace(read_objects(document))
    assert state.version == version


def test_the_document_stays_as_it_was_written() -> None:
    assert ServerState.of({"flags": {"a": {}}}).document()["flags"]["a"] == {"key": "a", "version": 1}
