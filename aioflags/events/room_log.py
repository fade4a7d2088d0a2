"""RoomLog: logs that a recorder has no room for what it should record.

Source: ``events.md`` 7 and 8.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Literal, TypeAlias

from aioflags.model.defaults import MAX_CONTEXT_SUMMARIES, MAX_UNKNOWN_KEYS
from aioflags.runtime.logs import Once

__all__ = ["Limit", "RoomLog"]

Limit: TypeAlias = Literal["events", "keys", "contexts"]
"""What a recorder can have too many of: events, unknown flag keys, contexts with a summary."""


class RoomLog:
    """The limits of one recorder that were reached since the last batch.

    A recorder notes them with its lock, and logs them without it, because a log handler may evaluate flags.
    """

    def __init__(self, events_capacity: int, logger: logging.Logger) -> None:
        self._events_capacity = events_capacity
        self._logger = logger
        self._once = Once()
        self.reached: set[Limit] = set()
        """Read on the path of most evaluations: a set, because a call would take longer."""

    def note(self, limit: Limit) -> None:
        """A limit was reached."""
        self.reached.add(limit)

    def begin(self) -> None:
        """A batch begins, for which there is room."""
        self.reached.clear()
        self._once.forget("events")

    def warn(self) -> None:
        """Logs the limits that were reached: that of events once a batch, others once. Never raises."""
        # An exception from a filter of the program's log would make the caller record the evaluation a second time.
        with suppress(Exception):
            self._warn()

    def _warn(self) -> None:
        if "events" in self.reached and self._once("events"):
            self._logger.warning(
                "the event buffer is full (%d events): new events are dropped until the next flush", self._events_capacity
            )
        if "keys" in self.reached and self._once("keys"):
            self._logger.warning(
                "the summary has %d unknown flag keys: evaluations of more unknown keys are not counted until the next flush. "
                "Does the program build flag keys?",
                MAX_UNKNOWN_KEYS,
            )
        if "contexts" in self.reached and self._once("contexts"):
            self._logger.warning(
                "%d contexts have evaluations to send: evaluations for more contexts are not counted until the next flush",
                MAX_CONTEXT_SUMMARIES,
            )
