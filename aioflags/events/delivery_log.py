"""DeliveryLog: what the log hears of payloads that do not go through: that it begins, and what it has cost once it is over.

Source: ``events.md`` 11.2, which has two warnings for every payload; here that holds for the first one of an outage.
"""

from __future__ import annotations

import logging

from aioflags.model.defaults import EVENT_RETRY_DELAY
from aioflags.runtime.fork import reset_after_fork

__all__ = ["DeliveryLog", "amount"]


class DeliveryLog:
    """Of the payloads of one kind that one client sends. Warns when it begins and when it ends; in between is for debugging.

    A service that is away for hours is one piece of news, not two for each payload.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self.after_fork()
        reset_after_fork(self)

    def after_fork(self) -> None:
        """In the child of a fork: what the parent could not send is the parent's."""
        self._is_refused = False
        self._begin()

    def _begin(self) -> None:
        self._has_failed = self._has_dropped = self._is_refused
        self._events = 0
        self._evaluations = 0

    def failed(self, what: str, why: str) -> None:
        """A first attempt, after which there is another one."""
        level = logging.DEBUG if self._has_failed else logging.WARNING
        self._has_failed = True
        self._logger.log(level, "could not send %s, will retry in %g s: %s", what, EVENT_RETRY_DELAY, why)

    def dropped(self, what: str, why: str, *, events: int = 0, evaluations: int = 0) -> None:
        """A payload was given up, with so much in it."""
        level = logging.DEBUG if self._has_dropped else logging.WARNING
        self._has_failed = self._has_dropped = True
        self._events += events
        self._evaluations += evaluations
        self._logger.log(level, "dropped %s (more of the same is not told until one goes through): %s", what, why)

    def over(self) -> None:
        """A payload went through."""
        if self._is_refused:
            return  # it was on its way already
        if self._events or self._evaluations:
            self._logger.warning("events go through again; dropped meanwhile: %s", self._lost)
        self._begin()

    def refused(self) -> None:
        """No payload ever will: the service has no use for them. Told once; others may be on their way, and refused as well."""
        if self._is_refused:
            return
        self._is_refused = True
        self._logger.error("events are turned off for good: the service refuses them; dropped: %s", self._lost)
        self._begin()

    def closed(self) -> None:
        """None will, since the client closes."""
        if self._events or self._evaluations:
            self._logger.warning("closed while events did not go through; dropped: %s", self._lost)
        self._begin()

    @property
    def _lost(self) -> str:
        return amount(self._events, self._evaluations)


def amount(events: int, evaluations: int) -> str:
    """So many single events, and so many evaluations that are counted, in words; what is none is left out."""
    parts = [f"{events} event{_s(events)}"] if events or not evaluations else []
    if evaluations:
        parts.append(f"the counts of {evaluations} evaluation{_s(evaluations)}")
    return " and ".join(parts)


def _s(number: int) -> str:
    return "" if number == 1 else "s"
