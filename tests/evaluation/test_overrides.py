"""Overrides on top of the service's data: values, states, explanations and changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from aioflags.evaluation.all_flags_state import flag_values, flags_state
from aioflags.evaluation.explain.flags import explain
from aioflags.evaluation.overrides import NO_OVERRIDES, Overrides
from aioflags.evaluation.snapshot import Snapshot
from aioflags.model.change import Change, ChangeKind, ObjectKind, Selector
from aioflags.model.detail import ErrorKind
from aioflags.model.explanation import StepKind
from aioflags.runtime.cooperative import run_at_once
from tests.evaluation.data import change_set, changes, flag, outcome, overrides_of, overriding, segment, snapshot_of
from tests.evaluation.overridden_snapshots import (
    AFFECTED,
    ALWAYS,
    HIDDEN,
    OFF,
    OVERRIDE,
    WITH_K,
    K,
    asks,
    assert_all_ways_agree,
    in_segments,
    names,
    needs,
    with_overrides,
)

# -- values


@pytest.mark.holds("EV-E174")
def test_an_override_hides_the_definition_of_the_service_until_it_is_removed() -> None:
    service = snapshot_of(flag("f"), flag("g"), segments=[segment("s")])
    overridden = overriding(service, overrides_of(flag("f", fallthrough={"variation": 2}), flag("new")))
    assert values(overridden) == {"f": "c", "g": "b", "new": "b"}
    assert values(overriding(overridden, NO_OVERRIDES)) == {"f": "b", "g": "b"}
    assert overriding(overridden, NO_OVERRIDES).items == service.items


def values(snapshot: Snapshot) -> dict[str, Any]:
    return flag_values(snapshot, K)


NEWER = changes([flag("f", version=5, fallthrough={"variation": 0})])
DELETED = (Change(ObjectKind.FLAG, "f", 6, None),)


@pytest.mark.parametrize(
    ("step", "after"),
    [
        pytest.param(change_set(*NEWER), {"f": "a"}, id="a full set"),
        pytest.param(change_set(), {}, id="a full set without the flag"),
        pytest.param(change_set(*NEWER, kind=ChangeKind.CHANGES), {"f": "a", "g": "b"}, id="a change"),
        pytest.param(change_set(*NEWER, kind=ChangeKind.CHANGES, versioned=True), {"f": "a", "g": "b"}, id="a newer version"),
        pytest.param(change_set(*DELETED, kind=ChangeKind.CHANGES), {"g": "b"}, id="a deletion"),
        pytest.param(change_set(*DELETED, kind=ChangeKind.CHANGES, versioned=True), {"g": "b"}, id="a deletion with a version"),
    ],
)
def test_an_override_wins_over_what_the_service_sends_later(step: Any, after: Mapping[str, Any]) -> None:
    before = overriding(snapshot_of(flag("f"), flag("g")), overrides_of(flag("f", version=1, fallthrough={"variation": 2})))
    snapshot = before.apply(step)
    assert values(snapshot)["f"] == "c"
    assert "f" not in snapshot.changed_since(before, step)
    assert values(overriding(snapshot, NO_OVERRIDES)) == after


def test_a_deleted_definition_among_the_overrides_hides_the_flag() -> None:
    snapshot = with_overrides({"f": ALWAYS, "p": ALWAYS, "h": needs("p")}, {"f": HIDDEN, "g": HIDDEN, "p": HIDDEN})
    not_found = ("default", None, {"kind": "ERROR", "errorKind": "FLAG_NOT_FOUND", **OVERRIDE})
    assert outcome(snapshot.evaluate("f", K, "default")) == not_found
    assert values(snapshot) == {"h": "a"}
    assert values(overriding(snapshot, NO_OVERRIDES)) == {"f": "b", "p": "b", "h": "b"}


def test_keys_are_completed() -> None:
    unnamed = overrides_of(flag("")).flags[""]
    snapshot = overriding(snapshot_of(), Overrides(flags={"f": unnamed}))
    assert snapshot.flags["f"].key == "f"


def test_a_snapshot_without_overrides_has_one_set_of_items() -> None:
    snapshot = snapshot_of(flag("f"))
    overridden = overriding(snapshot, overrides_of(flag("f", version=2)))
    assert snapshot.items is snapshot.base is overridden.base
    assert overriding(overridden, NO_OVERRIDES).items is snapshot.items
    assert snapshot.apply(change_set(*NEWER)).base is not snapshot.base


def test_the_same_overrides_change_nothing_and_keep_what_was_compiled() -> None:
    snapshot = overriding(snapshot_of(flag("f"), flag("g")), overrides_of(flag("f"), flag("h"), segments=[segment("s")]))
    compiled = snapshot.compiled("f")
    again, step = run_at_once(snapshot.overriding(overrides_of(flag("f"), flag("h"), segments=[segment("s")])))
    assert (again is snapshot, step.kind) == (True, ChangeKind.NONE)
    other, step = run_at_once(snapshot.overriding(overrides_of(flag("f"), flag("h", version=2), segments=[segment("s")])))
    assert [(change.kind, change.key) for change in step.changes] == [(ObjectKind.FLAG, "h")]
    assert not step.persist
    assert other.compiled("f") is compiled


def test_overrides_keep_selector_metadata_and_state() -> None:
    step = change_set(*changes([flag("f")]), selector=Selector("state", 7), metadata={"owner": "me"})
    snapshot = overriding(Snapshot.empty().apply(step), overrides_of(flag("f")))
    assert (snapshot.selector, snapshot.has_data) == (Selector("state", 7), True)
    assert snapshot.metadata == {"owner": "me"}
    refused = overriding(snapshot.refused(ErrorKind.PROVIDER_FATAL, "why"), overrides_of(flag("g")))
    assert refused.evaluate("g", K, None).detail.reason.error_kind is ErrorKind.PROVIDER_FATAL
    switched = snapshot.switched(K, keeps_flags=True)
    assert (switched.base, switched.overrides) == (snapshot.base, snapshot.overrides)


def test_overrides_are_applied_in_slices() -> None:
    building = snapshot_of(flag("f")).overriding(overrides_of(*(flag(f"f{number}") for number in range(200))))
    assert len(list(building)) == 3


# -- before data


@pytest.mark.holds("EV-E176")
def test_before_data_only_overridden_flags_are_served() -> None:
    snapshot = overriding(Snapshot.empty(), overrides_of(flag("f", **needs("p")), flag("p"), segments=[segment("s")]))
    assert outcome(snapshot.evaluate("f", K, None)) == ("b", 1, {"kind": "FALLTHROUGH", **OVERRIDE})
    not_ready = ("default", None, {"kind": "ERROR", "errorKind": "CLIENT_NOT_READY"})
    assert outcome(snapshot.evaluate("other", K, "default")) == not_ready
    assert (snapshot.has_data, snapshot.refusal, values(snapshot)) == (False, None, {"f": "b", "p": "b"})
    assert explain(snapshot, "f", K).detail.value == "b"
    assert explain(snapshot, "other", K).detail.reason.error_kind is ErrorKind.CLIENT_NOT_READY
    hidden = overriding(snapshot, overrides_of(flag("other", **HIDDEN)))
    assert outcome(hidden.evaluate("other", K, "default"))[2] == {"kind": "ERROR", "errorKind": "FLAG_NOT_FOUND", **OVERRIDE}
    assert explain(hidden, "other", K).detail.reason == hidden.evaluate("other", K, None).detail.reason
    removed = overriding(snapshot, NO_OVERRIDES)
    assert outcome(removed.evaluate("f", K, "default")) == not_ready
    assert removed.refusal is ErrorKind.CLIENT_NOT_READY


def test_a_prerequisite_that_has_not_arrived_is_not_met() -> None:
    snapshot = overriding(Snapshot.empty(), overrides_of(flag("f", **needs("p"))))
    assert outcome(snapshot.evaluate("f", K, None))[2]["kind"] == "PREREQUISITE_FAILED"
    assert values(snapshot.apply(change_set(*changes([flag("p")])))) == {"f": "b", "p": "b"}


# -- all flags, explanations


TRACKED = {"trackEvents": True, "trackEventsFallthrough": True, "debugEventsUntilDate": 2_000_000}


@pytest.mark.holds("EV-E177")
@pytest.mark.parametrize(("overridden", "mark"), [("f", OVERRIDE), ("p", AFFECTED)])
def test_the_state_of_a_marked_flag_asks_for_no_events(overridden: str, mark: Mapping[str, Any]) -> None:
    properties = {"f": needs("p", **TRACKED), "p": TRACKED}
    reason = {"kind": "FALLTHROUGH"}
    plain = with_overrides(properties, {})
    marked = with_overrides(properties, {overridden: {**properties[overridden], "version": 1}})
    kept = {"variation": 1, "version": 1, "prerequisites": ["p"]}
    assert run_at_once(flags_state(plain, K, now_ms=0))["f"].meta() == {
        **kept,
        "reason": reason,
        "trackEvents": True,
        "trackReason": True,
        "debugEventsUntilDate": 2_000_000,
    }
    assert run_at_once(flags_state(marked, K, now_ms=0))["f"].meta() == kept
    assert run_at_once(flags_state(marked, K, now_ms=0, with_reasons=True))["f"].meta() == {**kept, "reason": {**reason, **mark}}
    brief = run_at_once(flags_state(marked, K, now_ms=0, with_reasons=True, details_only_for_tracked_flags=True))["f"]
    assert brief.meta() == {"variation": 1, "prerequisites": ["p"]}


@pytest.mark.holds("EV-E178")
def test_an_explanation_names_the_overrides() -> None:
    snapshot = with_overrides({"f": {**needs("p"), **asks(in_segments("s"))}, "p": ALWAYS, "s": {}}, {"p": ALWAYS, "s": WITH_K})
    steps = [inner for step in explain(snapshot, "f", K).steps for inner in walk(step) if inner.kind is StepKind.OVERRIDE]
    assert [step.facts for step in steps] == [{"flag": "p"}, {"segment": "s"}]
    assert [step.text for step in steps] == [
        "a local override defines the flag, whatever the service defines",
        "a local override defines the segment, whatever the service defines",
    ]


@pytest.mark.parametrize(
    ("service", "text"),
    [
        pytest.param(
            snapshot_of(flag("new-checkout")),
            'a local override defines the flag; the flag data have no flag "new-chekout"; did you mean "new-checkout"?',
            id="a similar key",
        ),
        pytest.param(
            snapshot_of(flag("g")), 'a local override defines the flag; the flag data have no flag "new-chekout"', id="other keys"
        ),
        pytest.param(
            Snapshot.empty(), "a local override defines the flag; there is no flag data to compare it with", id="no flag data"
        ),
    ],
)
def test_an_explanation_says_that_the_flag_data_lack_the_key_of_an_override(service: Snapshot, text: str) -> None:
    steps = explain(overriding(service, overrides_of(flag("new-chekout"))), "new-chekout", K).steps
    assert (steps[0].kind, steps[0].text) == (StepKind.OVERRIDE, text)


@pytest.mark.parametrize(
    ("overridden", "headline"),
    [
        ("g", 'f is "b": FALLTHROUGH, variation 1'),
        ("f", 'f is "b": FALLTHROUGH, variation 1, local override'),
        ("p", 'f is "b": FALLTHROUGH, variation 1, affected by a local override'),
    ],
)
def test_the_first_line_of_an_explanation_says_if_an_override_counts(overridden: str, headline: str) -> None:
    properties = {"f": needs("p"), "p": ALWAYS, "g": ALWAYS}
    snapshot = with_overrides(properties, {overridden: properties[overridden]})
    assert str(explain(snapshot, "f", K)).splitlines()[0] == headline


def walk(step: Any) -> list[Any]:
    return [step, *(inner for child in step.steps for inner in walk(child))]


def test_all_flags_have_the_same_status_of_big_segments_as_one_flag() -> None:
    fails = {"op": "in", "attribute": "//", "contextKind": "user", "values": [1]}
    flags = [flag("f", **needs("p")), flag("p", **asks(in_segments("s", negate=True), fails))]
    assert_all_ways_agree(snapshot_of(*flags, segments=[segment("s", unbounded=True)]), K)


# -- changes


@pytest.mark.holds("DS-158")
@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        pytest.param({}, {"f": ALWAYS}, {"f"}, id="added"),
        pytest.param({"f": ALWAYS}, {"f": OFF}, {"f"}, id="changed"),
        pytest.param({"f": ALWAYS}, {}, {"f"}, id="removed"),
        pytest.param({"new": ALWAYS}, {}, {"new"}, id="removed, and the service does not have it"),
        pytest.param({"f": ALWAYS}, {"f": ALWAYS}, set(), id="the same"),
        pytest.param({}, {"p": ALWAYS}, {"p", "top"}, id="a prerequisite"),
        pytest.param({"s": {}}, {"s": WITH_K}, {"asking", "nested"}, id="a segment"),
        pytest.param({"s": {}}, {}, {"asking", "nested"}, id="a segment, removed"),
        pytest.param({"f": needs("g")}, {"f": needs("g"), "g": OFF}, {"f", "g"}, id="a prerequisite of an override"),
    ],
)
def test_listeners_get_what_overrides_change(before: Mapping[str, Any], after: Mapping[str, Any], expected: set[str]) -> None:
    service = {
        "f": ALWAYS,
        "g": ALWAYS,
        "p": ALWAYS,
        "top": needs("p"),
        "asking": asks(in_segments("s")),
        "nested": asks(in_segments("s2")),
        "s": {},
        "s2": names("s"),
    }
    old = with_overrides(service, before)
    overrides = with_overrides({}, after).overrides
    new, step = run_at_once(old.overriding(overrides, traced=True))
    assert new.changed_since(old, step) == expected


@pytest.mark.holds("DS-158")
def test_after_an_override_listeners_still_get_changes_of_the_service() -> None:
    old = with_overrides({"f": ALWAYS, "top": needs("f"), "p": ALWAYS}, {"f": needs("p")})
    step = change_set(*changes([flag("p", version=2), flag("f", version=2)]), kind=ChangeKind.CHANGES)
    assert old.apply(step).changed_since(old, step) == {"p", "f", "top"}
    hidden = change_set(*changes([flag("f", version=3)]), kind=ChangeKind.CHANGES)
    assert old.apply(hidden).changed_since(old, hidden) == frozenset()
