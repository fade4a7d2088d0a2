"""Condition: all that the status of a client depends on, and the pure functions that derive the status.

A :class:`Fact` changes the condition; :func:`derive` gives the status of a condition, and :func:`event_kinds` the events of a
change. ``tests/support/transitions.py`` lists the statuses that may follow each status and fact; the tests check every step against
it.

Source: ``openfeature.md`` 4.12; ``flagd.md`` 3.2; ``data-system.md`` 5.8.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec.structs import replace

from aioflags.model.detail import NO_METADATA
from aioflags.model.status import (
    ErrorCode,
    ErrorInfo,
    Event,
    EventKind,
    FailureKind,
    SourceState,
    Status,
    StatusError,
    StatusReport,
)
from aioflags.runtime.logs import as_seconds

if TYPE_CHECKING:
    from aioflags.evaluation.snapshot import Snapshot
    from aioflags.model.change import ChangeSet


class FactKind(StrEnum):
    """What a source, a timer or the life cycle can report."""

    DATA = "data stored"
    """A source brought data, or confirmed them."""
    CACHED = "cached data"
    """A store brought data that no source has confirmed."""
    OVERRIDES = "new overrides"
    """Local overrides changed. They do not count as data, and the status stays."""
    INTERRUPTED = "stream ended"
    """The stream ended, an attempt failed, or a payload cannot be used."""
    GRACE_OVER = "grace over"
    START_LIMIT = "start limit"
    FATAL = "fatal code"
    """No attempt with this configuration can succeed."""
    OFF = "no source left"
    FAILED = "internal error"
    """A bug ended the updates."""
    RECONCILE = "reconcile begins"
    RECONCILED = "reconcile ends"
    RECONCILE_FAILED = "reconcile fails"
    CLOSED = "closed"
    RESTARTED = "restarted"
    """A start after a close, or the child of a fork."""


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """One fact.

    ``state`` belongs to ``DATA``: ``VALID``, or why no source is to run. ``next_attempt`` belongs to ``OFF``: when sources start
    again, in Unix seconds. ``number`` belongs to a reconciling, and to
    the outage for ``GRACE_OVER``. ``replaced``: the data that ``snapshot`` has replaced, if it is published already.
    """

    kind: FactKind
    state: SourceState = SourceState.VALID
    error: ErrorInfo | None = None
    snapshot: Snapshot | None = None
    change_set: ChangeSet | None = None
    replaced: Snapshot | None = None
    next_attempt: float | None = None
    number: int = 0


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """What is known about a client.

    ``revives``: sources that are ``OFF`` can start again at any time, as on a mobile client. ``grace``: how many seconds an outage
    may last before it is an error; ``None``: without limit. ``outages`` counts the outages. ``calls`` has the numbers of the
    reconciling calls that run, and ``newest_call`` is the one that started last. ``server_evaluates``: the data of the sources are
    only reports of a server that evaluates.
    """

    source: SourceState = SourceState.INITIALIZING
    has_data: bool = False
    next_attempt: float | None = None
    start_limit_passed: bool = False
    has_connected: bool = False
    """A source was valid since the start, or the service answered with an error or with invalid data."""
    is_unusable: bool = False
    """A payload came that cannot be used, and none after it that can."""
    grace: float | None = None
    is_out: bool = False
    """The source was valid, and is interrupted since."""
    outages: int = 0
    grace_over: bool = False
    is_fatal: bool = False
    """Stays set: a restart does not revive a client."""
    revives: bool = False
    server_evaluates: bool = False
    calls: frozenset[int] = frozenset()
    newest_call: int = 0
    newest_call_failed: bool = False
    is_reconciling: bool = False
    reconcile_failed: bool = False
    """The last reconciling failed, and no data came since."""
    is_closed: bool = False

    @property
    def is_final(self) -> bool:
        """Whether all sources ended and will not start again."""
        return self.source is SourceState.OFF and self.next_attempt is None and not self.revives


def derive(condition: Condition) -> Status:
    """The status of a condition. Without ``grace`` an interruption stays ``STALE``, as in LaunchDarkly's SDKs."""
    if condition.is_closed:
        return Status.NOT_READY
    if condition.is_fatal:
        return Status.FATAL
    if condition.is_reconciling:
        return Status.RECONCILING
    match condition.source:
        case SourceState.OFF:
            return Status.ERROR if condition.has_data or condition.revives else Status.FATAL
        case _ if condition.reconcile_failed:
            return Status.ERROR
        case source if source.is_valid:
            return Status.READY
        case source if condition.has_data:
            # Before its first contact, a client whose outages have a grace has data only in the child of a fork: the parent's.
            is_late = source is SourceState.INITIALIZING and condition.start_limit_passed and condition.grace is not None
            return Status.ERROR if condition.grace_over or is_late else Status.STALE
        case _:
            return Status.ERROR if condition.start_limit_passed else Status.NOT_READY


# -- from fact to fact

_WITHOUT_DATA: Final = frozenset({FactKind.RECONCILE, FactKind.RECONCILED, FactKind.RECONCILE_FAILED, FactKind.OVERRIDES})
"""The facts that do not change whether there are data of a source or a store."""
_ANSWERS: Final = frozenset({FailureKind.ERROR_RESPONSE, FailureKind.INVALID_DATA})
_ALWAYS: Final = frozenset({FactKind.CLOSED, FactKind.RESTARTED})
_AFTER_THE_END: Final = _ALWAYS | {
    FactKind.CACHED,
    FactKind.OVERRIDES,
    FactKind.START_LIMIT,
    FactKind.FATAL,
    FactKind.FAILED,
}
"""The facts that count when no source is left: a store may still be read, and overrides may be needed most then."""


def advance(condition: Condition, fact: Fact, *, has_data: bool) -> Condition | None:
    """The condition after ``fact``; ``None`` if the fact is ignored. ``has_data``: whether there are data after the fact."""
    kind = fact.kind
    if condition.is_closed and kind is not FactKind.RESTARTED:
        return None
    if kind not in _ALWAYS and (condition.is_fatal or (condition.is_final and kind not in _AFTER_THE_END)):
        return None
    if has_data is not condition.has_data and kind not in _WITHOUT_DATA:
        condition = replace(condition, has_data=has_data)
    if fact.error is not None and fact.error.kind in _ANSWERS and not condition.has_connected:
        condition = replace(condition, has_connected=True)
    return _STEPS[kind](condition, fact)


def _data(condition: Condition, fact: Fact) -> Condition:
    if condition.source is fact.state and not (condition.reconcile_failed or condition.is_unusable):
        return condition
    return replace(
        condition,
        source=fact.state,
        has_connected=condition.has_connected or fact.state is SourceState.VALID,
        next_attempt=None,
        is_unusable=False,
        is_out=False,
        grace_over=False,
        reconcile_failed=False,
    )


def _interrupted(condition: Condition, fact: Fact) -> Condition:
    is_unusable = condition.is_unusable or (fact.error is not None and fact.error.kind is FailureKind.INVALID_DATA)
    if condition.source is SourceState.INITIALIZING:
        # A failure before the first success is not an interruption.
        return replace(condition, is_unusable=is_unusable, next_attempt=fact.next_attempt)
    is_new = condition.source.is_valid
    return replace(
        condition,
        source=SourceState.INTERRUPTED,
        next_attempt=fact.next_attempt,
        is_unusable=is_unusable,
        is_out=condition.is_out or is_new,
        outages=condition.outages + is_new,
        grace_over=condition.grace_over or (is_new and condition.grace is not None and condition.grace <= 0),
    )


def _off(condition: Condition, fact: Fact) -> Condition:
    # The start is decided. If sources start again later, no start waits for them.
    return replace(
        condition, source=SourceState.OFF, next_attempt=fact.next_attempt, start_limit_passed=True, is_out=False, grace_over=False
    )


def _reconcile(condition: Condition, fact: Fact) -> Condition:
    # A client without data has nothing to serve until then: its start goes on.
    is_reconciling = condition.is_reconciling or derive(condition) not in {Status.NOT_READY, Status.FATAL}
    return replace(
        condition,
        calls=condition.calls | {fact.number},
        newest_call=fact.number,
        newest_call_failed=False,
        is_reconciling=is_reconciling,
    )


def _reconciled(condition: Condition, fact: Fact) -> Condition:
    if fact.number not in condition.calls:
        return condition
    if fact.number == condition.newest_call:
        condition = replace(condition, newest_call_failed=fact.kind is FactKind.RECONCILE_FAILED)
    calls = condition.calls - {fact.number}
    if calls or not condition.is_reconciling:
        return replace(condition, calls=calls)
    return replace(condition, calls=calls, is_reconciling=False, reconcile_failed=condition.newest_call_failed)


def _restarted(condition: Condition, fact: Fact) -> Condition:  # noqa: ARG001 -- as the other steps
    # Without the data: the new start does not confirm the older ones.
    return Condition(
        grace=condition.grace,
        outages=condition.outages,
        is_fatal=condition.is_fatal,
        revives=condition.revives,
        server_evaluates=condition.server_evaluates,
    )


_STEPS: Final[Mapping[FactKind, Callable[[Condition, Fact], Condition]]] = {
    FactKind.DATA: _data,
    FactKind.CACHED: lambda condition, fact: condition,  # noqa: ARG005 -- as the other steps
    FactKind.OVERRIDES: lambda condition, fact: condition,  # noqa: ARG005 -- as the other steps
    FactKind.INTERRUPTED: _interrupted,
    FactKind.GRACE_OVER: lambda condition, fact: replace(
        condition, grace_over=condition.grace_over or (condition.is_out and fact.number == condition.outages)
    ),
    FactKind.START_LIMIT: lambda condition, fact: replace(condition, start_limit_passed=True),  # noqa: ARG005 -- as the other steps
    FactKind.FATAL: lambda condition, fact: replace(_off(condition, fact), is_fatal=True),
    FactKind.OFF: _off,
    FactKind.FAILED: _off,
    FactKind.RECONCILE: _reconcile,
    FactKind.RECONCILED: _reconciled,
    FactKind.RECONCILE_FAILED: _reconciled,
    FactKind.CLOSED: lambda condition, fact: replace(_off(condition, fact), is_closed=True),
    FactKind.RESTARTED: _restarted,
}


# -- the events of a step, and why a status begins
# Source: ``openfeature.md`` 4.12; ``flagd.md`` 3.2 and 3.8.


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
"""Seconds. An outage without grace is an error at once: its duration would be the time of a function call."""


def event_kinds(before: Status, after: Status, condition: Condition, *, has_changes: bool) -> tuple[EventKind, ...]:
    """The events of a step, in order. ``condition`` is that after the step.

    ``has_changes``: the step published data that differ, or may differ. The first data are announced by ``READY`` or ``STALE``
    alone, and the data of a reconciling by ``CONTEXT_CHANGED``.
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


def changed_fields(
    newest: StatusReport, fact: Fact, condition: Condition, status: Status, *, loop_now: float, wall_now: float, seconds: float
) -> dict[str, Any]:
    """The fields of the report, without ``seq``, that a step changes. ``condition`` and ``status`` are those after the step.

    ``seconds`` passed since the client had contact to its source.
    """
    is_new_life = fact.kind is FactKind.RESTARTED
    is_new_status = status is not newest.status or fact.kind is FactKind.CLOSED or is_new_life
    last_error = None if is_new_life and not condition.is_fatal else fact.error or newest.last_error
    changes: dict[str, Any] = {}
    if is_new_status:
        changes |= {"status": status, "since": loop_now}
    # A start can time out before its first failure, which is then the reason of the error.
    if is_new_status or (newest.error is not None and newest.last_error is None and last_error is not None):
        changes["error"] = status_error(condition, status, last_error, seconds)
    if condition.source is not newest.source_state or is_new_life:
        changes |= {"source_state": condition.source, "source_since": wall_now}
    if fact.error is not None or is_new_life:
        changes["last_error"] = last_error
    if condition.next_attempt != newest.next_attempt:
        changes["next_attempt"] = condition.next_attempt
    return changes


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
