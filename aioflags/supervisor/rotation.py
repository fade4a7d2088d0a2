"""Rotation: which synchronizers are left, and which one is current. An immutable value: a verdict leads to another rotation.

``Verdict.FDV1`` leads to the FDv1 fallback alone, or to nothing. The supervisor runs the sources that are left.

Source: ``data-system.md`` 5.5, 5.6, 6.3 and 6.6; ``architecture.md`` 7.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from aioflags.sources.base import SourceBuilder
from aioflags.supervisor.verdict import Verdict
from aioflags.transport.backoff import RetryState

__all__ = ["Rotation", "RotationEntry"]


@dataclass(frozen=True, slots=True, eq=False)
class RotationEntry:
    """One synchronizer: the builder of the source, and its back-off, which outlives the runs of the source."""

    builder: SourceBuilder
    retry_state: RetryState = field(default_factory=RetryState)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """The synchronizers that may run.

    ``configured``: the whole FDv2 list. ``fallback``: the FDv1 synchronizer. ``remaining``: the entries that were not removed, in
    order; with ``on_fdv1`` the fallback alone, or nothing. ``index``: which of them is current. ``failed_runs``: runs in a row that
    ended without a ``VALID``. ``was_refused``: the service refused one of the removed sources, so a later attempt may succeed.
    ``resumed``: the entries that run again when FDv2 is used again; ``None`` for the whole list.
    """

    configured: tuple[RotationEntry, ...]
    fallback: RotationEntry | None
    remaining: tuple[RotationEntry, ...]
    index: int = 0
    on_fdv1: bool = False
    failed_runs: int = 0
    was_refused: bool = False
    resumed: tuple[RotationEntry, ...] | None = None

    @classmethod
    def of(cls, synchronizers: tuple[SourceBuilder, ...], fallback: SourceBuilder | None) -> Rotation:
        """The rotation that a client starts with."""
        entries = tuple(RotationEntry(builder) for builder in synchronizers)
        return cls(configured=entries, fallback=None if fallback is None else RotationEntry(fallback), remaining=entries)

    @property
    def current(self) -> RotationEntry | None:
        """The entry of the source that runs now; ``None`` if no source is left."""
        return self.remaining[self.index] if self.remaining else None

    @property
    def is_alone(self) -> bool:
        """Whether the current source is the only one that is left."""
        return len(self.remaining) == 1

    @property
    def is_primary(self) -> bool:
        """Whether the current source is the first of those that are left."""
        return self.index == 0

    @property
    def active(self) -> tuple[RotationEntry, ...]:
        """The entries that start again after refusals: the FDv2 list, or the FDv1 fallback alone."""
        if not self.on_fdv1:
            return self.configured
        return () if self.fallback is None else (self.fallback,)

    @property
    def failed_rounds(self) -> int:
        """How many times in a row every source has run without a ``VALID``."""
        return self.failed_runs // max(len(self.remaining), 1)

    def after(
        self, verdict: Verdict, *, was_valid: bool = False, was_refused: bool = False, restores_removed: bool = True
    ) -> Rotation:
        """The rotation after a verdict on the current source.

        ``was_valid``: the source was ``VALID`` during its run. ``was_refused``: it ended because the service refused its request.
        ``restores_removed``: see :class:`Policy`.
        """
        match verdict:
            case Verdict.FDV1 if not self.on_fdv1:
                return replace(self._restarted(on_fdv1=True), resumed=None if restores_removed else self.remaining)
            case Verdict.RECOVER if self.on_fdv1:
                resumed = self._restarted(on_fdv1=False)
                return resumed if self.resumed is None else replace(resumed, remaining=self.resumed, resumed=None)
            case Verdict.RECOVER:
                return replace(self, index=0, failed_runs=0)
            case Verdict.RETRY:
                return self._restarted(on_fdv1=self.on_fdv1)
            case Verdict.NEXT if self.remaining:
                failed_runs = 0 if was_valid else self.failed_runs + 1
                return replace(self, index=(self.index + 1) % len(self.remaining), failed_runs=failed_runs)
            case Verdict.REMOVE if self.remaining:
                remaining = self.remaining[: self.index] + self.remaining[self.index + 1 :]
                return replace(
                    self,
                    remaining=remaining,
                    index=self.index if self.index < len(remaining) else 0,
                    failed_runs=0 if was_valid else self.failed_runs,
                    was_refused=self.was_refused or was_refused,
                )
            case _:
                return self

    def _restarted(self, *, on_fdv1: bool) -> Rotation:
        """All sources of one protocol, from the first one. Their back-off is kept."""
        restarted = replace(self, index=0, on_fdv1=on_fdv1, failed_runs=0, was_refused=False)
        return replace(restarted, remaining=restarted.active)
