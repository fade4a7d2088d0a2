"""StateReporter: reports states, errors and data to the :class:`UpdateSink`, and wakes the tasks that wait for the first data.

Source: ``data-system.md`` 5.8.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aioflags.model.change import ChangeSet
from aioflags.model.source_state import ErrorInfo, FailureKind, SourceState
from aioflags.runtime import clock
from aioflags.supervisor.update_sink import UpdateSink
from aioflags.supervisor.verdict import is_ready

if TYPE_CHECKING:
    from aioflags.evaluation.snapshot import Snapshot

__all__ = ["StateReporter"]


class StateReporter:
    """The reports of one supervisor. It remembers the newest state and the newest error."""

    def __init__(self, sink: UpdateSink) -> None:
        self.state: SourceState = SourceState.INITIALIZING
        self.last_error: ErrorInfo | None = None
        """The newest error, also one that was not reported because ``OFF`` follows at once."""
        self._sink = sink
        self._is_ready = False

    def report(
        self,
        state: SourceState | None,
        *,
        error: ErrorInfo | None = None,
        snapshot: Snapshot | None = None,
        change_set: ChangeSet | None = None,
        sources_left: bool = True,
        next_attempt: float | None = None,
    ) -> None:
        """As :meth:`UpdateSink.report`. Wakes the tasks that wait for data once there are data, or no source is left."""
        self._sink.report(state, error=error, snapshot=snapshot, change_set=change_set, next_attempt=next_attempt)
        self.state = state or self.state
        self.last_error = error or self.last_error
        # After the report, so that a task that wakes reads the new state.
        if not self._is_ready and is_ready(state, sources_left=sources_left):
            self._is_ready = True
            self._sink.mark_ready()

    def report_off(self, error: ErrorInfo | None, *, retry_in: float | None) -> None:
        """No source is left. ``retry_in``: seconds until all of them start again; ``None`` if they do not."""
        next_attempt = None if retry_in is None else clock.now() + retry_in
        self.report(SourceState.OFF, error=error, sources_left=False, next_attempt=next_attempt)

    def exhausted(self) -> ErrorInfo:
        """The error of a status without any source left, if none of the sources gave one."""
        return ErrorInfo(kind=FailureKind.UNKNOWN, message="all data sources exhausted", time=clock.now())
