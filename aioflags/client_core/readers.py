"""Readers of the steps of one client: what ``events()``, ``changes()`` and ``on_status`` make of them, and what they keep.

Source: ``openfeature.md`` 4.4 and 4.6; ``evaluation.md`` 9; ``data-system.md`` 7.3.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from aioflags.client_core.observers import ClientIterator, Observers, Step
from aioflags.client_core.typed import decoder_of, plain_key
from aioflags.model.status import Event, EventKind, Status, StatusReport
from aioflags.model.values import fresh, same_json
from aioflags.runtime.event_loops import loop_time
from aioflags.runtime.fork import Lock
from aioflags.runtime.logs import Once

if TYPE_CHECKING:
    from aioflags.client_core.status import StatusCell
    from aioflags.evaluation.snapshot import Snapshot

MAX_WAITING: Final = 1000
"""How many events, or changes of a value, wait for one reader."""
_WARNING_INTERVAL: Final = 60.0
"""Seconds between two warnings about the same reader."""


# -- Status: the newest report alone


class StatusEntries:
    """The reports with which ``status`` begins, from the newest report on. Times that pass between two reads make one."""

    def __init__(self, cell: StatusCell, status: Status) -> None:
        self._cell = cell
        self._status = status
        self._seen = -1
        """The ``seq`` with which the status began that was read last."""

    def __aiter__(self) -> StatusEntries:
        return self

    async def __anext__(self) -> StatusReport:
        cell = self._cell
        reports = cell.reports
        while (report := cell.newest).status is not self._status or cell.entered == self._seen:
            if cell.is_closed:
                raise StopAsyncIteration
            await reports.changed.wait()
        self._seen = cell.entered
        return report


# -- Events: each one


class EventIterator(ClientIterator[Event]):
    """An async iterator over the events since it was made, and a context manager that ends it.

    Iterate and close it on the client's event loop. It ends at ``close``, or when the client closes, after the events before
    that.

    When more than ``limit`` events wait, neighbouring changes of flags are merged. If that frees nothing, the oldest change of
    flags is dropped, or else the oldest event, and the next event has ``missed``. A warning, once a minute, says that ``name`` is
    too slow.
    """

    def __init__(
        self,
        observers: Observers,
        check_loop: Callable[[], None],
        kind: EventKind | None = None,
        *,
        name: str = "a reader of events()",
        limit: int = MAX_WAITING,
    ) -> None:
        self._kind = kind
        self._name = name
        self._limit = limit
        self._warned_at: float | None = None
        self._missed = 0
        super().__init__(observers, check_loop)

    def notify(self, step: Step) -> None:
        for event in step.events:
            if self._kind is None or event.kind is self._kind:
                self._add(event)
                if len(self._waiting) > self._limit:
                    self._shorten()

    def _shorten(self) -> None:
        self._waiting = waiting = deque(_merged(self._waiting))
        while len(waiting) > self._limit:
            oldest = next((i for i, event in enumerate(waiting) if event.kind is EventKind.CONFIGURATION_CHANGED), 0)
            del waiting[oldest]
            self._missed += 1
        time = loop_time()
        if self._warned_at is None or time - self._warned_at >= _WARNING_INTERVAL:
            self._warned_at = time
            self._observers.log.warning("%s is too slow: merging or dropping events that wait for it", self._name)

    def _take(self) -> Event | None:
        event, missed = super()._take(), self._missed
        if event is None or not missed:
            return event
        self._missed = 0
        return replace(event, missed=missed)


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


# -- Changes of flags, and of the value of one flag for one context


@dataclass(frozen=True, slots=True)
class FlagChange:
    """The configuration of a flag, or of a flag or segment that it depends on, has changed. Its values may be the same."""

    key: str


@dataclass(frozen=True, slots=True)
class ValueChange:
    """A flag's value for one context has changed. ``None``: the flag is missing or has no value.

    If ``changes`` was called with a typed flag that decodes, the values are decoded; ``None`` for one that cannot be.
    """

    key: str
    old_value: Any
    new_value: Any


class FlagChanges(ClientIterator[FlagChange]):
    """Every flag that a transfer affects, once a transfer. A flag whose change was not read yet is not added again."""

    def __init__(self, observers: Observers, check_loop: Callable[[], None]) -> None:
        self._unread: set[str] = set()
        super().__init__(observers, check_loop)

    def notify(self, step: Step) -> None:
        for key in sorted(step.keys - self._unread):
            self._unread.add(key)
            self._add(FlagChange(key))

    def _take(self) -> FlagChange | None:
        if (change := super()._take()) is not None:
            self._unread.remove(change.key)
        return change


class ValueChanges(ClientIterator[ValueChange]):
    """The changes of one flag's value for one context.

    At most 1000 changes wait for a slow reader; after that the oldest are dropped, with one warning.
    """

    def __init__(
        self,
        observers: Observers,
        check_loop: Callable[[], None],
        key: str,
        read: Callable[[Snapshot], Any],
        newest: Callable[[], Snapshot],
    ) -> None:
        self._key = plain_key(key)
        # Decoded values are shared by all callers.
        self._copied: Callable[[Any], Any] = fresh if decoder_of(key) is None else lambda value: value
        self._read = read
        self._warn = Once()
        self._lock = Lock()
        # Any thread may register. A change that is published before the first value is read waits until it is.
        with self._lock:
            super().__init__(observers, check_loop)
            self._value = read(newest())

    def notify(self, step: Step) -> None:
        if self._key not in step.keys:
            return
        with self._lock:
            value = self._read(step.snapshot)
            if same_json(value, self._value):
                return
            if len(self._waiting) == MAX_WAITING:
                self._waiting.popleft()
                if self._warn("overflow"):
                    self._observers.log.warning("a reader of value changes is %d changes behind; dropping the oldest", MAX_WAITING)
            self._add(ValueChange(self._key, self._copied(self._value), self._copied(value)))
            self._value = value
