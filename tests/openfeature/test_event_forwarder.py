"""EventForwarder: what waits for the end of initialize, and what ends the forwarding."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from openfeature.event import ProviderEvent, ProviderEventDetails
from openfeature.exception import ErrorCode

from aioflags import Status
from aioflags.openfeature.forwarding import EventForwarder
from tests.openfeature.scripted_clients import ScriptedClient

READY, STALE, ERROR, CHANGED = (
    ProviderEvent.PROVIDER_READY,
    ProviderEvent.PROVIDER_STALE,
    ProviderEvent.PROVIDER_ERROR,
    ProviderEvent.PROVIDER_CONFIGURATION_CHANGED,
)


class Emitted:
    """Receives the events."""

    def __init__(self) -> None:
        self.events: list[tuple[ProviderEvent, ProviderEventDetails]] = []
        self.fails = False

    def __call__(self, event: ProviderEvent, details: ProviderEventDetails) -> None:
        self.events.append((event, details))
        if self.fails:
            raise RuntimeError("cannot schedule new futures after shutdown")

    @property
    def names(self) -> list[ProviderEvent]:
        return [event for event, _ in self.events]


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
def forwarder(client: ScriptedClient, emitted: Emitted) -> EventForwarder:
    return EventForwarder(client, emitted, reports_lifecycle=False)


async def test_changes_of_flags_wait_for_the_end_of_initialize(
    client: ScriptedClient, emitted: Emitted, forwarder: EventForwarder
) -> None:
    forwarder.hold()
    client.send({"f": 2})
    await asyncio.sleep(1)
    assert emitted.names == []
    forwarder.release(Status.READY)
    await asyncio.sleep(2)
    assert [(event, details.flags_changed) for event, details in emitted.events] == [(CHANGED, ["f"])]


async def test_of_several_statuses_the_last_is_emitted(client: ScriptedClient, emitted: Emitted, forwarder: EventForwarder) -> None:
    forwarder.hold()
    client.interrupt()
    await client.wait_until(Status.STALE)
    client.send({"f": 1})
    await client.wait_until(Status.READY)
    forwarder.release(Status.ERROR)
    await asyncio.sleep(2)
    assert [name for name in emitted.names if name is not CHANGED] == [READY]


async def test_a_client_that_gets_ready_after_initialize_raised_reports_it_once(emitted: Emitted) -> None:
    async with ScriptedClient() as client:
        forwarder = EventForwarder(client, emitted, reports_lifecycle=False)
        forwarder.hold()
        forwarder.release(Status.ERROR)
        await asyncio.sleep(0.5)
        client.send({"f": 1})
        await asyncio.sleep(2)
    assert emitted.names == [READY]


async def test_an_older_status_is_emitted_twice_because_the_sdk_may_be_slow(
    client: ScriptedClient, emitted: Emitted, forwarder: EventForwarder
) -> None:
    forwarder.hold()
    client.interrupt()
    await client.wait_until(Status.STALE)
    forwarder.release(Status.READY)
    await asyncio.sleep(2)
    assert emitted.names == [STALE, STALE]


async def test_the_status_that_the_sdk_wrote_is_not_emitted_again(emitted: Emitted, forwarder: EventForwarder) -> None:
    forwarder.hold()
    forwarder.release(Status.READY)
    await asyncio.sleep(2)
    assert emitted.names == []


async def test_an_error_of_the_status_has_its_code_and_message(
    client: ScriptedClient, emitted: Emitted, forwarder: EventForwarder
) -> None:
    forwarder.hold()
    client.refuse()
    await client.wait_until(Status.ERROR)
    forwarder.release(Status.READY)
    await asyncio.sleep(0.1)
    ((event, details),) = emitted.events
    assert (event, details.error_code) == (ERROR, ErrorCode.GENERAL)
    assert "the key was refused" in str(details.message)


async def test_an_event_that_the_sdk_does_not_take_is_logged(
    client: ScriptedClient, emitted: Emitted, forwarder: EventForwarder, caplog: pytest.LogCaptureFixture
) -> None:
    emitted.fails = True
    client.send({"f": 2})
    client.send({"f": 3})
    await asyncio.sleep(1)
    assert emitted.names == [CHANGED, CHANGED]
    assert "OpenFeature did not take the event PROVIDER_CONFIGURATION_CHANGED" in caplog.text


async def test_after_the_stop_no_timer_emits_anything(client: ScriptedClient, emitted: Emitted, forwarder: EventForwarder) -> None:
    forwarder.hold()
    client.interrupt()
    await client.wait_until(Status.STALE)
    forwarder.release(Status.READY)
    await asyncio.sleep(0.01)
    forwarder.stop()
    forwarder.stop()
    await asyncio.sleep(2)
    assert emitted.names == []


async def test_a_stop_right_after_the_release_starts_no_timer(
    client: ScriptedClient, emitted: Emitted, forwarder: EventForwarder
) -> None:
    client.interrupt()
    await client.wait_until(Status.STALE)
    forwarder.hold()
    forwarder.release(Status.READY)
    forwarder.stop()
    await asyncio.sleep(2)
    assert forwarder._timers == []
