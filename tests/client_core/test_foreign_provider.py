"""Providers whose only signals are that their start returned or raised: the one place that knows them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path

import pytest

import aioflags.client_core
from aioflags import Status
from aioflags.model.status import ErrorCode, ErrorInfo, Event, EventKind
from tests.support.foreign_provider import EventListener, ForeignProvider
from tests.support.status_clients import DOWN, FATAL, StatusClient, settle, shown


class RefusedError(Exception):
    error_code = ErrorCode.PROVIDER_FATAL


class Scripted:
    """Emits its events while it starts, then returns or raises."""

    def __init__(self, events: list[tuple[EventKind, ErrorInfo | None]], error: Exception | None = None) -> None:
        self.events = events
        self.error = error
        self.listeners: list[EventListener] = []
        self.stops = 0

    def subscribe(self, listener: EventListener) -> Callable[[], object]:
        self.listeners.append(listener)
        return lambda: self.listeners.remove(listener)

    def emit(self, kind: EventKind, error: ErrorInfo | None = None) -> None:
        for listener in self.listeners:
            listener(kind, error)

    async def start(self) -> None:
        await asyncio.sleep(1)
        for kind, error in self.events:
            self.emit(kind, error)
        if self.error is not None:
            raise self.error

    async def stop(self) -> None:
        self.emit(EventKind.READY)
        self.stops += 1


READY, STALE, ERROR = EventKind.READY, EventKind.STALE, EventKind.ERROR


@pytest.mark.parametrize(
    ("provider", "status", "events"),
    [
        pytest.param(Scripted([]), Status.READY, ["READY"], id="a start that returns"),
        pytest.param(Scripted([(READY, None)]), Status.READY, ["READY"], id="OF-A2 a start that returns after its event"),
        pytest.param(Scripted([(ERROR, DOWN)]), Status.ERROR, ["ERROR GENERAL"], id="OF-34 OF-R4 OF-A1 an error, and a return"),
        pytest.param(
            Scripted([(READY, None), (ERROR, DOWN)]), Status.ERROR, ["READY", "ERROR GENERAL"], id="the last event stands"
        ),
        pytest.param(Scripted([(ERROR, FATAL)]), Status.FATAL, ["ERROR PROVIDER_FATAL"], id="a fatal error, and a return"),
        pytest.param(
            Scripted([(EventKind.CONFIGURATION_CHANGED, None)]), Status.READY, ["READY"], id="an event that is not a status"
        ),
        pytest.param(Scripted([], ValueError("no")), Status.ERROR, ["ERROR GENERAL"], id="a start that raises"),
        pytest.param(Scripted([], RefusedError()), Status.FATAL, ["ERROR PROVIDER_FATAL"], id="a start that raises a fatal code"),
        pytest.param(Scripted([(READY, None)], ValueError("no")), Status.READY, ["READY"], id="ready, and then an exception"),
    ],
)
async def test_the_events_of_a_provider_come_before_what_its_start_did(
    provider: Scripted, status: Status, events: list[str]
) -> None:
    client, seen = StatusClient(revives=True, start_wait=1000), list[Event]()
    await client.start(0)
    client.on_event(None, seen.append, inline=True)
    adapter = ForeignProvider(provider, client.cell.post)
    starting = asyncio.create_task(adapter.start())
    await asyncio.wait({starting})
    assert starting.exception() is provider.error
    await settle()
    assert client.status is status
    assert shown(seen) == events
    await client.aclose()


async def test_events_after_the_start_are_facts_and_those_of_the_stop_are_not() -> None:
    client, seen, provider = StatusClient(revives=True), list[Event](), Scripted([])
    await client.start(0)
    client.on_event(None, seen.append, inline=True)
    adapter = ForeignProvider(provider, client.cell.post)
    await adapter.start()
    provider.emit(ERROR, DOWN)
    provider.emit(READY)
    await settle()
    await adapter.stop()
    await settle()
    assert shown(seen) == ["READY", "ERROR GENERAL", "READY"]
    assert (client.status, provider.stops, provider.listeners) == (Status.NOT_READY, 1, [])
    await client.aclose()


@pytest.mark.holds("OF-R32")
def test_the_core_has_no_special_case_for_such_a_provider() -> None:
    core = Path(aioflags.client_core.__file__).parent
    assert [
        path.name for path in sorted(core.glob("*.py")) if re.search("foreign_?provider", path.read_text(), re.IGNORECASE)
    ] == []
