"""EventQueue: the events that wait for one observer: at most 1000. EventInbox: such a queue, with the task that reads it.

Source: ``openfeature.md`` 4.6.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Final

from aioflags.model.status_event import Event, EventKind
from aioflags.runtime.broadcast import Signal
from aioflags.runtime.event_loops import loop_time

__all__ = ["MAX_EVENTS", "EventInbox", "EventQueue", "joined"]

MAX_EVENTS: Final = 1000
_WARNING_INTERVAL: Final = 60.0
"""Seconds between two warnings about the same observer."""


class EventQueue:
    """The events that wait, in order. When it is full, neighbouring changes of flags are merged.

    If that frees nothing, the oldest change of flags is dropped, or else the oldest event. The next event then has ``missed``. A
    full queue logs a warning, once a minute, that its reader ``name`` is too slow.
    """

    def __init__(self, log: logging.Logger, name: str, capacity: int = MAX_EVENTS) -> None:
        self._log = log
        self._name = name
        self._capacity = capacity
        self._warned_at: float | None = None
        self._events: deque[Event] = deque()
        self._missed = 0

    def __len__(self) -> int:
        return len(self._events)

    def put(self, events: Iterable[Event]) -> None:
        """Adds the newest events, in order."""
        for event in events:
            self._events.append(event)
            if len(self._events) > self._capacity:
                self._shorten()
                self._warn()

    def _shorten(self) -> None:
        self._events = deque(_merged(self._events))
        while len(self._events) > self._capacity:
            self._drop_one()

    def _warn(self) -> None:
        time = loop_time()
        if self._warned_at is None or time - self._warned_at >= _WARNING_INTERVAL:
            self._warned_at = time
            self._log.warning("%s is too slow: merging or dropping events that wait for it", self._name)

    def take(self) -> Event | None:
        """Removes and returns the oldest event, if any."""
        if not self._events:
            return None
        event, missed = self._events.popleft(), self._missed
        self._missed = 0
        return replace(event, missed=missed) if missed else event

    def _drop_one(self) -> None:
        oldest = next((i for i, event in enumerate(self._events) if event.kind is EventKind.CONFIGURATION_CHANGED), 0)
        del self._events[oldest]
        self._missed += 1


def _merged(events: Iterable[Event]) -> list[Event]:
    """``events``, with each run of neighbouring changes of flags as one event: its newest, with the keys of all of them."""
    runs = groupby(events, lambda event: event.kind is EventKind.CONFIGURATION_CHANGED)
    return [event for is_change, run in runs for event in ([joined(list(run))] if is_change else run)]


def joined(changes: Sequence[Event]) -> Event:
    """Changes of flags as one: the newest, with the keys of all. Without the keys of one, any flag may have changed."""
    newest = changes[-1]
    if len(changes) == 1:
        return newest
    if any(event.flags_changed is None for event in changes):
        return replace(newest, flags_changed=None)
    keys = {key for event in changes for key in event.flags_changed or ()}
    return replace(newest, flags_changed=tuple(sorted(keys)))


class EventInbox:
    """An :class:`EventQueue` that one task reads."""

    def __init__(self, log: logging.Logger, name: str) -> None:
        self._queue = EventQueue(log, name)
        self._changed = Signal()
        self._is_finished = False

    def put(self, events: Iterable[Event]) -> None:
        """Adds events, and wakes the reader."""
        self._queue.put(events)
        self._changed.send()

    def finish(self) -> None:
        """No more events come."""
        self._is_finished = True
        self._changed.send()

    async def next(self) -> Event | None:
        """The next event; ``None`` after the last."""
        while (event := self._queue.take()) is None:
            if self._is_finished:
                return None
            await self._changed.wait()
        return event
