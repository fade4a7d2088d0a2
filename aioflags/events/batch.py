"""Batch: the events and the summary that are sent together.

Source: ``events.md`` 10.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from aioflags.events.summary import Summary
from aioflags.model.event import AnalyticsEvent

__all__ = ["Batch"]


class Batch:
    """Events in the order in which they happened, and the summary of a period.

    ``summary`` and its number of ``evaluations`` are complete when ``counting`` is exhausted. A step of ``counting`` takes some
    microseconds, on any thread.
    """

    __slots__ = ("counting", "evaluations", "events", "summary")

    def __init__(self, events: Sequence[AnalyticsEvent], summary: Summary, counting: Callable[[Batch], Iterator[object]]) -> None:
        self.events: Sequence[AnalyticsEvent] = events
        self.summary: Summary = summary
        self.evaluations: int = 0
        self.counting: Iterator[object] = counting(self)

    def count(self) -> int:
        """Do the remaining steps of counting at once. Returns the number of evaluations."""
        for _ in self.counting:
            pass
        return self.evaluations
