"""EventQueue: the events that wait for one observer: at most 1000. EventInbox: such a queue, with the task that reads it.

Source: ``openfeature.md`` 4.6.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from aioflags.model.status_event import Event, EventKind
from aioflags.runtime.broadcast import Signal
from aioflags.runtime.event_loops import loop_time

__all__ = ["MAX_EVENTS", "EventInbox", "EventQueue", "merged"]

MAX_EVENTS: Final = 1000
_WARNING_INTERVAL: Final = 60.0
"""Seconds between two warnings about the same observer."""


class EventQueue:
    """The events that wait, in order. When it is full, neighbouring changes of flags are merged.

    If that frees nothing, the oldest change of flags is dropped, or else the oldest event. The next event then has ``missed``.
    """

    def __init__(self, capacity: int = MAX_EVENTS) -> None:
        self._capacity = capacity
        self._events: deque[Event] = deque()
        self._missed = 0

    def __len__(self) -> int:
        return len(self._events)

    def append(self, event: Event) -> bool:
        """Adds the newest event. False if the queue was full."""
        self._events.append(event)
        if len(self._events) <= self._capacity:
            return True
        self._events = deque(merged(self._events))
        while len(self._events) > self._capacity:
            self._drop_one()
        return False

    def take(self) -> Event | None:
        """Removes and returns the oldest event, if any."""
        if not self._events:
            return None
        event, missed = self._events.popleft(), self._missed
        self._missed = 0
        return replace(event, missed=missed) if missed else event

    def clear(self) -> None:
        """Drops all events."""
        self._events.clear()

    def _drop_one(self) -> None:
        oldest = next((i for i, event in enumerate(self._events) if event.kind is EventKind.CONFIGURATION_CHANGED), 0)
        del self._events[oldest]
        self._missed += 1


def merged(events: Iterable[Event]) -> list[Event]:
    """``events``, with each run of neighbouring changes of flags as one event: its newest, with the keys of all of them."""
    result: list[Event] = []
    run: list[Event] = []
    for event in events:
        if event.kind is EventKind.CONFIGURATION_CHANGED:
            run.append(event)
            continue
        result += _as_one(run)
        run = []
        result.append(event)
    return result + _as_one(run)


def _as_one(run: list[Event]) -> list[Event]:
    if len(run) < 2:
        return run
    if any(event.flags_changed is None for event in run):
        return [replace(run[-1], flags_changed=None)]
    keys = {key for event in run for key in event.flags_changed or ()}
    return [replace(run[-1], flags_changed=tuple(sorted(keys)))]


class EventInbox:
    """An :class:`EventQueue` that one task reads. It warns once a minute when the reader is too slow."""

    def __init__(self, log: logging.Logger, name: str) -> None:
        self._log = log
        self._name = name
        self._queue = EventQueue()
        self._changed = Signal()
        self._warned_at: float | None = None
        self.is_finished: bool = False

    def __len__(self) -> int:
        return len(self._queue)

    def put(self, events: Iterable[Event]) -> None:
        """Adds events, and wakes the reader."""
        has_room = True
        for event in events:
            has_room = self._queue.append(event) and has_room
        self._changed.send()
        if not has_room:
            self._warn()

    def finish(self) -> None:
        """No more events come."""
        self.is_finished = True
        self._changed.send()

    def clear(self) -> None:
        """Drops the events that wait."""
        self._queue.clear()

    async def next(self, check_loop: Callable[[], None] = lambda: None) -> Event | None:
        """The next event; ``None`` after the last."""
        while (event := self._queue.take()) is None:
            if self.is_finished:
                return None
            check_loop()
            await self._changed.wait()
        return event

    def _warn(self) -> None:
        time = loop_time()
        if self._warned_at is None or time - self._warned_at >= _WARNING_INTERVAL:
            self._warned_at = time
            self._log.warning("%s is too slow: merging or dropping events that wait for it", self._name)
