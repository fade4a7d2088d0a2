"""FDv1: the body of latest-all, and the events of the stream."""

from __future__ import annotations

import json
import logging
from collections.abc import Generator
from typing import Any

import pytest

from aioflags.evaluation.snapshot import Snapshot
from aioflags.model.change import ChangeKind, ChangeSet, ObjectKind
from aioflags.protocol.messages import NOTHING, Effect, Malformed
from aioflags.protocol.server_side import Fdv1Reader, read_latest_all
from aioflags.runtime.cooperative import run_at_once
from tests.support.fdv2_messages import completed


def read(document: object) -> ChangeSet:
    return completed(run_at_once(read_latest_all(json.dumps(document).encode())))


@pytest.mark.holds("DS-51")
def test_latest_all_becomes_a_full_change_set_without_a_selector() -> None:
    change_set = read({"segments": {"s": {"key": "s", "version": 3}}, "flags": {"f": {"key": "f", "version": 12}}})
    assert change_set.kind is ChangeKind.FULL
    assert [(change.kind, change.key, change.version) for change in change_set.changes] == [
        (ObjectKind.FLAG, "f", 12),
        (ObjectKind.SEGMENT, "s", 3),
    ]
    assert not change_set.selector.is_defined
    assert change_set.persist
    assert not change_set.versioned


@pytest.mark.parametrize(
    "document",
    [
        pytest.param({"flags": {"f": {"version": 1}}}, id="DS-52 without segments"),
        pytest.param({"flags": {"f": {"version": 1}}, "segments": None}, id="DS-52 with null for segments"),
        pytest.param({"flags": {"f": {"version": 0}}}, id="a version of zero"),
        pytest.param({"flags": {"f": {"version": 1, "novelty": {}}}, "novelty": []}, id="with unknown properties"),
    ],
)
def test_unusual_bodies_are_accepted(document: Any) -> None:
    assert [change.key for change in read(document).changes] == ["f"]


def test_an_empty_body_is_an_empty_full_change_set() -> None:
    assert read({}) == ChangeSet(kind=ChangeKind.FULL)


@pytest.mark.holds("DS-53")
def test_a_deleted_flag_is_a_delete() -> None:
    change_set = read({"flags": {"f": {"key": "f", "version": 4, "deleted": True}, "g": {"version": 1}}})
    gone = change_set.changes[0]
    assert (gone.key, gone.version, gone.definition) == ("f", 4, None)
    assert set(Snapshot.empty().apply(change_set).flags) == {"g"}


@pytest.mark.parametrize(
    ("body", "problem"),
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
        pytest.param(b"{oops", "object keys", id="not JSON"),
        pytest.param(b'{"flags":{"f":{"version":1,"salt":"\xff"}}}', "UTF-8", id="not UTF-8"),
        pytest.param(b'{"flags":' + b"[" * 9999 + b"]" * 9999 + b"}", "", id="nested too deeply"),
    ],
)
def test_one_invalid_object_makes_the_body_malformed(body: bytes, problem: str) -> None:
    effect = run_at_once(read_latest_all(body))
    assert isinstance(effect, Malformed)
    assert problem in effect.message


def test_a_large_body_is_read_with_pauses() -> None:
    flags = {f"flag-{number}": {"version": 1, "variations": list(range(50))} for number in range(5000)}
    work = read_latest_all(json.dumps({"flags": flags}).encode())
    assert sum(1 for _ in work) > 3


# -- the stream

PUT = {"path": "/", "data": {"flags": {"f": {"version": 5}}, "segments": {"s": {"version": 2}}}}


class Stream:
    """A reader that receives the events of a connection."""

    def __init__(self) -> None:
        self.reader = Fdv1Reader(logging.getLogger("test"))

    def receive(self, name: str, data: object) -> Effect:
        effect = self.reader.feed(name, data if isinstance(data, (str, bytes)) else json.dumps(data))
        return run_at_once(effect) if isinstance(effect, Generator) else effect


def after_a_put(name: str, data: object) -> Effect:
    stream = Stream()
    stream.receive("put", PUT)
    return stream.receive(name, data)


@pytest.mark.parametrize("put", [PUT, {"data": PUT["data"]}], ids=["with a path", "without a path"])
def test_a_put_is_a_full_change_set(put: object) -> None:
    change_set = completed(Stream().receive("put", put))
    assert (change_set.kind, change_set.versioned, change_set.selector.is_defined) == (ChangeKind.FULL, False, False)
    assert [(change.kind.value, change.key, change.version) for change in change_set.changes] == [
        ("flag", "f", 5),
        ("segment", "s", 2),
    ]


@pytest.mark.parametrize(
    ("name", "data", "change"),
    [
        pytest.param("patch", {"path": "/flags/f", "data": {"version": 6}}, ("flag", "f", 6, True), id="a flag"),
        pytest.param("patch", {"path": "/segments/s", "data": {"version": 3}}, ("segment", "s", 3, True), id="a segment"),
        pytest.param("patch", {"path": "/flags/a/b", "data": {"version": 1}}, ("flag", "a/b", 1, True), id="a key with a slash"),
        pytest.param("patch", {"path": "/flags/", "data": {"version": 1}}, ("flag", "", 1, True), id="an empty key"),
        pytest.param(
            "patch",
            {"path": "/flags/f", "data": {"version": 7, "deleted": True}},
            ("flag", "f", 7, False),
            id="a deleted one",
        ),
        pytest.param("delete", {"path": "/flags/f", "version": 8}, ("flag", "f", 8, False), id="a delete"),
    ],
)
def test_an_update_is_one_versioned_change(name: str, data: object, change: tuple[object, ...]) -> None:
    change_set = completed(after_a_put(name, data))
    assert (change_set.kind, change_set.versioned, change_set.selector.is_defined) == (ChangeKind.CHANGES, True, False)
    (only,) = change_set.changes
    assert (only.kind.value, only.key, only.version, only.definition is not None) == change


@pytest.mark.parametrize(
    ("name", "data"),
    [
        pytest.param("patch", {"path": "/cats/Jack", "data": {"version": 1}}, id="DS-56 a patch of something else"),
        pytest.param("patch", {"path": "/cats/Jack", "data": True}, id="whatever is in it"),
        pytest.param("patch", {"path": "flags/f", "data": {}}, id="a path without its slash"),
        pytest.param("delete", {"path": "/", "version": 1}, id="a delete of nothing"),
        pytest.param("heartbeat", "{", id="an event of another name, which is not read"),
        pytest.param("put-object", "", id="an event of FDv2"),
    ],
)
def test_unknown_events_and_paths_are_ignored(name: str, data: object) -> None:
    assert after_a_put(name, data) is NOTHING


@pytest.mark.parametrize(
    ("name", "data", "problem"),
    [
        pytest.param("put", "{", "put: line 1, column 2: the JSON ends too early", id="a put that is cut off"),
        pytest.param("put", {"path": "/"}, 'put: missing required property "data"', id="a put without data"),
        pytest.param("put", {"data": {"flags": True}}, "put: data.flags: expected object or null", id="a put whose flags are true"),
        pytest.param("put", {"data": {"flags": {"f": {}}}}, 'flags.f: missing required property "version"', id="no version"),
        pytest.param(
            "patch", {"path": "/flags/f", "data": True}, 'patch: flag "f": expected object, got boolean', id="DS-56 a patch of true"
        ),
        pytest.param(
            "patch", {"path": "/flags/f", "data": {}}, 'patch: flag "f": missing required property "version"', id="no version"
        ),
        pytest.param("patch", {"data": {}}, 'patch: missing required property "path"', id="nowhere"),
        pytest.param(
            "delete",
            '{"path": "/flags/f", "version": 1',
            'delete: flag "f": line 1, column 34: the JSON ends too early',
            id="a delete that is cut off",
        ),
        pytest.param(
            "delete", {"path": "/flags/f", "version": "1"}, 'delete: flag "f": version: expected whole number', id="a bad version"
        ),
        pytest.param("patch", "[" * 9999, "patch: ", id="nested too deeply"),
        pytest.param("patch", b'{"path":"/flags/\xff","data":{}}', "text that is not UTF-8", id="not UTF-8"),
    ],
)
def test_a_malformed_event_names_its_place(name: str, data: object, problem: str) -> None:
    effect = after_a_put(name, data)
    assert isinstance(effect, Malformed)
    assert problem in effect.message


def test_an_update_before_the_first_put_is_ignored(caplog: pytest.LogCaptureFixture) -> None:
    stream = Stream()
    assert isinstance(stream.receive("put", "{"), Malformed)
    assert stream.receive("patch", {"path": "/flags/early", "data": {"version": 6}}) is NOTHING
    assert stream.receive("delete", {"path": "/flags/early", "version": 6}) is NOTHING
    assert "early" in caplog.text


def test_a_large_put_is_read_with_pauses() -> None:
    flags = {f"flag-{number}": {"version": 1, "variations": list(range(50))} for number in range(5000)}
    work = Stream().reader.feed("put", json.dumps({"data": {"flags": flags}}))
    assert isinstance(work, Generator)
    assert sum(1 for _ in work) > 3
