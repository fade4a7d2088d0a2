"""OFREP: polls, and streams that announce changes."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx
import pytest

from aioflags.flagd.rpc import attributes_of
from aioflags.model.change import ChangeKind, Update
from aioflags.model.context import Context
from aioflags.model.detail import ResolvedFlag
from aioflags.model.status import ErrorCode, FailureKind, SourceState
from aioflags.protocol.ofrep import request_body
from aioflags.sources.ofrep import OfrepBulk, OfrepBulkSource
from tests.support.flagd_parts import ofrep_endpoint
from tests.support.scripted_http import HANG, Answer, Service, Step, stream_of, updates_of

BASE = "https://ofrep.test"
CONTEXT = Context("anna", attributes={"plan": "pro"})
Updates = AsyncGenerator[Update, None]


def flags(etag: str | None = None, streams: list[Any] | None = None, **values: object) -> Answer:
    entries = [{"key": key, "value": value, "reason": "STATIC", "variant": "v"} for key, value in values.items()]
    body = {"flags": entries, "metadata": {"flagSetId": "s"}, "eventStreams": streams or []}
    return Answer(200, {} if etag is None else {"ETag": etag}, [json.dumps(body).encode()])


def bulk(**options: Any) -> OfrepBulk:
    body = request_body(attributes_of(options.pop("context", CONTEXT)))
    defaults: dict[str, Any] = {"endpoint": ofrep_endpoint(BASE), "poll_interval": 0.0}
    return OfrepBulk(body=body, **{**defaults, **options})


@asynccontextmanager
async def following(service: Service, *takes: Answer, headers: Any = None, **options: Any) -> AsyncGenerator[Updates, None]:
    service.takes = takes or service.takes
    endpoint = ofrep_endpoint(BASE, headers=headers or {})
    async with updates_of(OfrepBulkSource(bulk(endpoint=endpoint, **options), service.context(), random=lambda: 0.0)) as updates:
        yield updates


def values(update: Update) -> dict[str, Any]:
    assert update.change_set is not None, update
    definitions = [change.definition for change in update.change_set.changes]
    return {flag.key: flag.value for flag in definitions if isinstance(flag, ResolvedFlag)}


def seen(update: Update) -> object:
    """The flags of an update, or its failure."""
    if update.error is not None:
        return update.state, update.error.message
    return "unchanged" if update.change_set is None else values(update)


def tags(service: Service) -> list[str | None]:
    return [request.headers.get("if-none-match") for request in service.posts]


def pauses(service: Service) -> list[float]:
    return [round(later - earlier, 3) for earlier, later in zip(service.post_times, service.post_times[1:], strict=False)]


# -- requests and responses


async def test_all_flags_are_fetched_for_the_context() -> None:
    service = Service()
    async with following(service, flags(a=1, b="x"), headers={"Authorization": "Bearer k"}) as updates:
        first = await anext(updates)
    assert (first.state, values(first)) == (SourceState.VALID, {"a": 1, "b": "x"})
    assert first.change_set is not None
    assert (first.change_set.kind, first.change_set.persist) == (ChangeKind.FULL, False)
    assert dict(first.change_set.metadata or {}) == {"flagSetId": "s"}
    (request,) = service.posts
    assert str(request.url) == f"{BASE}/ofrep/v1/evaluate/flags"
    assert json.loads(request.content) == {"context": {"targetingKey": "anna", "plan": "pro"}}
    assert request.headers["authorization"] == "Bearer k"
    assert service.all_closed


async def test_by_default_flags_are_fetched_once() -> None:
    service = Service()
    async with following(service, flags(a=1)) as updates:
        await anext(updates)
        with anyio.move_on_after(100_000):
            await anext(updates)
    assert len(service.posts) == 1


async def test_polls_send_the_etag_of_the_last_flags() -> None:
    service = Service()
    answers = [flags('"1"', a=1), Answer(304), Answer(200, {"ETag": '"2"'}, [b"{"]), Answer(304), flags('"3"', a=3), flags(a=4)]
    async with following(service, *answers, poll_interval=30) as updates:
        got = [seen(await anext(updates)) for _ in range(7)]
    problem = "the service sent an unusable answer: the JSON ends too early"
    assert got == [{"a": 1}, "unchanged", (SourceState.INTERRUPTED, problem), "unchanged", {"a": 3}, {"a": 4}, {"a": 4}]
    assert tags(service) == [None, '"1"', '"1"', '"1"', '"1"', '"3"', None]


async def test_polls_start_at_their_interval_however_long_an_answer_takes() -> None:
    service = Service()
    slow = Answer(200, {}, flags(a=1).body, after=2.0)
    async with following(service, slow, poll_interval=10) as updates:
        for _ in range(4):
            await anext(updates)
    assert pauses(service) == [10, 10, 10]


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        pytest.param(
            Answer(500), FailureKind.ERROR_RESPONSE, "the service answered 500 Internal Server Error", id="a server error"
        ),
        pytest.param(
            Answer(400, {}, [b'{"errorCode": "INVALID_CONTEXT", "errorDetails": "no key"}']),
            FailureKind.ERROR_RESPONSE,
            "the service answered 400 Bad Request: no key",
            id="an invalid context",
        ),
        pytest.param(Answer(404), FailureKind.ERROR_RESPONSE, "the service answered 404 Not Found", id="no such path"),
        pytest.param(Answer(304), FailureKind.ERROR_RESPONSE, "the service answered 304 Not Modified", id="304 without an ETag"),
        pytest.param(Answer(after=HANG), FailureKind.NETWORK_ERROR, "no answer within 10 s", id="no answer"),
        pytest.param(
            Answer(after=httpx.ConnectError("refused")),
            FailureKind.NETWORK_ERROR,
            "ConnectError: refused (ofrep.test)",
            id="refused",
        ),
        pytest.param(Answer(after=RuntimeError("a bug")), FailureKind.UNKNOWN, "RuntimeError: a bug", id="a bug"),
        pytest.param(
            Answer(200, {}, [b"[]"]),
            FailureKind.INVALID_DATA,
            "the service sent an unusable answer: expected object, got array",
            id="an unusable body",
        ),
    ],
)
async def test_a_failure_interrupts_and_the_request_is_repeated(answer: Answer, kind: FailureKind, message: str) -> None:
    service = Service()
    async with following(service, answer, flags(a=1)) as updates:
        failed = await anext(updates)
        assert (failed.state, failed.change_set) == (SourceState.INTERRUPTED, None)
        assert failed.error is not None
        assert (failed.error.kind, failed.error.message) == (kind, message)
        assert failed.error.address == f"{BASE}/ofrep/v1/evaluate/flags"
        assert values(await anext(updates)) == {"a": 1}


async def test_delays_grow_until_a_request_succeeds() -> None:
    service = Service()
    async with following(service, *[Answer(500)] * 8, flags(a=1)) as updates:
        for _ in range(9):
            await anext(updates)
    assert pauses(service) == [1, 2, 4, 8, 16, 30, 30, 30]


async def test_with_polls_a_failed_request_is_repeated_at_the_next_poll_at_the_latest() -> None:
    service = Service()
    async with following(service, *[Answer(500)] * 5, flags(a=1), poll_interval=5) as updates:
        for _ in range(7):
            await anext(updates)
    assert pauses(service) == [1, 2, 4, 5, 5, 5]


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("before", [0, 2])
async def test_refused_headers_end_the_source(status: int, before: int) -> None:
    service = Service()
    async with following(service, *[flags(a=1)] * before, Answer(status), poll_interval=1) as updates:
        *_, last = [update async for update in updates]
    assert (last.state, len(service.posts)) == (SourceState.OFF, before + 1)
    assert last.error is not None
    assert (last.error.status_code, last.error.is_fatal, last.error.code) == (status, True, ErrorCode.PROVIDER_FATAL)


@pytest.mark.parametrize("status", [429, 503])
async def test_the_next_request_waits_as_long_as_the_server_asks(status: int) -> None:
    service = Service()
    busy = Answer(status, {"Retry-After": "60"})
    async with following(service, flags(a=1), busy, flags(a=2), poll_interval=5) as updates:
        assert [seen(await anext(updates)) for _ in range(3)][2] == {"a": 2}
    assert pauses(service) == [5, 60]


async def test_entries_that_are_not_flags_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    service = Service()
    async with following(service, Answer(200, {}, [b'{"flags": [1, {"key": "a", "value": 1}]}'])) as updates:
        assert values(await anext(updates)) == {"a": 1}
    assert caplog.messages == ["OFREP: 1 entries of a response are not flags"]


# -- OfrepBulk with event streams: what they ask to fetch, and how they reconnect


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
        assert seen(await anext(updates)) == (SourceState.INTERRUPTED, "the function headers raised RuntimeError")
