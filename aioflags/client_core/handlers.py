"""Handlers of status reports and events, and the queues of events that wait for an observer.

Handlers of status reports and events: each has its own task, which calls it, never twice at once and in order.

Source: ``openfeature.md`` 4.4, 4.5 and 4.7.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import Future
from contextvars import Context as VariableContext
from contextvars import copy_context
from dataclasses import replace
from itertools import groupby
from typing import Any, Final, Generic, Protocol, TypeAlias, TypeVar

import anyio
from anyio.abc import TaskGroup

from aioflags.model.status import Event, EventKind, Status, StatusReport
from aioflags.runtime.broadcast import Latest, Signal
from aioflags.runtime.daemon_threads import DaemonThreads
from aioflags.runtime.event_loops import contain_cancellation, loop_time, running_loop
from aioflags.runtime.logs import printable
from aioflags.runtime.validation import is_coroutine_function

# -- EventQueue: the events that wait for one observer: at most 1000. EventInbox: such a queue, with the task that reads it.
# Source: ``openfeature.md`` 4.6.


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


T = TypeVar("T")
Handler: TypeAlias = Callable[[T], object] | Callable[[T], Awaitable[object]]
"""Called with a :class:`StatusReport` or an :class:`Event`. What it returns is ignored, or awaited."""

_THREADS: Final = DaemonThreads("aioflags-handler")


class StatusView(Protocol):
    """What observers read of the status cell."""

    newest: StatusReport
    entered: int
    reports: Latest[StatusReport]
    restartable: bool

    @property
    def is_closed(self) -> bool: ...
    @property
    def is_closed_for_good(self) -> bool: ...


class HandlerOwner(Protocol):
    """The registry of the handlers of one client."""

    status: StatusView
    log: logging.Logger

    def remove(self, observer: object) -> None: ...

    def ended(self, observer: HandlerTask[Any]) -> None: ...


class HandlerTask(ABC, Generic[T]):
    """One handler, and the task that calls it: never twice at once, and in order.

    Coroutine functions run on the event loop, other functions in a thread, unless they are ``inline``.
    """

    def __init__(self, observers: HandlerOwner, handler: Handler[T], *, inline: bool) -> None:
        self._observers = observers
        self._handler = handler
        self._is_inline = inline or is_coroutine_function(handler)
        self._variables: VariableContext = copy_context()
        self._scope: anyio.CancelScope | None = None
        self._run_in_thread: Future[None] | None = None
        """Done when the newest run in a thread has ended. If the client is closed meanwhile, that may be after the next start."""
        self.name: str = f"the handler {_name_of(handler)}"
        self.task: asyncio.Task[Any] | None = None
        self.is_running: bool = False
        self.is_cancelled: bool = False

    @abstractmethod
    async def follow(self) -> None:
        """Calls the handler for what it observes, until that ends."""

    def start(self, group: TaskGroup) -> None:
        """Starts the task, unless it runs. On the event loop."""
        if not self.is_running and not self.is_cancelled:
            self.is_running = True
            self._variables.run(group.start_soon, self._run)

    def reset(self) -> None:
        """The task does not run any more."""
        self.is_running, self.task, self._scope = False, None, None

    async def _run(self) -> None:
        self.task = asyncio.current_task()
        try:
            with anyio.CancelScope() as self._scope:
                await self.follow()
        except Exception:
            # The other handlers go on. A log that raises may be what failed.
            self._observers.remove(self)
            with contextlib.suppress(Exception):
                self._observers.log.exception("%s ended after an internal error (please report)", self.name)
        finally:
            self.is_running = False
            self._observers.ended(self)

    async def call(self, argument: T) -> None:
        """One run of the handler. Its exceptions are logged."""
        try:
            with contain_cancellation():
                if self._is_inline:
                    result = self._handler(argument)
                else:
                    result = await self._call_in_thread(argument)
                if inspect.isawaitable(result):
                    await result
        except Exception:
            self._observers.log.exception("%s failed", self.name)

    async def _call_in_thread(self, argument: T) -> object:
        if (earlier := self._run_in_thread) is not None and not earlier.done():
            await asyncio.wait({asyncio.wrap_future(earlier)})
        variables, ended = copy_context(), Future[None]()

        def run() -> object:
            try:
                return variables.run(self._handler, argument)
            finally:
                ended.set_result(None)

        call = asyncio.get_running_loop().run_in_executor(_THREADS, run)
        self._run_in_thread = ended
        return await call

    def cancel(self) -> None:
        """No run starts after this call. A coroutine that runs is cancelled, unless it makes this call itself."""
        if self.is_cancelled:
            return
        self.is_cancelled = True
        self._observers.remove(self)
        loop = None if self.task is None else self.task.get_loop()
        if loop is None or not self.is_running:
            return
        if loop is not running_loop():
            with contextlib.suppress(RuntimeError):  # the loop is closed, and with it the task
                loop.call_soon_threadsafe(self._cancel_task)
        else:
            self._cancel_task()

    def _cancel_task(self) -> None:
        if self._scope is not None and asyncio.current_task() is not self.task:
            self._scope.cancel()


class StatusHandler(HandlerTask[StatusReport]):
    """Calls a handler for each time that a status begins. Times that pass while the handler runs make one further run."""

    def __init__(self, observers: HandlerOwner, handler: Handler[StatusReport], status: Status, *, inline: bool) -> None:
        super().__init__(observers, handler, inline=inline)
        self._wanted = status
        self._handled = -1
        """The ``seq`` with which the status began that the handler was called for."""

    async def follow(self) -> None:
        status = self._observers.status
        reports = status.reports
        while not self.is_cancelled:
            report, entered = status.newest, status.entered
            if report.status is self._wanted and entered != self._handled:
                self._handled = entered
                await self.call(report)
            elif status.is_closed:
                return
            else:
                await reports.changed.wait()


class EventHandler(HandlerTask[Event]):
    """Calls a handler for each event of a kind."""

    def __init__(self, observers: HandlerOwner, handler: Handler[Event], kind: EventKind | None, *, inline: bool) -> None:
        super().__init__(observers, handler, inline=inline)
        self._wanted = kind
        self._queue = EventInbox(observers.log, self.name)

    def put(self, events: Sequence[Event]) -> None:
        """Keeps the events for the task."""
        self._queue.put(event for event in events if self._wanted is None or event.kind is self._wanted)

    def finish(self) -> None:
        """Ends the task after the events that wait."""
        self._queue.finish()

    def reset(self) -> None:
        super().reset()
        self._queue = EventInbox(self._observers.log, self.name)

    async def follow(self) -> None:
        while not self.is_cancelled and (event := await self._queue.next()) is not None:
            if not self.is_cancelled:
                await self.call(event)


def _name_of(handler: object) -> str:
    """The name of a function, or of the type of another callable."""
    return printable(getattr(handler, "__qualname__", None) or type(handler).__name__)
