"""Sender: statuses, retries, headers and compression of posts."""

from __future__ import annotations

import httpx
import pytest

from aioflags.events.sender import SendOutcome, outcome_of
from tests.support.canaries import KEY
from tests.support.events import U1, telling
from tests.support.scripted_http import HANG, Answer, Service

OK = Answer(202)
LATER = "Sat, 01 Jan 3001 00:00:00 GMT"


def service_that_takes(*answers: Answer) -> Service:
    service = Service()
    service.takes = answers
    return service


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        *[pytest.param(status, SendOutcome.SENT, id=f"{status} is sent") for status in (200, 202, 204, 299)],
        *[pytest.param(status, SendOutcome.RETRY, id=f"{status} may pass") for status in (101, 302, 400, 408, 429, 500, 503, 599)],
        pytest.param(413, SendOutcome.DROP, id="413 is this payload's"),
        *[pytest.param(status, SendOutcome.STOP, id=f"{status} is for good") for status in (401, 403, 404, 405, 422, 499)],
    ],
)
def test_outcome_of_a_status(status: int, outcome: SendOutcome) -> None:
    assert outcome_of(status) is outcome


@pytest.mark.parametrize(
    "failure",
    [
        pytest.param(Answer(503), id="EVT-W20"),
        pytest.param(Answer(400), id="400"),
        pytest.param(Answer(429, {"Retry-After": "300"}), id="429, whatever it asks for"),
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
    async with telling(service=service_that_takes(failure, OK)) as teller:
        teller.client.track("x", U1)
        assert await teller.client.flush_and_wait()
        first, second = teller.service.posts
        assert first.content == second.content
        assert first.headers["x-launchdarkly-payload-id"] == second.headers["x-launchdarkly-payload-id"]
        assert teller.service.post_times[1] - teller.service.post_times[0] >= 1
        assert teller.client.stats.events_sent == 2
        assert teller.client.stats.events_dropped == 0
    assert "will retry" in caplog.text


@pytest.mark.holds("EVT-W21")
async def test_a_payload_that_fails_twice_is_dropped_and_the_next_is_sent(caplog: pytest.LogCaptureFixture) -> None:
    async with telling(service=service_that_takes(Answer(503), Answer(503), OK)) as teller:
        teller.client.track("x", U1)
        assert await teller.client.flush_and_wait()
        assert len(teller.service.posts) == 2
        teller.client.track("y", U1)
        assert await teller.client.flush_and_wait()
        lost, again, next_one = teller.service.posts
        assert lost.content == again.content != next_one.content
        assert lost.headers["x-launchdarkly-payload-id"] != next_one.headers["x-launchdarkly-payload-id"]
        stats = teller.client.stats
        assert (stats.events_recorded, stats.events_dropped, stats.events_sent) == (3, 2, 1)
    assert "dropped 2 events (" in caplog.text


async def test_status_413_drops_only_this_payload() -> None:
    async with telling(service=service_that_takes(Answer(413), OK)) as teller:
        teller.client.track("x", U1)
        await teller.client.flush_and_wait()
        teller.client.track("y", U1)
        await teller.client.flush_and_wait()
        assert (teller.client.stats.events_dropped, teller.client.stats.events_sent) == (2, 1)
    assert len(teller.service.posts) == 2


@pytest.mark.parametrize(
    ("answer", "kinds"),
    [
        pytest.param(Answer(202, {"Date": LATER}), ["summary"], id="EVT-W23"),
        pytest.param(Answer(413, {"Date": LATER}), ["summary"], id="of an answer that refuses the payload"),
        pytest.param(Answer(202, {"Date": "Thu, 01 Jan 1970 00:00:01 GMT"}), ["debug", "summary"], id="an early one"),
        pytest.param(Answer(202, {"Date": "yesterday"}), ["debug", "summary"], id="no date"),
        pytest.param(Answer(202), ["debug", "summary"], id="none"),
    ],
)
async def test_debugging_ends_by_the_date_of_a_response(answer: Answer, kinds: list[str]) -> None:
    async with telling(service=service_that_takes(answer)) as teller:
        teller.client.variation_nowait("debug", U1, "")
        assert [record["kind"] for record in await teller.payload()] == ["index", "debug", "summary"]
        teller.client.variation_nowait("debug", U1, "")
        assert [record["kind"] for record in await teller.payload()] == kinds


@pytest.mark.parametrize(
    ("dates", "kinds"),
    [
        pytest.param((None, LATER), ["summary"], id="EVT-W23 the last one's counts, although it fails"),
        pytest.param((LATER, None), ["debug", "summary"], id="the first one's does not, since it is not the last word"),
    ],
)
async def test_after_a_retry_the_date_of_the_last_response_counts(dates: tuple[str | None, str | None], kinds: list[str]) -> None:
    service = Service()
    service.takes = [*(Answer(503, {} if date is None else {"Date": date}) for date in dates), Answer(202)]
    async with telling(service=service) as teller:
        teller.client.variation_nowait("debug", U1, "")
        assert len(await teller.payloads()) == 2
        teller.client.variation_nowait("debug", U1, "")
        assert [record["kind"] for record in await teller.payload()] == kinds


async def test_headers_of_a_post() -> None:
    async with telling() as teller:
        teller.client.track("x", U1)
        await teller.client.flush_and_wait()
        teller.client.track("x", U1)
        await teller.client.flush_and_wait()
    first, second = teller.service.posts
    assert (first.method, str(first.url)) == ("POST", "https://events.launchdarkly.com/bulk")
    assert first.headers["authorization"] == KEY
    assert first.headers["content-type"] == "application/json"
    assert first.headers["x-launchdarkly-event-schema"] == "4"
    assert first.headers["user-agent"].startswith("AioFlags/")
    assert first.headers["x-launchdarkly-instance-id"]
    assert "content-encoding" not in first.headers
    assert first.headers["x-launchdarkly-payload-id"] != second.headers["x-launchdarkly-payload-id"]


async def test_a_body_is_compressed_if_configured() -> None:
    async with telling(enable_event_compression=True) as teller:
        teller.client.track("x", U1, "x" * 100_000)
        index, custom = await teller.payload()
    (post,) = teller.service.posts
    assert post.headers["content-encoding"] == "gzip"
    assert int(post.headers["content-length"]) == len(post.content) < 1000
    assert (index["kind"], custom["data"]) == ("index", "x" * 100_000)
