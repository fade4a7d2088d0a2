"""Polling: requests, pauses, and what each answer is reported as."""

from __future__ import annotations

import gzip

import anyio
import httpx
import pytest

from aioflags.model.change import Basis, ChangeKind, FallbackDirective, FetchFailure, Selector
from aioflags.model.status import FailureKind, SourceState
from aioflags.protocol.server_side import ServerSide
from aioflags.sources import Latching, Polling
from aioflags.transport.http import HttpTransport
from tests.sources.polls import GOOD, HEADER, NOT_MODIFIED, TAGGED, UP_TO_DATE, fetched, latch_of, source_of, updates
from tests.support.canaries import KEY
from tests.support.scripted_http import (
    DIRECTED,
    HANG,
    Answer,
    Service,
    first,
    intent,
    payload,
    poll_body,
    poll_of,
    selecting,
    updates_from,
    updates_of,
)

# -- requests


@pytest.mark.holds("DS-2", "DS-3", "DS-9", "DS-15")
async def test_a_poll_has_the_headers_of_the_client_and_no_filter() -> None:
    service = Service(GOOD)
    await fetched(
        service, headers={"Authorization": KEY, "X-LaunchDarkly-Instance-Id": "i"}, side=ServerSide(payload_filter_key="f")
    )
    headers = service.requests[0].headers
    assert headers["authorization"] == KEY
    assert headers["x-launchdarkly-instance-id"] == "i"
    assert headers["accept-encoding"] == "gzip"
    assert str(service.requests[0].url) == "https://poll.test/sdk/poll"


@pytest.mark.parametrize(
    ("state", "query"),
    [
        pytest.param("", {}, id="DS-4 no basis without data"),
        pytest.param("poll-basis-state", {"basis": "poll-basis-state"}, id="DS-6 the basis of an initializer"),
        pytest.param("(p:ä &=?#:1)", {"basis": "(p:ä &=?#:1)"}, id="DS-8 a basis that has to be encoded"),
    ],
)
async def test_a_poll_sends_the_selector_as_its_basis(state: str, query: dict[str, str]) -> None:
    service = Service(UP_TO_DATE)
    await updates_from(source_of(service), 1, selecting(state))
    assert service.queries == [query]


async def test_every_poll_sends_the_newest_selector() -> None:
    service = Service(GOOD)
    await updates_from(source_of(service), 3, selecting("", "s1", "s2"))
    assert service.queries == [{}, {"basis": "s1"}, {"basis": "s2"}]


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "GZIP"])
@pytest.mark.holds("DS-15")
async def test_a_compressed_body_is_read(coding: str) -> None:
    body = gzip.compress(poll_body(*payload("a")))
    service = Service(Answer(200, {"Content-Encoding": coding}, [body[:40], body[40:]]))
    basis = await fetched(service)
    assert isinstance(basis, Basis)
    assert len(basis.change_set.changes) == 1


# -- ETags


@pytest.mark.parametrize(
    ("answers", "sent"),
    [
        pytest.param([TAGGED, NOT_MODIFIED], [None, '"1"', '"1"'], id="DS-16 an ETag is sent with the next poll, and after a 304"),
        pytest.param(
            [poll_of(intent("none"), etag='"1"'), NOT_MODIFIED], [None, '"1"', '"1"'], id="an answer without changes has an ETag"
        ),
        pytest.param([TAGGED, GOOD], [None, '"1"', None], id="an ETag is dropped when a response has none"),
        pytest.param([TAGGED, poll_of(*payload("a"), etag='"2"')], [None, '"1"', '"2"'], id="an ETag is replaced by the next one"),
        pytest.param(
            [Answer(200, {"ETag": '"1"'}, [b"{oops"])], [None, None, None], id="DS-17 the ETag of an invalid body is not used"
        ),
        pytest.param(
            [TAGGED, Answer(200, {"ETag": '"2"'}, [b"{}"])],
            [None, '"1"', '"1"'],
            id="DS-17 the ETag of an invalid body does not replace another",
        ),
        pytest.param([TAGGED, Answer(503)], [None, '"1"', '"1"'], id="an ETag is kept after an error"),
    ],
)
async def test_etags(answers: list[Answer], sent: list[str | None]) -> None:
    service = Service(*answers)
    await updates(service, 3)
    assert [request.headers.get("if-none-match") for request in service.requests] == sent


@pytest.mark.holds("DS-18")
async def test_an_etag_belongs_to_its_url() -> None:
    service = Service(TAGGED)
    await updates_from(source_of(service), 3, selecting("", "s1", "s1"))
    assert [request.headers.get("if-none-match") for request in service.requests] == [None, None, '"1"']


async def test_an_etag_belongs_to_its_source() -> None:
    service = Service(TAGGED)
    builder = Polling()
    for _ in range(2):
        await updates_from(builder.build(service.context()), 1)
    assert [request.headers.get("if-none-match") for request in service.requests] == [None, None]


# -- the pace


@pytest.mark.parametrize(
    ("interval", "pause"),
    [
        pytest.param(15, 30, id="DS-19 raised to 30"),
        pytest.param(45, 45, id="DS-19 45"),
    ],
)
async def test_the_interval_of_polls(interval: float, pause: float, caplog: pytest.LogCaptureFixture) -> None:
    service = Service(GOOD)
    await updates(service, 4, interval=interval)
    assert service.pauses == pytest.approx([pause] * 3)
    assert ("interval" in caplog.text) == (interval != pause)


@pytest.mark.holds("DS-19")
async def test_the_interval_is_counted_from_start_to_start() -> None:
    service = Service(Answer(200, {}, [5.0, poll_body(intent("none"))], after=4.0))
    async with updates_of(source_of(service)) as news:
        async for _ in news:
            await anyio.sleep(7)
            if len(service.requests) == 4:
                break
    assert service.pauses == pytest.approx([30, 30, 30])


async def test_a_poll_that_takes_longer_than_the_interval_is_followed_by_the_next() -> None:
    service = Service(Answer(200, {}, [14.0, b'{"ev', 14.0, b"ents", 14.0, b'":[]}']))
    await updates(service, 3)
    assert service.pauses == pytest.approx([42, 42])


async def test_retry_after_of_a_busy_server_is_respected() -> None:
    service = Service(
        Answer(503, {"Retry-After": "100"}), Answer(429, {"Retry-After": "4000"}), Answer(500, {"Retry-After": "90"}), GOOD
    )
    await updates(service, 4)
    assert service.pauses == pytest.approx([100, 300, 30])


# -- bugs, closing, options


async def test_an_initializer_reports_an_internal_error_as_a_failure() -> None:
    def selector() -> Selector:
        raise ZeroDivisionError("no cursor")

    failure = await fetched(Service(GOOD), selector)
    assert isinstance(failure, FetchFailure)
    assert failure.error.kind is FailureKind.UNKNOWN


@pytest.mark.parametrize(
    "answer", [Answer(after=HANG), Answer(200, {}, [HANG]), GOOD], ids=["the head", "the body", "the next poll"]
)
@pytest.mark.holds("DS-66")
async def test_a_poll_that_is_cancelled_while_it_waits_for(answer: Answer) -> None:
    service = Service(answer)
    start = anyio.current_time()
    with anyio.move_on_after(3):
        async with updates_of(source_of(service)) as news:
            async for _ in news:
                pass
    assert anyio.current_time() - start == 3
    assert service.all_closed
    assert len(service.requests) == 1


async def test_the_transport_of_the_client_is_shared_and_outlives_its_sources() -> None:
    service = Service(UP_TO_DATE)
    async with HttpTransport(service.http()) as transport:
        context = service.context(transport=transport)
        for _ in range(2):
            await updates_from(Polling().build(context), 1)
        assert [client.is_closed for client in service.clients] == [False]
    assert service.all_closed


async def test_tests_can_poll_faster_than_the_minimum() -> None:
    service = Service(UP_TO_DATE)
    await updates_from(Polling(interval=0.5, _minimum_interval=0.1).build(service.context()), 2)
    assert service.pauses == [0.5]


# -- FDv2 polls in virtual time: what each answer is reported as, and the fallback directive


# -- what an answer is reported as

INVALID = [
    pytest.param(Answer(200, {}, [b"{oops"]), id="not JSON"),
    pytest.param(Answer(200, {}, []), id="an empty body"),
    pytest.param(Answer(200, {}, [b"\xff\xfe"]), id="not UTF-8"),
    pytest.param(
        Answer(200, {}, [poll_body(*payload("a")).replace(b'"variation"', b'"variatio\xee"')]), id="a name that is not UTF-8"
    ),
    pytest.param(Answer(200, {}, [b'{"events": 1}']), id="DS-47 events that are not an array"),
    pytest.param(Answer(200, {}, [b"{}"]), id="DS-47 no events"),
    pytest.param(Answer(200, {}, [b'{"events": [1]}']), id="DS-47 an event that is not an object"),
    pytest.param(Answer(200, {}, [poll_body(*payload("a")[:-1])]), id="DS-49 an end after puts"),
    pytest.param(Answer(200, {"Content-Encoding": "br"}, [b"x"]), id="another coding"),
    pytest.param(Answer(200, {"Content-Encoding": "gzip, gzip"}, [b"x"]), id="several codings"),
    pytest.param(Answer(200, {"Content-Encoding": "gzip"}, [b"not gzip"]), id="not in the coding of its header"),
    pytest.param(Answer(200, {"Content-Encoding": "gzip"}, [gzip.compress(b'{"events": []}')[:-4]]), id="gzip that is cut off"),
    pytest.param(Answer(200, {}, [b" " * 5000]), id="too large"),
    pytest.param(Answer(200, {"Content-Encoding": "gzip"}, [gzip.compress(b" " * 5000)]), id="too large when inflated"),
]
BROKEN = [
    pytest.param(Answer(after=httpx.ConnectError("refused")), id="DS-79 a refused connection"),
    pytest.param(Answer(after=httpx.ConnectTimeout("")), id="DS-79 a timeout while connecting"),
    pytest.param(Answer(after=httpx.RemoteProtocolError("garbage")), id="DS-79 garbage"),
    pytest.param(Answer(after=OSError("no route")), id="DS-79 an error of the operating system"),
    pytest.param(Answer(after=HANG), id="no answer"),
    pytest.param(Answer(200, {}, [b'{"ev', httpx.ReadError("")]), id="a body that breaks off"),
    pytest.param(Answer(200, {}, [b'{"ev', HANG]), id="a body that stops"),
    pytest.param(Answer(200, {}, [step for _ in range(60) for step in (14.0, b" ")]), id="a body that arrives too slowly"),
]
PASSING = [pytest.param(Answer(status), id=f"{status}") for status in (302, 400, 408, 429, 500, 503, 599)]
FINAL = [pytest.param(Answer(status), id=f"{status}") for status in (401, 403, 404, 405, 410)]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        *[pytest.param(*case.values, FailureKind.INVALID_DATA, id=case.id) for case in INVALID],
        *[pytest.param(*case.values, FailureKind.NETWORK_ERROR, id=case.id) for case in BROKEN],
        *[pytest.param(*case.values, FailureKind.ERROR_RESPONSE, id=case.id) for case in PASSING],
        pytest.param(poll_of(("error", {"reason": "no"})), FailureKind.UNKNOWN, id="an error event"),
        pytest.param(poll_of(("goodbye", {"reason": "bye"})), FailureKind.UNKNOWN, id="a goodbye"),
    ],
)
async def test_a_recoverable_failure_interrupts_until_the_next_poll(answer: Answer, kind: FailureKind) -> None:
    service = Service(answer, GOOD)
    bad, good = await updates(service, 2, http=service.http(max_response_bytes=4000))
    assert (bad.state, bad.change_set, bad.directive) == (SourceState.INTERRUPTED, None, None)
    assert bad.error is not None
    assert bad.error.kind is kind
    assert bad.error.message
    assert good.change_set is not None
    assert service.pauses[0] >= 30
    assert service.all_closed


@pytest.mark.parametrize("answer", [*INVALID, *BROKEN, *PASSING, *FINAL])
async def test_an_initializer_reports_its_failure(answer: Answer) -> None:
    service = Service(answer)
    failure = await fetched(service, http=service.http(max_response_bytes=4000))
    assert isinstance(failure, FetchFailure)
    assert failure.directive is None
    assert failure.error.status_code == (answer.status if answer.status != 200 else 0)
    assert len(service.requests) == 1
    assert service.all_closed


@pytest.mark.parametrize("answer", FINAL)
async def test_a_permanent_status_ends_the_source(answer: Answer) -> None:
    service = Service(GOOD, answer, GOOD)
    news = await updates(service, 9)
    assert [update.state.value for update in news] == ["VALID", "OFF"]
    assert news[-1].error is not None
    assert news[-1].error.status_code == answer.status
    assert len(service.requests) == 2


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(UP_TO_DATE, id="no changes"),
        pytest.param(NOT_MODIFIED, id="DS-50 not modified"),
        pytest.param(
            poll_of(intent("none"), ("payload-transferred", {"state": "x", "version": 1})), id="DS-48 no changes, and an end"
        ),
    ],
)
async def test_an_answer_without_changes_is_valid_without_a_change_set(answer: Answer) -> None:
    (update,) = await updates(Service(answer), 1)
    assert (update.state, update.change_set, update.error) == (SourceState.VALID, None, None)
    basis = await fetched(Service(answer))
    assert isinstance(basis, Basis)
    assert basis.change_set.kind is ChangeKind.NONE


async def test_a_payload_is_reported_with_its_environment() -> None:
    service = Service(poll_of(*payload("a", state="s1"), x_ld_envid="env-1"))
    (update,) = await updates(service, 1)
    assert update.change_set is not None
    assert (update.state, update.environment_id, update.change_set.selector.state) == (SourceState.VALID, "env-1", "s1")
    basis = await fetched(service)
    assert isinstance(basis, Basis)
    assert (basis.environment_id, basis.change_set.kind, basis.change_set.persist) == ("env-1", ChangeKind.FULL, True)


async def test_an_error_has_no_environment_id() -> None:
    (update,) = await updates(Service(Answer(500, {"X-LD-EnvID": "env-1"})), 1)
    assert update.environment_id is None


# -- the directive

ANY = [
    pytest.param(poll_of(*payload("a")), "VALID", id="FB-4 a payload"),
    pytest.param(UP_TO_DATE, "VALID", id="FB-5 DS-107 being up to date"),
    pytest.param(NOT_MODIFIED, "VALID", id="FB-5 DS-106 not modified"),
    *[pytest.param(Answer(status), "OFF", id=f"FB-6 {status}") for status in (400, 401, 403, 404, 429, 500, 503)],
    *[pytest.param(*case.values, "OFF", id=f"FB-7 {case.id}") for case in INVALID],
    pytest.param(Answer(200, {}, [b'{"ev', httpx.ReadError("")]), "OFF", id="FB-8 a body that breaks off"),
    pytest.param(Answer(200, {}, [HANG]), "OFF", id="FB-8 a body that never comes"),
]


@pytest.mark.parametrize(("answer", "state"), ANY)
async def test_a_directive_in_any_response_is_reported_and_ends_the_polls(answer: Answer, state: str) -> None:
    service = Service(answer.directed(), GOOD)
    (update,) = await updates(service, 9, http=service.http(max_response_bytes=4000))
    assert (update.state.value, update.directive) == (state, HEADER)
    assert (update.error is None) == (state == "VALID")
    assert len(service.requests) == 1
    assert service.all_closed


@pytest.mark.parametrize(("answer", "state"), ANY)
async def test_an_initializer_reports_the_directive_of_any_response(answer: Answer, state: str) -> None:
    service = Service(answer.directed(**{"X-LD-FD-Fallback-TTL": "60"}))
    result = await fetched(service, http=service.http(max_response_bytes=4000))
    assert isinstance(result, Basis if state == "VALID" else FetchFailure)
    assert result.directive == FallbackDirective(ttl=60.0, origin="header")


@pytest.mark.holds("FB-5", "DS-106")
async def test_a_later_poll_may_bring_the_directive() -> None:
    service = Service(TAGGED, NOT_MODIFIED.directed(), GOOD)
    news = await updates(service, 9)
    assert [update.directive for update in news] == [None, HEADER]


@pytest.mark.holds("FB-30")
async def test_a_goodbye_in_a_poll_can_have_the_directive() -> None:
    (update,) = await updates(Service(poll_of(("goodbye", {"protocolFallbackTTL": 5}))), 9)
    assert (update.state, update.directive) == (SourceState.OFF, FallbackDirective(ttl=5.0, origin="goodbye"))


@pytest.mark.holds("FB-8")
async def test_the_directive_is_latched_only_while_the_body_is_read() -> None:
    service = Service(Answer(200, DIRECTED, [10.0, b"{", httpx.ReadError("")]))
    source = source_of(service)
    seen: list[FallbackDirective | None] = []

    async def look() -> None:
        seen.append(source.latched)
        await anyio.sleep(5)
        seen.append(source.latched)

    assert isinstance(source, Latching)
    async with anyio.create_task_group() as group, updates_of(source) as news:
        group.start_soon(look)
        await first(news, 1)
    assert seen == [None, HEADER]


async def test_a_latched_directive_does_not_carry_over_to_the_next_poll() -> None:
    service = Service(Answer(200, DIRECTED, [HANG]), GOOD)
    source = source_of(service)
    with anyio.move_on_after(1):
        async with updates_of(source) as news:
            await anext(news)
    assert latch_of(source) == HEADER
    (update,) = await updates_from(source, 1)
    assert (update.directive, latch_of(source)) == (None, None)
