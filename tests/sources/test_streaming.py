"""FDv2 streams in virtual time: requests, payloads, errors, the fallback directive, closing and options."""

from __future__ import annotations

import logging
from time import thread_time

import anyio
import httpx
import pytest

from aioflags.model.change import ChangeKind, FallbackDirective
from aioflags.model.status import FailureKind, SourceState
from aioflags.protocol.server_side import ServerSide
from aioflags.runtime.cooperative import SLICE
from aioflags.sources import Latching
from tests.sources.streams import FULL, GOOD, PUT, source_of, states, updates
from tests.support.canaries import KEY
from tests.support.pauses import pauses_until
from tests.support.scripted_http import (
    DIRECTED,
    HANG,
    Answer,
    Service,
    first,
    intent,
    payload,
    selecting,
    sse,
    stream_of,
    updates_from,
    updates_of,
)

# -- requests


@pytest.mark.holds("DS-1", "DS-3", "DS-9")
async def test_the_request_of_a_stream_has_the_client_headers_and_no_filter() -> None:
    service = Service(GOOD)
    side = ServerSide(payload_filter_key="mobile")
    await updates(service, 1, headers={"Authorization": KEY, "X-LaunchDarkly-Tags": "t"}, side=side)
    headers = service.requests[0].headers
    assert headers["authorization"] == KEY
    assert headers["x-launchdarkly-tags"] == "t"
    assert (headers["accept"], headers["accept-encoding"], headers["cache-control"]) == (
        "text/event-stream",
        "identity",
        "no-cache",
    )
    assert "last-event-id" not in headers
    assert str(service.requests[0].url) == "https://stream.test/sdk/stream"


@pytest.mark.parametrize(
    ("state", "query"),
    [
        pytest.param("", {}, id="DS-4 no basis without data"),
        pytest.param("initial", {"basis": "initial"}, id="DS-5 the basis of an initializer"),
        pytest.param("(p:a b/ü&=:1)+", {"basis": "(p:a b/ü&=:1)+"}, id="DS-8 a basis that has to be encoded"),
    ],
)
async def test_the_request_of_a_stream_has_the_selector_as_its_basis(state: str, query: dict[str, str]) -> None:
    service = Service(GOOD)
    await updates_from(source_of(service), 1, selecting(state))
    assert service.queries == [query]
    assert str(service.requests[0].url).count("basis=") == len(query)


@pytest.mark.holds("DS-7")
async def test_a_reconnect_sends_the_selector_of_the_last_connection() -> None:
    service = Service(stream_of(sse(*payload("a", state="s2")), httpx.ReadError("reset")), GOOD)
    await updates_from(source_of(service), 3, selecting("s1", "s2"))
    assert [query["basis"] for query in service.queries] == ["s1", "s2"]


# -- payloads


@pytest.mark.holds("DS-22", "DS-24")
async def test_completed_payloads_are_reported_as_change_sets() -> None:
    put = ("put-object", {"version": 2, "kind": "flag", "key": "b", "object": {"key": "b", "version": 2}})
    service = Service(
        stream_of(sse(*payload("a", state="s1")), 5.0, sse(put, ("payload-transferred", {"state": "s2", "version": 2})))
    )
    one, two = await updates(service, 2)
    assert (one.state, one.directive, one.error) == (SourceState.VALID, None, None)
    assert one.change_set is not None
    assert two.change_set is not None
    assert (one.change_set.kind, one.change_set.selector.state) == (ChangeKind.FULL, "s1")
    assert (two.change_set.kind, two.change_set.selector.state) == (ChangeKind.CHANGES, "s2")


@pytest.mark.holds("DS-34")
async def test_an_answer_without_changes_is_valid_without_a_change_set() -> None:
    (update,) = await updates(Service(stream_of(sse(intent("none")))), 1)
    assert (update.state, update.change_set, update.error) == (SourceState.VALID, None, None)


@pytest.mark.holds("DS-27", "DS-29", "DS-30", "DS-31", "DS-46")
async def test_error_and_unknown_events_do_not_end_the_connection() -> None:
    events = payload("a", state="s1")
    noise: list[tuple[str, object]] = [
        ("heartbeat", "{}"),
        ("heart-beat", {}),
        ("novelty", "not JSON"),
        ("patch", {"path": "/flags/x", "data": {}}),
        ("error", "not JSON"),
        ("error", {"reason": "could not assemble payload"}),
    ]
    script = sse(events[0], events[1], *noise, ("put-object", {"version": 3, "kind": "flag", "key": "b", "object": {}}), events[2])
    service = Service(stream_of(b": hello\n\n", script, b":\n\n"))
    async with updates_of(source_of(service)) as news:
        (update,) = await first(news, 1)
        with anyio.move_on_after(10):
            await anext(news)
    assert update.change_set is not None
    assert [change.key for change in update.change_set.changes] == ["b"]
    assert len(service.requests) == 1


async def test_a_repeated_error_event_is_logged_once_until_a_payload_is_complete(
    caplog: pytest.LogCaptureFixture,
) -> None:
    errors = [("error", {"reason": f"attempt {number}"}) for number in range(1000)]
    service = Service(stream_of(1.0, sse(*errors, *payload("a", state="s1")), 1.0, sse(*errors, *payload("b", state="s2"))))
    with caplog.at_level(logging.INFO):
        news = await updates(service, 2)
    assert states(news) == ["VALID", "VALID"]
    assert [record.args for record in caplog.records if record.levelno >= logging.WARNING] == [("streaming", "attempt 0")] * 2


async def test_an_error_event_on_every_connection_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    service = Service(Answer(200, {"Content-Type": "text/event-stream"}, [sse(("error", {"reason": "r"}))]))
    await updates(service, 5)
    assert [record.args for record in caplog.records if record.levelno >= logging.WARNING] == [("streaming", "r")]


# -- the environment


@pytest.mark.holds("DS-97")
async def test_the_environment_id_is_kept_after_an_error() -> None:
    service = Service(
        Answer(500, {"X-LD-EnvID": "wrong"}),
        stream_of(sse(*payload("a")), httpx.ReadError(""), x_ld_envid="env-1"),
        stream_of(sse(*payload("a"))),
    )
    news = await updates(service, 4)
    assert [update.environment_id for update in news] == [None, "env-1", "env-1", "env-1"]


# -- closing, bugs, many events


@pytest.mark.parametrize(
    "answer",
    [Answer(after=HANG), stream_of(), stream_of(sse(*payload("a")))],
    ids=["before the head", "before an event", "after one"],
)
async def test_a_cancelled_source_leaves_nothing_open(answer: Answer) -> None:
    service = Service(answer)
    with anyio.move_on_after(5):
        async with updates_of(source_of(service)) as news:
            async for _ in news:
                pass
    assert service.all_closed


@pytest.mark.speed
async def test_other_tasks_run_while_many_events_are_read() -> None:
    puts = [("put-object", {**PUT, "key": f"f{i}"}) for i in range(3000)]
    script = sse(FULL, *puts, ("payload-transferred", {"state": "s", "version": 1}))
    began = thread_time()
    results, turns = await pauses_until(updates(Service(stream_of(script)), 1))
    assert [len(update.change_set.changes) for update in results if update.change_set] == [3000]
    assert turns > (thread_time() - began) / SLICE / 3


@pytest.mark.parametrize(
    ("steps", "state"),
    [
        pytest.param([b"\xef\xbb\xbf" + sse(*payload("a"))], "VALID", id="a byte order mark"),
        pytest.param([b"\xef", b"\xbb", b"\xbf" + sse(*payload("a"))], "VALID", id="a byte order mark in pieces"),
        pytest.param([b"retry: -5\n" + sse(*payload("a"))], "VALID", id="a negative retry"),
        pytest.param([b"id: 1\n\n:hb\n\n:hb\n\n" + sse(*payload("a"))], "VALID", id="heartbeats after an id"),
        pytest.param([b"event: server-intent\n\n" + sse(*payload("a"))], "INTERRUPTED", id="an intent without data"),
        pytest.param([b"event: heart-beat\n\n" + sse(*payload("a"))], "VALID", id="a heartbeat without data"),
        pytest.param([sse(*payload("a")).replace(b"\n", b"\r\n")], "VALID", id="CR LF"),
        pytest.param([sse(*payload("a")).replace(b"\n", b"\r")], "VALID", id="CR"),
        pytest.param([bytes([byte]) for byte in sse(*payload("a"))], "VALID", id="byte by byte"),
        pytest.param([b"data: " + b"x" * 5000], "INTERRUPTED", id="an event without an end"),
        pytest.param([b"data: " + b"x" * 30 + b"\n"] * 200, "INTERRUPTED", id="lines without an end"),
    ],
)
async def test_unusual_event_streams(steps: list[bytes], state: str) -> None:
    service = Service(stream_of(*steps, content_type="text/event-stream; charset=latin-1"))
    (update,) = await updates(service, 1, http=service.http(max_event_bytes=4000))
    assert update.state.value == state


# -- options


@pytest.mark.parametrize("name", ["put-object", "delete-object", "payload-transferred", "server-intent"])
async def test_a_known_event_with_empty_data_makes_its_transfer_invalid(name: str) -> None:
    events = payload("a", "b")
    service = Service(stream_of(sse(*events[:2]), f"event: {name}\ndata:\n\n".encode(), sse(*events[2:])))
    (update,) = await updates(service, 1)
    assert (update.state.value, update.change_set) == ("INTERRUPTED", None)
    assert update.error is not None
    assert update.error.kind == "INVALID_DATA"


async def test_an_error_event_with_empty_data_discards_the_transfer() -> None:
    events = payload("a", "b")
    service = Service(stream_of(sse(*events[:2]), b"event: error\ndata:\n\n", sse(*events[2:])))
    (update,) = await updates(service, 1)
    assert update.change_set is not None
    assert [change.key for change in update.change_set.changes] == ["b"]


# -- the fallback directive


HEADER = FallbackDirective(ttl=None, origin="header")


@pytest.mark.holds("FB-9", "FB-4")
async def test_a_directive_in_the_headers_is_reported_with_the_payload() -> None:
    service = Service(stream_of(2.0, sse(*payload("a")[:2]), 3.0, sse(payload("a")[2])).directed())
    source = source_of(service)
    async with updates_of(source) as news:
        assert isinstance(source, Latching)
        assert source.latched is None
        start = anyio.current_time()
        update = await anext(news)
        assert anyio.current_time() - start == 5
        assert update.state is SourceState.VALID
        assert update.change_set is not None
        assert update.directive == HEADER
        assert await first(news, 1) == []
    assert len(service.requests) == 1
    assert service.all_closed


async def test_the_directive_is_latched_as_soon_as_the_headers_arrive() -> None:
    service = Service(stream_of(5.0, sse(*payload("a"))).directed())
    source = source_of(service)
    seen: list[FallbackDirective | None] = []

    async def look() -> None:
        await anyio.sleep(1)
        seen.append(source.latched)

    async with anyio.create_task_group() as group, updates_of(source) as news:
        group.start_soon(look)
        await anext(news)
    assert seen == [HEADER]


@pytest.mark.parametrize(
    ("steps", "state"),
    [
        pytest.param([sse(*payload("a"))], "VALID", id="FB-10 a payload"),
        pytest.param([sse(intent("none"))], "VALID", id="FB-10 DS-107 being up to date"),
        pytest.param([sse(("put-object", "{oops"))], "INTERRUPTED", id="FB-7 FB-10 DS-110 a malformed event"),
        pytest.param([sse(FULL, ("put-object", {**PUT, "object": 5}))], "INTERRUPTED", id="FB-10 a flag that cannot be decoded"),
        pytest.param([sse(("error", {"reason": "r"})), httpx.ReadError("")], "INTERRUPTED", id="FB-10 an error and a reset"),
        pytest.param([sse(("error", {"reason": "r"}), *payload("a"))], "VALID", id="FB-10 DS-113 an error and a new transfer"),
        pytest.param([httpx.ReadError("")], "INTERRUPTED", id="FB-8 FB-10 DS-111 a reset"),
        pytest.param([httpx.ReadTimeout("")], "INTERRUPTED", id="FB-8 FB-10 a timeout"),
        pytest.param([sse(("goodbye", {"reason": "r"}))], "INTERRUPTED", id="FB-10 FB-30 DS-111 a goodbye"),
        pytest.param([sse(("heart-beat", {})), HANG], "INTERRUPTED", id="FB-12 DS-112 heartbeats alone"),
        pytest.param(
            [b":\n" * 100, *[step for _ in range(90) for step in (0.5, b":\n")]], "INTERRUPTED", id="FB-12 comments alone"
        ),
    ],
)
@pytest.mark.holds("FB-11")
async def test_with_a_latched_directive_every_outcome_carries_it_and_is_the_last(
    steps: list[bytes | float | Exception], state: str
) -> None:
    service = Service(Answer(200, {"Content-Type": "text/event-stream", **DIRECTED}, steps), GOOD)
    start = anyio.current_time()
    news = await updates(service, 9)
    assert anyio.current_time() - start <= 10
    assert states(news) == [state]
    assert news[0].directive == HEADER
    assert (news[0].error is None) == (state == "VALID")
    await anyio.sleep(3600)
    assert len(service.requests) == 1
    assert service.all_closed


@pytest.mark.holds("FB-10", "DS-111")
async def test_with_a_latched_directive_the_end_of_the_stream_carries_it() -> None:
    service = Service(Answer(200, {"Content-Type": "text/event-stream", **DIRECTED}, []), GOOD)
    (update,) = await updates(service, 9)
    assert (update.state, update.directive) == (SourceState.INTERRUPTED, HEADER)


@pytest.mark.holds("FB-12")
async def test_a_latched_stream_without_a_payload_is_given_up_after_ten_seconds() -> None:
    service = Service(stream_of(*[step for _ in range(60) for step in (1.0, sse(("heart-beat", {})))]).directed())
    start = anyio.current_time()
    (update,) = await updates(service, 9)
    assert anyio.current_time() - start == 10
    assert update.error is not None
    assert (update.state, update.error.kind, update.directive) == (SourceState.INTERRUPTED, FailureKind.UNKNOWN, HEADER)


@pytest.mark.parametrize("status", [204, 302, 400, 401, 403, 404, 429, 500, 503])
@pytest.mark.holds("FB-6")
async def test_an_error_status_with_the_directive_ends_the_source(status: int) -> None:
    service = Service(Answer(status).directed(**{"X-LD-FD-Fallback-TTL": "60"}), GOOD)
    (update,) = await updates(service, 9)
    assert update.error is not None
    assert (update.state, update.error.status_code) == (SourceState.OFF, status)
    assert update.directive == FallbackDirective(ttl=60.0, origin="header")
    assert len(service.requests) == 1


@pytest.mark.holds("FB-7")
async def test_a_page_instead_of_a_stream_keeps_its_directive() -> None:
    (update,) = await updates(Service(Answer(200, {"Content-Type": "text/html"}).directed(), GOOD), 9)
    assert (update.state, update.directive) == (SourceState.INTERRUPTED, HEADER)


@pytest.mark.parametrize("headers", [{}, {**DIRECTED, "X-LD-FD-Fallback-TTL": "5"}], ids=["alone", "it outranks the latched one"])
@pytest.mark.holds("FB-30", "DS-121")
async def test_a_goodbye_can_have_the_directive(headers: dict[str, str]) -> None:
    goodbye = sse(("goodbye", {"reason": "leave", "protocolFallbackTTL": 0}))
    service = Service(stream_of(goodbye).with_headers(headers), GOOD)
    (update,) = await updates(service, 9)
    assert (update.state, update.directive) == (SourceState.INTERRUPTED, FallbackDirective(ttl=0.0, origin="goodbye"))
    assert len(service.requests) == 1
    assert service.all_closed
