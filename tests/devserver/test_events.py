"""All events are accepted, and each problem in them is listed with its place."""

from __future__ import annotations

import gzip
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioflags.devserver.events import ReceivedEvents, event_problems

USER = {"kind": "user", "key": "u"}
HEADERS = {"x-launchdarkly-payload-id": "p", "x-launchdarkly-event-schema": "4"}
COUNTER = {"count": 1, "value": True, "variation": 0, "version": 1}


def feature(**changes: Any) -> dict[str, Any]:
    event: dict[str, Any] = {"kind": "feature", "creationDate": 1, "key": "a", "value": True, "default": None, "context": USER}
    return {name: value for name, value in {**event, **changes}.items() if value is not ...}


def summary(**changes: Any) -> dict[str, Any]:
    counted = {"a": {"default": False, "contextKinds": ["user"], "counters": [{**COUNTER, **changes}]}}
    return {"kind": "summary", "startDate": 1, "endDate": 2, "features": counted}


@pytest.mark.parametrize(
    "event",
    [
        pytest.param(
            {"kind": "index", "creationDate": 0, "context": {"kind": "multi", "user": {"key": "u"}, "org": {"key": "o"}}},
            id="index",
        ),
        pytest.param(
            {"kind": "identify", "creationDate": 0, "context": {**USER, "_meta": {"redactedAttributes": ["name"]}}}, id="identify"
        ),
        pytest.param(feature(variation=1, version=7, reason={"kind": "FALLTHROUGH"}, prereqOf="b"), id="feature"),
        pytest.param(feature(context=..., contextKeys={"user": "u"}), id="feature with keys of contexts"),
        pytest.param({**feature(), "kind": "debug"}, id="debug"),
        pytest.param(
            {"kind": "custom", "creationDate": 0, "key": "ev", "context": USER, "data": {"a": 1}, "metricValue": 0}, id="custom"
        ),
        pytest.param(
            {"kind": "custom", "creationDate": 0, "key": "ev", "context": USER, "url": None}, id="custom, of a JavaScript SDK"
        ),
        pytest.param({"kind": "diagnostic-combined", "creationDate": 0, "id": {}}, id="diagnostic, of an SDK in a web page"),
        pytest.param(summary(), id="summary"),
        pytest.param({**summary(), "context": USER}, id="the summary of one context"),
        pytest.param(
            {"kind": "diagnostic-init", "creationDate": 0, "id": {"diagnosticId": "d"}, "anything": "else"}, id="diagnostic"
        ),
    ],
)
def test_a_valid_event_has_no_problems(event: dict[str, Any]) -> None:
    assert list(event_problems(event, ["a"])) == []


@pytest.mark.parametrize(
    ("event", "problems"),
    [
        pytest.param(3, ["expected object, got number"], id="not an object"),
        pytest.param({"kind": "fature"}, ["kind: expected one of index, identify, feature"], id="an unknown kind"),
        pytest.param({"kind": ["feature"]}, ["kind: expected one of"], id="a kind that is not a string"),
        pytest.param(feature(creationDate="now"), ["creationDate: expected milliseconds since 1970"], id="a time that is a string"),
        pytest.param(
            feature(creationDate=1.5), ["creationDate: expected milliseconds since 1970"], id="a fraction of a millisecond"
        ),
        pytest.param(feature(key=...), ["key: missing"], id="a key that is missing"),
        pytest.param(feature(variation=True), ["variation: expected whole number, got boolean"], id="a boolean for a number"),
        pytest.param(feature(user="u"), ["user: unknown property"], id="an unknown property"),
        pytest.param(feature(context=...), ['expected "context"'], id="no context"),
        pytest.param(feature(context={"key": "u"}), ['context: missing "kind"'], id="a context without a kind"),
        pytest.param(feature(context="u"), ["context: expected an object"], id="a context that is a string"),
        pytest.param(
            feature(context={**USER, "_meta": {"privateAttributes": ["x"]}}),
            ["context: it has privateAttributes"],
            id="private attributes in a context",
        ),
        pytest.param(feature(key="b"), ["unknown flag 'b'"], id="an unknown flag"),
        pytest.param(summary(count="1"), ["features.a.counters[0].count: expected whole number"], id="a count that is a string"),
        pytest.param(summary(override=True), [], id="a counter of an overridden flag"),
        pytest.param(summary(overrideAffected=1), ["features.a.counters[0].overrideAffected: expected boolean"], id="a wrong mark"),
        pytest.param(
            summary(unknown=True),
            ['features.a.counters[0]: expected either "version" or "unknown"'],
            id="a counter with version and unknown",
        ),
        pytest.param({**summary(), "features": []}, ["features: expected object, got array"], id="features that are an array"),
        pytest.param({**summary(), "features": {"b": 1}}, ["features.b: expected object", "unknown flag 'b'"], id="two problems"),
        pytest.param(
            {"kind": "diagnostic", "creationDate": 1}, ["id: expected object, got null"], id="a diagnostic event without an id"
        ),
    ],
)
def test_a_problem_is_listed_with_its_place(event: Any, problems: list[str]) -> None:
    listed = list(event_problems(event, ["a"]))
    assert len(listed) == len(problems)
    assert all(problem.startswith(start) for problem, start in zip(listed, problems, strict=True))


def accepted(body: bytes, headers: dict[str, str] | None = None, *, is_analytics: bool = True) -> ReceivedEvents:
    events = ReceivedEvents()
    events.add_payload(body, {**HEADERS, **(headers or {})}, client=3, flags=["a"], is_analytics=is_analytics)
    return events


@pytest.mark.parametrize(
    ("body", "headers", "problem"),
    [
        pytest.param(b"not JSON", {}, "the payload: ", id="not JSON"),
        pytest.param(b"[", {}, "the payload: line 1, column 2: the JSON ends too early", id="incomplete JSON"),
        pytest.param(b"\xff", {}, "the payload: ", id="not UTF-8"),
        pytest.param(b"{}", {}, "the payload: expected an array", id="an event without an array"),
        pytest.param(b"[]", {}, "the payload: it has no events", id="an empty array"),
        pytest.param(b"plain", {"content-encoding": "gzip"}, "the payload is not valid gzip", id="not gzip"),
        pytest.param(
            gzip.compress(b" " * 20_000_000),
            {"content-encoding": "gzip"},
            "the payload is not valid gzip: more than 16 MiB",
            id="too large when uncompressed",
        ),
    ],
)
def test_an_unreadable_payload_is_listed(body: bytes, headers: dict[str, str], problem: str) -> None:
    (event,) = accepted(body, headers).newest
    assert (event.kind, event.client) == ("unreadable", 3)
    assert event.problems[0].startswith(problem)


def test_problems_of_a_payload_are_listed_with_its_last_event() -> None:
    body = msgspec.json.encode([feature(), feature()])
    events = ReceivedEvents()
    events.add_payload(body, {}, client=1, flags=["a"], is_analytics=True)
    last, first = events.newest
    assert first.problems == ()
    assert last.problems == (
        "the payload: the header X-LaunchDarkly-Payload-ID is missing",
        "the payload: the header X-LaunchDarkly-Event-Schema is not 4",
    )
    assert (events.count, events.faulty) == (2, 1)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        pytest.param(r'"\ud800"', r'"\ud800"', id="a high surrogate"),
        pytest.param(r'"a\uDC00z"', r'"a\udc00z"', id="a low surrogate in the middle"),
        pytest.param(r'{"\ud83d":1}', r'{"\ud83d":1}', id="in a name"),
        pytest.param(r'"\ud83d\ude00 \ud800 \u00e9"', '"😀 \\ud800 é"', id="beside a pair"),
    ],
)
def test_a_payload_with_a_lone_surrogate_is_readable(value: str, shown: str) -> None:
    events = ReceivedEvents()
    body = f'[{{"kind":"custom","creationDate":0,"key":"ev","context":{{"kind":"user","key":"u"}},"data":{value}}}]'
    events.add_payload(body.encode(), HEADERS, client=1, flags=[], is_analytics=True)
    (event,) = events.newest
    assert (event.kind, event.problems) == ("custom", ())
    assert event.text.endswith(f'"data":{shown}}}')
    assert msgspec.json.encode(event.text)


@pytest.mark.parametrize("body", [rb'["\ud800", NaN]', rb'["\ud800"', rb'["\ud800", -Infinity]', b'["\\ud800\xff"]'])
def test_invalid_json_with_a_lone_surrogate_is_unreadable(body: bytes) -> None:
    events = ReceivedEvents()
    events.add_payload(body, HEADERS, client=1, flags=[], is_analytics=True)
    assert [event.kind for event in events.newest] == ["unreadable"]


def test_200_events_are_kept_and_all_are_counted() -> None:
    events = accepted(msgspec.json.encode([feature()] * 300))
    assert (events.count, len(events.newest), events.newest[0].number) == (300, 200, 300)
    events.clear()
    assert (events.count, events.faulty, events.newest) == (0, 0, ())


def test_only_the_first_1000_events_of_a_payload_are_checked() -> None:
    events = accepted(msgspec.json.encode([1] * 5000))
    assert events.count == 1000
    assert events.newest[-1].number == 801


def test_the_problems_of_a_payload_are_shown_however_many_events_it_has() -> None:
    events = accepted(msgspec.json.encode([feature()] * 5000))
    assert events.faulty == 1
    assert events.newest[0].problems == ("the payload: only the first 1000 events are checked",)


def test_the_newest_events_with_problems_are_kept_beside_the_newest_events() -> None:
    events = accepted(msgspec.json.encode([{"kind": 1}] * 300 + [feature()] * 250))
    assert [event.number for event in events.newest] == [*range(550, 350, -1), *range(300, 100, -1)]
    assert events.faulty == 300
    events.clear()
    assert (events.newest, events.faulty) == ((), 0)


def test_diagnostic_events_are_kept_without_their_id() -> None:
    body = msgspec.json.encode({"kind": "diagnostic-init", "creationDate": 1, "id": {"sdkKeySuffix": "secret"}})
    (event,) = accepted(body, is_analytics=False).newest
    assert (event.kind, event.text, event.problems) == ("diagnostic-init", '{"kind":"diagnostic-init","creationDate":1}', ())


def test_a_diagnostic_event_among_others_is_kept_without_its_id() -> None:
    (event,) = accepted(msgspec.json.encode([{"kind": "diagnostic", "id": {"sdkKeySuffix": "secret"}}])).newest
    assert "secret" not in repr(event)


json = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(json, st.sampled_from(["feature", "summary", "index", "custom", "migration_op", "diagnostic", "debug"]))
def test_any_json_value_is_checked_without_an_exception(value: Any, kind: str) -> None:
    for event in (value, {"kind": kind, "context": value, "features": {"a": {"counters": [value]}}, "creationDate": value}):
        list(event_problems(event, ["a"]))


@given(st.binary())
def test_any_bytes_are_accepted_without_an_exception(body: bytes) -> None:
    assert accepted(body).count >= 1
