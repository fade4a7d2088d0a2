"""CoreClient: what all clients have: the life cycle, the status, events, hooks, and the delivery of analytics events."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Coroutine, Generator
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar
from weakref import ref

from aioflags.client_core.readers import EventIterator, FlagChanges, StatusEntries, ValueChanges
from aioflags.errors import ConfigTypeError
from aioflags.events.stats import Stats
from aioflags.hooks import Hook
from aioflags.model.context import Context
from aioflags.model.status import Event, EventKind, Status, StatusReport
from aioflags.runtime.broadcast import LatestIterator
from aioflags.runtime.fork import ProcessBound
from aioflags.runtime.logs import class_name
from aioflags.runtime.validation import require, time_limit

if TYPE_CHECKING:
    from aioflags.client_core.core import Core
    from aioflags.client_core.observers import Handler, Subscription
    from aioflags.evaluation.snapshot import Snapshot

T = TypeVar("T")


class CoreClient(ProcessBound):
    """What all clients have."""

    provider_name: ClassVar[str] = "aioflags"
    """The name of the client as a provider of OpenFeature's SDK."""
    _warns_if_unclosed: ClassVar[bool] = True
    """Whether there is a warning if a client of this class is collected before it is closed, or used in the child of a fork."""

    def __init__(self, core: Core) -> None:
        self._core: Core = core
        """The parts of the client. Nothing else private is read outside the classes of clients."""
        core.registration.client = ref(self)
        core.warns_of_fork = self._warns_if_unclosed  # a client in memory loses nothing

    if TYPE_CHECKING:

        def start(self, start_wait: float | None = None) -> Coroutine[Any, Any, object]: ...

    # -- life cycle

    async def aclose(self, timeout: float | None = None) -> None:
        """Closes everything within ``timeout`` seconds, by default ``close_timeout`` of the options. Idempotent.

        Evaluations in memory continue to work afterwards, on the newest data. Those that a server makes return the default.

        Raises:
            LifecycleError: the client runs on another event loop.
            ConfigError: ``timeout`` is not a number of seconds. Earlier failures of the client raise nothing here.
        """
        await self._core.lifecycle.aclose(timeout)

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
        return self._core.cell.newest.status

    @property
    def report(self) -> StatusReport:
        """The newest report: the status, the state of the sources, since when, and the errors."""
        return self._core.cell.newest

    def reports(self) -> LatestIterator[StatusReport]:
        """``async for report in client.reports()``: the newest report, then each newer one.

        A slow reader skips reports, but never the last one. Ends when the client has closed.
        """
        return LatestIterator(self._core.cell.reports, self._core.lifecycle.check_loop)

    async def wait_ready(self, timeout: float | None = None) -> None:
        """Waits until the status is ``READY``, at most ``timeout`` seconds; without a limit by default.

        A :class:`MobileClient` whose key is refused has no source left, but goes on waiting, since another context or connection
        mode starts its sources again: give it a ``timeout``.

        Raises:
            NotReadyError: ``timeout`` is over, no source is left, or the client is closed.
            LifecycleError: the client was not started, or was started on another event loop.
            ConfigError: ``timeout`` is not a number of seconds.
        """
        await self._core.lifecycle.wait_ready(timeout)

    async def wait_until(self, status: Status | Callable[[StatusReport], bool], timeout: float | None = None) -> StatusReport:
        """Waits until the client has this status, or a report for which the function returns true. Returns the report.

        A status that lasts so briefly that this task does not run before it ends may be missed.

        Raises:
            NotReadyError: ``timeout`` seconds are over, or the client is closed.
            LifecycleError: the client was not started, or was started on another event loop.
            ConfigError: ``status`` is neither a status nor a function, or ``timeout`` is not a number of seconds.
        """
        if callable(status):
            return await self._core.lifecycle.wait_until(status, timeout)
        wanted = require("status", status, Status)
        return await self._core.lifecycle.wait_until(lambda report: report.status is wanted, timeout)

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
        cell = self._core.cell
        return cell.observers.handle(_callable(handler), lambda _: StatusEntries(cell, wanted), inline=inline)

    # -- events

    def events(self) -> EventIterator:
        """``async for event in client.events()``: every event from this call on, in order.

        Also a context manager that deregisters (``with`` or ``async with``). A reader that is more than 1000 events behind loses
        some: neighbouring changes of flags are merged, and :attr:`Event.missed` counts what was dropped. Ends when the client has
        closed.
        """
        return EventIterator(self._core.cell.observers, self._core.lifecycle.check_loop)

    def on_event(self, kind: EventKind | None, handler: Handler[Event], *, inline: bool = False) -> Subscription:
        """Calls ``handler(event)`` for every event of that kind from now on, or of every kind for ``None``. From any thread.

        As :meth:`on_status`, except that each event has its own run, in order.

        Raises:
            ConfigError: ``kind`` is not a kind of event, or ``handler`` cannot be called.
        """
        wanted = None if kind is None else require("kind", kind, EventKind)
        observers, check_loop = self._core.cell.observers, self._core.lifecycle.check_loop

        def read(name: str) -> EventIterator:
            return EventIterator(observers, check_loop, wanted, name=name)

        return observers.handle(_callable(handler), read, inline=inline)

    # -- hooks

    def add_hook(self, hook: Hook) -> None:
        """Adds a hook after those that are registered, for calls from now on. From any thread. It cannot be removed.

        Raises:
            ConfigError: ``hook`` is not a :class:`Hook`.
        """
        self._core.update_fast_path(hooks=[require("hook", hook, Hook)])

    # -- analytics events

    def flush(self) -> None:
        """Requests that the events recorded so far are sent now. From any thread, without a wait.

        The event loop sends them afterwards: at the end of a program use :meth:`flush_and_wait`, or close the client.
        """
        if self._core.outbox is not None:
            self._core.cell.warn_of_fork()
            self._core.outbox.flush()

    async def flush_and_wait(self, timeout: float | None = None) -> bool:
        """Sends the events recorded so far, and waits for the end, at most ``timeout`` seconds; without a limit by default.

        Returns:
            Whether each of them has been sent or dropped in time. :attr:`stats` counts those that were dropped.

        Raises:
            LifecycleError: the client runs on another event loop.
            ConfigError: ``timeout`` is not a number of seconds.
        """
        time_limit("timeout", timeout)
        self._core.lifecycle.check_loop()
        if self._core.outbox is None:
            return True
        self._core.cell.warn_of_fork()
        return await self._core.outbox.flush_and_wait(timeout)

    @property
    def stats(self) -> Stats:
        """How many events were recorded, sent and dropped, and how many are pending."""
        return self._core.recorder.stats

    # -- data

    @property
    def is_initialized(self) -> bool:
        """Whether evaluations have data. Stays true through outages and after closing."""
        return self._core.holder.snapshot.has_data

    @property
    def environment_id(self) -> str | None:
        """The id of the flags' environment, which LaunchDarkly sends with the data; ``None`` before that, and for flagd."""
        return self._core.cell.environment_id

    @property
    def data_age(self) -> float | None:
        """How many seconds ago the service sent newer flag data; ``None`` if it has not yet, or if that is unknown.

        It grows as long as no flag changes. :attr:`status` shows whether updates may be missing. Stores do not know how old their
        data are; a device knows it of the flags that it kept.
        """
        return self._core.cell.data_age

    @property
    def rejected_payloads(self) -> int:
        """How many payloads of flag data were rejected, because they could not be read or were larger than the limit.

        Counted since the client was made, or since the process was forked. A rejected payload changes no flag;
        ``status.last_error`` has the reason.
        """
        return self._core.cell.rejected_payloads

    def _changes_of_flags(self) -> FlagChanges:
        return FlagChanges(self._core.cell.observers, self._core.lifecycle.check_loop)

    def _changes_of_value(self, key: str, subject: Callable[[Snapshot], Context | None]) -> ValueChanges:
        """The changes of a value for the context that ``subject`` returns for a snapshot; ``None`` counts as no value."""
        core = self._core

        def value(snapshot: Snapshot) -> Any:
            context = subject(snapshot)
            return None if context is None else core.evaluator.value(snapshot, key, context)

        return ValueChanges(core.cell.observers, core.lifecycle.check_loop, key, value, lambda: core.holder.snapshot)

    def __repr__(self) -> str:
        report = self._core.cell.newest
        return f"<{type(self).__name__} {report.status.value}, source {report.source_state.value}>"

    def __del__(self, _warn: Callable[..., None] = warnings.warn) -> None:
        # A default argument: while the interpreter exits it clears its modules.
        core: Core | None = getattr(self, "_core", None)  # missing if the constructor raised
        if core is None or not core.lifecycle.is_open:
            return
        core.lifecycle.abandon(warns=self._warns_if_unclosed)
        if self._warns_if_unclosed:
            _warn(f"unclosed client {self!r}: await aclose(), or use async with", ResourceWarning, source=self)


def _callable(handler: T) -> T:
    if not callable(handler):
        raise ConfigTypeError(f"handler: expected a function, got {class_name(handler)}")
    return handler
