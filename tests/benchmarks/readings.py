"""Readings, and ratios of them: made within a round, since only neighbours in time ran on the same machine."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["Quantity", "Ratio", "Reading", "Record", "spread"]


@dataclass(frozen=True, slots=True)
class Reading:
    """What one process measured in one round."""

    round: int
    column: str
    measure: str
    value: float


class Quantity(NamedTuple):
    """A measure of a column."""

    column: str
    measure: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """The median of some rounds, and how far they lie apart."""

    median: float
    least: float
    greatest: float


@dataclass(frozen=True, slots=True)
class Record:
    """All readings of a run, and what went wrong: a sentence each."""

    readings: Sequence[Reading]
    failures: Sequence[str] = ()

    def of(self, quantity: Quantity) -> dict[int, float]:
        """The readings of a quantity by round."""
        return {reading.round: reading.value for reading in self.readings if (reading.column, reading.measure) == quantity}

    def ratio(self, ours: Quantity, theirs: Quantity) -> Ratio | None:
        """Ours over theirs, from the rounds that have both; ``None`` if none has."""
        mine, others = self.of(ours), self.of(theirs)
        return spread(mine[number] / others[number] for number in mine.keys() & others.keys() if others[number])

    def typical(self, quantity: Quantity) -> float | None:
        """The median over the rounds; ``None`` if the quantity was not measured."""
        values = self.of(quantity).values()
        return statistics.median(values) if values else None


def spread(values: Iterable[float]) -> Ratio | None:
    """The median of the values, between their least and their greatest; ``None`` for none."""
    found = sorted(values)
    return Ratio(median=statistics.median(found), least=found[0], greatest=found[-1]) if found else None
