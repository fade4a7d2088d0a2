"""Observers: the handlers and iterators that follow the status and the events of one client.

A status observer sees the status of now and then the newest; an event observer sees every event from its registration on. Each
handler has its own task, so a slow one delays no other.

Source: ``openfeature.md`` 4.4 to 4.8.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Protocol
from weakref import ref

import anyio
from anyio.abc import TaskGroup

from aioflags.client_core.flag_changes import ClientIterator
from aioflags.client_core.handlers import EventHandler, EventQueue, Handler, HandlerTask, StatusHandler, StatusView
from aioflags.model.status import Event, EventKind, Status, StatusReport
from aioflags.runtime.broadcast import Signal
from aioflags.runtime.event_loops import running_loop
from aioflags.runtime.fork import ProcessBound


class _EventSink(Protocol):
    """Receives events on the event loop."""

    def put(self, events: Sequence[Event]) -> None: ...

    def finish(self) -> None: ...


class Observers:
    """The observers of one client: a :class:`aioflags.client_core.lifecycle.Background` that runs the tasks of handlers.

    Handlers and iterators register from any thread: one assignment or deletion adds or removes one, and the event loop reads a
    copy.
    """

    def __init__(self, status: StatusView, log: logging.Logger) -> None:
        self.status: StatusView = status
        self.log: logging.Logger = log
        self._sinks: dict[int, Callable[[], _EventSink | None]] = {}
        """What gets events. References to iterators are weak, so that an iterator which the program dropped collects no events."""
        self._handlers: dict[int, HandlerTask[Any]] = {}
        self._group: TaskGroup | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closers: set[asyncio.Task[Any]] = set()
        self._registered, self._ended = Signal(), Signal()

    # -- called by the status cell

    @property
    def follow_events(self) -> bool:
        """Whether there are observers of events."""
        return bool(self._sinks)

    def put(self, events: Sequence[Event]) -> None:
        """Hands the events of one step to their observers."""
        for find in self._sinks.copy().values():
            if (sink := find()) is not None:
                sink.put(events)

    def close(self) -> None:
        """Ends each observer after the events that wait. Handlers follow the next start, if there is one."""
        for find in self._sinks.copy().values():
            if (sink := find()) is not None:
                sink.finish()

    def reset(self) -> None:
        """Before another start, or in the child of a fork: the tasks of the last start do not run any more."""
        self._group = self._loop = None
        self._closers, self._registered, self._ended = set(), Signal(), Signal()
        for handler in self._handlers.copy().values():
            handler.reset()

    # -- registration

    def on_status(self, status: Status, handler: Handler[StatusReport], *, inline: bool) -> Subscription:
        """Calls ``handler`` if the status is ``status``, and at each time when it becomes so."""
        return self._register(StatusHandler(self, handler, status, inline=inline))

    def on_event(self, kind: EventKind | None, handler: Handler[Event], *, inline: bool) -> Subscription:
        """Calls ``handler`` for each event of that kind from now on; ``None``: of every kind."""
        observer = EventHandler(self, handler, kind, inline=inline)
        self._sinks[id(observer)] = lambda: observer
        return self._register(observer)

    def events(self, check_loop: Callable[[], None]) -> EventIterator:
        """An iterator over the events from now on."""
        iterator = EventIterator(self, check_loop)
        number = id(iterator)
        self._sinks[number] = ref(iterator, lambda _: self._sinks.pop(number, None))
        if self.status.is_closed_for_good:  # it may have closed meanwhile, in another thread
            iterator.finish()
        return iterator

    def remove(self, observer: object) -> None:
        """Removes an observer, if it was added."""
        self._sinks.pop(id(observer), None)
        self._handlers.pop(id(observer), None)

    def _register(self, observer: HandlerTask[Any]) -> Subscription:
        if self.status.is_closed_for_good:
            self.remove(observer)
            return Subscription(observer)
        # The dictionary first: the start reads it after it has set the loop.
        self._handlers[id(observer)] = observer
        if (loop := self._loop) is not None:
            if loop is running_loop() and asyncio.current_task() is not None:
                self._start(observer)
            else:
                # Not in a callback of the loop: where sniffio is installed, anyio starts tasks in tasks alone.
                with contextlib.suppress(RuntimeError):  # the loop is closed: there are no more events
                    loop.call_soon_threadsafe(self._registered.send)
        return Subscription(observer)

    def _start(self, observer: HandlerTask[Any]) -> None:
        """Starts the task of a handler, once. On the event loop. One that comes while the client is closed waits for the start."""
        if self._group is not None and id(observer) in self._handlers and not self.status.is_closed:
            observer.start(self._group)

    # -- called by the life cycle

    def open(self) -> None:
        """The client starts on the running event loop."""
        self._loop = asyncio.get_running_loop()

    def stop(self) -> None:
        """Nothing: the status cell closes the observers with its last report."""

    async def run(self) -> None:
        """Runs the tasks of the handlers until it is cancelled."""
        async with anyio.create_task_group() as group:
            self._group = group
            while True:
                for observer in list(self._handlers.values()):
                    self._start(observer)
                await self._registered.wait()

    def closed_by(self, task: asyncio.Task[Any] | None) -> None:
        """``task`` waits for the end of the client. If it is the task of a handler, the client does not wait for that."""
        if task is not None:
            self._closers.add(task)
            self._ended.send()

    async def finish(self, seconds: float) -> None:
        """Waits at most ``seconds`` until the handlers have seen all events."""
        running: list[HandlerTask[Any]] = []
        with anyio.move_on_after(seconds):
            while running := [each for each in self._handlers.values() if each.is_running and each.task not in self._closers]:
                await self._ended.wait()
        for observer in running:
            self.log.warning("%s did not end in time when the client was closed; abandoning it", observer.name)

    def ended(self, observer: HandlerTask[Any]) -> None:
        """The task of ``observer`` has ended. If the client can be started again, a handler that was not cancelled stays."""
        if observer.is_cancelled or not self.status.restartable:
            self.remove(observer)
        self._ended.send()


class EventIterator(ClientIterator[Event]):
    """An async iterator over the events since it was made, and a context manager that ends it.

    Iterate and close it on the client's event loop. It ends at ``close``, or when the client closes, after the events before
    that.
    """

    def __init__(self, observers: Observers, check_loop: Callable[[], None]) -> None:
        super().__init__(observers, check_loop)
        self._queue = EventQueue(observers.log, "a reader of events()")

    def put(self, events: Sequence[Event]) -> None:
        """Keeps the events for the reader."""
        self._queue.put(events)
        self._changed.send()

    def _take(self) -> Event | None:
        return self._queue.take()

    def _count(self) -> int:
        return len(self._queue)


class Subscription(ProcessBound):
    """A registered handler. :meth:`cancel` removes it, and so does the end of a ``with`` block."""

    def __init__(self, observer: HandlerTask[Any]) -> None:
        self._observer = observer

    def cancel(self) -> None:
        """Removes the handler. From any thread, at any time, and as often as you like.

        On the client's event loop no run of the handler starts after this call. A coroutine that runs is cancelled; a plain
        function that runs in a thread ends by itself.
        """
        self._observer.cancel()

    def __enter__(self) -> Subscription:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.cancel()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._observer.name}{', cancelled' if self._observer.is_cancelled else ''}>"
