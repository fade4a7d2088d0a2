"""Streams that reconnect: pauses, and the time until a retry that is reported."""

from __future__ import annotations

from typing import TypeAlias

import anyio
import httpx
import pytest

from aioflags.model.change import Basis, FetchFailure
from aioflags.model.context import Context
from aioflags.model.event import StreamAttempt
from aioflags.model.status import FailureKind, SourceState
from aioflags.protocol.client_side import ClientSide
from aioflags.sources import Fdv1FallbackOptions, Polling, Streaming
from aioflags.sources.base import SourceContext
from aioflags.transport.backoff import RetryTimes
from tests.sources.streams import FULL, GOOD, PUT, source_of, states, updates
from tests.support.scripted_http import (
    HANG,
    Answer,
    Service,
    first,
    intent,
    nothing_selected,
    payload,
    poll_of,
    sse,
    stream_of,
    updates_from,
    updates_of,
)

# -- what ends a connection

WITHOUT_KEY = {name: value for name, value in PUT.items() if name != "key"}


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
    await updates_from(source_of(Service(ends, Answer(503), GOOD), attempted=attempts), 4)
    assert attempts.reported == [(False, 0), (True, 0), (False, 0)]


# -- the time that the service asked clients to wait holds for the next source of the same address, in virtual time


Source: TypeAlias = Polling | Streaming | Fdv1FallbackOptions

BUSY = Answer(429, {"Retry-After": "30"})
POLLED = poll_of(intent("none"))
STREAMED = stream_of(sse(intent("none")))
FDV1 = Answer(200, {}, [b"{}"])
HOST = "https://flags.test"


def context_of(service: Service, times: RetryTimes | None) -> SourceContext:
    return service.context(side=ClientSide(context=Context("k")), retry_times=times)


@pytest.mark.parametrize(
    ("before", "answer", "builder", "seconds"),
    [
        pytest.param(Polling(base_uri=HOST), POLLED, Polling(base_uri=HOST), 30, id="a poll after a poll"),
        pytest.param(Polling(base_uri=HOST), STREAMED, Streaming(base_uri=HOST), 0, id="a stream after a poll"),
        pytest.param(Streaming(base_uri=HOST), STREAMED, Streaming(base_uri=HOST), 30, id="a stream after a stream"),
        pytest.param(Streaming(base_uri=HOST), POLLED, Polling(base_uri=HOST), 0, id="a poll after a stream"),
        pytest.param(Polling(base_uri=HOST), POLLED, Polling(base_uri="https://other.test"), 0, id="a poll of another service"),
        pytest.param(Polling(base_uri=HOST), FDV1, Fdv1FallbackOptions(base_uri=HOST), 0, id="FDv1 after FDv2"),
        pytest.param(
            Fdv1FallbackOptions(base_uri=HOST), FDV1, Fdv1FallbackOptions(base_uri=HOST, on_demand=True), 30, id="FDv1 once"
        ),
    ],
)
@pytest.mark.parametrize("is_shared", [True, False], ids=["one client", "another client"])
async def test_a_new_source_waits_for_the_rest_of_the_time(
    before: Source, answer: Answer, builder: Source, seconds: float, *, is_shared: bool
) -> None:
    service, times = Service(BUSY, answer), RetryTimes()
    await updates_from(before.build(context_of(service, times)), 1)
    await updates_from(builder.build(context_of(service, times if is_shared else None)), 1)
    assert [round(pause, 3) for pause in service.pauses] == [seconds if is_shared else 0]


@pytest.mark.parametrize(
    ("passed", "waited", "result"),
    [
        pytest.param(
            0.0, 0.0, "no request for another 30 s: the service asked to wait", id="a long time is left to the next source"
        ),
        pytest.param(25.0, 5.0, None, id="a short time is waited for"),
        pytest.param(31.0, 0.0, None, id="no time is left"),
    ],
)
async def test_an_initializer_does_not_poll_too_early(passed: float, waited: float, result: str | None) -> None:
    service, times = Service(BUSY, POLLED), RetryTimes()
    context = context_of(service, times)
    assert [type(outcome) async for outcome in Polling().build(context).fetch(nothing_selected)] == [FetchFailure]
    await anyio.sleep(passed)
    start = anyio.current_time()
    (outcome,) = [outcome async for outcome in Polling().build(context).fetch(nothing_selected)]
    assert round(anyio.current_time() - start, 3) == waited
    if result is None:
        assert isinstance(outcome, Basis)
        return
    assert isinstance(outcome, FetchFailure)
    # The answer that asked to wait was logged as a warning before.
    assert (outcome.error.message, outcome.error.is_minor) == (result, True)
    assert str(outcome.error).endswith("/sdk/poll/eval/<context>)")
    assert len(service.requests) == 1


async def test_the_poll_of_a_ping_is_not_too_early() -> None:
    service = Service(BUSY, stream_of(sse(("ping", ""))), POLLED)
    context = context_of(service, RetryTimes())
    assert [type(outcome) async for outcome in Polling().build(context).fetch(nothing_selected)] == [FetchFailure]
    await updates_from(Streaming().build(context), 1)
    assert [round(pause, 3) for pause in service.pauses] == [0, 30]


def test_a_shorter_time_does_not_replace_a_longer_one() -> None:
    times = RetryTimes()
    times.note("https://flags.test/poll?basis=1", 100.0)
    times.note("https://flags.test/poll?basis=2", 50.0)
    assert [times.left(url, 40.0) for url in ("https://flags.test/poll", "https://flags.test/stream")] == [60.0, 0.0]
    assert times.left("https://flags.test/poll?basis=3", 101.0) == 0.0
