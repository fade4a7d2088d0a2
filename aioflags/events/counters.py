"""Counters: count evaluations without a lock.

- A counter is an :class:`itertools.count`. Its ``__next__`` adds one. The fast path of an evaluation calls that function and does
  nothing else: no lock, no clock.
- This needs CPython's global interpreter lock (GIL). ``__next__`` is one C function, so the GIL lets no other thread run in the
  middle of it. On a free-threaded interpreter two calls at once may count as one. There the recorder takes its lock for every
  evaluation (:data:`HAS_GIL` is false).
- An ``itertools.count`` can be read only by counting. A read therefore adds one too, and the number of reads is subtracted:
  ``CounterBlock.reads`` for reads of the whole block, ``Counter._reads`` for reads of the single counter.
- :class:`HotContext <aioflags.events.hot_context.HotContext>` connects this with an evaluation: it has the context that was
  evaluated last and, for each answer that was already counted for contexts of this kind, the function that adds one.
- A thread may keep a ``HotContext`` while the period ends, and count after that. It holds an :class:`InUse` of the summary:
  as long as that object lives, the summary can still grow, and late counts are moved to the next period.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from aioflags.evaluation.answers import Answer
from aioflags.events.encoding import frozen_value
from aioflags.model.detail import OverrideMark

__all__ = ["HAS_GIL", "Counter", "CounterBlock", "InUse", "Increment", "Increments", "has_gil"]

Increment: TypeAlias = Callable[[], object]
"""Counts one more evaluation."""

Increments: TypeAlias = dict[Answer, Increment]

_BLOCK_SIZE: Final = 1024
"""Counters whose sum is read in one step: about 50 microseconds."""


def has_gil(interpreter: object = sys) -> bool:
    """Whether this process runs with the global interpreter lock.

    False on a free-threaded build of CPython (3.13 and later) that runs without it. Args: ``interpreter`` stands for :mod:`sys`.
    """
    is_enabled: Callable[[], bool] | None = getattr(interpreter, "_is_gil_enabled", None)
    return is_enabled is None or is_enabled()


HAS_GIL: Final = has_gil()
"""Read once. An extension module that is imported later can switch the GIL on; it is never switched off."""


class InUse:
    """Held by every ``HotContext`` of a summary. When no reference is left, no thread can count in that summary."""

    __slots__ = ("__weakref__",)


class CounterBlock:
    """Up to 1024 counters whose sum is read in one step, by C functions alone.

    ``reads``: how often the whole block was read. ``excess``: how much too high the sum of all counts is for other reasons.
    """

    __slots__ = ("_counts", "_is_reading", "excess", "reads")

    def __init__(self) -> None:
        self.reads: int = 0
        self.excess: int = 0
        self._counts: list[itertools.count[int]] = []
        self._is_reading = False

    @property
    def has_room(self) -> bool:
        """Whether a counter can be added. Not while the sum is read: a signal handler may evaluate at that moment."""
        return len(self._counts) < _BLOCK_SIZE and not self._is_reading

    def add_counter(self) -> Callable[[], int]:
        """Add a counter. Returns the function that counts one more."""
        count = itertools.count(self.reads)
        self._counts.append(count)
        return count.__next__

    def total(self) -> int:
        """The sum of all counters."""
        was_reading, self._is_reading = self._is_reading, True
        values = list(map(next, self._counts))
        total = sum(values) - self.reads * len(values) - self.excess
        self.reads += 1
        self._is_reading = was_reading
        return total


class Counter:
    """How often one version of a flag served one variation, with the same part of overrides (``mark``).

    ``increment`` counts one more: from any thread if there is a GIL, otherwise under the recorder's lock.

    ``counted`` is the count that the summary reports, set when the summary is taken. ``dated`` is how many of the counted
    evaluations lie between the dates of the summary already. ``block`` sums the counter up with others.
    """

    __slots__ = ("_added", "_block", "_reads", "_taken", "counted", "dated", "increment", "mark", "value", "variation", "version")

    def __init__(
        self, value: Any, variation: int | None, version: int | None, block: CounterBlock, mark: OverrideMark | None = None
    ) -> None:
        self.value: Any = frozen_value(value)
        self.variation: int | None = variation
        self.version: int | None = version
        self.mark: OverrideMark | None = mark
        self.increment: Callable[[], int] = block.add_counter()
        self.counted: int | None = None
        self.dated: int = 0
        self._block = block
        self._added = 0
        self._taken = 0
        self._reads = 0

    def add(self, times: int) -> None:
        """Count ``times`` more evaluations, which have a date."""
        if times == 1:  # the usual case. A signal handler may interrupt it and count as well.
            self.increment()
        else:
            self._added += times
            self._block.excess -= times
        self.dated += times

    def total(self) -> int:
        """How often it was counted so far."""
        total = self.increment() - self._block.reads - self._reads + self._added  # the read counts, too
        self._reads += 1
        self._block.excess += 1
        return total

    def take(self) -> int:
        """How often it was counted since the previous call."""
        before, self._taken = self._taken, self.total()
        return self._taken - before
