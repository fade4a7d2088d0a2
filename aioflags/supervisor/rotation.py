"""Rotation: which synchronizers there are, and which one runs. An immutable value: each verdict leads to another one.

This is where a directive is acted on, and nowhere else.

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
    """A place in the list of synchronizers: the builder of the source, and its back-off, which outlives the runs of the source."""

    builder: SourceBuilder
    retry_state: RetryState = field(default_factory=RetryState)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """The synchronizers that are left, in order.

    ``configured`` is the whole FDv2 list, ``fallback`` the FDv1 synchronizer. Once ``on_fdv1``, the fallback alone is left,
    or nothing. ``failed_runs`` counts runs in a row that ended without a ``VALID``. ``was_refused``: one of the sources that were
    removed was refused by the service, so that a later attempt may succeed.
    """

    configured: tuple[RotationEntry, ...]
    fallback: RotationEntry | None
    left: tuple[RotationEntry, ...]
    index: int = 0
    on_fdv1: bool = False
    failed_runs: int = 0
    was_refused: bool = False

    @classmethod
    def of(cls, synchronizers: tuple[SourceBuilder, ...], fallback: SourceBuilder | None) -> Rotation:
        """The roster that a client starts with."""
        entries = tuple(RotationEntry(builder) for builder in synchronizers)
        return cls(configured=entries, fallback=None if fallback is None else RotationEntry(fallback), left=entries)

    @property
    def current(self) -> RotationEntry | None:
        """The entry of the source that runs now; ``None`` if no source is left."""
        return self.left[self.index] if self.left else None

    @property
    def is_alone(self) -> bool:
        """Whether there is no other source that could take over."""
        return len(self.left) == 1

    @property
    def is_primary(self) -> bool:
        """Whether the current one is the first of those that are left."""
        return self.index == 0

    @property
    def failed_rounds(self) -> int:
        """How many times in a row every source has run without a ``VALID``, when the last of them has just ended; else 0."""
        rounds, rest = divmod(self.failed_runs, max(len(self.left), 1))
        return 0 if rest else rounds

    def after(self, verdict: Verdict, *, was_valid: bool = False, was_refused: bool = False) -> Rotation:
        """The roster after a verdict on the current source.

        ``was_valid``: it was ``VALID`` at some time of its run. ``was_refused``: it ended since the service refused its request.
        """
        match verdict:
            case Verdict.FDV1 if not self.on_fdv1:
                return self._with(() if self.fallback is None else (self.fallback,), on_fdv1=True)
            case Verdict.RECOVER if self.on_fdv1:
                return self._with(self.configured, on_fdv1=False)
            case Verdict.RECOVER:
                return replace(self, index=0, failed_runs=0)
            case Verdict.RETRY if self.on_fdv1:
                return self._with(() if self.fallback is None else (self.fallback,), on_fdv1=True)
            case Verdict.RETRY:
                return self._with(self.configured, on_fdv1=False)
            case Verdict.NEXT if self.left:
                return replace(self, index=(self.index + 1) % len(self.left), failed_runs=0 if was_valid else self.failed_runs + 1)
            case Verdict.REMOVE if self.left:
                left = self.left[: self.index] + self.left[self.index + 1 :]
                return replace(
                    self,
                    left=left,
                    index=self.index if self.index < len(left) else 0,
                    failed_runs=0 if was_valid else self.failed_runs,
                    was_refused=self.was_refused or was_refused,
                )
            case _:
                return self

    def _with(self, left: tuple[RotationEntry, ...], *, on_fdv1: bool) -> Rotation:
        """A fresh start with these sources. What their back-off has come to stays with them."""
        return replace(self, left=left, index=0, on_fdv1=on_fdv1, failed_runs=0, was_refused=False)
