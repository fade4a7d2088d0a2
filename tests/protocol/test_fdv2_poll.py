"""The body of an FDv2 poll: its events are read until the first completed transfer."""

from __future__ import annotations

import json
import logging

import pytest

from aioflags.model.change import ChangeKind, ChangeSet, FallbackDirective, Selector
from aioflags.protocol.fdv2 import read_poll
from aioflags.protocol.messages import Effect, Goodbye, Malformed, ServerError
from aioflags.runtime.cooperative import run_at_once
from tests.support.fdv2_messages import Event, completed, delete, event, intent, poll_body, put, transferred

FULL, CHANGES, NONE = intent("xfer-full"), intent("xfer-changes"), intent("none")


def read(*events: Event) -> Effect:
    return run_at_once(read_poll(poll_body(*events)))


def test_a_full_transfer_completes() -> None:
    change_set = completed(read(FULL, put("a"), put("s", kind="segment"), transferred("s1", 7)))
    assert change_set.kind is ChangeKind.FULL
    assert [change.key for change in change_set.changes] == ["a", "s"]
    assert change_set.selector == Selector("s1", 7)


def test_changes_complete() -> None:
    change_set = completed(read(CHANGES, put("a"), delete("b", version=3), transferred("s2")))
    assert change_set.kind is ChangeKind.CHANGES
    assert [(change.key, change.definition is None) for change in change_set.changes] == [("a", False), ("b", True)]


@pytest.mark.parametrize(
    "events",
    [
        pytest.param([NONE], id="alone"),
        pytest.param([NONE, transferred("s9", 9)], id="DS-48 even if a payload-transferred follows"),
    ],
)
def test_the_intent_none_confirms_the_data(events: list[Event]) -> None:
    assert completed(read(*events)) == ChangeSet.unchanged()


@pytest.mark.parametrize(
    "after",
    [
        pytest.param(FULL, id="another intent"),
        pytest.param(event("goodbye", {"reason": "bye"}), id="a goodbye"),
        pytest.param(event("server-intent", "nonsense"), id="nonsense"),
    ],
)
def test_events_after_the_completed_transfer_are_ignored(after: Event) -> None:
    assert completed(read(FULL, put("a"), transferred("s1"), after)).selector.state == "s1"


def test_an_error_ends_the_poll() -> None:
    assert read(FULL, put("a"), event("error", {"reason": "no luck"}), transferred()) == ServerError("no luck")


def test_a_goodbye_ends_the_poll_with_its_directive() -> None:
    goodbye = event("goodbye", {"reason": "bye", "protocolFallbackTTL": 60})
    assert read(FULL, goodbye) == Goodbye("bye", FallbackDirective(ttl=60.0, origin="goodbye"))


def test_an_element_without_a_name_is_skipped() -> None:
    events = json.loads(poll_body(FULL, put("a"), transferred()))["events"]
    body = json.dumps({"events": [{"data": 5}, events[0], {}, *events[1:]]}).encode()
    assert [change.key for change in completed(run_at_once(read_poll(body))).changes] == ["a"]


@pytest.mark.parametrize("name", [pytest.param({}, id="no name"), pytest.param({"event": ""}, id="an empty name")])
def test_a_put_without_a_name_is_skipped(name: dict[str, str]) -> None:
    events = json.loads(poll_body(FULL, put("a"), put("b"), transferred()))["events"]
    body = json.dumps({"events": [*events[:2], {**name, "data": events[2]["data"]}, events[3]]}).encode()
    assert [change.key for change in completed(run_at_once(read_poll(body))).changes] == ["a"]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        pytest.param(b"", "too early", id="an empty body"),
        pytest.param(b"{oops", "object keys must be strings", id="not JSON"),
        pytest.param(b"[]", "expected object", id="an array"),
        pytest.param(b"null", "expected object", id="null"),
        pytest.param(b"{}", '"events"', id="DS-47 no events"),
        pytest.param(b'{"events":{}}', "events: expected array", id="DS-47 events that are an object"),
        pytest.param(b'{"events":[null]}', "expected object", id="DS-47 an element that is null"),
        pytest.param(b'{"events":["server-intent"]}', "expected object", id="DS-47 an element that is a string"),
        pytest.param(b'{"events":[{"event":5,"data":{}}]}', "event", id="DS-47 a name that is a number"),
        pytest.param(b'{"events":[{"event":"server-intent"}]}', "expected object", id="an event without data"),
        pytest.param(b'{"events":[]}', "poll: its events end before the transfer is complete", id="DS-49 no event at all"),
        pytest.param(poll_body(FULL, put("a")), "before the transfer is complete", id="DS-49 it ends after puts"),
        pytest.param(poll_body(FULL, put("a"), transferred())[:-2], "too early", id="it is cut off at its end"),
        pytest.param(poll_body(FULL, put("a"), transferred())[:-70], "too early", id="it is cut off within an event"),
        pytest.param(
            poll_body(FULL, put("a"), transferred(), put("b"), put("c"))[:-2], "too early", id="it is cut off behind the transfer"
        ),
        pytest.param(poll_body(FULL, transferred()) + b"x", "trailing", id="something follows the envelope"),
        pytest.param(
            poll_body(FULL, put("a"), put("b", on=5, variations=[{"event": 1, "key": "x"}]), put("c"), transferred()),
            'poll: flag "b": object.on: expected boolean',
            id="DS-40 an object that cannot be decoded",
        ),
        pytest.param(poll_body(transferred()), "no transfer had begun", id="DS-36 payload-transferred without an intent"),
        pytest.param(poll_body(FULL, ("put-object", b"[" * 9999 + b"]" * 9999)), "nested too deeply", id="nested too deeply"),
        pytest.param(poll_body(FULL, event("put-object", {})).replace(b"p", b"\xff"), "", id="not UTF-8"),
    ],
)
def test_an_unusable_body_is_malformed(body: bytes, problem: str) -> None:
    effect = run_at_once(read_poll(body))
    assert isinstance(effect, Malformed)
    assert problem in effect.message
    assert effect.message.startswith(("poll: ", "payload-transferred: "))


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(poll_body(put("early"), FULL, transferred()), id="compact"),
        pytest.param(poll_body(put("early", variations=[[{"event": 1}, {"event": 2}]]), FULL, transferred()), id="cut at once"),
    ],
)
def test_changes_outside_a_transfer_log_a_warning_to_the_given_logger(body: bytes, caplog: pytest.LogCaptureFixture) -> None:
    run_at_once(read_poll(body, logger=logging.getLogger("elsewhere")))
    logged = [(record.name, record.getMessage()) for record in caplog.records]
    assert logged == [("elsewhere", "skipped changes that belong to no transfer, first early")]


def test_a_large_body_is_read_with_pauses() -> None:
    body = poll_body(FULL, *(put(f"flag-{number}", variations=list(range(50))) for number in range(5000)), transferred())
    work = read_poll(body)
    pauses = sum(1 for _ in work)
    assert pauses > 3


@pytest.mark.parametrize("page", [b"<html>", b"\xef\xbb\xbf \r\n<!DOCTYPE html>", b"<?xml version='1.0'?>", b"<"])
def test_a_web_page_has_the_way_out(page: bytes) -> None:
    effect = run_at_once(read_poll(page))
    assert isinstance(effect, Malformed)
    assert effect.message == "poll: HTML or XML instead of JSON: is it the right address, or file?"
