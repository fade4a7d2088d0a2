"""The life of observers: removal, what handlers may do, closing, and other threads."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref

import pytest

from aioflags import LifecycleError, Status, StatusReport
from aioflags.client_core.condition import Fact, FactKind
from aioflags.model.status import Event, EventKind
from aioflags.runtime.event_loops import loop_time
from aioflags.runtime.logs import logger
from tests.support.scripted_clients import all_tasks
from tests.support.status_clients import DOWN, StatusClient, settle, shown

CHANGED = EventKind.CONFIGURATION_CHANGED


# -- removal


@pytest.mark.holds("OF-33", "OF-R19", "OF-R20")
async def test_a_handler_that_removes_itself_ends_its_run_and_does_not_run_again(client: StatusClient) -> None:
    runs: list[str] = []

    async def once(event: Event) -> None:
        subscription.cancel()
        runs.append("began")
        await asyncio.sleep(1)
        runs.append("ended")
        subscription.cancel()

    subscription = client.on_event(None, once)
    client.data(f=1)
    client.data(f=2)
    await asyncio.sleep(5)
    assert runs == ["began", "ended"]
    subscription.cancel()


@pytest.mark.holds("OF-R19")
async def test_no_run_starts_after_a_removal(client: StatusClient) -> None:
    runs: list[Event] = []
    with client.on_event(None, runs.append, inline=True) as subscription:
        client.data(f=1)
    client.data(f=2)
    await settle()
    assert runs == []
    assert "cancelled" in repr(subscription)
    assert not client.cell.observers.follow


async def test_a_removal_cancels_a_coroutine_and_leaves_a_thread_alone(client: StatusClient) -> None:
    ended, release, done = list[str](), threading.Event(), threading.Event()

    async def coroutine(event: Event) -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            ended.append("coroutine")

    def function(event: Event) -> None:
        release.wait(5)
        ended.append("function")
        done.set()

    subscriptions = [client.on_event(None, coroutine), client.on_event(None, function)]
    client.data(f=1)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    for subscription in subscriptions:
        subscription.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert ended == ["coroutine"]
    release.set()
    assert await asyncio.to_thread(done.wait, 5)
    assert sorted(ended) == ["coroutine", "function"]


@pytest.mark.holds("OF-R19")
async def test_subscriptions_and_iterators_do_not_keep_a_client_alive() -> None:
    client = StatusClient()
    subscription, iterator = client.on_event(None, print), client.events()
    reference = weakref.ref(client)
    del client
    gc.collect()
    assert reference() is None
    subscription.cancel()
    iterator.close()


async def test_an_iterator_that_is_no_longer_used_gets_no_events(client: StatusClient) -> None:
    iterator = client.events()
    assert client.cell.observers.follow
    del iterator
    gc.collect()
    assert not client.cell.observers.follow


async def test_an_iterator_that_is_closed_ends_at_once(client: StatusClient) -> None:
    with client.events() as iterator:
        client.data(f=1)
    assert [event async for event in iterator] == []
    async with client.events() as other:
        client.data(f=2)
        assert shown([await anext(other)]) == ["CONFIGURATION_CHANGED f"]
    assert repr(other) == "<EventIterator, ended, 0 waiting>"


def test_an_iterator_belongs_to_the_loop_of_its_client() -> None:
    client = StatusClient()
    with asyncio.Runner() as one, asyncio.Runner() as other:
        one.run(client.start(0))

        async def read() -> None:
            with pytest.raises(LifecycleError):
                await anext(client.events())

        other.run(read())
        one.run(client.aclose())


# -- what handlers may do


@pytest.mark.holds("OF-R20", "OF-R12", "OF-A5", "OF-A6")
async def test_a_handler_may_register_and_publish(client: StatusClient) -> None:
    seen: list[tuple[str, int]] = []

    async def outer(report: StatusReport) -> None:
        client.on_status(Status.READY, lambda report: seen.append(("status", report.seq)), inline=True)
        client.on_event(None, lambda event: seen.append(("event", event.seq)), inline=True)
        client.data(f=2)

    client.on_status(Status.READY, outer)
    client.data(f=1)
    await settle()
    assert seen == [("status", 2), ("event", 2)]


@pytest.mark.holds("OF-R20")
@pytest.mark.parametrize("where", ["on the loop", "in a thread"])
async def test_a_handler_may_close_the_client(client: StatusClient, where: str) -> None:
    loop, began = asyncio.get_running_loop(), loop_time()

    async def close(event: Event) -> None:
        await client.aclose()

    def close_from_thread(event: Event) -> None:
        asyncio.run_coroutine_threadsafe(client.aclose(), loop)

    client.on_event(None, close if where == "on the loop" else close_from_thread)
    client.data(f=1)
    await client.wait_until(lambda report: report.source_state == "OFF", 5)
    await client.aclose()
    assert loop_time() - began < 1


# -- closing


@pytest.mark.holds("OF-R29")
async def test_observers_get_what_waits_and_the_last_status_before_the_client_is_closed(client: StatusClient) -> None:
    seen: list[str] = []

    async def slow(event: Event) -> None:
        await asyncio.sleep(0.1)
        seen.append(event.kind.value)

    client.on_event(None, slow)
    client.on_status(Status.NOT_READY, lambda report: seen.append(report.source_state), inline=True)
    client.data(f=1)
    client.data(f=2)
    await client.aclose()
    assert seen == ["OFF", "READY", "CONFIGURATION_CHANGED"]
    client.data(f=3)
    client.cell.post(Fact(kind=FactKind.FATAL))
    await settle()
    assert len(seen) == 3
    assert client.status is Status.NOT_READY


@pytest.mark.holds("OF-27", "OF-R35")
@pytest.mark.parametrize("where", ["on the loop", "in a thread"])
async def test_a_stuck_handler_delays_the_close_by_its_timeout_at_most(where: str, caplog: pytest.LogCaptureFixture) -> None:
    client, release = StatusClient(close_timeout=2), threading.Event()
    await client.start(0)

    async def stuck(event: Event) -> None:
        await asyncio.Event().wait()

    client.on_event(None, stuck if where == "on the loop" else lambda event: release.wait(5))
    client.data(f=1)
    for _ in range(5):
        await asyncio.sleep(0)
    began = loop_time()
    # While a thread runs, virtual time stands still.
    asyncio.get_running_loop().call_later(0, release.set)
    await client.aclose()
    assert loop_time() - began <= 2.5
    assert all_tasks() == set()
    if where == "on the loop":
        assert "did not end in time when the client was closed" in caplog.text


@pytest.mark.holds("OF-27")
@pytest.mark.real_time
def test_a_handler_that_hangs_in_its_thread_does_not_keep_the_client_from_closing() -> None:
    release, began = threading.Event(), threading.Event()

    async def run() -> None:
        client = StatusClient(close_timeout=0.2)
        await client.start(0)

        def hang(event: Event) -> None:
            began.set()
            release.wait(30)

        client.on_event(None, hang)
        client.data(f=1)
        await asyncio.to_thread(began.wait, 5)
        before = loop_time()
        await client.aclose()
        assert loop_time() - before < 0.7

    asyncio.run(run())
    release.set()


@pytest.mark.holds("OF-R31")
async def test_a_close_during_the_start_ends_both() -> None:
    client = StatusClient()
    starting = asyncio.create_task(client.start(60))
    await asyncio.sleep(0.01)
    began = loop_time()
    await client.aclose()
    report = await starting
    assert (report.status, loop_time() - began) == (Status.NOT_READY, 0)
    assert all_tasks() == set()


async def test_a_registration_after_the_close_does_nothing() -> None:
    client = StatusClient()
    await client.start(0)
    await client.aclose()
    client.on_status(Status.NOT_READY, print).cancel()
    client.on_event(None, print).cancel()
    assert [event async for event in client.events()] == []


# -- other threads, other clients


@pytest.mark.holds("OF-R12")
async def test_a_registration_from_another_thread_has_no_gap(client: StatusClient) -> None:
    client.data(f=1)
    statuses, events = list[int](), list[int]()

    def register() -> None:
        client.on_status(Status.READY, lambda report: statuses.append(report.seq), inline=True)
        client.on_event(None, lambda event: events.append(event.seq), inline=True)

    await asyncio.to_thread(register)
    client.data(f=2)
    await settle()
    assert (len(statuses), events) == (1, [2])


async def test_a_registration_in_a_callback_of_the_event_loop_has_no_gap(client: StatusClient) -> None:
    client.data(f=1)
    events = list[int]()
    asyncio.get_running_loop().call_soon(lambda: client.on_event(None, lambda event: events.append(event.seq), inline=True))
    await settle()
    client.data(f=2)
    await settle()
    assert events == [2]


async def test_a_removal_from_another_thread_ends_the_task(client: StatusClient) -> None:
    tasks = all_tasks()
    subscription = client.on_event(None, print)
    await settle()
    assert len(all_tasks()) == len(tasks) + 1
    await asyncio.to_thread(subscription.cancel)
    await settle()
    assert all_tasks() == tasks


async def test_handlers_that_register_before_the_start_run_after_it() -> None:
    client, seen = StatusClient(), list[str]()
    client.on_event(None, lambda event: seen.append(event.kind.value), inline=True)
    client.on_status(Status.READY, lambda report: seen.append("status"), inline=True)
    client.data(f=1)
    await settle()
    assert seen == []
    await client.start(0)
    await settle()
    assert sorted(seen) == ["READY", "status"]
    await client.aclose()


@pytest.mark.real_time
@pytest.mark.holds("OF-R34")
def test_facts_of_threads_keep_their_order_and_never_touch_the_loop() -> None:
    async def run() -> None:
        client = StatusClient(start_wait=60)
        await client.start(0)
        newest: dict[str, int] = {}
        applied = client.events()

        def post(name: int) -> None:
            for count in range(100):
                error = type(DOWN)(kind=DOWN.kind, message=f"{name}:{count}", time=1.0)
                client.cell.post(Fact(kind=FactKind.DATA))
                client.cell.post(Fact(kind=FactKind.INTERRUPTED, error=error))

        async def follow() -> None:
            async for report in client.reports():
                if report.last_error:
                    name, _, count = report.last_error.message.partition(":")
                    assert int(count) >= newest.get(name, 0)
                    newest[name] = int(count)

        following = asyncio.create_task(follow())
        await asyncio.gather(*(asyncio.to_thread(post, name) for name in range(8)))
        await asyncio.sleep(0)
        await client.aclose()
        await following
        assert client.report.seq >= 800
        assert 99 in newest.values()
        applied.close()

    with asyncio.Runner(debug=True) as runner:
        runner.run(run())


@pytest.mark.holds("OF-R36", "OF-36")
async def test_events_reach_the_observers_of_their_client_alone() -> None:
    seen: list[str] = []
    async with StatusClient(start_wait=0.1) as one, StatusClient(start_wait=0.1) as other:
        one.on_event(None, lambda event: seen.append("one"), inline=True)
        other.on_event(None, lambda event: seen.append("other"), inline=True)
        one.data(f=1)
        one.interrupted()
        await settle()
    assert seen == ["one"] * 3


def test_the_log_of_a_client_is_the_log_of_its_observers() -> None:
    assert StatusClient().cell.observers.log is logger
