"""Pings of FDv2 streams in virtual time: they ask for polls, whose results the stream reports."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import httpx
import pytest

from aioflags.model.change import Basis, FallbackDirective, Update
from aioflags.model.context import Context
from aioflags.model.status import FailureKind, SourceState
from aioflags.protocol.client_side import ClientSide
from aioflags.sources import Fdv1Streaming, Streaming
from aioflags.sources.streaming import StreamingSource
from tests.support.scripted_http import (
    DIRECTED,
    HANG,
    Answer,
    Service,
    Step,
    first,
    intent,
    nothing_selected,
    poll_body,
    selecting,
    sse,
    stream_of,
    updates_from,
    updates_of,
)

PING = sse(("ping", ""))
HEADER = FallbackDirective(ttl=None, origin="header")


def payload(value: object, code: str = "xfer-full") -> list[tuple[str, object]]:
    put = {"version": 1, "kind": "flag-eval", "key": "f", "object": {"value": value}}
    return [intent(code), ("put-object", put), ("payload-transferred", {"state": f"s-{value}", "version": 1})]


def polled(value: object, seconds: float = 0.0, **headers: str) -> Answer:
    """The answer to a poll, which comes after this time."""
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Answer(200, named, [poll_body(*payload(value))], seconds)


def source_of(service: Service, **options: Any) -> StreamingSource:
    context = service.context(side=ClientSide(context=Context("k")), **options)
    return StreamingSource(context, base_uri="https://stream.test", initial_delay=1.0, random=lambda: 0.0)


def shown(update: Update) -> object:
    """The value of the flag in an update; otherwise its state."""
    if update.change_set is None:
        return update.state.value
    return next(getattr(change.definition, "value", None) for change in update.change_set.changes)


def hosts(service: Service) -> list[str]:
    return [request.url.host for request in service.requests]


async def updates(service: Service, count: int, **options: Any) -> list[Update]:
    return await updates_from(source_of(service, **options), count)


async def test_a_ping_asks_for_a_poll_with_the_newest_basis() -> None:
    service = Service(stream_of(sse(*payload(1)), PING), polled(2))
    async with updates_of(source_of(service), selecting("", "s-1")) as news:
        assert [shown(update) for update in await first(news, 2)] == [1, 2]
    stream, poll = service.requests
    assert poll.url.host == "poll.test"
    assert poll.url.path == stream.url.path.replace("/stream/", "/poll/")
    assert service.queries == [{}, {"basis": "s-1"}]
    assert service.all_closed


@pytest.mark.parametrize(
    ("steps", "seconds", "times"),
    [
        pytest.param([PING], 5.0, [0], id="one ping"),
        pytest.param([PING * 3], 5.0, [0, 5], id="S-19 three pings in one packet"),
        pytest.param([PING, 1.0, PING, 1.0, PING], 5.0, [0, 5], id="S-19 three pings during one poll"),
        pytest.param([PING, 1.0, PING, 5.0, PING], 5.0, [0, 5, 10], id="one ping during each poll"),
        pytest.param([PING, 60.0, PING], 5.0, [0, 60], id="pings that are far apart"),
        pytest.param([PING] * 1000, 5.0, [0, 5], id="a thousand pings"),
        pytest.param([PING, 0.01] * 300, 0.0, [0, 1, 2, 3], id="pings without a pause, and polls that take no time"),
        pytest.param([PING, 0.5, PING, 0.25, PING], 0.0, [0, 1], id="pings between two polls"),
    ],
)
async def test_one_poll_is_in_flight_and_one_more_pends(steps: list[Step], seconds: float, times: list[float]) -> None:
    service = Service(stream_of(*steps), polled(1, seconds))
    start = anyio.current_time()
    with anyio.move_on_after(300):
        await updates(service, 99)
    assert [round(when - start, 3) for when in service.times[1:]] == times
    assert service.all_closed


async def test_the_stream_is_read_while_a_poll_is_in_flight() -> None:
    service = Service(stream_of(PING, sse(*payload(1)), 1.0, sse(*payload(2))), polled(3, 5.0))
    start = anyio.current_time()
    async with updates_of(source_of(service)) as news:
        seen = [(shown(await anext(news)), anyio.current_time() - start) for _ in range(3)]
    assert seen == [(1, 0), (2, 1), (3, 5)]


async def test_the_stream_goes_on_after_a_poll() -> None:
    service = Service(stream_of(PING, 60.0, sse(*payload(2)), sse(*payload(3))), polled(1))
    assert [shown(update) for update in await updates(service, 3)] == [1, 2, 3]
    assert hosts(service) == ["stream.test", "poll.test"]


@pytest.mark.parametrize(
    ("poll", "state", "goes_on"),
    [
        pytest.param(Answer(503), "INTERRUPTED", True, id="a failure that may be temporary"),
        pytest.param(Answer(after=httpx.ConnectError("refused")), "INTERRUPTED", True, id="no connection"),
        pytest.param(Answer(200, {}, [b"{oops"]), "INTERRUPTED", True, id="a body that cannot be read"),
        pytest.param(Answer(304), "VALID", True, id="no change"),
        pytest.param(Answer(401), "OFF", False, id="a refusal"),
    ],
)
async def test_the_outcome_of_the_poll_is_that_of_the_stream(poll: Answer, state: str, *, goes_on: bool) -> None:
    service = Service(stream_of(PING, 60.0, sse(*payload(2))), poll)
    news = await updates(service, 2)
    assert [shown(update) for update in news] == [state, 2][: 1 + goes_on]
    if news[0].error is not None:
        assert "/sdk/poll/eval/<context>" in str(news[0].error)


@pytest.mark.parametrize(
    ("stream_headers", "poll", "directive"),
    [
        pytest.param({}, polled(1).directed(), HEADER, id="that of the poll"),
        pytest.param(DIRECTED, polled(1), HEADER, id="F-20 that of the stream"),
        pytest.param(DIRECTED, Answer(503), HEADER, id="F-20 that of the stream, and the poll fails"),
        pytest.param(DIRECTED, Answer(after=httpx.ConnectError("refused")), HEADER, id="F-20 S-71 and there is no connection"),
        pytest.param(
            DIRECTED,
            polled(1).directed(**{"X-LD-FD-Fallback-TTL": "60"}),
            FallbackDirective(ttl=60.0, origin="header"),
            id="F-20 both, and the poll's has a time",
        ),
        pytest.param(
            {**DIRECTED, "X-LD-FD-Fallback-TTL": "5"},
            polled(1).directed(**{"X-LD-FD-Fallback-TTL": "60"}),
            FallbackDirective(ttl=5.0, origin="header"),
            id="F-20 both, and the stream's has a time",
        ),
    ],
)
async def test_the_result_carries_the_directive_of_stream_or_poll(
    stream_headers: dict[str, str], poll: Answer, directive: FallbackDirective
) -> None:
    service = Service(stream_of(PING, 5.0, sse(*payload(2))).with_headers(stream_headers), poll)
    (update,) = await updates(service, 9)
    assert update.directive == directive
    assert len(service.requests) == 2
    assert service.all_closed


async def test_a_poll_that_hangs_does_not_keep_a_directed_stream() -> None:
    service = Service(stream_of(PING).directed(), Answer(after=HANG))
    start = anyio.current_time()
    (update,) = await updates(service, 9)
    assert anyio.current_time() - start == 10
    assert (update.state, update.directive) == (SourceState.INTERRUPTED, HEADER)


@pytest.mark.parametrize(
    ("end", "state"),
    [
        pytest.param(httpx.ReadError("reset"), "INTERRUPTED", id="a reset"),
        pytest.param(sse(("goodbye", {"reason": "r"})), "INTERRUPTED", id="a goodbye"),
        pytest.param(sse(("put-object", "{oops")), "INTERRUPTED", id="a malformed event"),
    ],
)
async def test_the_directive_of_a_poll_that_is_being_read_survives_the_end_of_the_stream(end: Step, state: str) -> None:
    service = Service(stream_of(PING, 1.0, end), Answer(200, {}, [HANG]).directed())
    (update,) = await updates(service, 9)
    assert (shown(update), update.directive) == (state, HEADER)
    assert service.all_closed


async def test_a_stream_that_is_closed_has_latched_the_directive_of_its_poll() -> None:
    service = Service(stream_of(PING), Answer(200, {}, [HANG]).directed())
    source = source_of(service)
    async with updates_of(source) as news:
        with anyio.move_on_after(1):
            await anext(news)
    assert source.latched == HEADER
    assert service.all_closed


async def test_closing_the_source_ends_its_poll() -> None:
    for seconds in (HANG, 5.0):
        service = Service(stream_of(sse(*payload(1)), PING, sse(*payload(2))), polled(3, seconds))
        before = asyncio.all_tasks()
        async with updates_of(source_of(service)) as news:
            await first(news, 2)
            assert asyncio.all_tasks() - before != set()
        assert asyncio.all_tasks() == before
        assert len(service.requests) == 2
        assert service.all_closed


async def test_a_goodbye_ends_the_poll_of_its_stream() -> None:
    service = Service(stream_of(PING, 1.0, sse(("goodbye", {"reason": "r"}))), Answer(after=HANG), stream_of(sse(*payload(4))))
    (update,) = await updates(service, 1)
    assert shown(update) == 4
    assert hosts(service) == ["stream.test", "poll.test", "stream.test"]


async def test_a_poll_waits_as_long_as_the_service_asked() -> None:
    service = Service(stream_of(PING, 1.0, PING), Answer(429, {"Retry-After": "30"}), polled(1))
    await updates(service, 2)
    assert service.pauses[1] == 30


async def test_an_unchanged_answer_is_conditional_on_the_last_one() -> None:
    service = Service(stream_of(PING, 1.0, PING), polled(1, etag='"a"'), Answer(304))
    await updates(service, 2)
    assert [request.headers.get("if-none-match") for request in service.requests] == [None, None, '"a"']


async def test_the_first_poll_is_enough_for_an_initializer() -> None:
    service = Service(stream_of(PING), polled(1))
    (result,) = [result async for result in source_of(service).fetch(nothing_selected)]
    assert isinstance(result, Basis)
    assert result.change_set.selector.state == "s-1"
    assert service.all_closed


async def test_an_fdv1_stream_polls_by_fdv1_and_no_answer_ends_it() -> None:
    service = Service(stream_of(PING, 60.0, PING), Answer(401).directed(), Answer(200, {}, [b'{"f":{"value":7}}']))
    context = service.context(side=ClientSide(context=Context("k")))
    refused, good = await updates_from(Fdv1Streaming().build(context), 2)
    assert (refused.state, refused.directive, shown(good)) == (SourceState.INTERRUPTED, None, 7)
    assert [request.url.path.split("/")[1] for request in service.requests] == ["meval", "msdk", "msdk"]


async def test_a_server_side_stream_ignores_pings() -> None:
    service = Service(stream_of(PING, sse(intent("none"))))
    (update,) = await updates_from(Streaming().build(service.context()), 1)
    assert (update.state, update.error) == (SourceState.VALID, None)
    assert len(service.requests) == 1


async def test_a_bug_in_a_poll_is_a_failure_of_the_poll() -> None:
    service = Service(stream_of(PING, 60.0, sse(*payload(2))), Answer(after=RuntimeError("a bug")))
    failed, good = await updates(service, 2)
    assert failed.error is not None
    assert (failed.error.kind, shown(good)) == (FailureKind.UNKNOWN, 2)
