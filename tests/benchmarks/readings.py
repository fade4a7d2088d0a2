"""Readings, and ratios of them. A ratio is of one round, because only processes at about the same time have the same conditions."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple


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
    """The median of some rounds, and their range."""

    median: float
    least: float
    greatest: float


@dataclass(frozen=True, slots=True)
class Record:
    """All readings of a run, and its failures: a sentence each."""

    readings: Sequence[Reading]
    failures: Sequence[str] = ()

    def of(self, quantity: Quantity) -> dict[int, float]:
        """The readings of a quantity by round."""
        return {reading.round: reading.value for reading in self.readings if (reading.column, reading.measure) == quantity}

    def ratio(self, ours: Quantity, theirs: Quantity) -> Ratio | None:
        """Ours divided by theirs, from the rounds that have both; ``None`` if no round has both."""
        mine, others = self.of(ours), self.of(theirs)
        return spread(mine[number] / others[number] for number in mine.keys() & others.keys() if others[number])

    def typical(self, quantity: Quantity) -> float | None:
        """The median over the rounds; ``None`` if the quantity was not measured."""
        values = self.of(quantity).values()
        return statistics.median(values) if values else None


def spread(values: Iterable[float]) -> Ratio | None:
    """The median, least and greatest of the values; ``None`` if there are no values."""
    found = sorted(values)
    return Ratio(median=statistics.median(found), least=found[0], greatest=found[-1]) if found else None
