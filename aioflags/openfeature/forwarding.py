"""Events of a client on their way to OpenFeature, and how ``initialize`` and ``shutdown`` wait for it.

OpenFeature's SDK for Python writes ``READY`` when ``initialize`` returns, and ``ERROR`` when it raises, whatever the provider
emitted before. So events wait until that has happened. An SDK with a marker for providers that report their life cycle themselves
leaves all of that to the provider: then no event waits.

Source: ``openfeature.md`` 6.2.
"""

# Integrations read `client._core`, and nothing else that is private.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar

from openfeature.event import ProviderEvent, ProviderEventDetails
from openfeature.exception import ErrorCode, ProviderFatalError, ProviderNotReadyError

from aioflags.client_core.condition import event_of
from aioflags.client_core.readers import joined
from aioflags.model.status import Event, EventKind, SourceState, Status, StatusReport
from aioflags.runtime.event_loops import running_loop
from aioflags.runtime.logs import logger

if TYPE_CHECKING:
    from aioflags.client_core.core_client import CoreClient
    from aioflags.openfeature.contexts import ReadStatus


# -- ReadinessWait: how ``initialize`` waits for a client, from any thread; and how a client is closed from any thread.
# Source: ``openfeature.md`` 6.1.


_USABLE: Final = frozenset({Status.READY, Status.STALE})
_CLOSE_LIMIT: Final = 5.0
"""Seconds that another thread waits for the end of a client."""
T = TypeVar("T")

_STEP: Final = 1.0
"""Seconds between two looks at whether the event loop still runs."""
_LATE: Final = 1.0
"""Seconds that a wait in another thread may take longer than its limit on the event loop."""


class ReadinessWait:
    """Waits until ``client`` can evaluate flags.

    Args:
        client: The client.
        limit: How many seconds at most; ``None``: as long as a start of the client waits.
    """

    def __init__(self, client: CoreClient, limit: float | None) -> None:
        self._client = client
        self._limit = limit
        self._pending: concurrent.futures.Future[StatusReport] | None = None

    def __call__(self) -> None:
        """Returns if the client has data, also old ones.

        Raises:
            ProviderFatalError: it cannot get any.
            ProviderNotReadyError: it has none yet.
        """
        loop, report = self._client._core.lifecycle.loop, self._client.report
        if not _is_decided(report):
            if loop is None:
                raise ProviderNotReadyError(
                    "the client is not started: use async with, or await client.start(), before set_provider"
                )
            if loop is running_loop():
                raise ProviderNotReadyError(
                    f"{_described(report)}; on the client's own event loop nothing can wait for it. Await client.wait_ready() "
                    "before set_provider, or go on: the provider becomes ready with the client"
                )
            self._wait(loop)
            report = self._client.report
        if report.status in _USABLE:
            return
        if report.status is Status.FATAL:
            raise ProviderFatalError(f"{_described(report)}; it cannot get any flag data")
        raise ProviderNotReadyError(_described(report))

    def cancel(self) -> None:
        """Ends a call that waits in another thread. It raises."""
        if (pending := self._pending) is not None:
            pending.cancel()

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        limit = self._client._core.lifecycle.start_wait if self._limit is None else self._limit
        if limit <= 0 or not loop.is_running():
            return
        self._pending = pending = asyncio.run_coroutine_threadsafe(self._client.wait_until(_is_decided, limit), loop)
        try:
            result_in_time(pending, loop, limit + _LATE)
        except (TimeoutError, concurrent.futures.CancelledError):  # NotReadyError is a TimeoutError
            pending.cancel()
        finally:
            self._pending = None


def result_in_time(pending: concurrent.futures.Future[T], loop: asyncio.AbstractEventLoop, limit: float) -> T:
    """The result of a coroutine that runs on ``loop``, the loop of another thread.

    Raises:
        TimeoutError: ``limit`` seconds are over, or the loop has stopped. The coroutine is cancelled.
    """
    deadline = time.monotonic() + limit
    while not pending.done():
        concurrent.futures.wait([pending], min(max(deadline - time.monotonic(), 0.0), _STEP))
        if not pending.done() and (time.monotonic() >= deadline or not loop.is_running()):
            pending.cancel()
            raise TimeoutError
    return pending.result()


def close_client(client: CoreClient) -> None:
    """Closes a client from any thread. On its event loop the close begins as a task; another thread waits for its end."""
    loop = client._core.lifecycle.loop
    if loop is None or not loop.is_running():
        return  # it was never started, or its loop has ended
    if loop is running_loop():
        task = loop.create_task(_close(client))
        _CLOSING.add(task)
        task.add_done_callback(_CLOSING.discard)
        return
    try:
        result_in_time(asyncio.run_coroutine_threadsafe(_close(client), loop), loop, _CLOSE_LIMIT)
    except (TimeoutError, concurrent.futures.CancelledError):
        logger.warning("closing the client takes longer than %g s; not waiting for its end", _CLOSE_LIMIT)


_CLOSING: Final[set[asyncio.Task[None]]] = set()
"""Keeps the tasks until they end."""


async def _close(client: CoreClient) -> None:
    try:
        await client.aclose()
    except Exception:  # noqa: BLE001 - OpenFeature would only report it as a failed provider
        logger.exception("OpenFeature: the client could not be closed")


def _is_decided(report: StatusReport) -> bool:
    """Whether there is nothing to wait for."""
    return report.status in _USABLE or report.status is Status.FATAL or report.source_state is SourceState.OFF


def _described(report: StatusReport) -> str:
    """The cause first, if there is one: logs cut long messages."""
    state = f"the client is {report.status.value}, source {report.source_state.value}"
    return f"{report.last_error} ({state})" if report.last_error else state


_SETTLED_AFTER: Final = 0.05
"""Seconds after the end of ``initialize`` after which the SDK has written its own status."""
_CORRECTED_AFTER: Final = 1.0
"""Seconds after ``initialize`` ended at which the SDK's status is compared again: the SDK's thread may be slow."""
_MAX_HOP: Final = 5.0
"""Seconds that another thread waits for the client's event loop at most."""

_EVENTS: Final = {
    EventKind.READY: ProviderEvent.PROVIDER_READY,
    EventKind.STALE: ProviderEvent.PROVIDER_STALE,
    EventKind.ERROR: ProviderEvent.PROVIDER_ERROR,
    EventKind.CONFIGURATION_CHANGED: ProviderEvent.PROVIDER_CONFIGURATION_CHANGED,
    # The SDK does not know RECONCILING, so the end of it is a change of flags.
    EventKind.CONTEXT_CHANGED: ProviderEvent.PROVIDER_CONFIGURATION_CHANGED,
}
_KINDS: Final = {
    Status.READY: EventKind.READY,
    Status.STALE: EventKind.STALE,
    Status.ERROR: EventKind.ERROR,
    Status.FATAL: EventKind.ERROR,
}
_CHANGE_KINDS: Final = frozenset(_EVENTS) - frozenset(_KINDS.values())


class EventForwarder:
    """Forwards the events of ``client`` to ``emit``, on the client's event loop and in their order.

    Without ``reports_lifecycle`` events wait from the beginning until the SDK has written its status. Then the current status is
    emitted, if it is another one, and one change of all flags that changed until then.

    Args:
        client: The client.
        emit: Passes an event to the SDK. From any thread.
        read_status: Reads the status that the SDK shows.
        reports_lifecycle: Whether the SDK leaves the life cycle to the provider.
    """

    def __init__(
        self,
        client: CoreClient,
        emit: Callable[[ProviderEvent, ProviderEventDetails], None],
        read_status: ReadStatus,
        *,
        reports_lifecycle: bool,
    ) -> None:
        self._client = client
        self._emit = emit
        self._read_status = read_status
        self._reports_lifecycle = reports_lifecycle
        self._is_holding = not reports_lifecycle
        self._change: Event | None = None
        """All changes of flags that wait, as one."""
        self._assumed: Status | None = None
        """What the SDK wrote or was sent last, in case its status cannot be read. ``None`` until ``initialize`` ends."""
        self._settled_seq = 0
        """Status events up to this number are outdated."""
        self._timed_on: asyncio.AbstractEventLoop | None = None
        """The event loop that :meth:`_settle` was scheduled on."""
        self._timers: list[asyncio.TimerHandle] = []
        """The timers on that loop."""
        self._is_stopped = False
        self._subscription = client.on_event(None, self._forward, inline=True)

    def release(self, written: Status) -> None:
        """``initialize`` is about to end, and the SDK then writes the status ``written``. From any thread."""
        if self._reports_lifecycle:
            _run_on(self._client._core.lifecycle.loop, self._correct)
            return
        # Before the loop is read: a client that starts at the same time sets its loop before its first event.
        self._assumed = written
        loop = self._client._core.lifecycle.loop
        if loop is None:
            return  # the first event of the start settles
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(self._settle_later)

    def stop(self) -> None:
        """Forwards nothing from now on. From any thread."""
        self._is_stopped = True
        self._subscription.cancel()
        loop = self._timed_on
        if loop is not None and loop is running_loop():
            self._end_timers()
        elif loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed, and its timers with it
                loop.call_soon_threadsafe(self._end_timers)

    # -- on the client's event loop

    def _forward(self, event: Event) -> None:
        is_change = event.kind in _CHANGE_KINDS
        if self._is_holding:
            if is_change:
                self._change = event if self._change is None else joined([self._change, event])
            if self._assumed is not None and self._timed_on is not asyncio.get_running_loop():
                # The client was not started when initialize ended, or its loop has ended since.
                self._settle_later()
        elif is_change or event.seq > self._settled_seq:
            self._send(event)
            if event.kind is EventKind.CONTEXT_CHANGED:
                self._correct()  # the client is ready again, which has no other event

    def _settle_later(self) -> None:
        self._end_timers()  # an event and the end of initialize may both come first
        self._timed_on = loop = asyncio.get_running_loop()
        if not self._is_stopped:  # read after the loop is set: a stop in another thread sees one of the two
            self._timers = [loop.call_later(_SETTLED_AFTER, self._settle), loop.call_later(_CORRECTED_AFTER, self._correct)]

    def _end_timers(self) -> None:
        for timer in self._timers:
            timer.cancel()

    def _settle(self) -> None:
        """Emits what differs from the status that the SDK has written, then forwards events as they come."""
        self._is_holding, self._settled_seq = False, self._client.report.seq
        self._correct()
        change, self._change = self._change, None
        if change is not None:
            self._send(change)

    def _correct(self) -> None:
        """Emits the status of the client if the SDK shows another one."""
        report = self._client.report
        if report.status not in _KINDS and self._assumed is not None:
            return  # closed, or between two contexts: the SDK has no event for that
        shown = None if self._reports_lifecycle else self._read_status()
        if (self._assumed if shown is None else shown) is not report.status:
            # An event of this status that waits for this task to end would be the second one.
            self._settled_seq = report.seq
            kind = _KINDS.get(report.status, EventKind.ERROR)
            self._send(event_of(kind, report, self._client._core.holder.snapshot, None))

    def _send(self, event: Event) -> None:
        name = _EVENTS.get(event.kind)
        if name is None or self._is_stopped:
            return
        if event.kind not in _CHANGE_KINDS:
            self._assumed = event.report.status
        try:
            self._emit(name, _details(event))
        except Exception:  # noqa: BLE001 - an event that is lost must not end the events after it
            logger.exception("OpenFeature did not take the event %s", name.value)


def _details(event: Event) -> ProviderEventDetails:
    code = None if event.error_code is None else ErrorCode(event.error_code)
    if event.kind is EventKind.ERROR:
        # A client that is not ready when initialize ends has no error.
        message = event.message or f"the client is {event.report.status.value}"
        return ProviderEventDetails(message=message, error_code=code or ErrorCode.PROVIDER_NOT_READY)
    keys = None if event.flags_changed is None else list(event.flags_changed)
    return ProviderEventDetails(keys, event.message, code, dict(event.metadata))


def _run_on(loop: asyncio.AbstractEventLoop | None, function: Callable[[], None]) -> None:
    """Runs ``function`` on ``loop`` and waits for its end. Without a loop that runs, it runs in this thread."""
    if loop is None or loop is running_loop() or not loop.is_running():
        function()
        return
    done = threading.Event()

    def run() -> None:
        function()
        done.set()

    with contextlib.suppress(RuntimeError):  # the loop has closed
        loop.call_soon_threadsafe(run)
        done.wait(_MAX_HOP)
