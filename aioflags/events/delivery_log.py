"""DeliveryLog:

logs that payloads cannot be delivered: once when an outage begins, and once when it ends, with the number of dropped events.

Source: ``events.md`` 11.2, which has two warnings for each payload; here only the first payload of an outage has them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from aioflags.model.defaults import EVENT_RETRY_DELAY
from aioflags.runtime.fork import reset_after_fork

__all__ = ["DeliveryLog", "describe_amount"]


class DeliveryLog:
    """The log of one kind of payload of one client. It warns when an outage begins and ends; lines in between are for DEBUG.

    An outage of hours would otherwise be logged twice for each payload. While ``is_known`` returns true, a person needs no warning:
    the client has never had a connection, and has logged that. The lines are then for ``INFO``.
    """

    def __init__(
        self, logger: logging.Logger, is_known: Callable[[], bool] = lambda: False, *, level: int = logging.WARNING
    ) -> None:
        self._logger = logger
        self._level = level
        self.is_known: Callable[[], bool] = is_known
        self.after_fork()
        reset_after_fork(self)

    def after_fork(self) -> None:
        """In the child of a fork: forget the outage of the parent."""
        self._is_refused = False
        self._reset()

    def _reset(self) -> None:
        # The highest levels at which a failure and a drop of this outage were logged.
        self._failed_at = self._dropped_at = self._level if self._is_refused else logging.NOTSET
        self._events = 0
        self._evaluations = 0

    def failed(self, payload: str, reason: str) -> None:
        """Log that a first attempt failed; there will be a second one."""
        level = self._level_after(self._failed_at)
        self._failed_at = max(level, self._failed_at)
        self._logger.log(level, "could not send %s, will retry in %g s: %s", payload, EVENT_RETRY_DELAY, reason)

    def dropped(self, payload: str, reason: str, *, events: int = 0, evaluations: int = 0) -> None:
        """Log that a payload with this many events and evaluations was dropped."""
        level = self._level_after(self._dropped_at)
        self._dropped_at = max(level, self._dropped_at)
        self._failed_at = max(level, self._failed_at)
        self._events += events
        self._evaluations += evaluations
        self._logger.log(level, "dropped %s (more drops are logged at DEBUG until a payload is delivered): %s", payload, reason)

    def delivered(self) -> None:
        """A payload was delivered: log the end of an outage."""
        if self._is_refused:
            return  # this payload was sent before the refusal
        if self._events or self._evaluations:
            self._logger.warning("events are delivered again; dropped during the outage: %s", self._lost)
        self._reset()

    def refused(self, payload: str, reason: str, *, events: int, evaluations: int) -> None:
        """Log once that the service refuses all payloads. Payloads that are being sent may still be delivered, or refused again."""
        if self._is_refused:
            self.dropped(payload, reason, events=events, evaluations=evaluations)
            return
        self._is_refused = True
        lost = describe_amount(self._events + events, self._evaluations + evaluations)
        self._logger.error("stopped sending events: the service refuses them permanently; dropped: %s: %s", lost, reason)
        self._reset()

    def closed(self) -> None:
        """The client closes: log the cost of an outage that has not ended."""
        if self._events or self._evaluations:
            level = self._level_after(logging.NOTSET)
            self._logger.log(level, "closed during an outage of the events service; dropped: %s", self._lost)
        self._reset()

    def _level_after(self, logged: int) -> int:
        """The level of a line that was logged before at the level ``logged``."""
        level = logging.INFO if self.is_known() else self._level
        return level if level > logged else logging.DEBUG

    @property
    def _lost(self) -> str:
        return describe_amount(self._events, self._evaluations)


def describe_amount(events: int, evaluations: int) -> str:
    """Numbers of events and of counted evaluations in words, such as "2 events and the counts of 1 evaluation"."""
    parts = [f"{events} event{_s(events)}"] if events or not evaluations else []
    if evaluations:
        parts.append(f"the counts of {evaluations} evaluation{_s(evaluations)}")
    return " and ".join(parts)


def _s(number: int) -> str:
    return "" if number == 1 else "s"
