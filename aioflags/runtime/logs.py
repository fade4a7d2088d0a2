"""Logging: one logger for the package, control characters made visible, and a latch for lines that are logged once a change.

The logger has no handler, not even a ``NullHandler``: where the program configures no logging, Python's handler of last resort
prints warnings and errors to stderr, so that a wrong SDK key is seen. Text from outside (flag keys, server messages) passes
through :func:`printable`, so that a line break in a key cannot forge a line in the log.
"""

from __future__ import annotations

import logging

__all__ = ["Once", "describe_error", "display_name", "logger", "printable"]

logger: logging.Logger = logging.getLogger("aioflags")

_LONGEST = 200


def printable(text: object) -> str:
    """``text`` fit for one line of a log: control characters escaped, cut after 200 characters."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(text)[:_LONGEST])
    return f"{shown}…" if len(str(text)) > _LONGEST else shown


def display_name(thing: object) -> str:
    """What a log calls a program's own object: its ``name``, or its type where that cannot be had. Raises nothing.

    Whoever tells of a failure must not fail over who it was.
    """
    try:
        return printable(thing.name)  # type: ignore[attr-defined]  # if not, the type will do
    except Exception:  # noqa: BLE001 -- somebody else's code
        return printable(type(thing).__name__)


def describe_error(error: BaseException) -> str:
    """An exception's type and words, fit for a line; without the words, if it has none or cannot say them. Raises nothing."""
    kind = type(error).__name__
    try:
        words = str(error)
    except Exception:  # noqa: BLE001 -- somebody else's exception: whoever tells of it must not fail over it
        words = ""
    return printable(f"{kind}: {words}" if words else kind)


class Once:
    """Says yes the first time it is asked about a thing, at most ``capacity`` things; then no.

    For conditions that repeat with every call and deserve one line: ``if once("cached data"): logger.warning(…)``.
    """

    __slots__ = ("_capacity", "_seen")

    def __init__(self, capacity: int = 1000) -> None:
        self._seen: set[object] = set()
        self._capacity = capacity

    def __call__(self, thing: object) -> bool:
        if thing in self._seen or len(self._seen) >= self._capacity:
            return False
        self._seen.add(thing)
        return True

    def forget(self, thing: object) -> None:
        """The condition ended: the next occurrence is news again."""
        self._seen.discard(thing)
