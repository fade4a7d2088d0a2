"""How long to wait before the next attempt: delays as plain numbers. Chance and the server's wishes are parameters.

Source: ``data-system.md`` 3.3 and 5.7.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from aioflags.clock import now
from aioflags.model.defaults import BACKOFF_RESET, LONGEST_PATIENCE, MAX_RECONNECT_DELAY, MAX_RETRY_AFTER
from aioflags.protocol.dates import read_date

__all__ = ["Backoff", "delay", "read_retry_after"]

_BUSY: Final = frozenset({429, 503})
_ENOUGH: Final = 64
"""Doublings after which every delay has long reached its ceiling."""


def delay(initial: float, attempt: int, *, chance: float, at_least: float = 0.0, ceiling: float = MAX_RECONNECT_DELAY) -> float:
    """Seconds to wait before attempt ``attempt`` (the first is 1) is repeated.

    Doubles from ``initial`` up to ``ceiling`` (up to ``initial``, if that is more); ``chance`` in [0, 1) takes off up to half.
    """
    longest = min(initial * 2.0 ** min(attempt - 1, _ENOUGH), max(initial, ceiling))
    return max(longest * (1 - chance / 2), at_least)


class Backoff:
    """The attempts of one run, counted. Whatever ended a connection counts; only one that lasted starts them anew.

    ``patience``: where a service that refuses a request for good is asked again all the same, seconds from which the delays
    then grow, up to an hour. That holds, whatever fails next, until :meth:`reset`.
    """

    __slots__ = ("_attempt", "_ceiling", "_initial", "_is_patient", "_patience")

    def __init__(self, initial: float, *, ceiling: float = MAX_RECONNECT_DELAY, patience: float | None = None) -> None:
        self._initial = initial
        self._ceiling = ceiling
        self._patience = None if patience is None else max(patience, initial)
        self.reset()

    def reset(self) -> None:
        """All is well again."""
        self._attempt = 0
        self._is_patient = False

    def after(self, lasted: float, *, chance: float, at_least: float = 0.0, is_refused: bool = False) -> float:
        """Seconds to wait after a connection that was open for ``lasted`` seconds (0: it never was)."""
        if lasted >= BACKOFF_RESET:
            self.reset()
        if is_refused and self._patience is not None and not self._is_patient:
            self._is_patient, self._attempt = True, 0
        self._attempt += 1
        if self._is_patient and self._patience is not None:
            return delay(self._patience, self._attempt, chance=chance, at_least=at_least, ceiling=LONGEST_PATIENCE)
        return delay(self._initial, self._attempt, chance=chance, at_least=at_least, ceiling=self._ceiling)


def read_retry_after(status: int, headers: Mapping[str, str]) -> float:
    """Seconds that a busy server (429, 503) asks us to stay away, at most 300; 0 if it does not ask."""
    text = next((value for name, value in headers.items() if name.lower() == "retry-after"), "").strip()
    if status not in _BUSY or not text:
        return 0.0
    if text.isdecimal():
        seconds = float(text)
    elif (until_ms := read_date(text)) is not None:
        seconds = until_ms / 1000 - now()
    else:
        return 0.0
    return min(max(seconds, 0.0), MAX_RETRY_AFTER)
