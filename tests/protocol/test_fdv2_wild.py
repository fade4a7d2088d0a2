"""The FDv2 reader with random events: it never raises, and a poll and a stream give the same result."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from aioflags.protocol.fdv2 import Fdv2Reader, Phase, read_poll
from aioflags.protocol.messages import NOTHING, Completed, Effect, Malformed
from aioflags.protocol.server_side import read_latest_all
from aioflags.runtime.cooperative import run_at_once
from tests.support.fdv2_messages import Event, delete, event, intent, poll_body, put, transferred

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
