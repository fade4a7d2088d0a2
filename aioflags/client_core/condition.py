"""Condition: all that the status of a client depends on, and the pure functions that derive the status.

A :class:`Fact` changes the condition; :func:`derive` gives the status of a condition. :data:`TABLE` lists each pair of status and
fact with the statuses that may follow.

Source: ``openfeature.md`` 4.12; ``flagd.md`` 3.2; ``data-system.md`` 5.8.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec
from msgspec.structs import replace

from aioflags.model.status import ErrorInfo, FailureKind, SourceState, Status

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
    again, in Unix seconds. ``number`` is that of a reconciling, and for
    ``GRACE_OVER`` that of the outage. ``replaced``: the data that ``snapshot`` has replaced, if it is published already.
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


# -- the table

Row: TypeAlias = Status | None
"""A status; ``None``: the client is closed."""

_NOT_READY, _READY, _STALE, _ERROR = Status.NOT_READY, Status.READY, Status.STALE, Status.ERROR
_FATAL, _RECONCILING, _CLOSED = Status.FATAL, Status.RECONCILING, None
_IGNORED: Final[tuple[Row, ...]] = ()
_ANEW: Final[tuple[Row, ...]] = (_NOT_READY, _FATAL)
"""After a restart. A client stays fatal after a fatal code."""

TABLE: Final[Mapping[Row, Mapping[FactKind, tuple[Row, ...]]]] = {
    # Status: fact -> the statuses that may follow; (): the fact is ignored. The same status: the fact is remembered. Where several
    # may follow, the condition decides: whether there are data, whether grace is 0, and whether refused sources start again.
    _NOT_READY: {
        FactKind.DATA: (_READY,),
        FactKind.CACHED: (_STALE, _ERROR),
        FactKind.OVERRIDES: (_NOT_READY,),
        FactKind.INTERRUPTED: (_NOT_READY, _STALE),
        FactKind.GRACE_OVER: (_NOT_READY, _STALE),
        FactKind.START_LIMIT: (_ERROR, _STALE),
        FactKind.FATAL: (_FATAL,),
        FactKind.OFF: (_FATAL, _ERROR),
        FactKind.FAILED: (_FATAL, _ERROR),
        FactKind.RECONCILE: (_NOT_READY,),
        FactKind.RECONCILED: (_NOT_READY,),
        FactKind.RECONCILE_FAILED: (_NOT_READY,),
        FactKind.CLOSED: (_CLOSED,),
        FactKind.RESTARTED: (_NOT_READY,),
    },
    _READY: {
        FactKind.DATA: (_READY,),
        FactKind.CACHED: (_READY,),
        FactKind.OVERRIDES: (_READY,),
        FactKind.INTERRUPTED: (_STALE, _ERROR, _NOT_READY),
        FactKind.GRACE_OVER: _IGNORED,
        FactKind.START_LIMIT: (_READY,),
        FactKind.FATAL: (_FATAL,),
        FactKind.OFF: (_ERROR, _FATAL),
        FactKind.FAILED: (_ERROR, _FATAL),
        FactKind.RECONCILE: (_RECONCILING,),
        FactKind.RECONCILED: (_READY,),
        FactKind.RECONCILE_FAILED: (_READY,),
        FactKind.CLOSED: (_CLOSED,),
        FactKind.RESTARTED: (_NOT_READY,),
    },
    _STALE: {
        FactKind.DATA: (_READY,),
        FactKind.CACHED: (_STALE,),
        FactKind.OVERRIDES: (_STALE,),
        FactKind.INTERRUPTED: (_STALE,),
        # STALE: the data of a store are not an outage.
        FactKind.GRACE_OVER: (_ERROR, _STALE),
        FactKind.START_LIMIT: (_STALE, _ERROR),
        FactKind.FATAL: (_FATAL,),
        FactKind.OFF: (_ERROR,),
        FactKind.FAILED: (_ERROR,),
        FactKind.RECONCILE: (_RECONCILING,),
        FactKind.RECONCILED: (_STALE,),
        FactKind.RECONCILE_FAILED: (_STALE,),
        FactKind.CLOSED: (_CLOSED,),
        FactKind.RESTARTED: (_NOT_READY,),
    },
    _ERROR: {
        FactKind.DATA: (_READY,),
        FactKind.CACHED: (_STALE, _ERROR),
        FactKind.OVERRIDES: (_ERROR,),
        FactKind.INTERRUPTED: (_ERROR, _STALE),
        FactKind.GRACE_OVER: (_ERROR,),
        FactKind.START_LIMIT: (_ERROR,),
        FactKind.FATAL: (_FATAL,),
        FactKind.OFF: (_ERROR, _FATAL),
        FactKind.FAILED: (_ERROR, _FATAL),
        FactKind.RECONCILE: (_RECONCILING,),
        FactKind.RECONCILED: (_ERROR,),
        FactKind.RECONCILE_FAILED: (_ERROR,),
        FactKind.CLOSED: (_CLOSED,),
        FactKind.RESTARTED: (_NOT_READY,),
    },
    _RECONCILING: {
        FactKind.DATA: (_RECONCILING,),
        FactKind.CACHED: (_RECONCILING,),
        FactKind.OVERRIDES: (_RECONCILING,),
        FactKind.INTERRUPTED: (_RECONCILING,),
        FactKind.GRACE_OVER: (_RECONCILING,),
        FactKind.START_LIMIT: (_RECONCILING,),
        FactKind.FATAL: (_FATAL,),
        FactKind.OFF: (_RECONCILING,),
        FactKind.FAILED: (_RECONCILING,),
        FactKind.RECONCILE: (_RECONCILING,),
        # The facts that were remembered count when the last call has ended.
        FactKind.RECONCILED: (_RECONCILING, _READY, _STALE, _ERROR, _FATAL, _NOT_READY),
        FactKind.RECONCILE_FAILED: (_RECONCILING, _READY, _STALE, _ERROR, _FATAL, _NOT_READY),
        FactKind.CLOSED: (_CLOSED,),
        FactKind.RESTARTED: (_NOT_READY,),
    },
    _FATAL: {
        # What may follow other than FATAL needs sources that start again after the service has refused them, or a store.
        FactKind.DATA: (_READY,),
        FactKind.CACHED: (_ERROR,),
        FactKind.OVERRIDES: (_FATAL,),
        FactKind.INTERRUPTED: (_ERROR,),
        FactKind.GRACE_OVER: _IGNORED,
        FactKind.START_LIMIT: (_FATAL,),
        FactKind.FATAL: (_FATAL,),
        FactKind.OFF: (_FATAL,),
        FactKind.FAILED: (_FATAL,),
        FactKind.RECONCILE: _IGNORED,
        FactKind.RECONCILED: _IGNORED,
        FactKind.RECONCILE_FAILED: _IGNORED,
        FactKind.CLOSED: (_CLOSED,),
        FactKind.RESTARTED: _ANEW,
    },
    _CLOSED: {**dict.fromkeys(FactKind, _IGNORED), FactKind.RESTARTED: _ANEW},
}

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


def advance(condition: Condition, row: Row, fact: Fact, *, has_data: bool) -> Condition | None:
    """The condition after ``fact``; ``None`` if the fact is ignored.

    ``row`` is the status of ``condition``, or ``None`` if it is closed. ``has_data``: whether there are data after the fact.
    """
    kind = fact.kind
    if not TABLE[row][kind]:
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
    is_reconciling = condition.is_reconciling or derive(condition) is not Status.NOT_READY
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
    # Without the data: those of before are not confirmed by the new start.
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
    FactKind.START_LIMIT: lambda condition, fact: replace(condition, start_limit_passed=True),  # noqa: ARG005 -- as above
    FactKind.FATAL: lambda condition, fact: replace(_off(condition, fact), is_fatal=True),
    FactKind.OFF: _off,
    FactKind.FAILED: _off,
    FactKind.RECONCILE: _reconcile,
    FactKind.RECONCILED: _reconciled,
    FactKind.RECONCILE_FAILED: _reconciled,
    FactKind.CLOSED: lambda condition, fact: replace(_off(condition, fact), is_closed=True),
    FactKind.RESTARTED: _restarted,
}
