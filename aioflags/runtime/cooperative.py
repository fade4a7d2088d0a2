"""Cooperative work: long work in slices, so that the event loop can run other tasks in between.

Work is a generator that yields after each slice. :func:`run_at_once` ignores the pauses;
:func:`aioflags.runtime.checkpoints.run_cooperatively` lets other tasks run. A slice is a number of items (:func:`sliced`) in code
that must not read a clock, otherwise a time (:class:`Budget`).
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from itertools import islice
from time import perf_counter
from typing import Final, TypeAlias, TypeVar

T = TypeVar("T")

Cooperative: TypeAlias = Generator[None, None, T]
"""A generator that yields after every slice and returns the result of all the work."""

SLICE: Final = 0.002
"""Seconds of work between two pauses."""


def run_at_once(work: Cooperative[T]) -> T:
    """Do all the work without a pause, and return its result."""
    while True:
        try:
            next(work)
        except StopIteration as done:
            result: T = done.value
            return result


def sliced(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Split ``items`` into lists of ``size``; the last list may be shorter."""
    remaining = iter(items)
    while batch := list(islice(remaining, size)):
        yield batch


class Budget:
    """The time of one slice. ``if budget.is_spent(): yield`` pauses when it is over, and starts the next slice."""

    __slots__ = ("_seconds", "_until")

    def __init__(self, seconds: float = SLICE) -> None:
        self._seconds = seconds
        self._until = perf_counter() + seconds

    def is_spent(self) -> bool:
        """Whether the time of the slice is over. If so, the next slice begins now."""
        if perf_counter() <= self._until:
            return False
        self.restart()
        return True

    def restart(self) -> None:
        """The next slice begins now."""
        self._until = perf_counter() + self._seconds
