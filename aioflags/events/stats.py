"""Stats: how many events were recorded, sent, dropped and are pending, and the log of a full recorder: nothing is lost unnoticed.

Source: ``events.md`` 7, 8, 10 and 12; ``client-surface.md`` 3.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import msgspec

from aioflags.model.defaults import MAX_CONTEXT_SUMMARIES, MAX_UNKNOWN_KEYS
from aioflags.runtime.logs import Once


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """Counts since the client was made, or since the process was forked.

    ``recorded = sent + dropped + pending``. Events are single records; evaluations are those that summaries count, most of which
    have no event. Dropped events are those for which the buffer had no room, which the service did not accept, which happened
    after the service had refused events permanently, and which a close left unsent.

    ``events_reduced``: how many of the recorded events lack the data or the metric value that they were tracked with, because
    JSON cannot represent it or because it is too long. They are sent all the same.
    """

    events_recorded: int = 0
    events_sent: int = 0
    events_dropped: int = 0
    events_pending: int = 0
    events_reduced: int = 0
    evaluations_recorded: int = 0
    evaluations_sent: int = 0
    evaluations_dropped: int = 0
    evaluations_pending: int = 0


class DiagnosticPeriod(msgspec.Struct, frozen=True, kw_only=True):
    """Counts for one periodic diagnostic event.

    ``dropped``: events for which the buffer had no room. ``deduplicated``: inputs whose context was described before.
    ``last_batch``: events in the newest batch.
    """

    dropped: int = 0
    deduplicated: int = 0
    last_batch: int = 0


class EventCounters:
    """The counters behind :class:`Stats` and :class:`DiagnosticPeriod`. The recorder changes them under its lock.

    They are plain attributes, because recording is a hot path.
    """

    __slots__ = (
        "deduplicable",
        "dropped_for_room",
        "evaluations_dropped",
        "evaluations_sent",
        "evaluations_taken",
        "events_dropped",
        "events_recorded",
        "events_reduced",
        "events_sent",
        "last_batch",
        "new_contexts",
    )

    def __init__(self) -> None:
        self.events_recorded: int = 0
        self.events_sent: int = 0
        self.events_dropped: int = 0
        self.events_reduced: int = 0
        self.evaluations_taken: int = 0
        """Evaluations in batches. More may be in the current summary."""
        self.evaluations_sent: int = 0
        self.evaluations_dropped: int = 0
        self.dropped_for_room: int = 0
        self.deduplicable: int = 0
        """Corrects ``deduplicatedUsers``: +1 for an input with a context that is not counted as an evaluation, such as track or
        identify; -1 for an evaluation whose context is not indexed."""
        self.new_contexts: int = 0
        self.last_batch: int = 0

    def stats(self, in_summary: int) -> Stats:
        """The counts so far, with ``in_summary`` evaluations in the current summary."""
        evaluations = self.evaluations_taken + in_summary
        return Stats(
            events_recorded=self.events_recorded,
            events_sent=self.events_sent,
            events_dropped=self.events_dropped,
            events_pending=self.events_recorded - self.events_sent - self.events_dropped,
            events_reduced=self.events_reduced,
            evaluations_recorded=evaluations,
            evaluations_sent=self.evaluations_sent,
            evaluations_dropped=self.evaluations_dropped,
            evaluations_pending=evaluations - self.evaluations_sent - self.evaluations_dropped,
        )

    def close_period(self, in_summary: int) -> DiagnosticPeriod:
        """End a diagnostic period, with ``in_summary`` evaluations in the current summary. Returns its counts."""
        counted = self.evaluations_taken + in_summary
        period = DiagnosticPeriod(
            dropped=self.dropped_for_room,
            deduplicated=max(counted + self.deduplicable - self.new_contexts, 0),
            last_batch=self.last_batch,
        )
        self.deduplicable = -counted  # these evaluations belong to the period that ends
        self.dropped_for_room = self.new_contexts = self.last_batch = 0
        return period


Limit: TypeAlias = Literal["events", "keys", "contexts"]
"""What a recorder can have too many of: events, unknown flag keys, contexts with a summary."""

_REACHED: Final[Mapping[Limit, str]] = {
    "events": "the event buffer is full (%d events): new events are dropped until the next flush",
    "keys": (
        "the summary has %d unknown flag keys: evaluations of more unknown keys are not counted until the next flush. "
        "Does the program build flag keys?"
    ),
    "contexts": "%d contexts have evaluations to send: evaluations for more contexts are not counted until the next flush",
}


class LimitLog:
    """The limits of one recorder that were reached since the last batch.

    A recorder adds to ``reached`` with its lock, and logs without it, because a log handler may evaluate flags.
    """

    def __init__(self, events_capacity: int, logger: logging.Logger) -> None:
        self._numbers: dict[Limit, int] = {
            "events": events_capacity,
            "keys": MAX_UNKNOWN_KEYS,
            "contexts": MAX_CONTEXT_SUMMARIES,
        }
        self._logger = logger
        self._once = Once()
        self.reached: set[Limit] = set()
        """Read on the path of most evaluations: a set, because a call would take longer."""

    def begin(self) -> None:
        """A batch begins, for which there is room."""
        self.reached.clear()
        self._once.forget("events")

    def warn(self) -> None:
        """Log the limits that were reached: the limit of events once a batch, others once. Never raises."""
        # An exception from a filter of the program's log would make the caller record the evaluation a second time.
        with suppress(Exception):
            for limit, number in self._numbers.items():
                if limit in self.reached and self._once(limit):
                    self._logger.warning(_REACHED[limit], number)
