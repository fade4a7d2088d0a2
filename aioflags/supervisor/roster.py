"""Roster: which synchronizers there are, and whose turn it is. An immutable value: each verdict leads to another one.

This is where a directive is acted on, and nowhere else.

Source: ``data-system.md`` 5.5, 6.3 and 6.6; ``architecture.md`` 7.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from aioflags.sources.base import SourceBuilder
from aioflags.supervisor.verdict import Verdict

__all__ = ["Roster"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Roster:
    """The synchronizers that are left, in order.

    ``configured`` is the whole FDv2 list, ``fallback`` the FDv1 synchronizer. Once ``engaged``, the fallback alone is left,
    or nothing.
    """

    configured: tuple[SourceBuilder, ...]
    fallback: SourceBuilder | None
    left: tuple[SourceBuilder, ...]
    index: int = 0
    engaged: bool = False

    @classmethod
    def of(cls, synchronizers: tuple[SourceBuilder, ...], fallback: SourceBuilder | None) -> Roster:
        """The roster that a client starts with."""
        return cls(configured=synchronizers, fallback=fallback, left=synchronizers)

    @property
    def current(self) -> SourceBuilder | None:
        """Whose turn it is; ``None`` if nobody is left."""
        return self.left[self.index] if self.left else None

    @property
    def is_alone(self) -> bool:
        """Whether the current one has nobody to hand over to."""
        return len(self.left) == 1

    @property
    def is_primary(self) -> bool:
        """Whether the current one is the first of those that are left."""
        return self.index == 0

    def after(self, verdict: Verdict) -> Roster:
        """The roster after a verdict on the current source."""
        match verdict:
            case Verdict.FDV1 if not self.engaged:
                return replace(self, left=() if self.fallback is None else (self.fallback,), index=0, engaged=True)
            case Verdict.RECOVER if self.engaged:
                return Roster.of(self.configured, self.fallback)
            case Verdict.RECOVER:
                return replace(self, index=0)
            case Verdict.NEXT if self.left:
                return replace(self, index=(self.index + 1) % len(self.left))
            case Verdict.REMOVE if self.left:
                left = self.left[: self.index] + self.left[self.index + 1 :]
                return replace(self, left=left, index=self.index if self.index < len(left) else 0)
            case _:
                return self
