"""The body of an FDv2 poll: its events are read until the first completed transfer."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioflags.model.change import ChangeKind, ChangeSet, FallbackDirective, Selector
from aioflags.protocol.fdv2 import Fdv2Reader, Phase, check_syntax, cut_events, read_poll, split_events
from aioflags.protocol.messages import NOTHING, Completed, Effect, Goodbye, Malformed, ServerError
from aioflags.protocol.server_side import read_latest_all
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


@pytest.mark.parametrize(
    ("sent", "effect"),
    [
        pytest.param(event("error", {"reason": "no luck"}), ServerError("no luck"), id="an error"),
        pytest.param(
            event("goodbye", {"reason": "bye", "protocolFallbackTTL": 60}),
            Goodbye("bye", FallbackDirective(ttl=60.0, origin="goodbye")),
            id="a goodbye, with its directive",
        ),
    ],
)
def test_the_poll_ends_with(sent: Event, effect: Effect) -> None:
    assert read(FULL, put("a"), sent, transferred()) == effect


PUT = json.loads(put("b")[1])


@pytest.mark.parametrize(
    "element",
    [
        pytest.param({}, id="an empty element"),
        pytest.param({"data": 5}, id="other data"),
        pytest.param({"data": PUT}, id="a put without a name"),
        pytest.param({"event": "", "data": PUT}, id="a put with an empty name"),
    ],
)
@pytest.mark.parametrize("place", [0, 2], ids=["at the start", "in the transfer"])
def test_an_element_without_a_name_is_skipped(element: dict[str, object], place: int) -> None:
    events = json.loads(poll_body(FULL, put("a"), transferred()))["events"]
    body = json.dumps({"events": [*events[:place], element, *events[place:]]}).encode()
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
    assert sum(1 for _ in read_poll(body)) > 3


@pytest.mark.parametrize("page", [b"<html>", b"\xef\xbb\xbf \r\n<!DOCTYPE html>", b"<?xml version='1.0'?>", b"<"])
def test_a_web_page_has_the_way_out(page: bytes) -> None:
    effect = run_at_once(read_poll(page))
    assert isinstance(effect, Malformed)
    assert effect.message == "poll: HTML or XML instead of JSON: is it the right address, or file?"


# -- The envelope of a poll: cutting out events one by one gives the same events as splitting the whole body.

EVENTS: list[Event] = [intent("xfer-full"), put("a"), put("b"), transferred()]
ELEMENTS = [{"event": name, "data": json.loads(data)} for name, data in EVENTS]
# A variation that looks like two more events of the poll.
TRAP = put("trap", variations=[[{"event": "one"}, {"event": "put-object", "data": {}}]])


def decoded(cut: Callable[[bytes], Iterator[bytes | msgspec.Raw]], body: bytes) -> list[object]:
    return [msgspec.json.decode(text) for text in cut(body)]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(poll_body(*EVENTS), id="compact"),
        pytest.param(json.dumps({"events": ELEMENTS}).encode(), id="with spaces"),
        pytest.param(json.dumps({"events": ELEMENTS}, indent=4).encode(), id="over many lines"),
        pytest.param(b" \r\n" + json.dumps({"events": ELEMENTS}, indent="\t").encode() + b"\n", id="with tabs and space around"),
        pytest.param(
            json.dumps({"events": [{"data": e["data"], "event": e["event"]} for e in ELEMENTS]}).encode(), id="data first"
        ),
        pytest.param(json.dumps({"version": 1, "events": ELEMENTS}).encode(), id="something before the events"),
        pytest.param(json.dumps({"events": ELEMENTS, "more": [5]}).encode(), id="something behind the events"),
        pytest.param(
            json.dumps({"events": [*ELEMENTS[:1], {"event": "event"}, *ELEMENTS[1:]]}).encode(), id="an event called event"
        ),
    ],
)
def test_cutting_and_splitting_give_the_same_events(body: bytes) -> None:
    assert decoded(cut_events, body) == decoded(split_events, body)


def test_events_are_cut_out_without_reading_ahead() -> None:
    # The text after the third event is not JSON. Reading ahead would fail.
    cuts = cut_events(poll_body(*EVENTS)[:-20])
    assert [msgspec.json.decode(next(cuts)) for _ in range(3)] == ELEMENTS[:3]


# No server writes this: an event with many ``"event"`` strings that do not begin an event.
def named(times: int) -> Event:
    return put("f", variations=["event"] * times)


@pytest.mark.parametrize(
    ("events", "ahead"),
    [
        pytest.param([put("f"), named(999), put("g"), put("h")], 4, id="as many names as are skipped"),
        pytest.param([put("f"), named(1000), put("g"), put("h")], 1, id="one more, and the rest is cut at once"),
        pytest.param([put("f"), named(600), named(600), put("h")], 4, id="each event counts for itself"),
        pytest.param([named(998), put("f"), put("g"), put("h")], 4, id="as many in the first event, whose own name counts"),
        pytest.param([named(999), put("f"), put("g"), put("h")], 0, id="one more in the first event"),
    ],
)
def test_guessing_stops_after_1000_misses(events: list[Event], ahead: int) -> None:
    cuts = cut_events(poll_body(*events, transferred())[:-1])
    assert [msgspec.json.decode(next(cuts))["event"] for _ in range(ahead)] == ["put-object"] * ahead
    with pytest.raises(msgspec.DecodeError):  # what is left is decoded to its end, which is not there
        next(cuts)


@pytest.mark.parametrize(
    "body", [pytest.param(b'{"events":[]}', id="no events"), pytest.param(b'{ "events" : [ ] }', id="no events, but space")]
)
def test_an_empty_list_has_no_events(body: bytes) -> None:
    assert list(cut_events(body)) == []


def test_a_wrong_guess_fails_to_decode_and_the_poll_is_split_again() -> None:
    body = poll_body(intent("xfer-full"), TRAP, put("b"), transferred())
    with pytest.raises(msgspec.DecodeError):
        decoded(cut_events, body)
    flag = completed(run_at_once(read_poll(body))).changes[0].definition
    assert flag is not None
    assert getattr(flag, "variations", None) == ([{"event": "one"}, {"event": "put-object", "data": {}}],)


def test_events_in_another_property_of_the_body_are_ignored() -> None:
    body = json.dumps({"events": ELEMENTS, "more": ELEMENTS[1:2] * 3}).encode()
    assert [change.key for change in completed(run_at_once(read_poll(body))).changes] == ["a", "b"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5) | st.just('},{"event":"'),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["event", "data", "x"]), inner, max_size=3),
    max_leaves=10,
)


@given(st.lists(st.dictionaries(st.sampled_from(["event", "data", "kind"]), JSON), max_size=6), st.sampled_from([None, 0, 2]))
def test_cut_events_that_decode_equal_the_original_events(elements: list[dict[str, object]], indent: int | None) -> None:
    body = json.dumps({"events": elements}, indent=indent).encode()
    assert decoded(split_events, body) == elements
    try:
        pieces = decoded(cut_events, body)
    except msgspec.DecodeError:
        return
    assert pieces == elements


def test_syntax_is_checked_without_decoding() -> None:
    check_syntax(b'{"any": ["thing"]}')
    with pytest.raises(msgspec.DecodeError):
        check_syntax(b'{"any": ["thing"')


# -- The FDv2 reader with random events: it never raises, and a poll and a stream give the same result.

NAMES = ["server-intent", "put-object", "delete-object", "payload-transferred", "error", "goodbye", "heart-beat", "patch", ""]
GOOD = st.one_of(
    st.sampled_from(["xfer-full", "xfer-changes", "none"]).map(intent),
    st.builds(put, st.sampled_from("abc"), version=st.integers(0, 3), on=st.booleans()),
    st.builds(put, st.sampled_from("abc"), kind=st.sampled_from(["segment", "holdout"])),
    st.builds(delete, st.sampled_from("abc")),
    st.builds(transferred, st.sampled_from(["", "s1", "s2"])),
    st.just(event("error", {"reason": "r"})),
    st.just(event("goodbye", {"reason": "r"})),
    st.just(event("heart-beat", {})),
)
BAD = st.tuples(st.sampled_from(NAMES), st.sampled_from([b"{}", b"[]", b"null", b"5", b'{"version":1}', b'{"payloads":[{}]}']))
WILD = st.tuples(st.sampled_from(NAMES) | st.text(max_size=5), st.binary(max_size=40))


@given(st.lists(GOOD | BAD | WILD, max_size=30))
def test_the_reader_never_raises_and_completes_only_what_began(events: list[Event]) -> None:
    reader = Fdv2Reader()
    began = False
    for name, data in events:
        effect = reader.feed(name, data)
        began = began or reader.phase is not Phase.INACTIVE
        assert isinstance(effect, Effect)
        assert began or not isinstance(effect, Completed)


@given(st.text(max_size=40), st.text(max_size=40))
def test_text_is_read_like_bytes(name: str, data: str) -> None:
    for event_name in (name, "server-intent", "put-object"):
        assert (
            Fdv2Reader().feed(event_name, data).__class__
            is Fdv2Reader().feed(event_name, data.encode("utf-8", "surrogatepass")).__class__
        )


@given(st.lists(GOOD | BAD, max_size=20))
def test_a_poll_and_a_stream_of_the_same_events_agree(events: list[Event]) -> None:
    reader = Fdv2Reader()
    effects = (reader.feed(name, data) for name, data in events)
    streamed = next((effect for effect in effects if effect is not NOTHING), None)
    polled = run_at_once(read_poll(poll_body(*events)))
    if isinstance(polled, Malformed):
        assert streamed is None or isinstance(streamed, Malformed)
    else:
        assert polled == streamed


@given(
    st.binary(max_size=80) | st.lists(GOOD, max_size=6).map(lambda events: poll_body(*events)),
    st.integers(0, 400),
    st.binary(max_size=2),
)
def test_reading_a_body_never_raises(body: bytes, at: int, noise: bytes) -> None:
    broken = body[:at] + noise + body[at + 1 :]
    assert isinstance(run_at_once(read_poll(broken)), Effect)
    assert isinstance(run_at_once(read_latest_all(broken)), (Completed, Malformed))
