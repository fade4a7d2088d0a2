"""The events of a step of the status, and why a status begins: pure functions.

Source: ``openfeature.md`` 4.12; ``flagd.md`` 3.2 and 3.8.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from aioflags.client_core.condition import Condition
from aioflags.model.metadata import NO_METADATA
from aioflags.model.source_state import ErrorCode, ErrorInfo, SourceState
from aioflags.model.status import Status, StatusError, StatusReport
from aioflags.model.status_event import Event, EventKind
from aioflags.runtime.logs import as_seconds

if TYPE_CHECKING:
    from aioflags.evaluation.snapshot import Snapshot

__all__ = ["event_kinds", "event_of", "status_error"]

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
