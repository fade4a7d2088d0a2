"""Payloads fill up to the limit, and a record longer than the limit is not lost. First through a client, then directly."""

from __future__ import annotations

import gzip
import json
import logging
from typing import Any, cast

import pytest

from aioflags import Context
from aioflags.events.outbox import payloads
from aioflags.events.sender import EventPayload, compressed
from aioflags.events.summary import Batch, Summary, SummaryEvent
from aioflags.model.defaults import MAX_PAYLOAD_BYTES
from aioflags.model.event import AnalyticsEvent, IdentifyEvent, IndexEvent
from aioflags.protocol.event_json import EventEncoder
from aioflags.protocol.redaction import Redaction, is_large
from aioflags.protocol.side import MOBILE_EVENTS
from tests.support.canaries import SECRET
from tests.support.events import U1, client_with_events, records, short

MEGABYTE = 1024 * 1024


def bodies(posts: list[Any]) -> list[tuple[int, list[str]]]:
    """For each payload its length, and its records in short."""
    return [(len(post.content), [short(record) for record in records(post)]) for post in posts]


async def test_a_payload_ends_before_the_record_that_would_make_it_too_long() -> None:
    async with client_with_events() as sending:
        for number in range(12):
            sending.client.track(str(number), U1, "x" * MEGABYTE)
        await sending.client.variation("plain", U1, "")
        assert await sending.client.flush_and_wait(60)
        lengths = [length for length, _ in bodies(sending.service.posts)]
        sent = [each for _, several in bodies(sending.service.posts) for each in several]
        stats = sending.client.stats
    assert all(4 * MEGABYTE < length <= MAX_PAYLOAD_BYTES for length in lengths[:-1])
    assert lengths[-1] <= MAX_PAYLOAD_BYTES
    assert sent == ["index u1", *(f"custom {number}" for number in range(12)), "summary plain:1"]
    assert (stats.events_sent, stats.evaluations_sent, stats.events_dropped) == (13, 1, 0)


@pytest.mark.parametrize("after", [0, 1], ids=["as the last record", "with another record after it"])
async def test_a_record_longer_than_the_limit_is_sent_alone(after: int) -> None:
    async with client_with_events() as sending:
        sending.client.track("before", U1)
        sending.client.track("long", U1, "x" * (MAX_PAYLOAD_BYTES - 2))
        for _ in range(after):
            sending.client.track("after", U1)
        assert await sending.client.flush_and_wait(60)
        sent = [several for _, several in bodies(sending.service.posts)]
    assert sent == [["index u1", "custom before"], ["custom long"], *([["custom after"]] * after)]


async def test_a_summary_that_does_not_fit_is_sent_alone() -> None:
    async with client_with_events() as sending:
        sending.client.track("long", U1, "x" * (MAX_PAYLOAD_BYTES - 300))
        await sending.client.variation("plain", U1, "")
        assert await sending.client.flush_and_wait(60)
        sent = bodies(sending.service.posts)
    assert [several for _, several in sent] == [["index u1", "custom long"], ["summary plain:1"]]
    assert all(length <= MAX_PAYLOAD_BYTES for length, _ in sent)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("\ud800", id="half a surrogate pair"),
        pytest.param("\r\nX-Other: y", id="line breaks"),
        pytest.param("\x00", id="a null"),
        pytest.param("k" * MEGABYTE, id="a megabyte"),
    ],
)
async def test_unusual_text_is_evaluated_and_sent(text: str) -> None:
    context = Context(text, attributes={"name": text, text: 1, "no number": float("nan")})
    async with client_with_events() as sending:
        client = sending.client
        assert await client.variation("tracked", context, "") == "b"
        assert await client.variation(text, context, "default") == "default"
        assert len(client.secure_mode_hash(context)) == 64
        client.track(text, context, {text: text})
        client.identify(context)
        client.track("after", U1)
        sent = [record for payload in await sending.payloads() for record in payload]
        assert client.stats.events_dropped == 0
    assert [record["kind"] for record in sent] == ["index", "feature", "custom", "identify", "index", "custom", "summary"]
    assert sent[3]["context"] == {"kind": "user", "key": text, "name": text, text: 1}
    assert (sent[2]["key"], sent[2]["data"]) == (text, {text: text})


async def test_a_context_of_a_megabyte_is_evaluated_and_sent() -> None:
    attributes = {"long": "x" * MEGABYTE, "deep": {"secret": SECRET}, "many": list(range(10_000))}
    huge = Context("k" * 1000, attributes=attributes, private=["/deep/secret"])
    async with client_with_events() as sending:
        assert await sending.client.variation("tracked", huge, "") == "b"
        index, feature, _ = await sending.payload()
    assert index["context"]["long"] == attributes["long"]
    assert index["context"]["_meta"] == {"redactedAttributes": ["/deep/secret"]}
    assert feature["value"] == "b"


# -- directly

OPEN, HIDDEN = Redaction(), Redaction(all_attributes_private=True)
PEOPLE = [Context(f"u{number}", attributes={"email": "ann@acme.test"}) for number in range(5)]
EVENTS: list[AnalyticsEvent] = [IndexEvent(at_ms=1, context=person) for person in PEOPLE]
UNFIT = IndexEvent(at_ms=1, context=cast(Any, None))
LENGTH = len(EventEncoder(OPEN).record(EVENTS[0]))


LARGE: dict[str, Any] = {
    "numbers": list(range(5000)),
    "objects": [{"id": number, "tags": ["a", "b"], "none": None} for number in range(1000)],
    "nested": {f"k{outer}": {f"j{inner}": "v" for inner in range(100)} for outer in range(50)},
    "half a pair": ["\ud800"] * 1000,
    "texts": ["x" * 10_000] * 20,
    "empty": [[], {}, ()],
    **{f"n{number}": number for number in range(1000)},
}


@pytest.mark.parametrize("kind", ["single", "multi"])
async def test_a_large_context_is_encoded_in_slices_with_the_same_result(kind: str) -> None:
    single = Context("u", attributes=LARGE, private=["/nested/k7"])
    context = single if kind == "single" else Context.multi(single, Context("o", "org", attributes={"a": [1]}))
    events: list[AnalyticsEvent] = [IndexEvent(at_ms=1, context=context), IdentifyEvent(at_ms=2, context=context)]
    assert is_large(context)
    shaper = EventEncoder(OPEN)
    steps = [sum(1 for _ in shaper.preparing(event)) for event in events]
    assert steps[0] > 100
    assert steps[1] == 0
    for event in events:
        assert json.loads(shaper.record(event)) == json.loads(EventEncoder(OPEN).record(event))


def summary_of(evaluations: int, context: Context | None = None) -> SummaryEvent:
    summary, event = Summary(context), SummaryEvent(context)
    for number in range(evaluations):
        summary.count("f", U1, default=None, value=number, variation=0, version=1, at_ms=2)
    for _ in summary.take(event, lambda: 3):
        pass
    return event


async def packed(*events: AnalyticsEvent, evaluations: int = 0, redaction: Redaction = OPEN, **options: Any) -> list[EventPayload]:
    batch = Batch(events, [summary_of(evaluations)] if evaluations else [])
    return [payload async for payload in payloads(batch, redaction, **options)]


def keys(payload: EventPayload) -> list[str]:
    """The keys of the contexts in a payload, and its summary."""
    return [record["context"]["key"] if "context" in record else record["kind"] for record in json.loads(payload.body)]


@pytest.mark.parametrize(
    ("max_bytes", "found"),
    [
        pytest.param(5 * (LENGTH + 1) + 1, ["u0 u1 u2 u3 u4"], id="all fit"),
        pytest.param(3 * (LENGTH + 1) + 1, ["u0 u1 u2", "u3 u4"], id="three fit exactly"),
        pytest.param(3 * (LENGTH + 1), ["u0 u1", "u2 u3", "u4"], id="one byte less than three need"),
        pytest.param(1, ["u0", "u1", "u2", "u3", "u4"], id="none fits, so each is sent alone"),
    ],
)
async def test_a_payload_has_as_many_events_as_fit(max_bytes: int, found: list[str]) -> None:
    made = await packed(*EVENTS, max_bytes=max_bytes)
    assert [" ".join(keys(payload)) for payload in made] == found
    assert [(payload.events, payload.evaluations) for payload in made] == [(len(each.split()), 0) for each in found]
    assert len({payload.id for payload in made}) == len(found)


@pytest.mark.parametrize(
    ("events", "max_bytes", "found"),
    [
        pytest.param(EVENTS[:2], 10_000, [(2, 3, "u0 u1 summary")], id="the events fit"),
        pytest.param(EVENTS[:2], 1, [(1, 0, "u0"), (1, 0, "u1"), (0, 3, "summary")], id="full payloads"),
        pytest.param([], 1, [(0, 3, "summary")], id="no events"),
    ],
)
async def test_the_summary_is_the_last_record_of_the_last_payload(events: Any, max_bytes: int, found: list[Any]) -> None:
    made = await packed(*events, evaluations=3, max_bytes=max_bytes)
    assert [(payload.events, payload.evaluations, " ".join(keys(payload))) for payload in made] == found


@pytest.mark.parametrize(
    ("max_bytes", "found"),
    [
        pytest.param(10_000, [(2, 6, "u0 u1 u0 u1 u3")], id="all fit"),
        pytest.param(1, [(1, 0, "u0"), (1, 0, "u1"), (0, 1, "u0"), (0, 2, "u1"), (0, 3, "u3")], id="none fits"),
    ],
)
async def test_the_summaries_of_contexts_are_the_last_records(max_bytes: int, found: list[Any]) -> None:
    batch = Batch(EVENTS[:2], [summary_of(evaluations, PEOPLE[number]) for number, evaluations in [(0, 1), (1, 2), (3, 3)]])
    made = [payload async for payload in payloads(batch, OPEN, MOBILE_EVENTS, max_bytes=max_bytes)]
    assert [(payload.events, payload.evaluations, " ".join(keys(payload))) for payload in made] == found


async def test_the_large_context_of_a_summary_is_encoded_in_slices() -> None:
    large = Context("u", attributes=LARGE, private=["/nested/k7"])
    encoder, pieces = EventEncoder(OPEN, MOBILE_EVENTS), list[bytes]()
    assert sum(1 for _ in encoder.preparing_summary(large)) > 100
    pieces += encoder.summary(1, 2, [], large)
    identify = IdentifyEvent(at_ms=1, context=large)
    assert json.loads(b"".join(pieces))["context"] == json.loads(EventEncoder(OPEN).record(identify))["context"]


async def test_an_empty_batch_has_no_payload() -> None:
    assert await packed() == []


async def test_a_summary_that_just_fits_is_in_the_same_payload() -> None:
    (whole,) = await packed(*EVENTS, evaluations=3, max_bytes=10_000)
    found = [len(await packed(*EVENTS, evaluations=3, max_bytes=len(whole.body) - short)) for short in (0, 1)]
    assert found == [1, 2]


@pytest.mark.parametrize("max_bytes", [1, 10_000], ids=["one payload for each event", "one payload for all"])
async def test_private_attributes_are_not_in_a_payload(max_bytes: int) -> None:
    made = await packed(*EVENTS, redaction=HIDDEN, max_bytes=max_bytes)
    assert not any(b"acme" in payload.body for payload in made)
    assert sum(payload.events for payload in made) == 5


async def test_events_that_cannot_be_encoded_are_left_out_with_one_error(caplog: pytest.LogCaptureFixture) -> None:
    (payload,) = await packed(EVENTS[0], UNFIT, UNFIT, EVENTS[1], UNFIT, logger=logging.getLogger("own"))
    assert keys(payload) == ["u0", "u1"]
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("own", logging.ERROR)
    assert "dropped an event that cannot be encoded" in record.getMessage()
    assert record.exc_info is not None


@pytest.mark.parametrize("size", [0, 1, 16 * 1024, 16 * 1024 + 1, 100_000])
async def test_compression_is_lossless(size: int) -> None:
    body = bytes(number % 251 for number in range(size))
    assert gzip.decompress(await compressed(body)) == body
