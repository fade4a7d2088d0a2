"""Payloads are as long as they may be, and nothing is lost for being long itself."""

from __future__ import annotations

from typing import Any

import pytest

from aioflags import Context
from aioflags.model.defaults import MAX_PAYLOAD_BYTES
from tests.canaries import SECRET
from tests.events.telling import U1, records, short, telling

MEGABYTE = 1024 * 1024


def bodies(posts: list[Any]) -> list[tuple[int, list[str]]]:
    """Of each payload its length, and its records in short."""
    return [(len(post.content), [short(record) for record in records(post)]) for post in posts]


async def test_a_payload_is_cut_before_the_record_that_would_make_it_too_long() -> None:
    async with telling() as teller:
        for number in range(12):
            teller.client.track(str(number), U1, "x" * MEGABYTE)
        await teller.client.variation("plain", U1, "")
        assert await teller.client.flush_and_wait(60)
        lengths = [length for length, _ in bodies(teller.service.posts)]
        told = [each for _, several in bodies(teller.service.posts) for each in several]
        stats = teller.client.stats
    assert all(4 * MEGABYTE < length <= MAX_PAYLOAD_BYTES for length in lengths[:-1])
    assert lengths[-1] <= MAX_PAYLOAD_BYTES
    assert told == ["index u1", *(f"custom {number}" for number in range(12)), "summary plain:1"]
    assert (stats.events_sent, stats.evaluations_sent, stats.events_dropped) == (13, 1, 0)


@pytest.mark.parametrize("after", [0, 1], ids=["that is the last", "with another behind it"])
async def test_a_record_that_is_too_long_by_itself_goes_alone(after: int) -> None:
    async with telling() as teller:
        teller.client.track("before", U1)
        teller.client.track("long", U1, "x" * MAX_PAYLOAD_BYTES)
        for _ in range(after):
            teller.client.track("after", U1)
        assert await teller.client.flush_and_wait(60)
        told = [several for _, several in bodies(teller.service.posts)]
    assert told == [["index u1", "custom before"], ["custom long"], *([["custom after"]] * after)]


async def test_a_summary_that_does_not_fit_any_more_goes_alone() -> None:
    async with telling() as teller:
        teller.client.track("long", U1, "x" * (MAX_PAYLOAD_BYTES - 300))
        await teller.client.variation("plain", U1, "")
        assert await teller.client.flush_and_wait(60)
        told = bodies(teller.service.posts)
    assert [several for _, several in told] == [["index u1", "custom long"], ["summary plain:1"]]
    assert all(length <= MAX_PAYLOAD_BYTES for length, _ in told)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("\ud800", id="half a surrogate pair"),
        pytest.param("\r\nX-Other: y", id="line breaks"),
        pytest.param("\x00", id="a null"),
        pytest.param("k" * MEGABYTE, id="a megabyte"),
    ],
)
async def test_text_of_any_sort_is_evaluated_told_and_holds_up_nothing_else(text: str) -> None:
    context = Context(text, attributes={"name": text, text: 1, "no number": float("nan")})
    async with telling() as teller:
        client = teller.client
        assert await client.variation("tracked", context, "") == "b"
        assert await client.variation(text, context, "default") == "default"
        assert len(client.secure_mode_hash(context)) == 64
        client.track(text, context, {text: text})
        client.identify(context)
        client.track("after", U1)
        told = [record for payload in await teller.payloads() for record in payload]
        assert client.stats.events_dropped == 0
    assert [record["kind"] for record in told] == ["index", "feature", "custom", "identify", "index", "custom", "summary"]
    assert told[3]["context"] == {"kind": "user", "key": text, "name": text, text: 1}
    assert (told[2]["key"], told[2]["data"]) == (text, {text: text})


async def test_a_context_of_a_megabyte_is_evaluated_and_told() -> None:
    attributes = {"long": "x" * MEGABYTE, "deep": {"secret": SECRET}, "many": list(range(10_000))}
    huge = Context("k" * 1000, attributes=attributes, private=["/deep/secret"])
    async with telling() as teller:
        assert await teller.client.variation("tracked", huge, "") == "b"
        index, feature, _ = await teller.payload()
    assert index["context"]["long"] == attributes["long"]
    assert index["context"]["_meta"] == {"redactedAttributes": ["/deep/secret"]}
    assert feature["value"] == "b"
