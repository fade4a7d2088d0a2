"""What becomes of a payload, whatever the service answers."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Mapping
from typing import Any

import anyio
import httpx
import pytest

from aioflags import Events
from aioflags.client.client import internals_of
from aioflags.events.outbox import Outbox
from aioflags.events.recorder import Recorder
from aioflags.events.sender import Post, Sender, SendOutcome, outcome_of
from aioflags.transport.answers import Response
from tests.support.canaries import KEY
from tests.support.events import U1, U2, telling, telling_client
from tests.support.scripted_http import HANG, Answer, Service

OK = Answer(202)


def service_that_takes(*answers: Answer) -> Service:
    service = Service()
    service.takes = answers
    return service


def post_to(service: Service) -> Post:
    """What a sender has of the transport."""

    async def post(url: str, headers: Mapping[str, str], body: bytes) -> Response:
        answer = await service.answer(httpx.Request("POST", url, headers=dict(headers), content=body))
        return Response(status=answer.status_code, headers=answer.headers)

    return post


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        *[pytest.param(status, SendOutcome.SENT, id=f"{status} is sent") for status in (200, 202, 204, 299)],
        *[pytest.param(status, SendOutcome.RETRY, id=f"{status} may pass") for status in (101, 302, 400, 408, 429, 500, 503, 599)],
        pytest.param(413, SendOutcome.DROP, id="413 is this payload's"),
        *[pytest.param(status, SendOutcome.STOP, id=f"{status} is for good") for status in (401, 403, 404, 405, 422, 499)],
    ],
)
def test_a_status_means(status: int, outcome: SendOutcome) -> None:
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
async def test_what_may_pass_is_tried_once_more(failure: Answer, caplog: pytest.LogCaptureFixture) -> None:
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
async def test_what_fails_twice_is_dropped_and_the_next_payload_is_sent(caplog: pytest.LogCaptureFixture) -> None:
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


@pytest.mark.parametrize("status", [pytest.param(401, id="EVT-W22"), 403, 404])
async def test_a_service_that_refuses_for_good_is_never_asked_again(status: int, caplog: pytest.LogCaptureFixture) -> None:
    async with telling(service=service_that_takes(Answer(status))) as teller:
        teller.client.track("x", U1)
        await teller.client.flush_and_wait()
        for _ in range(3):
            teller.client.track("y", U2)
            assert teller.client.variation_nowait("tracked", U1, "") == "b"
            await teller.client.flush_and_wait()
        stats = teller.client.stats
        assert (stats.events_recorded, stats.events_dropped, stats.events_pending) == (9, 9, 0)
        assert (stats.evaluations_recorded, stats.evaluations_dropped, stats.evaluations_pending) == (3, 3, 0)
    assert len(teller.service.posts) == 1
    assert [record.levelno for record in caplog.records].count(logging.ERROR) == 1
    assert KEY not in caplog.text


@pytest.mark.parametrize(
    "call", ["track", "identify", "evaluation of a tracked flag", "evaluation", "evaluation of an unknown flag"]
)
async def test_after_a_refusal_calls_are_counted_as_dropped_at_once(call: str, caplog: pytest.LogCaptureFixture) -> None:
    async with telling(service=service_that_takes(Answer(401)), events_max_pending=1) as teller:
        client = teller.client
        client.identify(U1)
        await client.flush_and_wait()
        before, logged = client.stats, len(caplog.records)
        for _ in range(20):
            match call:
                case "track":
                    client.track("x", U1)
                case "identify":
                    client.identify(U1)
                case "evaluation of a tracked flag":
                    client.variation_nowait("tracked", U1, "")
                case "evaluation":
                    await client.variation("plain", U1, "")
                case _:
                    await client.variation("nope", U1, "")
        after = client.stats
        assert (after.events_pending, after.evaluations_pending, after.events_sent) == (0, 0, 0)
        assert after.events_dropped - before.events_dropped == (20 if "tracked" in call or "evaluation" not in call else 0)
        assert after.evaluations_dropped - before.evaluations_dropped == (20 if "evaluation" in call else 0)
        assert [record for record in caplog.records[logged:] if "unknown" not in call] == []


async def test_after_a_refusal_nothing_accumulates_between_flushes() -> None:
    async with telling(service=service_that_takes(Answer(401)), flush_interval=5.0) as teller:
        client = teller.client
        client.identify(U1)
        await client.flush_and_wait()
        for _ in range(10):
            client.variation_nowait("plain", U1, "")
            await asyncio.sleep(6)
        assert internals_of(client).recorder.drain() is None
        assert client.stats.evaluations_dropped == 10
    assert len(teller.service.posts) == 1


async def test_what_waits_when_the_service_refuses_is_dropped_and_what_is_on_its_way_goes_on() -> None:
    async with telling(service=service_that_takes(Answer(401, after=5), Answer(202, after=10))) as teller:
        teller.client.track("a", U1)
        teller.client.flush()
        await asyncio.sleep(1)
        teller.client.track("b", U1)
        teller.client.flush()
        await asyncio.sleep(1)
        teller.client.track("c", U1)
        await asyncio.sleep(60)
        stats = teller.client.stats
    assert len(teller.service.posts) == 2
    assert (stats.events_recorded, stats.events_sent, stats.events_dropped) == (4, 1, 3)


async def test_refusals_of_several_payloads_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    service = service_that_takes(Answer(401, after=5), Answer(403, after=10), Answer(202, after=10))
    async with telling(service=service) as teller:
        for name in "abc":
            teller.client.track(name, U1)
            teller.client.flush()
            await asyncio.sleep(1)
        await asyncio.sleep(60)
        stats = teller.client.stats
    assert (stats.events_sent, stats.events_dropped) == (1, 3)
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert told[0].startswith("dropped 2 events")
    assert [text.partition("; dropped: ") for text in told[1:]] == [
        ("stopped sending events: the service refuses them permanently", "; dropped: ", "2 events"),
        ("closed during an outage of the events service", "; dropped: ", "1 event"),
    ]


async def test_a_payload_that_is_too_large_is_dropped_alone() -> None:
    async with telling(service=service_that_takes(Answer(413), OK)) as teller:
        teller.client.track("x", U1)
        await teller.client.flush_and_wait()
        teller.client.track("y", U1)
        await teller.client.flush_and_wait()
        assert (teller.client.stats.events_dropped, teller.client.stats.events_sent) == (2, 1)
    assert len(teller.service.posts) == 2


def outbox_of(recorder: Recorder, settings: Events, service: Service) -> Outbox:
    sender = Sender(post_to(service), "https://events.test", {}, set_server_time=recorder.set_server_time)
    return Outbox(recorder, settings, sender)


@pytest.mark.filterwarnings("ignore:coroutine 'Outbox._deliver' was never awaited:RuntimeWarning")
async def test_a_delivery_that_is_cancelled_before_it_began_is_accounted_for() -> None:
    """As everything is by asyncio.run when a program is interrupted."""
    settings = Events(flush_interval=None)
    recorder = Recorder(settings)
    outbox = outbox_of(recorder, settings, Service())
    outbox.open()
    running = asyncio.create_task(outbox.run())
    await asyncio.sleep(1)
    recorder.tracked("x", U1)
    asking = asyncio.create_task(outbox.flush_and_wait(None))
    await asyncio.sleep(0)
    (delivery,) = (task for task in asyncio.all_tasks() if task.get_name() == "aioflags events")
    delivery.cancel()
    await asyncio.wait([running, asking], timeout=60)
    assert (recorder.stats.events_dropped, recorder.stats.events_pending) == (2, 0)
    assert running.done()
    assert asking.result()
    del running, delivery
    gc.collect()  # and with it the warning, which is right


async def test_however_often_a_flush_is_asked_for_the_loop_is_woken_once() -> None:
    settings, service = Events(flush_interval=None), Service()
    recorder = Recorder(settings)
    outbox = outbox_of(recorder, settings, service)
    outbox.open()
    loop: Any = asyncio.get_running_loop()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(outbox.run)
        await asyncio.sleep(1)
        for sent in (1, 2):
            recorder.tracked("x", U1)
            before = len(loop._ready)
            for _ in range(1000):
                outbox.flush()
            assert len(loop._ready) - before == 1
            await asyncio.sleep(1)
            assert len(service.posts) == sent
        tasks.cancel_scope.cancel()


@pytest.mark.real_time
async def test_no_flush_is_lost_between_threads() -> None:
    """Each says that it wants one after it recorded, while the loop wakes up."""
    settings, service = Events(flush_interval=None, events_max_pending=100_000), Service()
    recorder = Recorder(settings)
    outbox = outbox_of(recorder, settings, service)
    outbox.open()

    def record() -> None:
        for _ in range(200):
            recorder.tracked("x", U1)
            outbox.flush()

    async with asyncio.timeout(20), anyio.create_task_group() as tasks:
        tasks.start_soon(outbox.run)
        await asyncio.sleep(0)
        await asyncio.gather(*(asyncio.to_thread(record) for _ in range(4)))
        while recorder.stats.events_pending:
            await asyncio.sleep(0.01)
        tasks.cancel_scope.cancel()
    assert recorder.stats.events_sent == 801


@pytest.mark.parametrize("interval", [10.0, None], ids=["at an interval", "when it is asked to"])
async def test_a_flush_that_fails_is_not_the_last(interval: float | None, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever it is that fails: here, the clock."""
    service, moods = Service(), [True]

    def clock() -> int:
        if not moods[0]:
            raise OSError("no time")
        return 1000

    settings = Events(flush_interval=interval)
    recorder = Recorder(settings, clock=clock)
    outbox = outbox_of(recorder, settings, service)
    outbox.open()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(outbox.run)
        await asyncio.sleep(0.1)
        recorder.tracked("x", U1)
        moods[0] = False
        outbox.flush()
        await asyncio.sleep(20)
        moods[0] = True
        outbox.flush()
        await asyncio.sleep(20)
        assert recorder.is_open
        assert recorder.stats.events_sent == 2
        tasks.cancel_scope.cancel()
    assert {record.levelno for record in caplog.records} == {logging.ERROR}
    assert all("will retry at the next flush" in record.getMessage() and record.exc_info for record in caplog.records)


LATER = "Sat, 01 Jan 3001 00:00:00 GMT"


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
async def test_debugging_ends_by_the_clock_of_the_service_too(answer: Answer, kinds: list[str]) -> None:
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
async def test_of_two_answers_that_fail_the_date_of(dates: tuple[str | None, str | None], kinds: list[str]) -> None:
    service = Service()
    service.takes = [*(Answer(503, {} if date is None else {"Date": date}) for date in dates), Answer(202)]
    async with telling(service=service) as teller:
        teller.client.variation_nowait("debug", U1, "")
        assert len(await teller.payloads()) == 2
        teller.client.variation_nowait("debug", U1, "")
        assert [record["kind"] for record in await teller.payload()] == kinds


async def test_a_post_says_who_sends_what() -> None:
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


async def test_a_body_is_compressed_where_that_is_wanted() -> None:
    async with telling(enable_event_compression=True) as teller:
        teller.client.track("x", U1, "x" * 100_000)
        index, custom = await teller.payload()
    (post,) = teller.service.posts
    assert post.headers["content-encoding"] == "gzip"
    assert int(post.headers["content-length"]) == len(post.content) < 1000
    assert (index["kind"], custom["data"]) == ("index", "x" * 100_000)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(Answer(after=HANG), id="no answer"),
        pytest.param(Answer(202, after=0.31), id="one that comes too late"),
        pytest.param(Answer(503), id="a failure, and the pause after it"),
        pytest.param(Answer(after=httpx.ReadError("reset")), id="a reset, and the pause after it"),
    ],
)
async def test_a_close_ends_in_its_time_and_says_what_is_lost(answer: Answer, caplog: pytest.LogCaptureFixture) -> None:
    client = telling_client(service_that_takes(answer), {"flagValues": {"f": 1}}, diagnostic_opt_out=False)
    await client.start()
    client.track("bought", U1)
    client.variation_nowait("f", U1, 0)
    began = anyio.current_time()
    await client.aclose(0.3)
    assert 0.2 <= anyio.current_time() - began <= 0.3
    assert (client.stats.events_dropped, client.stats.evaluations_dropped) == (2, 1)
    assert "lost: 2 events and the counts of 1 evaluation" in caplog.text
