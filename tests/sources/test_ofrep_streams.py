"""OfrepBulk with event streams: what they ask to fetch, and how they reconnect."""

from __future__ import annotations

import json
import logging
from typing import Any

import anyio
import httpx
import pytest

from aioflags.model.status import SourceState
from tests.sources.test_ofrep import BASE, flags, following, pauses, seen, tags, values
from tests.support.scripted_http import HANG, Answer, Service, Step, stream_of

SSE = {"type": "sse", "url": "https://sse.test/s?token=secret"}


def event(data: object) -> bytes:
    return f"event: message\ndata: {json.dumps(data)}\n\n".encode()


def refetch(**cursors: object) -> bytes:
    return event({"type": "refetchEvaluation", **cursors})


def closing_stream(*steps: Step) -> Answer:
    return Answer(200, {"Content-Type": "text/event-stream"}, steps)


def queries(service: Service) -> list[dict[str, str]]:
    return [dict(request.url.params) for request in service.posts]


async def test_an_event_fetches_with_its_cursors_and_the_etag() -> None:
    service = Service(stream_of(5.0, refetch(etag="e", lastModified=7), 100.0, refetch()))
    answers = [flags('"1"', [SSE], a=1), flags('"2"', [SSE], a=2), Answer(304)]
    async with following(service, *answers) as updates:
        assert [seen(await anext(updates)) for _ in range(3)] == [{"a": 1}, {"a": 2}, "unchanged"]
    assert queries(service) == [{}, {"flagConfigEtag": "e", "flagConfigLastModified": "7"}, {}]
    assert tags(service) == [None, '"1"', '"2"']
    assert pauses(service) == [5.1, 100]
    assert len(service.requests) == 1
    assert service.all_closed


async def test_other_events_are_ignored() -> None:
    noise = [event({"type": "keepAlive"}), b"data: {\n\n", b": comment\n\n", event(1), b"event: x\ndata: refetchEvaluation\n\n"]
    service = Service(stream_of(1.0, *noise, 10.0, refetch()))
    async with following(service, flags(streams=[SSE], a=1)) as updates:
        await anext(updates)
        await anext(updates)
    assert pauses(service) == [11.1]


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        pytest.param([5.0, *[refetch()] * 50], [5.1], id="at once"),
        pytest.param([5.0, refetch(), 0.05, refetch(), 0.04, refetch()], [5.1], id="within a moment"),
        pytest.param([5.0, refetch(), 0.2, refetch(), 0.2, refetch()], [5.1, 1.0], id="one more for those during a fetch"),
        pytest.param([refetch()], [1.0], id="soon after the first fetch"),
    ],
)
async def test_bursts_of_events_become_one_fetch(steps: list[Step], expected: list[float]) -> None:
    service = Service(stream_of(*steps))
    async with following(service, flags(streams=[SSE], a=1)) as updates:
        with anyio.move_on_after(250):
            while True:
                await anext(updates)
    assert pauses(service) == expected


async def test_the_last_event_of_a_burst_counts() -> None:
    service = Service(stream_of(5.0, refetch(etag="1"), refetch(etag="2")))
    async with following(service, flags(streams=[SSE], a=1)) as updates:
        await anext(updates)
        await anext(updates)
    assert queries(service) == [{}, {"flagConfigEtag": "2"}]


@pytest.mark.parametrize(
    "end",
    [
        pytest.param(closing_stream(5.0), id="the server closes it"),
        pytest.param(closing_stream(5.0, httpx.ReadError("cut")), id="it breaks off"),
        pytest.param(Answer(500, after=5.0), id="it fails"),
        pytest.param(closing_stream(5.0, RuntimeError("a bug")), id="reading it meets a bug"),
        pytest.param(Answer(200, {"Content-Type": "text/html"}, [b"hello"], after=5.0), id="it is another type"),
    ],
)
async def test_after_a_reconnect_all_flags_are_fetched_without_a_condition(end: Answer) -> None:
    service = Service(end, stream_of())
    async with following(service, flags('"1"', [SSE], a=1), flags('"2"', [SSE], a=2)) as updates:
        assert [seen(await anext(updates)) for _ in range(2)] == [{"a": 1}, {"a": 2}]
    assert tags(service) == [None, None]
    assert queries(service) == [{}, {}]
    assert pauses(service) == [6.1]


async def test_an_event_after_a_reconnect_does_not_make_the_fetch_conditional() -> None:
    service = Service(closing_stream(5.0), stream_of(refetch(etag="e")))
    async with following(service, flags('"1"', [SSE], a=1)) as updates:
        await anext(updates)
        await anext(updates)
    assert (tags(service), queries(service)) == ([None, None], [{}, {}])


async def test_a_fetch_without_a_condition_is_repeated_as_such() -> None:
    service = Service(closing_stream(5.0), stream_of(0.5, refetch(etag="e")))
    async with following(service, flags('"1"', [SSE], a=1), Answer(500), flags('"2"', [SSE], a=2)) as updates:
        assert [seen(await anext(updates)) for _ in range(3)][2] == {"a": 2}
    assert (tags(service), queries(service)) == ([None] * 3, [{}] * 3)


async def test_delays_between_connections_grow() -> None:
    service = Service(closing_stream())
    async with following(service, flags(streams=[SSE], a=1)) as updates:
        with anyio.move_on_after(200):
            while True:
                await anext(updates)
    assert service.pauses[:7] == [1, 2, 4, 8, 16, 30, 30]


async def test_delays_grow_although_every_response_has_new_addresses() -> None:
    service = Service(Answer(401))
    streams = [[{"type": "sse", "url": f"https://sse.test/{n}"}] for n in range(100)]
    async with following(service, *[flags(streams=stream, a=1) for stream in streams]) as updates:
        with anyio.move_on_after(300):
            while True:
                await anext(updates)
    assert 5 <= len(service.requests) <= 25
    assert len(service.posts) <= 15


async def test_a_refused_stream_gets_its_new_address(caplog: pytest.LogCaptureFixture) -> None:
    service = Service(Answer(403), stream_of(5.0, refetch()))
    new = {"type": "sse", "url": "https://sse.test/new"}
    async with following(service, flags(streams=[SSE], a=1), flags(streams=[new], a=2), flags(streams=[new], a=3)) as updates:
        assert [seen(await anext(updates)) for _ in range(3)] == [{"a": 1}, {"a": 2}, {"a": 3}]
    assert [str(request.url) for request in service.requests][-1] == "https://sse.test/new"
    assert "the service answered 403 Forbidden: are the headers right?; connecting in" in caplog.text


async def test_a_stream_that_is_no_longer_named_is_closed() -> None:
    service = Service(stream_of(5.0, refetch(), 5.0, refetch()))
    async with following(service, flags(streams=[SSE], a=1), flags(a=2)) as updates:
        await anext(updates)
        await anext(updates)
        with anyio.move_on_after(1000):
            await anext(updates)
        assert all(body.closed for body in service.bodies)
    assert len(service.posts) == 2


async def test_every_stream_is_heard() -> None:
    service = Service(stream_of(5.0, refetch()), stream_of(20.0, refetch()))
    other = {"type": "sse", "endpoint": {"requestUri": "/events"}}
    async with following(service, flags(streams=[SSE, other, {"type": "x"}], a=1), headers={"X-API-Key": "k"}) as updates:
        for _ in range(3):
            await anext(updates)
    assert pauses(service) == [5.1, 15]
    sent = {str(request.url): request.headers.get("x-api-key") for request in service.requests}
    assert sent == {"https://sse.test/s?token=secret": None, f"{BASE}/events": "k"}


async def test_polls_go_on_while_a_stream_is_open() -> None:
    service = Service(stream_of(15.0, refetch()))
    async with following(service, flags(streams=[SSE], a=1), poll_interval=10) as updates:
        for _ in range(4):
            await anext(updates)
    assert pauses(service) == [10, 5.1, 10]


async def test_refused_headers_close_the_streams() -> None:
    service = Service(stream_of(5.0, refetch()))
    async with following(service, flags(streams=[SSE], a=1), Answer(401)) as updates:
        states = [update.state async for update in updates]
    assert states == [SourceState.VALID, SourceState.OFF]
    assert service.all_closed


@pytest.mark.parametrize(
    "end",
    [
        Answer(401),
        Answer(after=httpx.ConnectError("x")),
        closing_stream(),
        closing_stream(HANG),
        Answer(302, {"Location": "/?token=secret"}),
    ],
)
async def test_the_address_of_a_stream_is_not_logged(end: Answer, caplog: pytest.LogCaptureFixture) -> None:
    service = Service(end)
    with caplog.at_level(logging.DEBUG, logger="aioflags"):
        async with following(service, flags(streams=[SSE], a=1)) as updates:
            await anext(updates)
            with anyio.move_on_after(500):
                await anext(updates)
    assert "OFREP: event stream of https://sse.test: " in caplog.text
    assert "secret" not in caplog.text


async def test_a_stream_that_is_left_open_is_closed_with_the_source() -> None:
    service = Service(stream_of())
    async with following(service, flags(streams=[SSE], a=1)) as updates:
        assert values(await anext(updates)) == {"a": 1}
        with anyio.move_on_after(10):
            await anext(updates)
        assert len(service.requests) == 1
    assert service.all_closed


def no_headers() -> Any:
    raise RuntimeError("no token")


async def test_a_function_for_headers_that_fails_interrupts() -> None:
    service = Service()
    async with following(service, flags(a=1), headers=no_headers) as updates:
        assert seen(await anext(updates)) == (SourceState.INTERRUPTED, "the function ofrep_headers raised RuntimeError")
