"""The envelope of a poll: cutting out events one by one gives the same events as splitting the whole body."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioflags.protocol.fdv2 import check_syntax, cut_events, read_poll, split_events
from aioflags.runtime.cooperative import run_at_once
from tests.support.fdv2_messages import Event, completed, intent, poll_body, put, transferred

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
