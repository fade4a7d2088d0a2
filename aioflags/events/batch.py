"""Batch: what is sent together.

Source: ``events.md`` 10.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from aioflags.events.summary import Summary
from aioflags.model.event import AnalyticsEvent

__all__ = ["Batch"]


class Batch:
    """Events in the order in which they happened, and the summary of a period.

    ``summary`` and how many ``evaluations`` it tells of are known once ``counting`` has come to its end, of which a step takes
    some microseconds and may take place on any thread.
    """

    __slots__ = ("counting", "evaluations", "events", "summary")

    def __init__(self, events: Sequence[AnalyticsEvent], summary: Summary, counting: Callable[[Batch], Iterator[object]]) -> None:
        self.events: Sequence[AnalyticsEvent] = events
        self.summary: Summary = summary
        self.evaluations: int = 0
        self.counting: Iterator[object] = counting(self)

    def count(self) -> int:
        """Counts at once what is left to count. Answers how many evaluations there are."""
        for _ in self.counting:
            pass
        return self.evaluations
