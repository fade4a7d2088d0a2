"""Steps of the status: the events of a step, facts from other threads, and the time of an outage.

The events of a step of the status, and why a status begins: pure functions.

Source: ``openfeature.md`` 4.12; ``flagd.md`` 3.2 and 3.8.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

import anyio

from aioflags.client_core.condition import Condition, Fact
from aioflags.model.detail import NO_METADATA
from aioflags.model.status import ErrorCode, ErrorInfo, Event, EventKind, SourceState, Status, StatusError, StatusReport
from aioflags.runtime.broadcast import Signal
from aioflags.runtime.event_loops import loop_time, running_loop
from aioflags.runtime.logs import as_seconds

if TYPE_CHECKING:
    from aioflags.evaluation.snapshot import Snapshot


# -- PostedFacts: facts of the status on their way from any thread to the client's event loop.
# Source: ``openfeature.md`` 4.8.


class PostedFacts:
    """Calls ``apply`` with each posted fact, on the client's event loop."""

    def __init__(self, apply: Callable[[Fact], object], log: logging.Logger) -> None:
        self._apply = apply
        self._log = log
        self._facts: deque[Fact] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def is_on_loop(self) -> bool:
        """Whether the calling thread may apply facts itself: the client has not started, or its event loop runs here."""
        return self._loop is None or self._loop is running_loop()

    def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """The client starts on ``loop``: applies the facts that were posted before."""
        self._loop = loop
        self._apply_all()

    def reset(self) -> None:
        """Before another start, or in the child of a fork: drops the facts that wait."""
        self._loop = None
        self._facts.clear()

    def post(self, fact: Fact) -> None:
        """Applies ``fact`` on the client's event loop, soon. From any thread: facts are applied in the order of these calls.

        Before the start they wait for it. A fact for a loop that is closed is dropped.
        """
        # First in first out, and the loop is read last: `open` sets it before it applies what waits, so no fact is forgotten.
        self._facts.append(fact)
        if (loop := self._loop) is not None:
            try:
                loop.call_soon_threadsafe(self._apply_all)
            except RuntimeError:
                self._facts.clear()
                self._log.debug("a status fact came after the end of the event loop: %s", fact.kind.value)

    def _apply_all(self) -> None:
        while self._facts:
            self._apply(self._facts.popleft())


# -- OutageTimer: how long the outage of a source has lasted, and when its grace is over.
# Source: ``flagd.md`` 3.6.


class OutageTimer:
    """Follows the outages of one client."""

    def __init__(self) -> None:
        self.began_at: float = 0.0
        """When the newest outage began or ended, on the event loop's clock."""
        self._changed = Signal()

    def reset(self) -> None:
        """Before another start, or in the child of a fork: no task waits any more."""
        self._changed = Signal()

    def update(self, before: Condition, after: Condition) -> None:
        """A step of the status made ``after`` of ``before``."""
        if after.is_out is not before.is_out or after.outages != before.outages:
            self.began_at = loop_time()
            self._changed.send()

    async def run(self, condition: Callable[[], Condition], end_grace: Callable[[int], object]) -> None:
        """Calls ``end_grace`` with the number of each outage that lasts longer than its grace. Runs until it is cancelled.

        ``condition`` returns the newest condition. Without a grace it times nothing.
        """
        grace, ended = condition().grace, 0
        while grace is not None:
            changed, newest = self._changed, condition()
            if not newest.is_out or newest.outages == ended:
                await changed.wait()
                continue
            with anyio.move_on_after(self.began_at + grace - anyio.current_time()):
                await changed.wait()
                continue
            ended = newest.outages
            end_grace(ended)


_ENTRY: Final[Mapping[Status, tuple[EventKind, ...]]] = {
    Status.NOT_READY: (),
    Status.READY: (EventKind.READY,),
    Status.STALE: (EventKind.STALE,),
    Status.ERROR: (EventKind.ERROR,),
    Status.FATAL: (EventKind.ERROR,),
    Status.RECONCILING: (EventKind.RECONCILING,),
}
"""The events of a status that begins."""
_SHORTEST_OUTAGE: Final = 0.1
"""Seconds. An outage without grace is an error at once: its duration would be that of a function call."""


def event_kinds(before: Status, after: Status, condition: Condition, *, has_changes: bool) -> tuple[EventKind, ...]:
    """The events of a step, in order. ``condition`` is that after the step.

    ``has_changes``: the step published data that differ, or may differ. The first data are announced by ``READY`` or ``STALE``
    alone, and those of a reconciling by ``CONTEXT_CHANGED``.
    """
    kinds = () if after is before else _ENTRY[after]
    has_ended = before is Status.RECONCILING and after not in {Status.RECONCILING, Status.NOT_READY}
    if has_ended and not (condition.reconcile_failed or condition.is_fatal):
        # For observers CONTEXT_CHANGED means READY. A client without data and without a source has no event.
        kinds = (EventKind.CONTEXT_CHANGED, *(() if after is Status.READY else kinds))
    if has_changes and before not in {Status.NOT_READY, Status.RECONCILING}:
        kinds = (*kinds, EventKind.CONFIGURATION_CHANGED)
    return () if condition.is_closed else kinds


def status_error(condition: Condition, status: Status, error: ErrorInfo | None, seconds: float) -> StatusError | None:
    """Why ``status`` begins. ``error`` is the newest failure; ``seconds`` passed since the client had contact to its source."""
    message = "" if error is None else str(error)
    match status:
        case Status.FATAL:
            return StatusError(ErrorCode.PROVIDER_FATAL, message or "no source of flag data is left")
        case Status.STALE if condition.is_unusable:
            return StatusError(ErrorCode.PARSE_ERROR, message)
        case Status.ERROR if condition.source is SourceState.OFF or condition.reconcile_failed:
            code = None if error is None else error.code
            return StatusError(code or ErrorCode.GENERAL, message or "no source of flag data is left")
        case Status.ERROR if condition.grace_over:
            code = ErrorCode.PARSE_ERROR if condition.is_unusable and not condition.grace else ErrorCode.GENERAL
            duration = f" for {as_seconds(seconds)}" if seconds >= _SHORTEST_OUTAGE else ""
            return StatusError(code, _joined(f"no contact to the source of flag data{duration}", message))
        case Status.ERROR:
            given = None if error is None else error.code
            code = ErrorCode.PARSE_ERROR if condition.is_unusable else given or ErrorCode.PROVIDER_NOT_READY
            what = "no source has confirmed the flag data" if condition.has_data else "no flag data"
            if condition.server_evaluates:
                what = "no connection"
            return StatusError(code, _joined(f"{what} within the time that a start may take", message))
        case _:
            return None


def _joined(what: str, why: str) -> str:
    return f"{what}: {why}" if why else what


def event_of(kind: EventKind, report: StatusReport, snapshot: Snapshot, keys: frozenset[str] | None) -> Event:
    """An event of the step that published ``report`` and ``snapshot``."""
    metadata = NO_METADATA
    message, flags_changed = None, None
    match kind:
        case EventKind.READY:
            message, metadata = "connected", snapshot.metadata
        case EventKind.CONFIGURATION_CHANGED:
            flags_changed, metadata = None if keys is None else tuple(sorted(keys)), snapshot.metadata
        case EventKind.ERROR | EventKind.STALE if report.error is not None:
            message = report.error.message
        case EventKind.STALE:
            message = "no source has confirmed these flag data" if report.last_error is None else str(report.last_error)
        case _:
            pass
    code = report.error.code if report.error is not None and kind in {EventKind.STALE, EventKind.ERROR} else None
    return Event(
        seq=report.seq,
        kind=kind,
        report=report,
        flags_changed=flags_changed,
        message=message,
        error_code=code,
        metadata=metadata,
    )
