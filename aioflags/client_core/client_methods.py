"""Methods of clients for events, the status and the life cycle."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Generator
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

from aioflags.client_core.overrides import OVERRIDES, ObservedEvent
from aioflags.client_core.readers import EventIterator, StatusEntries
from aioflags.errors import ConfigTypeError
from aioflags.events.stats import Stats
from aioflags.hooks import TrackCall
from aioflags.model.attributes import json_or_same
from aioflags.model.context import Context
from aioflags.model.status import Event, EventKind, Status, StatusReport
from aioflags.runtime.broadcast import LatestIterator
from aioflags.runtime.logs import Once, class_name
from aioflags.runtime.validation import require, time_limit

if TYPE_CHECKING:
    from aioflags.client_core.evaluator import Evaluator
    from aioflags.client_core.hook_runner import HookRunner
    from aioflags.client_core.lifecycle import Lifecycle
    from aioflags.client_core.observers import Handler, Subscription
    from aioflags.client_core.status import StatusCell
    from aioflags.events.outbox import Outbox
    from aioflags.events.recorder import Recorder


# -- StatusMethods: the methods of every client for its life cycle, its status and its events.


T = TypeVar("T")


class StatusMethods:
    """The methods of a client for its life cycle, its status and its events."""

    if TYPE_CHECKING:
        _cell: StatusCell
        _lifecycle: Lifecycle

        def start(self, start_wait: float | None = None) -> Coroutine[Any, Any, object]: ...

    # -- life cycle

    async def aclose(self, timeout: float | None = None) -> None:
        """Closes everything within ``timeout`` seconds, by default those of the option ``close_timeout``. Idempotent.

        Evaluations in memory continue to work afterwards, on the newest data. Those that a server makes return the default.

        Raises:
            LifecycleError: the client runs on another event loop.
            ConfigError: ``timeout`` is not a number of seconds. Earlier failures of the client raise nothing here.
        """
        await self._lifecycle.aclose(timeout)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.aclose()

    def __await__(self) -> Generator[Any, None, Self]:
        yield from self.start().__await__()
        return self

    # -- status

    @property
    def status(self) -> Status:
        """How reliable evaluations are now, in one word. :attr:`report` has the cause."""
        return self._cell.newest.status

    @property
    def report(self) -> StatusReport:
        """The newest report: the status, the state of the sources, since when, and the errors."""
        return self._cell.newest

    def reports(self) -> LatestIterator[StatusReport]:
        """``async for report in client.reports()``: the newest report, then each newer one.

        A slow reader skips reports, but never the last one. Ends when the client has closed.
        """
        return LatestIterator(self._cell.reports, self._lifecycle.check_loop)

    async def wait_ready(self, timeout: float | None = None) -> None:
        """Waits until the status is ``READY``, at most ``timeout`` seconds; without a limit by default.

        A :class:`MobileClient` whose key is refused has no source left, but goes on waiting, since another context or connection
        mode starts its sources again: give it a ``timeout``.

        Raises:
            NotReadyError: ``timeout`` is over, no source is left, or the client is closed.
            LifecycleError: the client was not started, or was started on another event loop.
            ConfigError: ``timeout`` is not a number of seconds.
        """
        await self._lifecycle.wait_ready(timeout)

    async def wait_until(self, status: Status | Callable[[StatusReport], bool], timeout: float | None = None) -> StatusReport:
        """Waits until the client has this status, or a report for which the function returns true. Returns the report.

        A status that lasts so briefly that this task does not run meanwhile may be missed.

        Raises:
            NotReadyError: ``timeout`` seconds are over, or the client is closed.
            LifecycleError: the client was not started, or was started on another event loop.
            ConfigError: ``status`` is neither a status nor a function, or ``timeout`` is not a number of seconds.
        """
        if callable(status):
            return await self._lifecycle.wait_until(status, timeout)
        wanted = require("status", status, Status)
        return await self._lifecycle.wait_until(lambda report: report.status is wanted, timeout)

    def on_status(self, status: Status, handler: Handler[StatusReport], *, inline: bool = False) -> Subscription:
        """Calls ``handler(report)`` now, if the status is ``status``, and then each time when it becomes so. From any thread.

        Runs of one handler do not overlap: if the status comes back several times during a run, one further run follows. Coroutine
        functions run on the client's event loop, plain functions in a thread, or on the loop too with ``inline``: promise then
        that they are quick. An exception is logged. Handlers end when the client closes. If it can be started again, as a
        :class:`FlagdClient` can, they run again after that start.

        Raises:
            ConfigError: ``status`` is not a status, or ``handler`` cannot be called.
        """
        wanted = require("status", status, Status)
        cell = self._cell
        return cell.observers.handle(_callable(handler), lambda _: StatusEntries(cell, wanted), inline=inline)

    # -- events

    def events(self) -> EventIterator:
        """``async for event in client.events()``: every event from this call on, in order.

        Also a context manager that deregisters (``with`` or ``async with``). A reader that is more than 1000 events behind loses
        some: neighbouring changes of flags are merged, and :attr:`Event.missed` counts what was dropped. Ends when the client has
        closed.
        """
        return EventIterator(self._cell.observers, self._lifecycle.check_loop)

    def on_event(self, kind: EventKind | None, handler: Handler[Event], *, inline: bool = False) -> Subscription:
        """Calls ``handler(event)`` for every event of that kind from now on, or of every kind for ``None``. From any thread.

        As :meth:`on_status`, except that each event has its own run, in order.

        Raises:
            ConfigError: ``kind`` is not a kind of event, or ``handler`` cannot be called.
        """
        wanted = None if kind is None else require("kind", kind, EventKind)
        observers, check_loop = self._cell.observers, self._lifecycle.check_loop

        def read(name: str) -> EventIterator:
            return EventIterator(observers, check_loop, wanted, name=name)

        return observers.handle(_callable(handler), read, inline=inline)


def _callable(handler: T) -> T:
    if not callable(handler):
        raise ConfigTypeError(f"handler: expected a function, got {class_name(handler)}")
    return handler


# -- SendingMethods: the methods of clients that record analytics events and send them.


class SendingMethods:
    """The methods of a client that send analytics events."""

    if TYPE_CHECKING:
        _recorder: Recorder
        _outbox: Outbox | None
        _hooks: HookRunner
        _cell: StatusCell
        _lifecycle: Lifecycle
        _logger: logging.Logger
        _once: Once
    else:
        _outbox = None  # unless the client sends events

    def flush(self) -> None:
        """Requests that the events recorded so far are sent now. From any thread, without a wait.

        The event loop sends them afterwards: at the end of a program use :meth:`flush_and_wait`, or close the client.
        """
        if self._outbox is not None:
            self._cell.warn_of_fork()
            self._outbox.flush()

    async def flush_and_wait(self, timeout: float | None = None) -> bool:
        """Sends the events recorded so far, and waits for the end, at most ``timeout`` seconds; without a limit by default.

        Returns:
            Whether each of them has been sent or dropped in time. :attr:`stats` counts those that were dropped.

        Raises:
            LifecycleError: the client runs on another event loop.
            ConfigError: ``timeout`` is not a number of seconds.
        """
        time_limit("timeout", timeout)
        self._lifecycle.check_loop()
        if self._outbox is None:
            return True
        self._cell.warn_of_fork()
        return await self._outbox.flush_and_wait(timeout)

    @property
    def stats(self) -> Stats:
        """How many events were recorded, sent and dropped, and how many are pending."""
        return self._recorder.stats

    def _record_tracked(self, name: str, context: Context, data: Any, metric_value: float | None) -> None:
        """Records an event, and calls the hooks."""
        self._warn_if_closed("track")
        self._recorder.tracked(name, context, data, metric_value)
        for observer in OVERRIDES.event_observers:
            observer(ObservedEvent("track", name, context, data, metric_value))
        if self._hooks:
            environment_id = self._cell.environment_id
            self._hooks.tracked(
                TrackCall(key=name, context=context, data=data, metric_value=metric_value, environment_id=environment_id)
            )

    def _warn_if_closed(self, call: str) -> None:
        """Logs, once, a call before the start or after the close of a client that sends events."""
        if self._outbox is None or self._recorder.is_open:
            return
        if self._cell.is_closed:
            when = "once the client is closed"
        elif self._cell.is_forked:
            self._cell.warn_of_fork()
            return
        elif not self._lifecycle.is_started:
            when = "before the client is started"
        else:
            return  # the service refuses events, which was logged
        if self._once((call, when)):
            self._logger.warning("%s: nothing is recorded %s", call, when)


class EventMethods(SendingMethods):
    """The methods of a client for analytics events.

    flagd has none: a client for it records nothing, and calls the hooks.
    """

    if TYPE_CHECKING:
        _evaluator: Evaluator
        has_kinds: ClassVar[bool]

    def track(self, name: str, context: Context | None = None, data: Any = None, metric_value: float | None = None) -> None:
        """Records an event for metrics and experiments, and calls the hooks. From any thread, without a wait.

        Nothing is recorded for an invalid context, before the start and after the close; a warning is logged. A client for flagd
        calls the hooks alone, and needs no context.

        Args:
            name: The key of the event.
            context: The context that the event belongs to; by default the ambient one.
            data: Any JSON value, copied by the call. What JSON cannot represent is left out, with a warning.
            metric_value: The value of a numeric metric.

        Raises:
            ConfigError: ``name`` is not a string, ``context`` not a :class:`Context`, or ``metric_value`` not a number. Each is
                a ``TypeError``, too.
        """
        require("name", name, str)
        metric_value = require("metric_value", json_or_same(metric_value), int, float, type(None))
        if (context := self._evaluator.usable_context("track", context, needs_key=self.has_kinds)) is not None:
            self._record_tracked(name, context, data, metric_value)

    def identify(self, context: Context | None = None) -> None:
        """Sends the attributes of a context, so that they can be seen and searched in the service.

        Evaluations and :meth:`track` do that by themselves. From any thread, without a wait. Before the start and after the close
        nothing is recorded, with a warning. A client for flagd sends nothing.

        Raises:
            ConfigError: ``context`` is not a :class:`Context`.
        """
        if (context := self._evaluator.usable_context("identify", context, needs_key=self.has_kinds)) is not None:
            self._warn_if_closed("identify")
            self._recorder.identified(context)
            for observer in OVERRIDES.event_observers:
                observer(ObservedEvent("identify", "", context))
