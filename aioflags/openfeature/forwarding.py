"""EventForwarder: the events of a client on their way to OpenFeature.

OpenFeature's SDK for Python writes ``READY`` when ``initialize`` returns, and ``ERROR`` when it raises, whatever the provider
emitted before. So status events wait until that has happened. An SDK with a marker for providers that report their life cycle
themselves leaves all of that to the provider.

Source: ``openfeature.md`` 6.2.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from openfeature.event import ProviderEvent, ProviderEventDetails
from openfeature.exception import ErrorCode

from aioflags.client_core.parts import loop_of
from aioflags.model.status import Status, StatusReport
from aioflags.model.status_event import Event, EventKind
from aioflags.openfeature.readiness import running_loop
from aioflags.runtime.logs import logger

if TYPE_CHECKING:
    from aioflags.openfeature.wrapped_client import WrappedClient

__all__ = ["LIFECYCLE_MARKER", "EventForwarder", "has_lifecycle_marker"]

LIFECYCLE_MARKER: Final = "emits_lifecycle_events"
"""The attribute by which a provider tells the SDK that it reports its life cycle by events. No SDK for Python has one yet."""

_SETTLED_AFTER: Final = 0.05
"""Seconds after the end of ``initialize`` after which the SDK has written its own status."""
_REPEATED_AFTER: Final = 1.0
"""Seconds after ``initialize`` returned at which a status other than ``READY`` is emitted again: the SDK's thread may be slow."""
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
_STATUS_KINDS: Final = frozenset(_KINDS.values())


def has_lifecycle_marker(sdk_provider: type) -> bool:
    """Whether the SDK's base class of providers has the marker. The only place that knows its name and form."""
    return hasattr(sdk_provider, LIFECYCLE_MARKER)


class EventForwarder:
    """Forwards the events of ``client`` to ``emit``, on the client's event loop and in their order.

    Args:
        client: The client.
        emit: Passes an event to the SDK. From any thread.
        reports_lifecycle: Whether the SDK leaves the life cycle to the provider.
    """

    def __init__(
        self, client: WrappedClient, emit: Callable[[ProviderEvent, ProviderEventDetails], None], *, reports_lifecycle: bool
    ) -> None:
        self._client = client
        self._emit = emit
        self._reports_lifecycle = reports_lifecycle
        self._is_holding = False
        self._held: list[Event] = []
        """The events, other than those of the status, that wait for the end of ``initialize``."""
        self._settled_seq = -1
        """Status events up to this number are outdated."""
        self._timers: list[asyncio.TimerHandle] = []
        self._is_stopped = False
        self._subscription = client.on_event(None, self._forward, inline=True)

    def hold(self) -> None:
        """``initialize`` begins. From any thread."""
        self._is_holding = True

    def release(self, written: Status) -> None:
        """``initialize`` is about to end, and the SDK then writes the status ``written``. From any thread."""
        loop = loop_of(self._client)
        if loop is None or loop.is_closed():
            # No event arrives before the client starts.
            self._settle(None if self._reports_lifecycle else written)
        elif self._reports_lifecycle:
            _run_on(loop, self._settle)
        else:
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(self._settle_later, loop, written)

    def stop(self) -> None:
        """Forwards nothing from now on. From any thread."""
        self._is_stopped = True
        self._subscription.cancel()
        loop = loop_of(self._client)
        if self._timers and loop is not None:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._cancel_timers)

    # -- on the client's event loop

    def _forward(self, event: Event) -> None:
        if event.kind in _STATUS_KINDS:
            if not self._is_holding and event.seq > self._settled_seq:
                self._send(event.kind, event.report, event)
        elif self._is_holding:
            self._held.append(event)
        else:
            self._send(event.kind, event.report, event)

    def _settle_later(self, loop: asyncio.AbstractEventLoop, written: Status) -> None:
        if not self._is_stopped:
            self._timers = [loop.call_later(_SETTLED_AFTER, self._settle, written)]
            if written is Status.READY:
                self._timers.append(loop.call_later(_REPEATED_AFTER, self._correct, written))

    def _settle(self, written: Status | None = None) -> None:
        """Emits what differs from the status that the SDK has ``written``, then forwards events as they come."""
        report = self._client.status
        self._is_holding, self._settled_seq = False, report.seq
        self._correct(written)
        held, self._held = self._held, []
        for event in held:
            self._send(event.kind, event.report, event)

    def _correct(self, written: Status | None) -> None:
        report = self._client.status
        status = report.status
        if written is None or (status is not written and status in _KINDS):
            self._send(_KINDS.get(status, EventKind.ERROR), report)

    def _cancel_timers(self) -> None:
        for timer in self._timers:
            timer.cancel()

    def _send(self, kind: EventKind, report: StatusReport, event: Event | None = None) -> None:
        name = _EVENTS.get(kind)
        if name is None or self._is_stopped:
            return
        try:
            self._emit(name, _details(kind, report, event))
        except Exception:  # noqa: BLE001 - an event that is lost must not end the events after it
            logger.exception("OpenFeature did not take the event %s", name.value)


def _details(kind: EventKind, report: StatusReport, event: Event | None) -> ProviderEventDetails:
    """The details of an event; ``event`` is ``None`` for one that is made from the status alone."""
    keys, metadata, error = None, {}, report.error
    if event is not None:
        message, code = event.message, event.error_code
        keys, metadata = event.flags_changed, dict(event.metadata)
    else:
        message, code = (None, None) if error is None else (error.message, error.code)
    if kind is EventKind.ERROR:
        return ProviderEventDetails(message=message or f"the client is {report.status.value}", error_code=_code(report, code))
    known_code = None if code is None else ErrorCode(code)
    return ProviderEventDetails(None if keys is None else list(keys), message, known_code, metadata)


def _code(report: StatusReport, code: str | None) -> ErrorCode:
    """The code of an error event. The SDK derives ``FATAL`` from it."""
    if report.status is Status.FATAL:
        return ErrorCode.PROVIDER_FATAL
    if report.status is Status.NOT_READY:
        return ErrorCode.PROVIDER_NOT_READY
    return ErrorCode.GENERAL if code is None else ErrorCode(code)


def _run_on(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    """Runs ``function`` on ``loop`` and waits for its end, unless the loop does not run."""
    if loop is running_loop():
        function()
        return
    done = threading.Event()

    def run() -> None:
        try:
            function()
        finally:
            done.set()

    with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
        loop.call_soon_threadsafe(run)
        done.wait(_MAX_HOP)
