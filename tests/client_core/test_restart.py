"""Observers of a client that is closed and started again.

Source: ``flagd.md`` 3.2 (T17); ``openfeature.md`` 4.4 and 4.7.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable

import pytest

from aioflags import Status, StatusReport
from aioflags.client_core.observers import Step
from aioflags.client_core.readers import FlagChange, FlagChanges
from aioflags.model.status import Event, EventKind
from tests.support.status_clients import FATAL, StatusClient, settle, shown

Moment = Callable[[StatusClient, Callable[[], object]], Awaitable[None]]


async def before_the_first_start(client: StatusClient, register: Callable[[], object]) -> None:
    register()
    await client.start(0)
    await client.aclose()


async def while_it_runs(client: StatusClient, register: Callable[[], object]) -> None:
    await client.start(0)
    register()
    await client.aclose()


async def before_a_close_without_a_start(client: StatusClient, register: Callable[[], object]) -> None:
    register()
    await client.aclose()


async def while_it_is_closed(client: StatusClient, register: Callable[[], object]) -> None:
    await client.start(0)
    await client.aclose()
    register()


async def while_it_closes(client: StatusClient, register: Callable[[], object]) -> None:
    await client.start(0)
    closing = asyncio.create_task(client.aclose())
    await asyncio.sleep(0)
    register()
    await closing


async def in_another_thread(client: StatusClient, register: Callable[[], object]) -> None:
    await client.start(0)
    await client.aclose()
    await asyncio.to_thread(register)


MOMENTS = [
    pytest.param(moment, id=moment.__name__.replace("_", " "))
    for moment in (
        before_the_first_start,
        while_it_runs,
        before_a_close_without_a_start,
        while_it_is_closed,
        while_it_closes,
        in_another_thread,
    )
]


async def restarted(client: StatusClient) -> None:
    """Starts, and brings two sets of flags."""
    await client.start(0)
    client.data(f=1)
    client.data(f=2)
    await settle()


@pytest.mark.holds("FL-33", "OF-R30")
@pytest.mark.parametrize("is_inline", [True, False], ids=["inline", "in a thread"])
@pytest.mark.parametrize("moment", MOMENTS)
async def test_handlers_run_after_a_restart(moment: Moment, is_inline: bool) -> None:
    client, events, statuses = StatusClient(restartable=True), list[Event](), list[StatusReport]()

    def register() -> None:
        client.on_event(None, events.append, inline=is_inline)
        client.on_status(Status.READY, statuses.append, inline=is_inline)

    await moment(client, register)
    for number in (1, 2, 3):
        await restarted(client)
        assert shown(events) == ["READY", "CONFIGURATION_CHANGED f"] * number
        assert [report.status for report in statuses] == [Status.READY] * number
        await client.aclose()


@pytest.mark.holds("OF-R19")
async def test_a_removed_handler_does_not_run_after_a_restart() -> None:
    client, events = StatusClient(restartable=True), list[Event]()
    running = client.on_event(None, events.append, inline=True)
    await client.start(0)
    running.cancel()
    await client.aclose()
    client.on_event(None, events.append, inline=True).cancel()
    await restarted(client)
    await client.aclose()
    assert events == []


@pytest.mark.holds("OF-R30")
async def test_an_iterator_that_is_made_while_the_client_is_closed_follows_the_next_start() -> None:
    client = StatusClient(restartable=True)
    await client.start(0)
    await client.aclose()
    events, reports = client.events(), client.reports()
    changes = FlagChanges(client.cell.observers, lambda: None)
    assert (await anext(reports)).status is Status.NOT_READY
    readers = [asyncio.ensure_future(anext(iterator)) for iterator in (events, reports)]
    await settle()
    assert not any(reader.done() for reader in readers)
    await restarted(client)
    event, report = [await reader for reader in readers]
    assert isinstance(event, Event)
    assert isinstance(report, StatusReport)
    assert (event.kind, report.seq > 1) == (EventKind.READY, True)
    assert await anext(changes) == FlagChange("f")
    await client.aclose()
    assert shown([event async for event in events]) == ["CONFIGURATION_CHANGED f"]
    assert [change async for change in changes] == []
    assert [report.status async for report in reports][-1:] == [Status.NOT_READY]


async def test_a_second_close_ends_the_iterators_that_were_made_since_the_first() -> None:
    client = StatusClient(restartable=True)
    await client.start(0)
    await client.aclose()
    events, reports, changes = client.events(), client.reports(), FlagChanges(client.cell.observers, lambda: None)
    await client.aclose()
    assert [event async for event in events] == []
    assert [report.status async for report in reports] == [Status.NOT_READY]
    assert [change async for change in changes] == []


async def test_a_follower_of_changes_that_is_not_an_iterator_follows_every_start() -> None:
    client, seen = StatusClient(restartable=True), list[frozenset[str]]()

    class Follower:
        def notify(self, step: Step) -> None:
            seen.append(step.keys)

        def finish(self) -> None:
            """It goes on."""

    follower = Follower()
    client.cell.observers.add(follower)
    for _ in range(2):
        await restarted(client)
        await client.aclose()
    assert seen == [frozenset("f")] * 4


@pytest.mark.real_time
@pytest.mark.holds("OF-R15")
async def test_a_run_in_a_thread_that_outlives_the_client_does_not_overlap_with_one_after_a_restart() -> None:
    client, gate, running, overlaps = (
        StatusClient(restartable=True, close_timeout=0.05),
        threading.Event(),
        list[int](),
        list[int](),
    )

    def slow(event: Event) -> None:
        overlaps.extend(running)
        running.append(event.seq)
        gate.wait(5)
        running.remove(event.seq)

    client.on_event(EventKind.READY, slow)
    await client.start(0)
    client.data(f=1)
    while not running:
        await asyncio.sleep(0.001)
    await client.aclose()
    await client.start(0)
    client.data(f=1)
    await asyncio.sleep(0.05)
    assert len(running) == 1
    gate.set()
    await client.aclose(5)
    assert overlaps == []


@pytest.mark.holds("FL-34", "OF-35")
async def test_the_start_of_a_fatal_client_has_its_error_event_again() -> None:
    client, events = StatusClient(restartable=True), list[Event]()
    client.on_event(None, events.append, inline=True)
    await client.start(0)
    client.off(FATAL)
    await settle()
    assert shown(events) == ["ERROR PROVIDER_FATAL"]
    await client.aclose()
    await client.start(0)
    await settle()
    assert shown(events) == ["ERROR PROVIDER_FATAL"] * 2
    assert events[1].message == "UNAUTHENTICATED"
    await client.aclose()
