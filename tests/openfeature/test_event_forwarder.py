"""EventForwarder: what waits for the end of initialize, and what ends the forwarding."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from openfeature.exception import ErrorCode

from aioflags import Status
from aioflags.openfeature.forwarding import EventForwarder
from tests.openfeature.emitted import CHANGED, ERROR, READY, STALE, Emitted
from tests.openfeature.scripted_clients import ScriptedClient
from tests.support.leaks import more, on_the_loop, until_ended_on_the_loop


@pytest.fixture
async def client() -> AsyncIterator[ScriptedClient]:
    async with ScriptedClient() as client:
        client.send({"f": 1})
        await client.wait_ready()
        yield client


@pytest.fixture
def emitted() -> Emitted:
    return Emitted()


@pytest.fixture
def forwarder(client: ScriptedClient, emitted: Emitted) -> Iterator[EventForwarder]:
    forwarder = EventForwarder(client, emitted, emitted.read_status, reports_lifecycle=False)
    yield forwarder
    forwarder.stop()


async def test_changes_of_flags_wait_for_the_end_of_initialize(
    client: ScriptedClient, emitted: Emitted, forwarder: EventForwarder
) -> None:
    client.send({"f": 2})
    await asyncio.sleep(1)
    assert emitted.names == []
    emitted.release(forwarder, Status.READY)
    await asyncio.sleep(2)
    assert [(event, details.flags_changed) for event, details in emitted.events] == [(CHANGED, ["f"])]


async def test_of_several_statuses_the_last_is_emitted(client: ScriptedClient, emitted: Emitted, forwarder: EventForwarder) -> None:
    client.interrupt()
    await client.wait_until(Status.STALE)
    client.send({"f": 1})
    await client.wait_until(Status.READY)
    emitted.release(forwarder, Status.ERROR)
    await asyncio.sleep(2)
    assert [name for name in emitted.names if name is not CHANGED] == [READY]


async def test_a_client_that_gets_ready_after_initialize_raised_reports_it_once(emitted: Emitted) -> None:
    async with ScriptedClient() as client:
        forwarder = EventForwarder(client, emitted, emitted.read_status, reports_lifecycle=False)
        emitted.release(forwarder, Status.ERROR)
        await asyncio.sleep(0.5)
        client.send({"f": 1})
        await asyncio.sleep(2)
    assert emitted.names == [READY]


@pytest.mark.parametrize(
    ("overwrites", "count"),
    [
        pytest.param(None, 1, id="the SDK wrote in time"),
        pytest.param(Status.READY, 2, id="the SDK's thread was late, and wrote over it"),
    ],
)
async def test_an_older_status_is_emitted_again_only_if_the_sdk_shows_another(
    client: ScriptedClient, emitted: Emitted, forwarder: EventForwarder, overwrites: Status | None, count: int
) -> None:
    client.interrupt()
    await client.wait_until(Status.STALE)
    emitted.release(forwarder, Status.READY)
    await asyncio.sleep(0.5)
    emitted.shows = overwrites or emitted.shows
    await asyncio.sleep(1)
    assert [(event, details.message) for event, details in emitted.events] == [(STALE, "the network is down")] * count


async def test_a_status_of_before_the_forwarding_has_the_last_error_as_message(client: ScriptedClient, emitted: Emitted) -> None:
    client.interrupt()
    await client.wait_until(Status.STALE)
    forwarder = EventForwarder(client, emitted, emitted.read_status, reports_lifecycle=False)
    emitted.release(forwarder, Status.READY)
    await asyncio.sleep(2)
    assert [(event, details.message) for event, details in emitted.events] == [(STALE, "the network is down")]


async def test_an_sdk_whose_status_cannot_be_read_gets_each_status_once(
    client: ScriptedClient, emitted: Emitted, forwarder: EventForwarder
) -> None:
    emitted.shows = None
    client.interrupt()
    await client.wait_until(Status.STALE)
    forwarder.release(Status.READY)
    await asyncio.sleep(2)
    client.send({"f": 1})
    await asyncio.sleep(2)
    assert [name for name in emitted.names if name is not CHANGED] == [STALE, READY]


async def test_an_event_before_initialize_begins_waits_too(
    client: ScriptedClient, emitted: Emitted, forwarder: EventForwarder
) -> None:
    client.interrupt()
    await client.wait_until(Status.STALE)
    client.send({"f": 1})
    await client.wait_ready()
    await asyncio.sleep(1)
    assert emitted.names == []
    emitted.release(forwarder, Status.READY)
    await asyncio.sleep(2)
    assert READY not in emitted.names


@pytest.mark.parametrize("late", [pytest.param(0.0, id="at once"), pytest.param(0.5, id="a thread that was late")])
async def test_a_client_that_starts_after_initialize_is_ready_in_the_end(emitted: Emitted, late: float) -> None:
    client = ScriptedClient()
    forwarder = EventForwarder(client, emitted, emitted.read_status, reports_lifecycle=False)
    forwarder.release(Status.ERROR)
    async with client:
        client.send({"f": 1})
        await asyncio.sleep(late)
        emitted.shows = Status.ERROR
        await asyncio.sleep(2)
        assert (emitted.shows, emitted.names.count(READY)) == (Status.READY, 2 if late else 1)
        forwarder.stop()


async def test_many_changes_that_wait_are_one(client: ScriptedClient, emitted: Emitted, forwarder: EventForwarder) -> None:
    for number in range(3000):
        client.send({"f": 1, f"g{number % 3}": number})
        await asyncio.sleep(0.001)
    emitted.release(forwarder, Status.READY)
    await asyncio.sleep(2)
    assert [(event, details.flags_changed) for event, details in emitted.events] == [(CHANGED, ["g0", "g1", "g2"])]


async def test_the_status_that_the_sdk_wrote_is_not_emitted_again(emitted: Emitted, forwarder: EventForwarder) -> None:
    emitted.release(forwarder, Status.READY)
    await asyncio.sleep(2)
    assert emitted.names == []


async def test_an_error_of_the_status_has_its_code_and_message(
    client: ScriptedClient, emitted: Emitted, forwarder: EventForwarder
) -> None:
    client.refuse()
    await client.wait_until(Status.ERROR)
    emitted.release(forwarder, Status.READY)
    await asyncio.sleep(0.1)
    ((event, details),) = emitted.events
    assert (event, details.error_code) == (ERROR, ErrorCode.GENERAL)
    assert "the key was refused" in str(details.message)


async def test_an_event_that_the_sdk_does_not_take_is_logged(
    client: ScriptedClient, emitted: Emitted, forwarder: EventForwarder, caplog: pytest.LogCaptureFixture
) -> None:
    emitted.release(forwarder, Status.READY)
    await asyncio.sleep(2)
    emitted.fails = True
    client.send({"f": 2})
    client.send({"f": 3})
    await asyncio.sleep(1)
    assert emitted.names == [CHANGED, CHANGED]
    assert "OpenFeature did not take the event PROVIDER_CONFIGURATION_CHANGED" in caplog.text


async def test_after_the_stop_no_timer_emits_anything(client: ScriptedClient, emitted: Emitted, forwarder: EventForwarder) -> None:
    client.interrupt()
    await client.wait_until(Status.STALE)
    emitted.release(forwarder, Status.READY)
    await asyncio.sleep(0.01)
    forwarder.stop()
    forwarder.stop()
    await asyncio.sleep(2)
    assert emitted.names == []


@pytest.mark.parametrize("in_thread", [False, True], ids=["on the event loop", "in another thread"])
@pytest.mark.parametrize("pause", [0.0, 0.01, 0.5], ids=["before they begin", "at once", "when the first is over"])
async def test_a_stop_ends_the_timers(emitted: Emitted, forwarder: EventForwarder, pause: float, in_thread: bool) -> None:
    before = on_the_loop()
    emitted.release(forwarder, Status.READY)
    if pause:
        await asyncio.sleep(pause)
        assert more(before, on_the_loop()) != []
    if in_thread:
        await asyncio.to_thread(forwarder.stop)
    else:
        forwarder.stop()
    assert await until_ended_on_the_loop(before) == []


async def test_after_a_stop_right_after_the_release_nothing_is_emitted(
    client: ScriptedClient, emitted: Emitted, forwarder: EventForwarder
) -> None:
    client.interrupt()
    await client.wait_until(Status.STALE)
    emitted.release(forwarder, Status.READY)
    forwarder.stop()
    await asyncio.sleep(2)
    assert emitted.names == []
