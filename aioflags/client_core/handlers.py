"""Handlers of status reports and events: each has its own task, which calls it, never twice at once and in order.

Source: ``openfeature.md`` 4.4, 4.5 and 4.7.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from contextvars import Context as VariableContext
from contextvars import copy_context
from typing import Any, Final, Generic, Protocol, TypeAlias, TypeVar

import anyio
from anyio.abc import TaskGroup

from aioflags.client_core.event_queue import EventInbox
from aioflags.model.status import Status, StatusReport
from aioflags.model.status_event import Event, EventKind
from aioflags.runtime.broadcast import Latest
from aioflags.runtime.cancellation import contain_cancellation
from aioflags.runtime.daemon_threads import DaemonThreads
from aioflags.runtime.event_loops import running_loop
from aioflags.runtime.logs import printable
from aioflags.runtime.validation import is_coroutine_function

__all__ = ["EventHandler", "Handler", "HandlerOwner", "HandlerTask", "StatusHandler", "StatusView"]

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
