"""Outbox: when events are sent, and what happens to them after failures, refusals and a close."""

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
from aioflags.events.outbox import Outbox
from aioflags.events.recorder import Recorder
from aioflags.events.sender import Post, Sender, SendGate
from aioflags.events.summary import Batch
from aioflags.transport.http_client import Response
from tests.support.canaries import KEY
from tests.support.events import U1, U2, client_with_events, service_that_takes, unstarted_client
from tests.support.scripted_http import HANG, Answer, Service

OK = Answer(202)


def post_to(service: Service) -> Post:
    """The transport of a sender."""

    async def post(url: str, headers: Mapping[str, str], body: bytes) -> Response:
        answer = await service.answer(httpx.Request("POST", url, headers=dict(headers), content=body))
        return Response(status=answer.status_code, headers=answer.headers)

    return post


@pytest.mark.parametrize("status", [pytest.param(401, id="EVT-W22"), 403, 404])
async def test_after_a_permanent_refusal_no_payload_is_posted(status: int, caplog: pytest.LogCaptureFixture) -> None:
    async with client_with_events(service=service_that_takes(Answer(status))) as sending:
        sending.client.track("x", U1)
        await sending.client.flush_and_wait()
        for _ in range(3):
            sending.client.track("y", U2)
            assert sending.client.variation_nowait("tracked", U1, "") == "b"
            await sending.client.flush_and_wait()
        stats = sending.client.stats
        assert (stats.events_recorded, stats.events_dropped, stats.events_pending) == (9, 9, 0)
        assert (stats.evaluations_recorded, stats.evaluations_dropped, stats.evaluations_pending) == (3, 3, 0)
    assert len(sending.service.posts) == 1
    assert [record.levelno for record in caplog.records].count(logging.ERROR) == 1
    assert KEY not in caplog.text


@pytest.mark.parametrize(
    "call", ["track", "identify", "evaluation of a tracked flag", "evaluation", "evaluation of an unknown flag"]
)
async def test_after_a_refusal_inputs_are_counted_as_dropped_at_once(call: str, caplog: pytest.LogCaptureFixture) -> None:
    async with client_with_events(service=service_that_takes(Answer(401)), events_max_pending=1) as sending:
        client = sending.client
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
    async with client_with_events(service=service_that_takes(Answer(401)), flush_interval=5.0) as sending:
        client = sending.client
        client.identify(U1)
        await client.flush_and_wait()
        for _ in range(10):
            client.variation_nowait("plain", U1, "")
            await asyncio.sleep(6)
        assert client._core.recorder.drain() is None
        assert client.stats.evaluations_dropped == 10
    assert len(sending.service.posts) == 1


async def test_a_refusal_drops_pending_events_but_not_payloads_being_sent() -> None:
    async with client_with_events(service=service_that_takes(Answer(401, after=5), Answer(202, after=10))) as sending:
        sending.client.track("a", U1)
        sending.client.flush()
        await asyncio.sleep(1)
        sending.client.track("b", U1)
        sending.client.flush()
        await asyncio.sleep(1)
        sending.client.track("c", U1)
        await asyncio.sleep(60)
        stats = sending.client.stats
    assert len(sending.service.posts) == 2
    assert (stats.events_recorded, stats.events_sent, stats.events_dropped) == (4, 1, 3)


async def test_several_refusals_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    service = service_that_takes(Answer(401, after=5), Answer(403, after=10), Answer(202, after=10))
    async with client_with_events(service=service) as sending:
        for name in "abc":
            sending.client.track(name, U1)
            sending.client.flush()
            await asyncio.sleep(1)
        await asyncio.sleep(60)
        stats = sending.client.stats
    assert (stats.events_sent, stats.events_dropped) == (1, 3)
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    refusal = "the service answered 401 Unauthorized: the key is probably invalid (https://events.launchdarkly.com/bulk)"
    assert warnings == [
        f"stopped sending events: the service refuses them permanently; dropped: 2 events: {refusal}",
        "closed during an outage of the events service; dropped: 1 event",
    ]


def outbox_of(recorder: Recorder, settings: Events, service: Service) -> Outbox:
    gate = SendGate()
    sender = Sender(post_to(service), "https://events.test", {}, gate=gate, set_server_time=recorder.set_server_time)
    return Outbox(recorder, settings, sender, gate)


@pytest.mark.filterwarnings("ignore:coroutine 'Outbox._deliver' was never awaited:RuntimeWarning")
async def test_a_delivery_cancelled_before_its_first_step_counts_as_dropped() -> None:
    """``asyncio.run`` cancels all tasks like this when a program is interrupted."""
    settings = Events(flush_interval=None)
    recorder = Recorder(settings)
    outbox = outbox_of(recorder, settings, Service())
    outbox.open()
    running = asyncio.create_task(outbox.run())
    await asyncio.sleep(1)
    recorder.tracked("x", U1)
    asking = asyncio.create_task(outbox.flush_and_wait(None))
    while not (deliveries := [task for task in asyncio.all_tasks() if task.get_name() == "aioflags events"]):
        await asyncio.sleep(0)
    deliveries.pop().cancel()
    await asyncio.wait([running, asking], timeout=60)
    assert (recorder.stats.events_dropped, recorder.stats.events_pending) == (2, 0)
    assert running.done()
    assert asking.result()
    del running
    gc.collect()  # collects the coroutine that was never awaited, and its warning


async def test_a_delivery_without_a_task_counts_as_dropped_when_the_program_is_interrupted() -> None:
    settings, recorder = Events(flush_interval=None), Recorder(Events())
    outbox = outbox_of(recorder, settings, Service())
    outbox.open()
    running = asyncio.create_task(outbox.run())
    await asyncio.sleep(1)
    recorder.tracked("x", U1)
    asking = asyncio.create_task(outbox.flush_and_wait(None))
    await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait([running, asking], timeout=60)
    assert (recorder.stats.events_dropped, recorder.stats.events_pending) == (2, 0)
    assert asking.result()


async def test_many_flushes_schedule_one_wake_up_of_the_loop() -> None:
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
async def test_no_flush_request_of_a_thread_is_lost() -> None:
    """Each thread requests a flush after it recorded, while the loop wakes up."""
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


@pytest.mark.parametrize("interval", [10.0, None], ids=["at an interval", "on request"])
async def test_after_a_flush_that_failed_the_next_one_sends(interval: float | None, caplog: pytest.LogCaptureFixture) -> None:
    service, moods = Service(), [True]

    class FailingRecorder(Recorder):
        def drain(self) -> Batch | None:
            if not moods[0]:
                raise OSError("no batch")
            return super().drain()

    settings = Events(flush_interval=interval)
    recorder = FailingRecorder(settings)
    outbox = outbox_of(recorder, settings, service)
    outbox.open()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(outbox.run)
        await asyncio.sleep(0.1)
        recorder.tracked("x", U1)
        moods[0] = False
        for _ in range(2):
            outbox.flush()
            await asyncio.sleep(20)
        moods[0] = True
        outbox.flush()
        await asyncio.sleep(20)
        assert recorder.is_open
        assert recorder.stats.events_sent == 2
        tasks.cancel_scope.cancel()
    (record,) = caplog.records  # also for several flushes that failed
    assert (record.levelno, record.exc_info is not None) == (logging.ERROR, True)
    assert "will retry at the next flush" in record.getMessage()


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(Answer(after=HANG), id="no answer"),
        pytest.param(Answer(202, after=0.31), id="an answer that comes too late"),
        pytest.param(Answer(503), id="a failure, and the pause before a retry"),
        pytest.param(Answer(after=httpx.ReadError("reset")), id="a reset, and the pause before a retry"),
    ],
)
async def test_a_close_ends_in_time_and_logs_how_many_events_are_lost(answer: Answer, caplog: pytest.LogCaptureFixture) -> None:
    client = unstarted_client(service_that_takes(answer), {"flagValues": {"f": 1}}, diagnostic_opt_out=False)
    await client.start()
    client.track("bought", U1)
    client.variation_nowait("f", U1, 0)
    began = anyio.current_time()
    await client.aclose(0.3)
    assert 0.2 <= anyio.current_time() - began <= 0.3
    assert (client.stats.events_dropped, client.stats.evaluations_dropped) == (2, 1)
    assert "lost: 2 events and the counts of 1 evaluation" in caplog.text
