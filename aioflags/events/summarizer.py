"""Summarizer: evaluations, counted period by period, and counted out a few flags at a time.

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
    """The summary of now, and those of periods that ended and that may still be added to.

    ``lock`` is the recorder's, and who calls has it. What comes of a call, and looks at every counter, is for later and without
    it: steps and sums take the lock for a few flags at a time.
    """

    def __init__(self, lock: AbstractContextManager[object], accounts: EventCounters, clock: Callable[[], int]) -> None:
        self._lock = lock
        self._accounts = accounts
        self._clock = clock
        self.summary: Summary = Summary()
        self.is_behind: bool = False
        """Whether evaluations may have been counted that did not look at the clock."""
        self._uncounted = [self.summary]
        """The summaries whose evaluations the accounts do not have yet: those of batches, and at last the one of now."""
        self._counted: list[Summary] = []
        """Those that are counted, while threads that had their focus in hand may still add to them."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to tell, and will be nothing of what was told already."""
        return self.summary.is_empty and not self._counted

    def end_period(self, events: Sequence[AnalyticsEvent]) -> Batch:
        """These events with the summary of the period that ends now, as another begins. With the lock."""
        at_ms = self._clock()
        summary, self.summary = self.summary, Summary()
        summary.in_use = None
        self.is_behind = False
        self._uncounted.append(self.summary)
        late, self._counted = self._counted, []
        return Batch(events, summary, lambda batch: self._locked(self._count(batch, late, at_ms)))

    def _count(self, batch: Batch, late: Sequence[Summary], at_ms: int) -> Iterator[object]:
        """The steps of counting what a summary has. Until the last of them, who wants to know its evaluations counts as well."""
        summary = batch.summary
        for each in late:
            is_in_hand = each.is_in_hand  # asked first: if it is not, what is found now is all there is
            yield from summary.add_late(each, at_ms)
            if is_in_hand:
                self._counted.append(each)
        is_in_hand = summary.is_in_hand
        for evaluations in summary.take(self._clock):
            batch.evaluations += evaluations
            yield evaluations
        self._accounts.evaluations_taken += batch.evaluations
        self._uncounted.remove(summary)
        if is_in_hand:
            self._counted.append(summary)

    def settle(self) -> Iterator[object]:
        """The steps of dating the evaluations that did not look at the clock: the last of them was just now. With the lock."""
        self.is_behind = False
        return self._locked(self.summary.settle(self._clock))

    def waiting(self) -> Callable[[], int]:
        """What sums up the evaluations that the accounts do not have at this moment. With the lock."""
        summaries = list(self._uncounted)
        return lambda: sum(sum(self._locked(each.totals())) for each in summaries)

    def _locked(self, steps: Iterator[T]) -> Iterator[T]:
        """The same, with the lock in every step and without it in between."""
        while True:
            with self._lock:
                try:
                    found = next(steps)
                except StopIteration:
                    return
            yield found
