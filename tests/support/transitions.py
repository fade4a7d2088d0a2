"""The table of statuses: which ones may follow a status and a fact. The tests check every step against it.

Source: ``openfeature.md`` 4.12; ``flagd.md`` 3.2; ``data-system.md`` 5.8.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

from aioflags.client_core.condition import Condition, Fact, FactKind, derive
from aioflags.client_core.status import StatusCell
from aioflags.model.status import Status

Row: TypeAlias = Status | None
"""A status; ``None``: the client is closed."""

_NOT_READY, _READY, _STALE, _ERROR = Status.NOT_READY, Status.READY, Status.STALE, Status.ERROR
_FATAL, _RECONCILING, _CLOSED = Status.FATAL, Status.RECONCILING, None
_RESTARTED: Final[tuple[Row, ...]] = (_NOT_READY, _FATAL)
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
        FactKind.GRACE_OVER: (_READY,),
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
        FactKind.GRACE_OVER: (_FATAL,),
        FactKind.START_LIMIT: (_FATAL,),
        FactKind.FATAL: (_FATAL,),
        FactKind.OFF: (_FATAL,),
        FactKind.FAILED: (_FATAL,),
        FactKind.RECONCILE: (_FATAL,),
        FactKind.RECONCILED: (_FATAL,),
        FactKind.RECONCILE_FAILED: (_FATAL,),
        FactKind.CLOSED: (_CLOSED,),
        FactKind.RESTARTED: _RESTARTED,
    },
    _CLOSED: {**dict.fromkeys(FactKind, ()), FactKind.RESTARTED: _RESTARTED},
}


def row_of(condition: Condition) -> Row:
    """The row of the table for a condition."""
    return None if condition.is_closed else derive(condition)


class CheckedCell(StatusCell):
    """A status cell that checks each of its steps."""

    def _step(self, fact: Fact) -> None:
        before = self._condition
        super()._step(fact)
        assert self._condition is before or row_of(self._condition) in TABLE[row_of(before)][fact.kind], (before, fact)
        assert self.newest.status is derive(self._condition)
