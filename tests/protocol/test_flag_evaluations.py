"""Evaluated flags in the messages of FDv2, in FDv1 polls and in FDv1 streams."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aioflags.evaluation.client_side import CLIENT_SIDE
from aioflags.evaluation.snapshot import Snapshot
from aioflags.model.change import ChangeKind, ChangeSet
from aioflags.model.context import Context
from aioflags.model.detail import FlagEvaluation
from aioflags.protocol.client_side import FLAG_EVALUATIONS, read_fdv1_event, read_flag_map
from aioflags.protocol.fdv2 import Fdv2Reader, read_poll
from aioflags.protocol.messages import NOTHING, Completed, Effect, Malformed
from aioflags.runtime.cooperative import run_at_once
from tests.support.fdv2_messages import Event, completed, delete, event, intent, poll_body, transferred


def put(key: str, version: int = 1, kind: str = "flag-eval", **properties: Any) -> Event:
    return event("put-object", {"version": version, "kind": kind, "key": key, "object": properties})


def read(*events: Event) -> list[Effect]:
    """The effects of a stream and of a poll, which are the same."""
    reader = Fdv2Reader(FLAG_EVALUATIONS)
    effects = [effect for name, data in events if (effect := reader.feed(name, data)) is not NOTHING]
    polled = run_at_once(read_poll(poll_body(*events), FLAG_EVALUATIONS))
    assert polled.__class__ is effects[0].__class__
    if isinstance(polled, Completed):
        assert shown(polled.change_set) == shown(completed(effects[0]))
    return effects


def shown(change_set: ChangeSet) -> list[tuple[str, int, Any]]:
    return [(each.key, each.version, each.definition and fields(each.definition)) for each in change_set.changes]


def fields(definition: Any) -> dict[str, Any]:
    return {name: getattr(definition, name) for name in definition.__struct_fields__}


def flags_of(change_set: ChangeSet) -> dict[str, Any]:
    assert all(isinstance(each.definition, FlagEvaluation | None) for each in change_set.changes)
    return {each.key: each.definition for each in change_set.changes}


EVERYTHING = {
    "value": {"a": [1]},
    "variation": 2,
    "reason": {"kind": "FALLTHROUGH"},
    "version": 5,
    "flagVersion": 7,
    "trackEvents": True,
    "trackReason": True,
    "debugEventsUntilDate": 1700000000000,
    "prerequisites": ["p", "q"],
    "samplingRatio": 3,
}
NULLS = {name: None for name in EVERYTHING if name not in {"value", "version", "samplingRatio"}}


# -- FDv2


def test_all_properties_are_read_and_the_version_is_that_of_the_envelope() -> None:
    sent = event("put-object", {"version": 9, "kind": "flag-eval", "key": "f", "object": EVERYTHING})
    (effect,) = read(intent("xfer-full"), sent, transferred("s", 4))
    change_set = completed(effect)
    assert (change_set.kind, change_set.selector.state) == (ChangeKind.FULL, "s")
    assert fields(flags_of(change_set)["f"]) == {
        "value": {"a": [1]},
        "key": "f",
        "variation": 2,
        "reason": {"kind": "FALLTHROUGH"},
        "version": 9,
        "flag_version": 7,
        "track_events": True,
        "track_reason": True,
        "debug_events_until_date": 1700000000000,
        "prerequisites": ("p", "q"),
        "deleted": False,
    }


@pytest.mark.parametrize("more", [pytest.param({}, id="missing"), pytest.param(NULLS, id="S-9 null")])
@pytest.mark.parametrize("value", [None, False, 0, "", [], {}])
def test_properties_other_than_the_value_may_be_missing_or_null(more: dict[str, Any], value: Any) -> None:
    (effect,) = read(intent("xfer-full"), put("f", value=value, **more), transferred())
    change_set = completed(effect)
    detail = Snapshot.empty(dialect=CLIENT_SIDE).apply(change_set).evaluate("f", Context("k"), None).detail
    assert (detail.value, detail.variation_index) == (value, None)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param({"version": 1, "kind": "flag-eval", "key": "f", "object": {"variation": 1}}, id="an object without a value"),
        pytest.param({"version": 1, "kind": "flag-eval", "key": "f", "object": {"value": 1, "variation": "x"}}, id="a wrong type"),
        pytest.param({"version": 1, "kind": "flag-eval", "key": "f"}, id="no object"),
        pytest.param({"kind": "flag-eval", "key": "f", "object": {"value": 1}}, id="no version"),
        pytest.param({"version": 1, "kind": "flag-eval", "object": {"value": 1}}, id="no key"),
        pytest.param({"version": 1, "key": "f", "object": {"value": 1}}, id="no kind"),
        pytest.param([], id="an array"),
    ],
)
def test_a_malformed_put_is_refused(data: Any) -> None:
    effects = read(intent("xfer-full"), put("good", value=1), event("put-object", data), transferred())
    assert isinstance(effects[0], Malformed)
    assert ('flag "f": ' in effects[0].message) is ("key" in data)


@pytest.mark.parametrize("kind", ["segment", "flag", "flag_eval", "new"])
def test_an_object_of_another_kind_is_skipped(kind: str) -> None:
    effects = read(intent("xfer-full"), put("x", kind=kind, value=1), delete("y", kind=kind), put("f", value=1), transferred())
    assert list(flags_of(completed(effects[0]))) == ["f"]


def test_changes_after_a_payload_need_no_intent() -> None:
    reader = Fdv2Reader(FLAG_EVALUATIONS)
    first = (intent("xfer-full"), put("a", 100, value=1), put("b", value=2), transferred())
    then = (put("a", 1, value=3), delete("b", kind="flag-eval", version=2), transferred("s2", 2))
    snapshot = Snapshot.empty(dialect=CLIENT_SIDE)
    for name, data in (*first, *then):
        effect = reader.feed(name, data)
        if isinstance(effect, Completed):
            snapshot = snapshot.apply(effect.change_set)
    assert {key: flag.version for key, flag in snapshot.flags.items()} == {"a": 1}
    assert snapshot.evaluate("a", Context("k"), 0).detail.value == 3


# -- FDv1


def polled(document: object) -> Effect:
    return run_at_once(read_flag_map(document if isinstance(document, bytes) else json.dumps(document).encode()))


def test_an_fdv1_poll_is_a_full_set_without_a_selector() -> None:
    change_set = completed(polled({"kiosk": {"value": "dark", "variation": 2, "version": 71}, "old": {"value": False}}))
    assert change_set.kind is ChangeKind.FULL
    assert not change_set.selector.is_defined
    assert {key: (flag.value, flag.version) for key, flag in flags_of(change_set).items()} == {
        "kiosk": ("dark", 71),
        "old": (False, 0),
    }


def test_a_deleted_flag_of_an_fdv1_poll_is_not_there() -> None:
    snapshot = Snapshot.empty(dialect=CLIENT_SIDE).apply(completed(polled({"f": {"value": 1, "version": 2, "deleted": True}})))
    assert dict(snapshot.flags) == {}


def test_an_empty_object_is_a_valid_set_without_flags() -> None:
    assert completed(polled({})).changes == ()


@pytest.mark.parametrize(
    ("body", "place"),
    [
        pytest.param(b"{oops", "flags", id="not JSON"),
        pytest.param(b"", "flags", id="empty"),
        pytest.param([], "flags", id="an array"),
        pytest.param({"f": 1}, "f", id="an entry that is not an object"),
        pytest.param({"a": {"value": 1}, "f": {"variation": 1}}, "f", id="an entry without a value"),
        pytest.param(b'{"f":{"value":' + b"[" * 200 + b"]" * 200 + b"}}", "f", id="a value that nests too deeply"),
    ],
)
def test_a_malformed_poll_is_refused_with_the_place(body: object, place: str) -> None:
    effect = polled(body)
    assert isinstance(effect, Malformed)
    assert effect.message.startswith(place)


def test_an_fdv1_stream_replaces_and_changes_flags() -> None:
    snapshot = Snapshot.empty(dialect=CLIENT_SIDE)

    def receive(name: str, data: object) -> dict[str, Any]:
        nonlocal snapshot
        effect = read_fdv1_event(name, json.dumps(data))
        effect = effect if isinstance(effect, Effect) else run_at_once(effect)
        snapshot = snapshot.apply(completed(effect))
        return {key: snapshot.evaluate(key, Context("k"), None).detail.value for key in snapshot.flags}

    assert receive("put", {"a": {"value": 1, "version": 5}, "b": {"value": 2, "version": 1}}) == {"a": 1, "b": 2}
    assert receive("patch", {"key": "a", "value": 9, "version": 5}) == {"a": 1, "b": 2}
    assert receive("patch", {"key": "a", "value": 9, "version": 6}) == {"a": 9, "b": 2}
    assert receive("delete", {"key": "b", "version": 1}) == {"a": 9, "b": 2}
    assert receive("patch", {"key": "b", "value": 2, "version": 1, "deleted": True}) == {"a": 9, "b": 2}
    assert receive("delete", {"key": "b", "version": 2}) == {"a": 9}
    assert receive("patch", {"key": "b", "value": 3, "version": 3}) == {"a": 9, "b": 3}
    assert receive("patch", {"key": "b", "value": 3, "version": 4, "deleted": True}) == {"a": 9}
    assert receive("delete", {"key": "new", "version": 8}) == {"a": 9}
    assert receive("patch", {"key": "new", "value": 1, "version": 8}) == {"a": 9}
    assert receive("patch", {"key": "new", "value": 1, "version": 9}) == {"a": 9, "new": 1}


@pytest.mark.parametrize(
    ("name", "data"),
    [
        pytest.param("patch", '{"value":1,"version":2}', id="no key"),
        pytest.param("patch", '{"key":"a","version":2}', id="no value"),
        pytest.param("patch", "{oops", id="not JSON"),
        pytest.param("delete", '{"key":"a"}', id="no version"),
        pytest.param("delete", "[]", id="an array"),
        pytest.param("patch", f'{{"key":"a","version":2,"value":{"[" * 200}{"]" * 200}}}', id="a value that nests too deeply"),
        pytest.param("delete", f'{{"key":"a","version":2,"x":{"[" * 200}{"]" * 200}}}', id="a delete that nests too deeply"),
    ],
)
def test_a_malformed_update_is_refused(name: str, data: str) -> None:
    effect = read_fdv1_event(name, data)
    assert isinstance(effect, Malformed)
    assert ('flag "a": ' in effect.message) is ('"key":"a"' in data)


@pytest.mark.parametrize("name", ["heartbeat", "ping", "message", ""])
def test_other_events_of_an_fdv1_stream_are_ignored(name: str) -> None:
    assert read_fdv1_event(name, "{oops") is NOTHING


def test_large_sets_are_read_in_slices() -> None:
    body = json.dumps({f"f{number}": {"value": "x" * 100, "version": 1} for number in range(20_000)}).encode()
    work = read_flag_map(body)
    assert sum(1 for _ in work) > 3
