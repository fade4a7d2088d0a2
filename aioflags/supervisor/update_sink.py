"""UpdateSink: how this floor tells the one above what happened. What that means for the public status is decided there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from aioflags.model.change import ChangeSet
from aioflags.model.result import ErrorInfo, SourceState

if TYPE_CHECKING:
    from aioflags.evaluation.snapshot import Snapshot

__all__ = ["UpdateSink"]


class UpdateSink(Protocol):
    """What the supervisor and the stand-in report. Every call returns at once, and is made on the client's event loop."""

    @property
    def is_followed(self) -> bool:
        """Whether anybody will be told which flags new data affect."""
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
        """One step: ``snapshot`` is to be published, if there is one, then the state changes.

        ``state`` is ``None`` for data that change no state; ``change_set`` is what made the snapshot of the one before.
        ``next_attempt``: with ``OFF``, when the sources start again, in Unix seconds; without it ``OFF`` is the last state.
        """
        ...

    def set_environment(self, environment_id: str) -> None:
        """A source learned which environment the data belong to."""
        ...

    def set_source(self, source: str) -> None:
        """The data that are reported next come from the source of that name."""
        ...

    def mark_ready(self) -> None:
        """Whoever waits for data may wake: they are there, or none are to come. Called once, after the state was reported."""
        ...
