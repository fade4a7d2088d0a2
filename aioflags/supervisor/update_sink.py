"""UpdateSink: what the supervisor and the store reader report to, and where they find the current snapshot.

The client's status cell implements it and derives the public status.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from aioflags.model.change import ChangeSet
from aioflags.model.source_state import ErrorInfo, SourceState

if TYPE_CHECKING:
    from aioflags.evaluation.snapshot import Snapshot
    from aioflags.runtime.async_lock import ForkSafeAsyncLock

__all__ = ["UpdateSink"]


class UpdateSink(Protocol):
    """Receives data and states. Every method returns at once, and is called on the client's event loop."""

    @property
    def snapshot(self) -> Snapshot:
        """The newest published snapshot."""
        ...

    @property
    def publishing(self) -> ForkSafeAsyncLock:
        """Held while the next snapshot is made, so that a source and new overrides do not make it at the same time."""
        ...

    @property
    def is_followed(self) -> bool:
        """Whether a listener wants to know which flags new data affect."""
        ...

    def report(
        self,
        state: SourceState | None,
        *,
        error: ErrorInfo | None = None,
        snapshot: Snapshot | None = None,
        change_set: ChangeSet | None = None,
        next_attempt: float | None = None,
    ) -> None:
        """Publish ``snapshot``, if given, then change the state, in one step.

        Args:
            state: ``None`` for data that do not change the state.
            error: Why the state changed.
            snapshot: The new data.
            change_set: The change set that led from the current snapshot to ``snapshot``.
            next_attempt: With ``OFF``: when the sources start again, in Unix seconds. ``OFF`` without it is the last state.
        """
        ...

    def set_environment(self, environment_id: str) -> None:
        """A source reported the environment of the data."""
        ...

    def set_source(self, source: str, since: float | None) -> None:
        """The data of the next :meth:`report` come from the source of that name.

        ``since``: when the service sent them, in Unix seconds; ``None`` if that is unknown, as for data of a store.
        """
        ...

    def count_rejection(self) -> None:
        """A source brought a payload that was rejected. Called before the failure is reported."""
        ...

    def mark_ready(self) -> None:
        """Wake the tasks that wait for data: there are data, or none will come. Called once, after the state was reported."""
        ...
