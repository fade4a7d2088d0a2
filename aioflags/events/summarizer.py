"""Summarizer: the summaries of the current period, the context that came last, and what is sent together.

Source: ``events.md`` 5 and 10; ``client-side.md`` 6.2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Final, TypeVar

import msgspec

from aioflags.events.stats import EventCounters
from aioflags.events.summary import Increments, InUse, Summary
from aioflags.model.context import Context, invalid_context
from aioflags.model.defaults import MAX_CONTEXT_SUMMARIES
from aioflags.model.event import AnalyticsEvent

# -- Batch: the events and the summaries that are sent together.
# Source: ``events.md`` 10.


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


# -- HotContext: the context that was evaluated last, for evaluations that are counted without a lock.
# Source: ``architecture.md`` 6.


class HotContext(msgspec.Struct, eq=False, gc=False):
    """The context that was evaluated last, and the functions that count evaluations for contexts of its kinds.

    An evaluation for exactly this context, with an answer in ``increments``, calls that function and is recorded. ``kind`` is
    the kind of the context if it is a single user that events describe, otherwise ``None``. With a ``kind``, ``context`` may be
    replaced by another context of that kind that was already described. ``summary`` is where the functions count; it is ``None``
    if evaluations for the context are not counted.
    """

    context: Context
    increments: Increments
    kind: str | None = None
    in_use: InUse | None = None
    summary: Summary | None = None


NO_CONTEXT: Final = HotContext(invalid_context("no context was evaluated"), {})
"""Equals no context of an evaluation: every evaluation takes the lock."""


T = TypeVar("T")


class Summarizer:
    """The summary of the current period, which counts all contexts, and summaries of earlier periods that may still grow.

    Callers hold ``lock`` (the recorder's). Iterators and functions that a method returns are used later, without the lock: each
    step takes it for a few flags.
    """

    def __init__(self, lock: AbstractContextManager[object], counters: EventCounters, clock: Callable[[], int]) -> None:
        self._lock = lock
        self._counters = counters
        self._clock = clock
        self.has_undated: bool = False
        """Whether evaluations may have been counted without a date."""
        self._uncounted: list[Summary] = []
        """Summaries whose evaluations are not in the counters yet: those of batches, and those of the current period."""
        self._counted: list[Summary] = []
        """Summaries that are in the counters and may still grow."""
        self._begin_period()

    def _begin_period(self) -> None:
        self._current: dict[Context | None, Summary] = {}
        """The summaries of the current period by their context."""
        self._summary = self._add(None)

    def _add(self, context: Context | None) -> Summary:
        # `setdefault`: a signal handler may have added the same context.
        new = Summary(context)
        summary = self._current.setdefault(context, new)
        if summary is new:
            self._uncounted.append(summary)
        return summary

    def summary_for(self, context: Context) -> Summary | None:  # noqa: ARG002 -- subclasses read it
        """Where evaluations for a context are counted in this period; ``None`` if they are not counted."""
        return self._summary

    @property
    def is_empty(self) -> bool:
        """Whether there are no evaluations to report, and no earlier summary can grow."""
        return not self._counted and all(summary.is_empty for summary in self._current.values())

    def end_period(self, events: Sequence[AnalyticsEvent]) -> Batch:
        """End the period and begin the next. Returns a batch of the events and the summaries. Call it with the lock."""
        at_ms = self._clock()
        summaries = list(self._current.values())
        self._begin_period()
        for summary in summaries:
            summary.in_use = None
        self.has_undated = False
        late, self._counted = self._counted, []
        return Batch(events, summaries, lambda batch: self._locked(self._count(batch, late, at_ms)))

    def _count(self, batch: Batch, late: Sequence[Summary], at_ms: int) -> Iterator[object]:
        """Count the evaluations of a batch, in steps. A summary of it is among the uncounted ones until its last step."""
        for earlier in late:
            can_grow = earlier.can_grow  # read first: if it is false, the counts that follow are final
            yield from self._summary_in(batch, earlier.context).add_late(earlier, at_ms)
            if can_grow:
                self._counted.append(earlier)
        for summary in batch.summaries:
            can_grow = summary.can_grow
            yield from summary.take(self._clock)
            self._counters.evaluations_taken += summary.evaluations
            self._uncounted.remove(summary)
            if can_grow:
                self._counted.append(summary)

    def _summary_in(self, batch: Batch, context: Context | None) -> Summary:
        """The summary of a context in a batch, added if it is missing."""
        for summary in batch.summaries:
            if summary.context == context:
                return summary
        summary = Summary(context)
        summary.in_use = None
        batch.summaries.append(summary)
        self._uncounted.append(summary)
        return summary

    def date_pending(self) -> Iterator[object]:
        """Extend the period until now for evaluations that were counted without a date, in steps. Call it with the lock."""
        self.has_undated = False
        summaries = list(self._current.values())
        return self._locked(step for summary in summaries for step in summary.date_pending(self._clock))

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


class ContextSummarizer(Summarizer):
    """A :class:`Summarizer` with a summary for each context, by all its attributes: at most ``MAX_CONTEXT_SUMMARIES``."""

    def _begin_period(self) -> None:
        self._current = {}

    def summary_for(self, context: Context) -> Summary | None:
        summary = self._current.get(context)
        if summary is None and len(self._current) < MAX_CONTEXT_SUMMARIES:
            summary = self._add(context)
        return summary
