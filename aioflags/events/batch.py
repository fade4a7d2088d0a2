"""Batch: the events and the summaries that are sent together.

Source: ``events.md`` 10.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from aioflags.events.summary import Summary
from aioflags.model.event import AnalyticsEvent

__all__ = ["Batch"]


class Batch:
    """Events in the order in which they happened, and the summaries of a period: one, or one for each context.

    ``summaries`` and their ``evaluations`` are complete when ``counting`` is exhausted. A step of ``counting`` takes some
    microseconds, on any thread. A summary may be empty.
    """

    __slots__ = ("counting", "events", "summaries")

    def __init__(
        self, events: Sequence[AnalyticsEvent], summaries: list[Summary], counting: Callable[[Batch], Iterator[object]]
    ) -> None:
        self.events: Sequence[AnalyticsEvent] = events
        self.summaries: list[Summary] = summaries
        self.counting: Iterator[object] = counting(self)

    @property
    def evaluations(self) -> int:
        """The evaluations that were counted so far."""
        return sum([summary.evaluations for summary in self.summaries])

    def count(self) -> int:
        """Do the remaining steps of counting at once. Returns the number of evaluations."""
        for _ in self.counting:
            pass
        return self.evaluations
