"""Ledger: what became of everything that was recorded, so that nothing is lost in silence.

Source: ``events.md`` 10 and 12; ``client-surface.md`` 3.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DiagnosticPeriod", "EventCounters", "Stats"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """Counts since the client was made, or since the process was forked.

    What was recorded is sent, dropped, or pending. Events are single records; evaluations are those that summaries count, most
    of which have no event of their own. Dropped is what there was no room for, what the service did not take, what happened after
    the service had refused events for good, and what a close left behind.
    """

    events_recorded: int = 0
    events_sent: int = 0
    events_dropped: int = 0
    events_pending: int = 0
    evaluations_recorded: int = 0
    evaluations_sent: int = 0
    evaluations_dropped: int = 0
    evaluations_pending: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DiagnosticPeriod:
    """What diagnostics want to know of the time between two of their events.

    Events dropped for want of room; inputs whose context was known already; events in the newest batch.
    """

    dropped: int = 0
    deduplicated: int = 0
    last_batch: int = 0


class EventCounters:
    """The counters behind stats and period, for a recorder that has a lock. They are plain, because recording is hot."""

    __slots__ = (
        "deduplicable",
        "dropped_for_room",
        "evaluations_dropped",
        "evaluations_sent",
        "evaluations_taken",
        "events_dropped",
        "events_recorded",
        "events_sent",
        "last_batch",
        "new_contexts",
    )

    def __init__(self) -> None:
        self.events_recorded: int = 0
        self.events_sent: int = 0
        self.events_dropped: int = 0
        self.evaluations_taken: int = 0
        """Those in batches. More may wait in the summary of now."""
        self.evaluations_sent: int = 0
        self.evaluations_dropped: int = 0
        self.dropped_for_room: int = 0
        self.deduplicable: int = 0
        """Inputs that are not counted as evaluations and register a context, less evaluations that register none."""
        self.new_contexts: int = 0
        self.last_batch: int = 0

    def stats(self, waiting: int) -> Stats:
        """What became of everything so far, with ``waiting`` evaluations in the summary of now."""
        evaluations = self.evaluations_taken + waiting
        return Stats(
            events_recorded=self.events_recorded,
            events_sent=self.events_sent,
            events_dropped=self.events_dropped,
            events_pending=self.events_recorded - self.events_sent - self.events_dropped,
            evaluations_recorded=evaluations,
            evaluations_sent=self.evaluations_sent,
            evaluations_dropped=self.evaluations_dropped,
            evaluations_pending=evaluations - self.evaluations_sent - self.evaluations_dropped,
        )

    def close_period(self, waiting: int) -> DiagnosticPeriod:
        """What the period came to that ends now, with ``waiting`` evaluations in the summary of now."""
        counted = self.evaluations_taken + waiting
        period = DiagnosticPeriod(
            dropped=self.dropped_for_room,
            deduplicated=max(counted + self.deduplicable - self.new_contexts, 0),
            last_batch=self.last_batch,
        )
        self.deduplicable = -counted  # those evaluations were part of this period
        self.dropped_for_room = self.new_contexts = self.last_batch = 0
        return period
