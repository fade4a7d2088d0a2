"""StatusMethods: the methods of every client for its life cycle, its status and its events."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from aioflags.errors import ConfigTypeError
from aioflags.model.status import Status, StatusReport
from aioflags.model.status_event import Event, EventKind
from aioflags.runtime.broadcast import LatestIterator
from aioflags.runtime.logs import class_name
from aioflags.runtime.validation import require

if TYPE_CHECKING:
    from aioflags.client_core.handlers import Handler
    from aioflags.client_core.lifecycle import Lifecycle
    from aioflags.client_core.observers import EventIterator, Subscription
    from aioflags.client_core.status import StatusCell

__all__ = ["StatusMethods"]

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
    def status(self) -> StatusReport:
        """The status of now."""
        return self._cell.newest

    def statuses(self) -> LatestIterator[StatusReport]:
        """``async for report in client.statuses()``: the status of now, then each newer one.

        A slow reader skips statuses, but never the last one. Ends when the client has closed.
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
        return self._cell.observers.on_status(wanted, _callable(handler), inline=inline)

    # -- events

    def events(self) -> EventIterator:
        """``async for event in client.events()``: every event from this call on, in order.

        Also a context manager that deregisters (``with`` or ``async with``). A reader that is more than 1000 events behind loses
        some: neighbouring changes of flags are merged, and :attr:`Event.missed` counts what was dropped. Ends when the client has
        closed.
        """
        return self._cell.observers.events(self._lifecycle.check_loop)

    def on_event(self, kind: EventKind | None, handler: Handler[Event], *, inline: bool = False) -> Subscription:
        """Calls ``handler(event)`` for every event of that kind from now on, or of every kind for ``None``. From any thread.

        As :meth:`on_status`, except that each event has its own run, in order.

        Raises:
            ConfigError: ``kind`` is not a kind of event, or ``handler`` cannot be called.
        """
        wanted = None if kind is None else require("kind", kind, EventKind)
        return self._cell.observers.on_event(wanted, _callable(handler), inline=inline)


def _callable(handler: T) -> T:
    if not callable(handler):
        raise ConfigTypeError(f"handler: expected a function, got {class_name(handler)}")
    return handler
