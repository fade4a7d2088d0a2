"""DeliveryLog: lines at the beginning and the end of an outage of the events service, with its cost."""

from __future__ import annotations

import asyncio
import logging

import httpx
import pytest

from aioflags.events.sender import DeliveryLog, describe_amount
from aioflags.runtime.logs import logger
from tests.support.events import U1, ClientWithEvents, client_with_events
from tests.support.scripted_http import Answer, Service

OK = Answer(202)
REFUSED = Answer(after=httpx.ConnectError("refused"))
URL = "https://events.launchdarkly.com/bulk"
WHY = f"the service answered 503 Service Unavailable ({URL})"
RETRY = "could not send {}, will retry in 1 s: {}"
DROPPED = "dropped {} (more drops are logged at DEBUG until a payload is delivered): {}"


def service_that_takes(*answers: Answer) -> Service:
    service = Service()
    service.takes = answers
    return service


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
