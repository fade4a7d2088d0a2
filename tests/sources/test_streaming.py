"""FDv2 streams in virtual time: which updates they report, and when they reconnect."""

from __future__ import annotations

import logging
from time import thread_time
from typing import Any

import anyio
import httpx
import pytest

from aioflags.errors import ConfigError
from aioflags.model.change import ChangeKind
from aioflags.model.event import StreamAttempt
from aioflags.model.result import FailureKind, FallbackDirective, SourceState, Update
from aioflags.runtime.cooperative import SLICE
from aioflags.sources import Latching, Streaming
from aioflags.sources.streaming import StreamingSource
from tests.support.canaries import KEY
from tests.support.scripted_http import (
    DIRECTED,
    HANG,
    Answer,
    Service,
    first,
    intent,
    nothing_selected,
    payload,
    selecting,
    sse,
    stream_of,
    updates_of,
)

GOOD = stream_of(sse(*payload("a", state="good")))
HEADER = FallbackDirective(ttl=None, origin="header")


def source_of(service: Service, *, delay: float = 1.0, chance: float = 0.0, **context: Any) -> StreamingSource:
    return StreamingSource(service.context(**context), base_uri="https://stream.test", initial_delay=delay, random=lambda: chance)


async def updates(service: Service, count: int, **options: Any) -> list[Update]:
    async with updates_of(source_of(service, **options)) as news:
        return await first(news, count)


def states(news: list[Update]) -> list[str]:
    return [update.state.value for update in news]


# -- requests


@pytest.mark.parametrize(
    "base",
    [
        pytest.param("http://h.test/endpoints/3", id="DS-1 without a slash at its end"),
        pytest.param("http://h.test/endpoints/3/", id="DS-1 with a slash at its end"),
    ],
)
async def test_the_path_is_appended_to_the_path_of_the_base_uri(base: str) -> None:
    service = Service(GOOD)
    async with updates_of(Streaming(base_uri=base).build(service.context())) as news:
        await first(news, 1)
    assert str(service.requests[0].url) == "http://h.test/endpoints/3/sdk/stream"


@pytest.mark.holds("DS-3", "DS-9")
async def test_the_request_of_a_stream_has_the_client_headers_and_no_filter() -> None:
    service = Service(GOOD)
    await updates(service, 1, headers={"Authorization": KEY, "X-LaunchDarkly-Tags": "t"}, payload_filter_key="mobile")
    headers = service.requests[0].headers
    assert headers["authorization"] == KEY
    assert headers["x-launchdarkly-tags"] == "t"
    assert (headers["accept"], headers["accept-encoding"], headers["cache-control"]) == (
        "text/event-stream",
        "identity",
        "no-cache",
    )
    assert "last-event-id" not in headers
    assert service.queries == [{}]


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
    async with updates_of(source_of(service), selecting(state)) as news:
        await first(news, 1)
    assert service.queries == [query]
    assert str(service.requests[0].url).count("basis=") == len(query)


@pytest.mark.holds("DS-7")
async def test_a_reconnect_sends_the_selector_of_the_last_connection() -> None:
    service = Service(stream_of(sse(*payload("a", state="s2")), httpx.ReadError("reset")), GOOD)
    async with updates_of(source_of(service), selecting("s1", "s2")) as news:
        await first(news, 3)
    assert [query["basis"] for query in service.queries] == ["s1", "s2"]


async def test_no_request_is_sent_before_the_source_is_iterated() -> None:
    service = Service(GOOD)
    results = source_of(service).sync(nothing_selected)
    await anyio.sleep(60)
    assert service.requests == []
    await results.aclose()


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


# -- what ends a connection

PUT = {"version": 1, "kind": "flag", "key": "a", "object": {"key": "a", "version": 1}}
WITHOUT_KEY = {name: value for name, value in PUT.items() if name != "key"}
FULL = intent("xfer-full")


@pytest.mark.parametrize(
    "body",
    [
        pytest.param([("server-intent", "{sorry")], id="DS-32 an intent that is not JSON"),
        pytest.param([("server-intent", {"data": {"flags": True, "segments": {}}})], id="DS-33 an intent without payloads"),
        pytest.param([("payload-transferred", {"state": "s", "version": 1})], id="DS-36 an end without a beginning"),
        pytest.param([FULL, ("put-object", WITHOUT_KEY)], id="DS-38 a put without a key"),
        pytest.param([FULL, ("put-object", {**PUT, "object": {"on": "maybe"}})], id="DS-40 a flag that cannot be decoded"),
        pytest.param([intent("xfer-novelty")], id="DS-42 an unknown intent"),
        pytest.param([FULL, ("payload-transferred", {"state": 5})], id="an end without a version"),
        pytest.param([FULL, ("put-object", {**PUT, "version": True})], id="a version that is a boolean"),
    ],
)
async def test_invalid_data_interrupt_and_the_next_connection_delivers(body: list[tuple[str, object]]) -> None:
    service = Service(stream_of(sse(*body)), GOOD)
    bad, good = await updates(service, 2)
    assert bad.state is SourceState.INTERRUPTED
    assert bad.change_set is None
    assert bad.error is not None
    assert bad.error.kind is FailureKind.INVALID_DATA
    assert good.change_set is not None
    assert good.change_set.selector.state == "good"
    assert service.all_closed


@pytest.mark.holds("DS-44")
async def test_half_a_transfer_is_discarded_with_its_connection() -> None:
    begun = payload("a", "b")[:-1]
    service = Service(stream_of(sse(*begun), httpx.ReadError("reset")), stream_of(sse(*payload(code="xfer-changes", state="s2"))))
    broken, update = await updates(service, 2)
    assert broken.state is SourceState.INTERRUPTED
    assert update.change_set is not None
    assert update.change_set.changes == ()


@pytest.mark.holds("DS-36", "DS-44")
@pytest.mark.parametrize(
    ("events", "before"),
    [
        pytest.param(payload("a", "b")[:-1], ["INTERRUPTED"], id="half a transfer"),
        pytest.param(payload("a", "b"), ["VALID", "INTERRUPTED"], id="a whole transfer"),
    ],
)
async def test_a_connection_does_not_continue_the_transfer_of_the_last_one(
    events: list[tuple[str, object]], before: list[str]
) -> None:
    without_intent = payload("c", state="s2")[1:]
    service = Service(stream_of(sse(*events), httpx.ReadError("reset")), stream_of(sse(*without_intent)), GOOD)
    *earlier, refused, good = await updates(service, len(before) + 2)
    assert states(earlier) == before
    assert (refused.state, refused.change_set) == (SourceState.INTERRUPTED, None)
    assert refused.error is not None
    assert refused.error.kind is FailureKind.INVALID_DATA
    assert good.change_set is not None
    assert [change.key for change in good.change_set.changes] == ["a"]
    assert len(service.requests) == 3


@pytest.mark.parametrize(
    "data",
    [
        pytest.param({"reason": "draining"}, id="DS-45 a goodbye with a reason"),
        pytest.param("oh no", id="DS-46 a goodbye that is not JSON"),
        pytest.param({"reason": "x", "protocolFallbackTTL": "soon"}, id="DS-121 FB-30 a goodbye with an invalid TTL"),
    ],
)
async def test_a_goodbye_leads_to_a_reconnect_without_an_interruption(data: object) -> None:
    begun = payload("lost")[:-1]
    service = Service(stream_of(sse(*begun, ("goodbye", data))), GOOD)
    async with updates_of(source_of(service)) as news:
        (update,) = await first(news, 1)
        assert service.bodies[0].closed
    assert update.change_set is not None
    assert [change.key for change in update.change_set.changes] == ["a"]
    assert service.pauses == [1.0]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        pytest.param(Answer(after=httpx.ConnectError("refused")), FailureKind.NETWORK_ERROR, id="a refused connection"),
        pytest.param(Answer(after=httpx.ReadError("")), FailureKind.NETWORK_ERROR, id="DS-83 a reset without an answer"),
        pytest.param(Answer(after=OSError("tls")), FailureKind.NETWORK_ERROR, id="an error of the operating system"),
        pytest.param(Answer(after=HANG), FailureKind.NETWORK_ERROR, id="no answer at all"),
        pytest.param(Answer(200, {"Content-Type": "text/event-stream"}), FailureKind.NETWORK_ERROR, id="an unexpected end"),
        pytest.param(stream_of(), FailureKind.NETWORK_ERROR, id="silence for 300 s"),
        pytest.param(Answer(200, {"Content-Type": "text/html"}), FailureKind.INVALID_DATA, id="a page instead of a stream"),
        pytest.param(Answer(200), FailureKind.INVALID_DATA, id="no content type"),
        pytest.param(stream_of(content_encoding="gzip"), FailureKind.INVALID_DATA, id="a stream in a coding"),
        pytest.param(Answer(204), FailureKind.ERROR_RESPONSE, id="204"),
        pytest.param(Answer(302, {"Location": "https://elsewhere.test/"}), FailureKind.ERROR_RESPONSE, id="a redirect elsewhere"),
    ],
)
async def test_a_recoverable_failure_interrupts_and_leads_to_a_reconnect(answer: Answer, kind: FailureKind) -> None:
    service = Service(answer, answer, GOOD)
    one, two, good = await updates(service, 3)
    for update in (one, two):
        assert (update.state, update.directive, update.change_set) == (SourceState.INTERRUPTED, None, None)
        assert update.error is not None
        assert (update.error.kind, update.error.message != "") == (kind, True)
    assert good.state is SourceState.VALID
    assert len(service.requests) == 3
    assert service.all_closed


async def test_heartbeats_keep_a_stream_open_and_silence_closes_it() -> None:
    service = Service(stream_of(*[step for _ in range(5) for step in (250.0, b":\n")]), GOOD)
    start = anyio.current_time()
    (update,) = await updates(service, 1)
    assert update.state is SourceState.INTERRUPTED
    assert anyio.current_time() - start == pytest.approx(5 * 250 + 300)


@pytest.mark.parametrize("status", [400, 408, 429, 500, 503, 599])
@pytest.mark.parametrize(
    "before",
    [
        pytest.param([], id="DS-80 on the first connection"),
        pytest.param([stream_of(sse(*payload("a")), httpx.ReadError(""))], id="DS-81 on a reconnect"),
    ],
)
async def test_a_recoverable_status_interrupts_and_leads_to_a_reconnect(status: int, before: list[Answer]) -> None:
    service = Service(*before, Answer(status), Answer(status), GOOD)
    news = (await updates(service, 3 + 2 * len(before), delay=0.001))[2 * len(before) :]
    assert states(news) == ["INTERRUPTED", "INTERRUPTED", "VALID"]
    assert [update.error.status_code for update in news[:2] if update.error] == [status, status]
    assert len(service.requests) == 3 + len(before)


@pytest.mark.parametrize(
    "status",
    [*[pytest.param(status, id=f"DS-82 {status}") for status in (401, 403, 405)], 404, 410, 451],
)
async def test_a_permanent_status_ends_the_source(status: int) -> None:
    service = Service(stream_of(sse(*payload("a")), httpx.ReadError("")), Answer(status), GOOD)
    news = await updates(service, 9)
    assert states(news) == ["VALID", "INTERRUPTED", "OFF"]
    assert news[-1].error is not None
    assert news[-1].error.status_code == status
    await anyio.sleep(3600)
    assert len(service.requests) == 2


# -- how soon it reconnects


@pytest.mark.parametrize(
    ("chance", "bounds"),
    [
        pytest.param(0.0, [1, 2, 4, 8, 16, 30, 30], id="DS-85 the longest delays"),
        pytest.param(0.999999, [0.5, 1, 2, 4, 8, 15, 15], id="DS-85 the shortest delays"),
    ],
)
async def test_delays_double_up_to_thirty_seconds(chance: float, bounds: list[float]) -> None:
    service = Service(Answer(500))
    await updates(service, len(bounds) + 1, chance=chance)
    assert service.pauses == pytest.approx(bounds, rel=1e-4)


@pytest.mark.parametrize(("chance", "pause"), [(0.0, 10.0), (0.5, 7.5), (0.999999, 5.0)])
@pytest.mark.parametrize(
    "ending",
    [
        pytest.param([httpx.ReadError("reset")], id="DS-84 a reset"),
        pytest.param([], id="DS-84 the end of the stream"),
        pytest.param([sse(("goodbye", {}))], id="DS-84 a goodbye"),
        pytest.param([sse(("server-intent", "{"))], id="DS-84 bad data"),
    ],
)
async def test_every_end_of_a_connection_is_followed_by_the_delay(
    ending: list[bytes | Exception], chance: float, pause: float
) -> None:
    dropped = Answer(200, {"Content-Type": "text/event-stream"}, [sse(*payload("a")), *ending])
    service = Service(dropped, GOOD)
    async with updates_of(source_of(service, delay=10.0, chance=chance)) as news:
        while (await anext(news)).change_set is None or len(service.requests) < 2:
            pass
    assert service.pauses == [pytest.approx(pause, rel=1e-4)]


@pytest.mark.parametrize(
    ("lasts", "then"),
    [
        pytest.param(61.0, 1.0, id="DS-86 a connection of a minute resets the delays"),
        pytest.param(59.0, 8.0, id="DS-86 a shorter connection does not"),
    ],
)
async def test_the_delay_after_a_connection_that_lasted(lasts: float, then: float) -> None:
    service = Service(Answer(500), Answer(500), Answer(500), stream_of(lasts, httpx.ReadError("")), GOOD)
    await updates(service, 5)
    assert service.pauses[-1] - lasts == pytest.approx(then)


@pytest.mark.parametrize(
    ("status", "wish", "pause"),
    [
        pytest.param(429, "7", 7.0, id="a number of seconds"),
        pytest.param(503, "7000", 300.0, id="at most five minutes"),
        pytest.param(503, "0", 1.0, id="at least the delay"),
        pytest.param(503, "soon", 1.0, id="an invalid value is ignored"),
        pytest.param(500, "7", 1.0, id="ignored for other statuses"),
    ],
)
async def test_retry_after_of_a_busy_server_is_respected(status: int, wish: str, pause: float) -> None:
    service = Service(Answer(status, {"Retry-After": wish}), GOOD)
    await updates(service, 2)
    assert service.pauses == [pytest.approx(pause)]


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


# -- the directive


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


async def test_an_internal_error_interrupts_and_the_source_continues(caplog: pytest.LogCaptureFixture) -> None:
    asked: list[int] = []

    def selector() -> object:
        asked.append(1)
        if len(asked) == 1:
            raise ZeroDivisionError("no cursor")
        return nothing_selected()

    async with updates_of(source_of(Service(GOOD)), selector) as news:  # type: ignore[arg-type]  # causes an internal error
        broken, good = await first(news, 2)
    assert broken.error is not None
    assert (broken.state, broken.error.kind) == (SourceState.INTERRUPTED, FailureKind.UNKNOWN)
    assert good.state is SourceState.VALID
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.speed
async def test_other_tasks_run_while_many_events_are_read() -> None:
    puts = [("put-object", {**PUT, "key": f"f{i}"}) for i in range(3000)]
    script = sse(FULL, *puts, ("payload-transferred", {"state": "s", "version": 1}))
    turns, results, began = 0, list[Update](), thread_time()

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as group:
        group.start_soon(count)
        results = await updates(Service(stream_of(script)), 1)
        group.cancel_scope.cancel()
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


def test_an_invalid_delay_becomes_the_default(caplog: pytest.LogCaptureFixture) -> None:
    for delay in (0, -1.0, float("nan"), float("inf")):
        assert Streaming(initial_reconnect_delay=delay).initial_reconnect_delay == 1.0
    assert caplog.text.count("initial_reconnect_delay") == 4


@pytest.mark.parametrize(
    "options", [{"base_uri": 5}, {"initial_reconnect_delay": "1"}, {"http": {}}, {"initial_reconnect_delay": True}]
)
def test_the_error_for_an_option_of_the_wrong_type_has_its_name(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        Streaming(**options)  # type: ignore[arg-type]  # that is the point


async def test_options_of_the_builder_override_those_of_the_client() -> None:
    own, shared = Service(Answer(500)), Service(Answer(500))
    context = shared.context(initial_reconnect_delay=50.0)
    async with updates_of(
        Streaming(base_uri="https://own.test", initial_reconnect_delay=8, http=own.http()).build(context)
    ) as news:
        await first(news, 2)
    async with updates_of(Streaming().build(context)) as news:
        await first(news, 2)
    assert own.requests[0].url.host == "own.test"
    assert shared.requests[0].url.host == "stream.test"
    assert 4 <= own.pauses[0] <= 8
    assert 25 <= shared.pauses[0] <= 50


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


# -- what attempts come to


class Attempts:
    """The reported attempts: whether they failed, and after how many milliseconds."""

    def __init__(self) -> None:
        self.reported: list[tuple[bool, int]] = []

    def __call__(self, attempt: StreamAttempt) -> None:
        self.reported.append((attempt.is_failed, attempt.took_ms))


@pytest.mark.parametrize(
    ("answer", "reported"),
    [
        pytest.param(GOOD, (False, 0), id="data at once"),
        pytest.param(stream_of(2.0, sse(*payload("a"))), (False, 2000), id="data after a while"),
        pytest.param(stream_of(sse(intent("none"))), (False, 0), id="no changes"),
        pytest.param(Answer(503, after=3.0), (True, 3000), id="a refusal"),
        pytest.param(Answer(401), (True, 0), id="a permanent refusal"),
        pytest.param(Answer(after=httpx.ConnectError("refused")), (True, 0), id="no connection"),
        pytest.param(Answer(200, {"Content-Type": "text/event-stream"}, [1.5]), (True, 1500), id="the end before the data"),
        pytest.param(stream_of(sse(("put-object", "{"))), (True, 0), id="EVT-D10 data that cannot be read"),
        pytest.param(stream_of(sse(("goodbye", {"reason": "full"}))), (True, 0), id="a goodbye before the data"),
        pytest.param(stream_of(), (True, 8000), id="EVT-D10 cancelled before data arrive"),
    ],
)
async def test_an_attempt_is_reported_once(answer: Answer, reported: tuple[bool, int]) -> None:
    attempts = Attempts()
    async with updates_of(source_of(Service(answer), delay=100, attempted=attempts)) as news:
        with anyio.move_on_after(8):
            await first(news, 2)
    assert attempts.reported == [reported]


async def test_an_end_after_data_is_not_a_failed_attempt() -> None:
    ends = Answer(200, {"Content-Type": "text/event-stream"}, [sse(*payload("a")), 60.0])
    attempts = Attempts()
    async with updates_of(source_of(Service(ends, Answer(503), GOOD), attempted=attempts)) as news:
        await first(news, 4)
    assert attempts.reported == [(False, 0), (True, 0), (False, 0)]


async def test_a_failure_has_the_address_without_the_query() -> None:
    service = Service(Answer(503))
    source = Streaming(base_uri="https://stream.test/eu").build(service.context())
    async with updates_of(source, selecting("basis")) as updates:
        update = await anext(updates)
    assert update.error is not None
    assert update.error.address == "https://stream.test/eu/sdk/stream"
