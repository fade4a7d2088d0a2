"""SnapshotHolder: the one cell that says which snapshot is current."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aioflags.evaluation.snapshot import Snapshot

__all__ = ["SnapshotHolder"]


class SnapshotHolder:
    """Holds the newest snapshot. Any thread may read :attr:`snapshot`: take it once, then use what was taken."""

    __slots__ = ("snapshot",)

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot: Snapshot = snapshot

    def publish(self, snapshot: Snapshot) -> None:
        """From now on evaluations see ``snapshot``."""
        self.snapshot = snapshot
