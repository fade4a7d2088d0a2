"""Summarizer: the summary of the current period, and the counting of those of earlier periods, a few flags at a time.

Source: ``events.md`` 5 and 10.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TypeVar

from aioflags.events.batch import Batch
from aioflags.events.stats import EventCounters
from aioflags.events.summary import Summary
from aioflags.model.event import AnalyticsEvent

__all__ = ["Summarizer"]

T = TypeVar("T")


class Summarizer:
    """The summary of the current period, and summaries of earlier periods that may still grow.

    Callers hold ``lock`` (the recorder's). Iterators and functions that a method returns are used later, without the lock: each
    step takes it for a few flags.
    """

    def __init__(self, lock: AbstractContextManager[object], counters: EventCounters, clock: Callable[[], int]) -> None:
        self._lock = lock
        self._counters = counters
        self._clock = clock
        self.summary: Summary = Summary()
        self.has_undated: bool = False
        """Whether evaluations may have been counted without a date."""
        self._uncounted = [self.summary]
        """Summaries whose evaluations are not in the counters yet: those of batches, and last the current one."""
        self._counted: list[Summary] = []
        """Summaries that are in the counters and may still grow."""

    @property
    def is_empty(self) -> bool:
        """Whether there are no evaluations to report, and no earlier summary can grow."""
        return self.summary.is_empty and not self._counted

    def end_period(self, events: Sequence[AnalyticsEvent]) -> Batch:
        """End the period and begin the next. Returns a batch of the events and the summary. Call it with the lock."""
        at_ms = self._clock()
        summary, self.summary = self.summary, Summary()
        summary.in_use = None
        self.has_undated = False
        self._uncounted.append(self.summary)
        late, self._counted = self._counted, []
        return Batch(events, summary, lambda batch: self._locked(self._count(batch, late, at_ms)))

    def _count(self, batch: Batch, late: Sequence[Summary], at_ms: int) -> Iterator[object]:
        """Count the evaluations of a batch, in steps. Its summary is among the uncounted ones until the last step."""
        summary = batch.summary
        for earlier in late:
            can_grow = earlier.can_grow  # read first: if it is false, the counts that follow are final
            yield from summary.add_late(earlier, at_ms)
            if can_grow:
                self._counted.append(earlier)
        can_grow = summary.can_grow
        for evaluations in summary.take(self._clock):
            batch.evaluations += evaluations
            yield evaluations
        self._counters.evaluations_taken += batch.evaluations
        self._uncounted.remove(summary)
        if can_grow:
            self._counted.append(summary)

    def date_pending(self) -> Iterator[object]:
        """Extend the period until now for evaluations that were counted without a date, in steps. Call it with the lock."""
        self.has_undated = False
        return self._locked(self.summary.date_pending(self._clock))

    def uncounted(self) -> Callable[[], int]:
        """A function that sums up the evaluations that are not in the counters at this moment. Call it with the lock."""
        summaries = list(self._uncounted)
        return lambda: sum(sum(self._locked(summary.totals())) for summary in summaries)

    def _locked(self, steps: Iterator[T]) -> Iterator[T]:
        """The same steps, each with the lock; between two steps the lock is free."""
        while True:
            with self._lock:
                try:
                    result = next(steps)
                except StopIteration:
                    return
            yield result
