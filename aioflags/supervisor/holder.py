"""SnapshotHolder: refers to the current snapshot."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aioflags.evaluation.snapshot import Snapshot

__all__ = ["SnapshotHolder"]


class SnapshotHolder:
    """Holds the newest snapshot. Any thread may read :attr:`snapshot`: read it once, then use the same snapshot throughout."""

    __slots__ = ("snapshot",)

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot: Snapshot = snapshot

    def publish(self, snapshot: Snapshot) -> None:
        """Evaluations use ``snapshot`` from now on."""
        self.snapshot = snapshot
