"""Sender: statuses, retries, headers and compression of posts, and the log lines of an outage."""

from __future__ import annotations

import asyncio
import logging

import httpx
import pytest

from aioflags.events.sender import DeliveryLog, SendOutcome, describe_amount, outcome_of
from aioflags.runtime.logs import logger
from tests.support.canaries import KEY
from tests.support.events import U1, ClientWithEvents, client_with_events, service_that_takes
from tests.support.scripted_http import HANG, Answer, Service

OK = Answer(202)
LATER = "Sat, 01 Jan 3001 00:00:00 GMT"


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        *[pytest.param(status, SendOutcome.SENT, id=f"{status} is a success") for status in (200, 202, 204, 299)],
        *[
            pytest.param(status, SendOutcome.RETRY, id=f"{status} is a temporary failure")
            for status in (101, 302, 400, 408, 429, 500, 503, 599)
        ],
        pytest.param(413, SendOutcome.DROP, id="413 concerns this payload only"),
        *[pytest.param(status, SendOutcome.STOP, id=f"{status} is permanent") for status in (401, 403, 404, 405, 422, 499)],
    ],
)
def test_outcome_of_a_status(status: int, outcome: SendOutcome) -> None:
    assert outcome_of(status) is outcome


@pytest.mark.parametrize(
    "failure",
    [
        pytest.param(Answer(503), id="EVT-W20"),
        pytest.param(Answer(400), id="400"),
        pytest.param(Answer(429, {"Retry-After": "300"}), id="429 with a Retry-After header"),
        pytest.param(Answer(302, {"Location": "https://elsewhere.test/"}), id="a redirect, which is not followed"),
        pytest.param(Answer(after=httpx.ConnectError("refused")), id="no connection"),
        pytest.param(Answer(after=httpx.ReadTimeout("")), id="no answer in time"),
        pytest.param(Answer(after=HANG), id="no answer at all"),
    ],
)
async def test_a_recoverable_failure_is_retried_once_with_the_same_payload_id(
    failure: Answer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with client_with_events(service=service_that_takes(failure, OK)) as sending:
        sending.client.track("x", U1)
        assert await sending.client.flush_and_wait()
        first, second = sending.service.posts
        assert first.content == second.content
        assert first.headers["x-launchdarkly-payload-id"] == second.headers["x-launchdarkly-payload-id"]
        assert sending.service.post_times[1] - sending.service.post_times[0] >= 1
        assert sending.client.stats.events_sent == 2
        assert sending.client.stats.events_dropped == 0
    assert "will retry" in caplog.text


@pytest.mark.holds("EVT-W21")
async def test_a_payload_that_fails_twice_is_dropped_and_the_next_is_sent(caplog: pytest.LogCaptureFixture) -> None:
    async with client_with_events(service=service_that_takes(Answer(503), Answer(503), OK)) as sending:
        sending.client.track("x", U1)
        assert await sending.client.flush_and_wait()
        assert len(sending.service.posts) == 2
        sending.client.track("y", U1)
        assert await sending.client.flush_and_wait()
        lost, again, next_one = sending.service.posts
        assert lost.content == again.content != next_one.content
        assert lost.headers["x-launchdarkly-payload-id"] != next_one.headers["x-launchdarkly-payload-id"]
        stats = sending.client.stats
        assert (stats.events_recorded, stats.events_dropped, stats.events_sent) == (3, 2, 1)
    assert "dropped 2 events (" in caplog.text


async def test_status_413_drops_only_this_payload() -> None:
    async with client_with_events(service=service_that_takes(Answer(413), OK)) as sending:
        sending.client.track("x", U1)
        await sending.client.flush_and_wait()
        sending.client.track("y", U1)
        await sending.client.flush_and_wait()
        assert (sending.client.stats.events_dropped, sending.client.stats.events_sent) == (2, 1)
    assert len(sending.service.posts) == 2


@pytest.mark.parametrize(
    ("answer", "kinds"),
    [
        pytest.param(Answer(202, {"Date": LATER}), ["summary"], id="EVT-W23"),
        pytest.param(Answer(413, {"Date": LATER}), ["summary"], id="the date of an answer that refuses the payload"),
        pytest.param(Answer(202, {"Date": "Thu, 01 Jan 1970 00:00:01 GMT"}), ["debug", "summary"], id="a date before the limit"),
        pytest.param(Answer(202, {"Date": "yesterday"}), ["debug", "summary"], id="a header that is not a date"),
        pytest.param(Answer(202), ["debug", "summary"], id="no header"),
    ],
)
async def test_debugging_ends_by_the_date_of_a_response(answer: Answer, kinds: list[str]) -> None:
    async with client_with_events(service=service_that_takes(answer)) as sending:
        sending.client.variation_nowait("debug", U1, "")
        assert [record["kind"] for record in await sending.payload()] == ["index", "debug", "summary"]
        sending.client.variation_nowait("debug", U1, "")
        assert [record["kind"] for record in await sending.payload()] == kinds


@pytest.mark.parametrize(
    ("dates", "kinds"),
    [
        pytest.param((None, LATER), ["summary"], id="EVT-W23 the date of the second response counts, although it is a failure"),
        pytest.param((LATER, None), ["debug", "summary"], id="the date of the first response does not count"),
    ],
)
async def test_after_a_retry_the_date_of_the_last_response_counts(dates: tuple[str | None, str | None], kinds: list[str]) -> None:
    service = Service()
    service.takes = [*(Answer(503, {} if date is None else {"Date": date}) for date in dates), Answer(202)]
    async with client_with_events(service=service) as sending:
        sending.client.variation_nowait("debug", U1, "")
        assert len(await sending.payloads()) == 2
        sending.client.variation_nowait("debug", U1, "")
        assert [record["kind"] for record in await sending.payload()] == kinds


async def test_headers_of_a_post() -> None:
    async with client_with_events() as sending:
        sending.client.track("x", U1)
        await sending.client.flush_and_wait()
        sending.client.track("x", U1)
        await sending.client.flush_and_wait()
    first, second = sending.service.posts
    assert (first.method, str(first.url)) == ("POST", "https://events.launchdarkly.com/bulk")
    assert first.headers["authorization"] == KEY
    assert first.headers["content-type"] == "application/json"
    assert first.headers["x-launchdarkly-event-schema"] == "4"
    assert first.headers["user-agent"].startswith("AioFlags/")
    assert first.headers["x-launchdarkly-instance-id"]
    assert "content-encoding" not in first.headers
    assert first.headers["x-launchdarkly-payload-id"] != second.headers["x-launchdarkly-payload-id"]


async def test_a_body_is_compressed_if_configured() -> None:
    async with client_with_events(enable_event_compression=True) as sending:
        sending.client.track("x", U1, "x" * 100_000)
        index, custom = await sending.payload()
    (post,) = sending.service.posts
    assert post.headers["content-encoding"] == "gzip"
    assert int(post.headers["content-length"]) == len(post.content) < 1000
    assert (index["kind"], custom["data"]) == ("index", "x" * 100_000)


# -- DeliveryLog


REFUSED = Answer(after=httpx.ConnectError("refused"))
URL = "https://events.launchdarkly.com/bulk"
WHY = f"the service answered 503 Service Unavailable ({URL})"
RETRY = "could not send {}, will retry in 1 s: {}"
DROPPED = "dropped {} (more drops are logged at DEBUG until a payload is delivered): {}"


def logged(caplog: pytest.LogCaptureFixture, level: int = logging.WARNING) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= level]


async def send_payload(sending: ClientWithEvents, *names: str) -> None:
    """Send one payload with these events."""
    for name in names:
        sending.client.track(name, U1)
    assert await sending.client.flush_and_wait()


@pytest.mark.holds("EVT-W21")
async def test_the_beginning_and_the_end_of_an_outage_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with client_with_events(service=service_that_takes(*[Answer(503)] * 6, OK, OK)) as sending:
        await send_payload(sending, "a")
        begun = [RETRY.format("2 events", WHY), DROPPED.format("2 events", WHY)]
        assert logged(caplog) == begun
        for _ in range(2):
            sending.client.variation_nowait("plain", U1, "")
            await send_payload(sending, "b")
        assert logged(caplog) == begun
        await send_payload(sending, "c")
        over = [*begun, "events are delivered again; dropped during the outage: 4 events and the counts of 2 evaluations"]
        assert logged(caplog) == over
        await send_payload(sending, "d")
    assert logged(caplog) == over
    stats = sending.client.stats
    assert (stats.events_dropped, stats.evaluations_dropped) == (4, 2)


async def test_failures_during_an_outage_are_logged_at_debug(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="aioflags")
    async with client_with_events(service=service_that_takes(Answer(503), Answer(503), REFUSED, REFUSED, OK)) as sending:
        await send_payload(sending, "a")
        before = len(caplog.records)
        await send_payload(sending, "b")
        logged_records = caplog.records[before:]
        await send_payload(sending, "c")
    assert [record.levelno for record in logged_records] == [logging.DEBUG] * 2
    assert ["refused" in record.getMessage().lower() for record in logged_records] == [True, True]


async def test_a_second_outage_is_logged_again(caplog: pytest.LogCaptureFixture) -> None:
    async with client_with_events(service=service_that_takes(*[Answer(503)] * 2, OK, *[Answer(503)] * 2, OK)) as sending:
        for name in "abcd":
            await send_payload(sending, name)
    assert [message.split(maxsplit=1)[0] for message in logged(caplog)] == ["could", "dropped", "events"] * 2


async def test_a_payload_delivered_at_the_second_attempt_is_not_logged_as_dropped(caplog: pytest.LogCaptureFixture) -> None:
    async with client_with_events(service=service_that_takes(Answer(503), OK)) as sending:
        await send_payload(sending, "a")
    assert logged(caplog) == [RETRY.format("2 events", WHY)]


async def test_a_payload_with_only_counts_is_described_as_counts(caplog: pytest.LogCaptureFixture) -> None:
    async with client_with_events(service=service_that_takes(OK, *[Answer(503)] * 2)) as sending:
        await send_payload(sending, "a")
        sending.client.variation_nowait("plain", U1, "")
        await send_payload(sending)
        sending.service.takes = [OK]
    counts = "the counts of 1 evaluation"
    assert logged(caplog) == [
        RETRY.format(counts, WHY),
        DROPPED.format(counts, WHY),
        f"closed during an outage of the events service; dropped: {counts}",
    ]


async def test_a_failed_connection_is_logged_with_the_address(caplog: pytest.LogCaptureFixture) -> None:
    async with client_with_events(service=service_that_takes(REFUSED, REFUSED)) as sending:
        await send_payload(sending, "a")
    why = f"ConnectError: refused ({URL})"
    assert logged(caplog)[:2] == [RETRY.format("2 events", why), DROPPED.format("2 events", why)]


async def test_a_close_during_an_outage_logs_how_many_events_were_dropped(caplog: pytest.LogCaptureFixture) -> None:
    async with client_with_events(service=service_that_takes(*[Answer(503)] * 4)) as sending:
        await send_payload(sending, "a")
        sending.client.track("b", U1)
        begun = logged(caplog)
    assert logged(caplog)[len(begun) :] == ["closed during an outage of the events service; dropped: 3 events"]


async def test_a_refusal_during_an_outage_logs_how_many_events_were_dropped(caplog: pytest.LogCaptureFixture) -> None:
    async with client_with_events(service=service_that_takes(Answer(503), Answer(503), Answer(401))) as sending:
        await send_payload(sending, "a")
        await send_payload(sending, "b")
    refusal = f"the service answered 401 Unauthorized: the key is probably invalid ({URL})"
    assert logged(caplog)[2:] == [f"stopped sending events: the service refuses them permanently; dropped: 3 events: {refusal}"]


async def test_an_outage_of_diagnostics_is_logged_once_at_info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="aioflags")
    service = service_that_takes(*[Answer(503)] * 6, OK)
    async with client_with_events(service=service, diagnostic_opt_out=False, diagnostic_recording_interval=60) as sending:
        await sending.client.wait_ready()
        with_diagnostics = len(sending.service.posts)
        while len(sending.service.posts) < 7:
            await asyncio.sleep(60)
    assert with_diagnostics <= 2
    assert not logged(caplog)
    why = WHY.replace("bulk", "diagnostic")
    lost = [RETRY.format("a diagnostic event", why), DROPPED.format("a diagnostic event", why)]
    assert [line for line in logged(caplog, logging.INFO) if "diagnostic" in line] == lost


def test_in_the_child_of_a_fork_the_outage_is_forgotten(caplog: pytest.LogCaptureFixture) -> None:
    outage = DeliveryLog(logger)
    outage.dropped("1 event", "gone", events=1)
    outage.after_fork()
    outage.delivered()
    outage.closed()
    assert logged(caplog) == [DROPPED.format("1 event", "gone")]


@pytest.mark.parametrize(
    ("events", "evaluations", "words"),
    [
        (0, 0, "0 events"),
        (1, 0, "1 event"),
        (2, 0, "2 events"),
        (0, 1, "the counts of 1 evaluation"),
        (1, 3, "1 event and the counts of 3 evaluations"),
    ],
)
def test_an_amount_does_not_mention_zero_parts(events: int, evaluations: int, words: str) -> None:
    assert describe_amount(events, evaluations) == words
