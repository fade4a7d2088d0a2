"""Handlers and iterators of events: what they get, when and where they run, and what a slow one misses."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from functools import partial
from typing import Any

import pytest

from aioflags.client_core.observers import Step
from aioflags.client_core.readers import EventIterator
from aioflags.model.status import Event, EventKind
from aioflags.runtime.event_loops import loop_time
from aioflags.runtime.logs import logger
from tests.support.status_clients import StatusClient, settle, shown

CHANGED = EventKind.CONFIGURATION_CHANGED


# -- observers of events


@pytest.mark.holds("OF-25", "OF-R10")
async def test_an_observer_of_events_gets_nothing_old(client: StatusClient) -> None:
    client.data(f=1)
    seen: list[Event] = []
    client.on_event(EventKind.READY, seen.append, inline=True)
    iterator = client.events()
    client.data(f=2)
    await settle()
    assert seen == []
    assert shown([await anext(iterator)]) == ["CONFIGURATION_CHANGED f"]


@pytest.mark.holds("OF-R10", "OF-R14")
async def test_iterators_get_the_exact_rest_of_a_run(client: StatusClient) -> None:
    everything = client.events()
    iterators: list[tuple[int, Any]] = []
    for value in range(20):
        iterators.append((client.report.seq, client.events()))
        client.data(f=value)
        if value % 3 == 0:
            client.interrupted()
    await client.aclose()
    whole = [event async for event in everything]
    for seq, iterator in iterators:
        assert [event async for event in iterator] == [event for event in whole if event.seq > seq]


@pytest.mark.holds("OF-26", "OF-R14", "OF-R15", "OF-R16")
@pytest.mark.parametrize("kind", ["coroutine function", "function in a thread"])
async def test_a_slow_handler_gets_every_change_in_order_and_delays_no_other(client: StatusClient, kind: str) -> None:
    client.data(f=-1)
    slow, quick, running = list[int](), list[int](), list[int]()
    times: list[float] = []

    async def slow_coroutine(event: Event) -> None:
        running.append(event.seq)
        assert len(running) == 1
        await asyncio.sleep(1)
        slow.append(event.seq)
        running.clear()

    def in_a_thread(event: Event) -> None:
        running.append(event.seq)
        assert len(running) == 1
        slow.append(event.seq)
        running.clear()

    def note(event: Event) -> None:
        quick.append(event.seq)
        times.append(loop_time())

    client.on_event(CHANGED, slow_coroutine if kind == "coroutine function" else in_a_thread)
    client.on_event(CHANGED, note, inline=True)
    began = loop_time()
    for value in range(10):
        client.data(f=value)
    await asyncio.sleep(20)
    assert slow == quick == list(range(2, 12))
    assert times[-1] == began


@pytest.mark.holds("OF-R3", "OF-R5", "OF-A4")
async def test_a_handler_finds_the_status_and_the_data_of_its_event_or_newer_ones(client: StatusClient) -> None:
    values: list[tuple[int, object]] = []

    async def follow(event: Event) -> None:
        assert client.report.seq >= event.seq
        values.append((event.seq, client.value("f")))
        await asyncio.sleep(event.seq % 3)

    client.on_event(None, follow)
    for value in range(1000):
        client.data(f=value)
        if value % 7 == 0:
            await asyncio.sleep(1)
    await asyncio.sleep(2000)
    assert len(values) == 1000
    assert all(value >= seq - 1 for seq, value in values if isinstance(value, int))


@pytest.mark.holds("OF-R21")
async def test_coroutine_functions_run_on_the_loop_and_functions_in_a_thread(client: StatusClient) -> None:
    threads: dict[str, int] = {}

    async def coroutine(name: str, event: Event) -> None:
        threads[name] = threading.get_ident()

    def function(name: str, event: Event) -> None:
        threads[name] = threading.get_ident()

    class Callable:
        async def __call__(self, event: Event) -> None:
            threads["object"] = threading.get_ident()

    client.on_event(None, partial(coroutine, "coroutine function"))
    client.on_event(None, Callable())
    client.on_event(None, partial(function, "function"))
    client.on_event(None, partial(function, "inline"), inline=True)
    client.on_event(None, lambda event: coroutine("function that returns a coroutine", event))
    client.data(f=1)
    await asyncio.sleep(1)
    here = threading.get_ident()
    assert {name: thread == here for name, thread in threads.items()} == {
        "coroutine function": True,
        "object": True,
        "function": False,
        "inline": True,
        "function that returns a coroutine": True,
    }


async def test_a_handler_runs_with_the_variables_of_its_registration(client: StatusClient) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("request", default="none")
    seen: list[str] = []

    async def coroutine(event: Event) -> None:
        seen.append(variable.get())

    variable.set("first")
    client.on_event(None, coroutine)
    variable.set("second")
    client.on_event(None, lambda _: seen.append(variable.get()))
    variable.set("later")
    client.data(f=1)
    await asyncio.sleep(1)
    assert sorted(seen) == ["first", "second"]


@pytest.mark.holds("OF-R18")
async def test_a_handler_that_raises_is_logged_and_called_again(client: StatusClient, caplog: pytest.LogCaptureFixture) -> None:
    runs: list[str] = []

    async def cancelled(event: Event) -> None:
        runs.append("cancelled")
        raise asyncio.CancelledError

    def broken(event: Event) -> None:
        runs.append("broken")
        raise ZeroDivisionError

    client.on_event(None, broken)
    client.on_event(None, cancelled)
    client.on_event(None, lambda _: runs.append("sound"), inline=True)
    client.data(f=1)
    client.data(f=2)
    await asyncio.sleep(1)
    assert sorted(runs) == ["broken"] * 2 + ["cancelled"] * 2 + ["sound"] * 2
    assert "broken" in caplog.text
    assert caplog.text.count("\nZeroDivisionError") == 2


# -- limits


def change(seq: int, *keys: str) -> Event:
    return Event(seq=seq, kind=CHANGED, report=StatusClient().report, flags_changed=keys or None)


def status(seq: int) -> Event:
    return Event(seq=seq, kind=EventKind.STALE, report=StatusClient().report)


@pytest.mark.parametrize(
    ("events", "left", "missed"),
    [
        pytest.param([change(1, "a"), change(2, "b"), change(3, "c")], ["CONFIGURATION_CHANGED a,b,c"], 0, id="changes"),
        pytest.param([change(1, "a"), change(2), change(3, "c")], ["CONFIGURATION_CHANGED any"], 0, id="an unknown change"),
        pytest.param(
            [change(1, "a"), change(2, "b"), status(3)], ["CONFIGURATION_CHANGED a,b", "STALE"], 0, id="changes before a status"
        ),
        pytest.param([status(1), change(2, "a"), status(3)], ["STALE", "STALE"], 1, id="nothing to merge"),
        pytest.param([status(1), status(2), status(3)], ["STALE", "STALE"], 1, id="statuses alone"),
    ],
)
def test_a_full_queue_merges_changes_and_then_drops_the_oldest(events: list[Event], left: list[str], missed: int) -> None:
    client = StatusClient()
    reader = EventIterator(client.cell.observers, lambda: None, limit=2)
    for each in events:
        reader.notify(Step(each.report, [each], frozenset(), client.cell.snapshot))
    taken = [event for _ in range(2) if (event := reader._take()) is not None]
    assert shown(taken) == left
    assert [event.missed for event in taken] == [missed, 0][: len(taken)]


@pytest.mark.slow
@pytest.mark.holds("OF-28", "OF-R17")
async def test_a_stopped_reader_uses_limited_memory_and_gets_what_it_missed(
    client: StatusClient, caplog: pytest.LogCaptureFixture
) -> None:
    iterator = client.events()
    for value in range(5000):
        client.data(**{f"f{value % 10}": value})
        client.interrupted()
    assert "1000 waiting" in repr(iterator)
    first = await anext(iterator)
    assert first.missed == 5000 * 3 - 1 - 1000
    assert caplog.text.count("is too slow") == 1
    await asyncio.sleep(61)
    client.data(f=1)
    client.data(f=2)
    assert caplog.text.count("is too slow") == 2


@pytest.mark.holds("OF-28", "OF-R17")
async def test_unread_changes_become_one(client: StatusClient) -> None:
    client.data(f=0)
    iterator = client.events()
    for value in range(10_000):
        client.data(**{f"f{value % 3}": value})
    await client.aclose()
    events = [event async for event in iterator]
    assert len(events) <= 1000
    assert events[0].flags_changed == ("f", "f0", "f1", "f2")
    assert {event.missed for event in events} == {0}


def test_events_of_the_time_before_the_start_need_no_event_loop(caplog: pytest.LogCaptureFixture) -> None:
    client, seen = StatusClient(), list[Event]()
    client.on_event(None, seen.append, inline=True)
    for number in range(1100):
        client.data(f=number)
        client.interrupted()
    assert (client.value("f"), caplog.text.count("is too slow") > 0) == (1099, True)


class BrokenFilter(logging.Filter):
    """A filter of the application's log that raises for some messages."""

    def __init__(self, words: str) -> None:
        super().__init__()
        self.words = words

    def filter(self, record: logging.LogRecord) -> bool:
        if self.words in record.getMessage():
            raise ValueError("the log is broken")
        return True


@pytest.mark.holds("OF-R18")
@pytest.mark.parametrize("words", ["failed", ""])
async def test_a_handler_whose_failure_cannot_be_logged_ends_alone(client: StatusClient, words: str) -> None:
    def failing(event: Event) -> None:
        raise RuntimeError

    seen: list[Event] = []
    client.on_event(None, failing, inline=True)
    client.on_event(None, seen.append, inline=True)
    broken = BrokenFilter(words)
    logger.addFilter(broken)
    try:
        for number in range(3):
            client.data(f=number)
            await settle()
    finally:
        logger.removeFilter(broken)
    assert shown(seen) == ["READY", "CONFIGURATION_CHANGED f", "CONFIGURATION_CHANGED f"]
