"""FDv1's body with everything in it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aioflags.evaluation.snapshot import Snapshot
from aioflags.model.change import ChangeKind, ChangeSet, ObjectKind
from aioflags.protocol.effects import Malformed
from aioflags.protocol.fdv1 import read_all
from tests.protocol.wire import completed, finished


def read(document: object) -> ChangeSet:
    return completed(finished(read_all(json.dumps(document).encode())))


@pytest.mark.holds("DS-51")
def test_everything_becomes_one_full_set_without_a_cursor() -> None:
    found = read({"segments": {"s": {"key": "s", "version": 3}}, "flags": {"f": {"key": "f", "version": 12}}})
    assert found.kind is ChangeKind.FULL
    assert [(change.kind, change.key, change.version) for change in found.changes] == [
        (ObjectKind.FLAG, "f", 12),
        (ObjectKind.SEGMENT, "s", 3),
    ]
    assert not found.selector.is_defined
    assert found.persist
    assert not found.versioned


@pytest.mark.parametrize(
    "document",
    [
        pytest.param({"flags": {"f": {"version": 1}}}, id="DS-52 without segments"),
        pytest.param({"flags": {"f": {"version": 1}}, "segments": None}, id="DS-52 with null for segments"),
        pytest.param({"flags": {"f": {"version": 0}}}, id="a version of zero"),
        pytest.param({"flags": {"f": {"version": 1, "novelty": {}}}, "novelty": []}, id="with properties that we do not know"),
    ],
)
def test_it_is_accepted(document: Any) -> None:
    assert [change.key for change in read(document).changes] == ["f"]


def test_nothing_at_all_is_a_full_set_of_nothing() -> None:
    assert read({}) == ChangeSet(kind=ChangeKind.FULL)


@pytest.mark.holds("DS-53")
def test_a_deleted_flag_is_a_delete() -> None:
    found = read({"flags": {"f": {"key": "f", "version": 4, "deleted": True}, "g": {"version": 1}}})
    gone = found.changes[0]
    assert (gone.key, gone.version, gone.definition) == ("f", 4, None)
    assert set(Snapshot.empty().apply(found).flags) == {"g"}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        pytest.param(b'{"flags":[]}', "flags: expected object or null, got array", id="DS-52 flags that are an array"),
        pytest.param(b'{"flags":{"f":{}}}', 'flags.f: missing required property "version"', id="DS-52 a flag without a version"),
        pytest.param(b'{"segments":{"s":{}}}', 'segments.s: missing required property "version"', id="a segment without a version"),
        pytest.param(
            b'{"flags":{"f":{"version":"1"}}}', "flags.f: version: expected whole number", id="a version that is a string"
        ),
        pytest.param(b'{"flags":{"f":{"version":null}}}', "flags.f: version", id="a version that is null"),
        pytest.param(b'{"flags":{"f":null}}', "flags.f: expected object, got null", id="a flag that is null"),
        pytest.param(b'{"flags":{"f":true}}', "flags.f: expected object, got boolean", id="a flag that is true"),
        pytest.param(b"", "too early", id="an empty body"),
        pytest.param(b"[]", "expected object", id="an array"),
        pytest.param(b"{oops", "object keys", id="no JSON"),
        pytest.param(b'{"flags":{"f":{"version":1,"salt":"\xff"}}}', "UTF-8", id="no UTF-8"),
        pytest.param(b'{"flags":' + b"[" * 9999 + b"]" * 9999 + b"}", "", id="nesting without end"),
    ],
)
def test_one_mistake_spoils_the_whole_body(body: bytes, says: str) -> None:
    effect = finished(read_all(body))
    assert isinstance(effect, Malformed)
    assert says in effect.message


def test_a_large_body_is_read_with_pauses() -> None:
    flags = {f"flag-{number}": {"version": 1, "variations": list(range(50))} for number in range(5000)}
    work = read_all(json.dumps({"flags": flags}).encode())
    assert sum(1 for _ in work) > 3
