"""Stats: what became of what a client recorded, for people and for metrics.

Source: ``client-surface.md`` 3; ``events.md`` 10.
"""

from __future__ import annotations

from dataclasses import dataclass

from aioflags.events.ledger import Ledger

__all__ = ["Stats", "stats_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """Counts since the client was made, or since the process was forked.

    What was recorded is sent, dropped, or pending. Events are single records; evaluations are those that summaries count, most
    of which have no event of their own. Dropped is what there was no room for, what the service did not take, and what a close
    left behind.
    """

    events_recorded: int = 0
    events_sent: int = 0
    events_dropped: int = 0
    events_pending: int = 0
    evaluations_recorded: int = 0
    evaluations_sent: int = 0
    evaluations_dropped: int = 0
    evaluations_pending: int = 0


def stats_of(ledger: Ledger) -> Stats:
    """The public view of a recorder's ledger."""
    return Stats(
        events_recorded=ledger.events_recorded,
        events_sent=ledger.events_sent,
        events_dropped=ledger.events_dropped,
        events_pending=ledger.events_pending,
        evaluations_recorded=ledger.evaluations_recorded,
        evaluations_sent=ledger.evaluations_sent,
        evaluations_dropped=ledger.evaluations_dropped,
        evaluations_pending=ledger.evaluations_pending,
    )
