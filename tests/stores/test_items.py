"""Encoding of definitions for a store, and decoding."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioflags.evaluation.snapshot import Snapshot
from aioflags.model.change import Change, ChangeKind, ChangeSet, ObjectKind
from aioflags.model.flag import FlagDefinition, Prerequisite
from aioflags.protocol.definitions import read_definition
from aioflags.runtime.cooperative import run_at_once
from aioflags.runtime.logs import logger
from aioflags.stores import StoredItem
from aioflags.stores.items import (
    LOST_RACE,
    ItemReader,
    complete,
    listed_kinds,
    marker_text,
    read_item,
    read_items,
    stored_items,
    stored_version,
    write_items,
)

FLAG, SEGMENT = ObjectKind.FLAG, ObjectKind.SEGMENT

WHOLE_FLAG = {
    "key": "f",
    "version": 3,
    "deleted": False,
    "on": True,
    "variations": [{"a": None, "b": [None, 1.5]}, "ü", None],
    "offVariation": 1,
    "fallthrough": {
        "rollout": {"variations": [{"variation": 0, "weight": 100000, "untracked": False}], "kind": "rollout", "seed": 7}
    },
    "prerequisites": [{"key": "g", "variation": 0}],
    "targets": [{"variation": 1, "values": ["u"]}],
    "contextTargets": [{"variation": 1, "values": ["o"], "contextKind": "org"}],
    "rules": [
        {
            "clauses": [{"op": "in", "attribute": "plan", "values": ["pro", None, 1], "negate": False}],
            "id": "r",
            "variation": 0,
            "trackEvents": True,
        }
    ],
    "salt": "s",
    "trackEvents": False,
    "trackEventsFallthrough": False,
    "debugEventsUntilDate": 1500,
    "clientSide": True,
    "clientSideAvailability": {"usingMobileKey": True, "usingEnvironmentId": True},
    "migration": {"checkRatio": 10},
    "samplingRatio": 1,
    "excludeFromSummaries": False,
}


def written(text: Mapping[str, object], kind: ObjectKind = FLAG) -> dict[str, object]:
    """What is stored of a definition that was sent."""
    definition = read_definition(kind, json.dumps(text).encode())
    (item,) = stored_items([complete(Change(kind, str(text["key"]), 99, definition))])
    stored: dict[str, object] = json.loads(item.text)
    return stored


def test_a_flag_is_stored_as_it_was_sent() -> None:
    assert written(WHOLE_FLAG) == WHOLE_FLAG


def test_absent_and_null_fields_are_left_out_and_required_ones_stored() -> None:
    stored = written({"key": "f", "version": 1, "rules": [{"variation": None, "clauses": []}], "offVariation": None})
    assert stored["rules"] == [{"clauses": [], "trackEvents": False}]
    assert {"offVariation", "fallthrough", "migration"} & set(stored) == set()
    assert {"key", "version", "on", "salt", "variations"} <= set(stored)
    clause = {"op": "segmentMatch", "attribute": "", "values": ["s"]}
    segment = {"key": "s", "version": 1, "rules": [{"clauses": [clause], "weight": 5, "rolloutContextKind": "org"}]}
    assert written(segment, SEGMENT)["rules"] == [
        {"clauses": [{**clause, "negate": False}], "weight": 5, "rolloutContextKind": "org"}
    ]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(values=st.lists(JSON, max_size=4))
def test_variations_are_stored_unchanged(values: list[object]) -> None:
    assert written({"key": "f", "version": 1, "variations": values})["variations"] == values


@pytest.mark.parametrize(
    ("definition", "envelope", "version"),
    [
        pytest.param({"version": 7}, 3, 7, id="the definition's own"),
        pytest.param({}, 3, 3, id="otherwise the transfer's"),
        pytest.param(None, 3, 3, id="for a delete the transfer's"),
        pytest.param({"version": 7, "deleted": True}, 3, 7, id="for a deleted object its own"),
    ],
)
def test_the_stored_version(definition: dict[str, object] | None, envelope: int, version: int) -> None:
    decoded = None if definition is None else read_definition(FLAG, json.dumps(definition).encode())
    (item,) = stored_items([complete(Change(FLAG, "f", envelope, decoded))])
    assert (item.version, json.loads(item.text)["version"], json.loads(item.text)["key"]) == (version, version, "f")


def test_a_deleted_item_is_stored_in_the_common_format() -> None:
    (item,) = stored_items([Change(SEGMENT, "s", 5, None)])
    assert item == StoredItem(SEGMENT, "s", 5, b'{"key":"s","version":5,"deleted":true}')


def test_a_whole_data_set_is_read_back_complete() -> None:
    changes = [Change(FLAG, "f", 3, read_definition(FLAG, json.dumps(WHOLE_FLAG).encode())), Change(FLAG, "gone", 4, None)]
    changes += [Change(SEGMENT, f"s{n}", n, read_definition(SEGMENT, b'{"included":["u"]}')) for n in range(1, 200)]
    snapshot = Snapshot.empty().apply(ChangeSet(kind=ChangeKind.FULL, changes=tuple(changes)))
    items = run_at_once(write_items(snapshot.items))
    again = run_at_once(read_items(items, pytest.fail))
    assert Snapshot.empty().apply(ChangeSet(kind=ChangeKind.FULL, changes=again)).items == snapshot.items


def test_an_item_has_the_key_under_which_it_is_stored() -> None:
    change = read_item(StoredItem(FLAG, "f", 1, b'{"key":"other","version":1}'), pytest.fail)
    assert change is not None
    assert change.definition is not None
    assert (change.key, change.definition.key) == ("f", "f")


def test_an_unreadable_item_is_reported_and_left_out() -> None:
    complaints: list[str] = []
    items = {FLAG: {"bad": StoredItem(FLAG, "bad", 1, b'{"version":1,"on":"yes"}'), "good": StoredItem(FLAG, "good", 1, b"{}")}}
    assert [change.key for change in run_at_once(read_items(items, complaints.append))] == ["good"]
    assert complaints == ["flag bad: Expected `bool | null`, got `str` - at `$.on`"]


@pytest.mark.parametrize(
    ("text", "version"), [(b'{"version":3}', 3), (b"{}", 0), (b'{"version":null}', None), (b"3", None), (b"", None)]
)
def test_a_version_is_read_without_the_rest_of_the_item(text: bytes, version: int | None) -> None:
    assert stored_version(text) == version


def test_a_long_chain_of_prerequisites_is_sorted() -> None:
    flags = [
        FlagDefinition(key=str(n), version=1, prerequisites=(Prerequisite(key=str(n + 1), variation=0),)) for n in range(20_000)
    ]
    order = [item.key for item in stored_items([Change(FLAG, flag.key, 1, flag) for flag in flags])]
    assert order == [str(n) for n in reversed(range(20_000))]


# -- The texts of items and of the marker: which ones can be read, and how often one that cannot is logged.

STORED_TEXTS = [
    pytest.param(b'{"version":7,"deleted":true}', 7, id="a tombstone without a key"),
    pytest.param(b'{"key":"$deleted","version":7,"deleted":true,"on":true}', 7, id="a tombstone with the key $deleted"),
    pytest.param(b'{"key":"other","version":7,"on":true}', 7, id="another key than the one it is stored under"),
    pytest.param(b'{"on":true}', 0, id="no version"),
    pytest.param(b'{"version":"7"}', None, id="a version that is text"),
    pytest.param(b'{"version":7', None, id="half a document"),
    pytest.param(b"[7]", None, id="an array"),
    pytest.param(b"", None, id="empty text"),
    pytest.param(b"\xff\x00\x80", None, id="not text"),
    pytest.param(b"[" * 100_000, None, id="nested without end"),
]
"""What a database may have under the key of a flag, and the version that it is read with; ``None``: it cannot be read."""


@pytest.mark.parametrize(("text", "version"), [*STORED_TEXTS, pytest.param(None, None, id="no text")])
def test_a_text_is_an_item_or_is_logged_once(text: bytes | None, version: int | None, caplog: pytest.LogCaptureFixture) -> None:
    read = ItemReader("Redis", logger)
    expected = None if text is None or version is None else StoredItem(FLAG, "odd", version, text)
    assert [read(FLAG, "odd", text) for _ in range(2)] == [expected] * 2
    assert caplog.messages == ([] if expected else ["Redis: flag odd cannot be read and is ignored"])


@pytest.mark.parametrize("kinds", [[], [FLAG], [SEGMENT], [SEGMENT, FLAG]], ids=str)
def test_the_marker_lists_the_kinds_that_have_items(kinds: list[ObjectKind]) -> None:
    assert listed_kinds(marker_text(kinds).encode()) == frozenset(kinds)


@pytest.mark.parametrize("text", [None, b"", b"1", b"launchdarkly:$inited", b"$inited\xff", b"features"])
def test_the_marker_of_another_sdk_has_no_list(text: bytes | None) -> None:
    assert listed_kinds(text) is None


# -- The pauses of writers that lost a race.


@pytest.mark.parametrize(
    ("lost", "chance", "seconds"),
    [
        pytest.param(0, 0.9, 0, id="no pause before the first attempt"),
        pytest.param(1, 0.5, 0.005, id="up to 10 ms before the second attempt"),
        pytest.param(2, 0.5, 0.01, id="up to 20 ms before the third attempt"),
        pytest.param(6, 0.5, 0.16, id="up to 320 ms before the seventh attempt"),
        pytest.param(7, 0.5, 0.25, id="up to half a second before the eighth attempt"),
        pytest.param(31, 0.999, 0.4995, id="never more than half a second"),
        pytest.param(31, 0, 0, id="no pause for chance 0"),
    ],
)
def test_the_pause_after_lost_races(lost: int, chance: float, seconds: float) -> None:
    assert LOST_RACE.pause(lost, chance) == pytest.approx(seconds)
