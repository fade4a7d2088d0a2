"""RunSink: what one run of sources reports to. It passes nothing on when other sources, or another context, have taken their place.

Source: ``client-side.md`` 4.5 and 4.9, I-10.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from aioflags.client_core.status import StatusCell
from aioflags.mobile.activation import Activation
from aioflags.mobile.modes import OfflineReason
from aioflags.model.change import ChangeSet
from aioflags.model.source_state import ErrorInfo, SourceState
from aioflags.supervisor.update_log import NO_FDV1_FALLBACK

if TYPE_CHECKING:
    from aioflags.evaluation.snapshot import Snapshot
    from aioflags.runtime.async_lock import ForkSafeAsyncLock

__all__ = ["RunSink"]

_OFFLINE_STATES: Final[Mapping[OfflineReason | None, SourceState]] = {
    OfflineReason.SET_OFFLINE: SourceState.SET_OFFLINE,
    OfflineReason.NETWORK_UNAVAILABLE: SourceState.NETWORK_UNAVAILABLE,
    OfflineReason.BACKGROUND_DISABLED: SourceState.BACKGROUND_DISABLED,
    None: SourceState.VALID,
}


class RunSink:
    """An :class:`~aioflags.supervisor.update_sink.UpdateSink` for one run of a :class:`Supervisor`.

    Args:
        cell: The client's status, to which the reports go.
        activation: Ended when the flags of the context are there, or cannot be had.
        offline_reason: Why no source is to run, if that is so.
        is_halted: The client has left FDv2, and has no FDv1 source.
    """

    def __init__(
        self, cell: StatusCell, activation: Activation, offline_reason: OfflineReason | None, *, is_halted: bool = False
    ) -> None:
        self._cell = cell
        self._activation = activation
        self._offline_reason = offline_reason
        self._is_halted = is_halted
        self._state: SourceState | None = None
        self.last_error: ErrorInfo | None = None
        """The newest error of these sources."""
        self.is_current: bool = True
        """Whether these sources are those of now."""

    def set_offline_reason(self, reason: OfflineReason | None) -> None:
        """No source is to run for another reason than before."""
        self._offline_reason = reason
        if self._state is SourceState.VALID:
            self._cell.report(_OFFLINE_STATES[reason])

    @property
    def snapshot(self) -> Snapshot:
        """The newest published snapshot."""
        return self._cell.snapshot

    @property
    def publishing(self) -> ForkSafeAsyncLock:
        """Held while the next snapshot is made."""
        return self._cell.publishing

    @property
    def is_followed(self) -> bool:
        """Whether an observer follows the changes of flags."""
        return self._cell.is_followed

    def report(
        self,
        state: SourceState | None,
        *,
        error: ErrorInfo | None = None,
        snapshot: Snapshot | None = None,
        change_set: ChangeSet | None = None,
        next_attempt: float | None = None,
    ) -> None:
        """As :meth:`UpdateSink.report <aioflags.supervisor.update_sink.UpdateSink.report>`."""
        if not self.is_current:
            return
        self._state = state or self._state
        self.last_error = error or self.last_error
        shown = _OFFLINE_STATES[self._offline_reason] if state is SourceState.VALID else state
        self._cell.report(shown, error=error, snapshot=snapshot, change_set=change_set, next_attempt=next_attempt)
        if state is SourceState.VALID:
            self._activation.fresh()
        elif snapshot is not None:
            self._activation.cached()

    def set_environment(self, environment_id: str) -> None:
        """A source reported the environment of the data."""
        if self.is_current:
            self._cell.set_environment(environment_id)

    def set_source(self, source: str, since: float | None) -> None:
        """The data of the next report come from the source of that name. The service sent them at ``since``."""
        if self.is_current:
            self._cell.set_source(source, since)

    def count_rejection(self) -> None:
        """A source brought a payload that was rejected."""
        if self.is_current:
            self._cell.count_rejection()

    def mark_ready(self) -> None:
        """There are data, or none will come."""
        if self.is_current:
            without_error = NO_FDV1_FALLBACK if self._is_halted else "no source has the flags"
            self._activation.failed(without_error if self.last_error is None else str(self.last_error))
