"""How long to wait before the next attempt. Functions of numbers: random values and the server's wishes are parameters.

Source: ``data-system.md`` 3.3 and 5.7.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

from aioflags.model.defaults import BACKOFF_RESET, MAX_RECONNECT_DELAY, MAX_REFUSED_RETRY_DELAY, MAX_RETRY_AFTER
from aioflags.runtime.clock import now

_BUSY: Final = frozenset({429, 503})
_MAX_DOUBLINGS: Final = 64
"""Every delay has reached its ceiling before that."""


def delay(initial: float, attempt: int, *, chance: float, at_least: float = 0.0, ceiling: float = MAX_RECONNECT_DELAY) -> float:
    """Seconds to wait before attempt ``attempt`` (the first is 1) is repeated.

    Doubles from ``initial`` up to ``ceiling`` (up to ``initial``, if that is more); ``chance`` in [0, 1) takes off up to half.
    """
    longest = min(initial * 2.0 ** min(attempt - 1, _MAX_DOUBLINGS), max(initial, ceiling))
    return max(longest * (1 - chance / 2), at_least)


class RetryState:
    """The back-off state of one source. It outlives the runs of the source, so that a new run continues the delays.

    ``attempt`` counts failures in a row. ``is_extended``: the service refused the request, so the long delays apply.
    ``not_before`` is when the source may send its next request, on the event loop's clock.
    """

    __slots__ = ("attempt", "is_extended", "not_before")

    def __init__(self) -> None:
        self.attempt: int = 0
        self.is_extended: bool = False
        self.not_before: float = 0.0


class RetryTimes:
    """Until when the service asked clients to wait, for each address without its query. Times are on the event loop's clock.

    It outlives the sources of a connection mode, so that a switch of the mode does not repeat a request too early.
    """

    __slots__ = ("_until",)

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def note(self, url: str, until: float) -> None:
        """The service asked to send no request to this address before ``until``."""
        address = _without_query(url)
        self._until[address] = max(until, self._until.get(address, 0.0))

    def left(self, url: str, now: float) -> float:
        """Seconds from ``now`` until the next request may be sent to this address; 0 if it may be sent now."""
        return max(self._until.get(_without_query(url), 0.0) - now, 0.0)


class Backoff:
    """Counts the attempts of a source. Every end of a connection counts; a connection that lasted 60 s resets the count.

    Args:
        initial: seconds of the first delay.
        ceiling: seconds of the longest delay.
        refused_delay: for a source that repeats requests that the service refused: seconds of the first delay after a refusal.
            Delays then grow up to an hour, after every kind of failure, until :meth:`reset`.
        state: has the count. The next run of a source gets the same object, and continues.
    """

    __slots__ = ("_ceiling", "_initial", "_refused_delay", "state")

    def __init__(
        self,
        initial: float,
        *,
        ceiling: float = MAX_RECONNECT_DELAY,
        refused_delay: float | None = None,
        state: RetryState | None = None,
    ) -> None:
        self._initial = initial
        self._ceiling = ceiling
        self._refused_delay = None if refused_delay is None else max(refused_delay, initial)
        self.state: RetryState = RetryState() if state is None else state

    def reset(self) -> None:
        """A connection was good: the next delay is the first one."""
        self.state.attempt = 0
        self.state.is_extended = False

    def after(self, lasted: float, *, chance: float, at_least: float = 0.0, is_refused: bool = False) -> float:
        """Seconds to wait after a connection that was open for ``lasted`` seconds; 0 if it did not open."""
        state = self.state
        if lasted >= BACKOFF_RESET:
            self.reset()
        if is_refused and self._refused_delay is not None and not state.is_extended:
            state.is_extended, state.attempt = True, 0
        state.attempt += 1
        if state.is_extended and self._refused_delay is not None:
            return delay(self._refused_delay, state.attempt, chance=chance, at_least=at_least, ceiling=MAX_REFUSED_RETRY_DELAY)
        return delay(self._initial, state.attempt, chance=chance, at_least=at_least, ceiling=self._ceiling)


def _without_query(url: str) -> str:
    return url.partition("?")[0]


def read_retry_after(status: int, headers: Mapping[str, str], *, ceiling: float = MAX_RETRY_AFTER) -> float:
    """Seconds that a busy server (429, 503) asks clients to wait, at most ``ceiling``; 0 if it does not ask."""
    text = next((value for name, value in headers.items() if name.lower() == "retry-after"), "").strip()
    if status not in _BUSY or not text:
        return 0.0
    if text.isdecimal():
        seconds = float(text)
    elif (until_ms := read_date(text)) is not None:
        seconds = until_ms / 1000 - now()
    else:
        return 0.0
    return min(max(seconds, 0.0), ceiling)


def read_date(text: str) -> int | None:
    """The date in a header value, as Unix time in milliseconds. ``None`` if the value is not a date."""
    try:
        date = parsedate_to_datetime(text)
        # A date without a time zone is in UTC, not in local time.
        return int((date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() * 1000)
    except (TypeError, ValueError, OverflowError):
        return None
