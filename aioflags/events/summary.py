"""Summary and its counters: how often which flag served which value, in one period between two payloads.

Most evaluations repeat an evaluation that was counted in the same period. They are counted without a lock, as described in
:mod:`aioflags.events.summary`.

Source: ``events.md`` 5.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, TypeAlias
from weakref import ref

import msgspec

from aioflags.evaluation.answers import Answer
from aioflags.events.encoding import frozen_value
from aioflags.model.context import Context
from aioflags.model.defaults import MAX_KINDS, MAX_UNKNOWN_KEYS
from aioflags.model.detail import OverrideMark
from aioflags.model.event import Count, FlagCounts
from aioflags.runtime.cooperative import sliced

# -- Counters: count evaluations without a lock.
#
# - A counter is an :class:`itertools.count`. Its ``__next__`` adds one. The fast path of an evaluation calls that function
#   and does
#   nothing else: no lock, no clock.
# - This needs CPython's global interpreter lock (GIL). ``__next__`` is one C function, so the GIL lets no other thread run in
#   the
#   middle of it. On a free-threaded interpreter two calls at once may count as one. There the recorder takes its lock for every
#   evaluation (:data:`HAS_GIL` is false).
# - An ``itertools.count`` can be read only by counting. A read therefore adds one too, and the number of reads is subtracted:
#   ``CounterBlock.reads`` for reads of the whole block, ``Counter._reads`` for reads of the single counter.
# - :class:`HotContext <aioflags.events.summarizer.HotContext>` connects this with an evaluation: it has the context that was
#   evaluated last and, for each answer that was already counted for contexts of this kind, the function that adds one.
# - A thread may keep a ``HotContext`` while the period ends, and count after that. It holds an :class:`InUse` of the summary:
#   as long as that object lives, the summary can still grow, and late counts are moved to the next period.


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


_FLAGS_PER_STEP: Final = 32
"""Flags whose counters are read in one step: about 20 microseconds."""


class SummaryEntry(msgspec.Struct, frozen=True, kw_only=True, eq=False, gc=False):
    """An evaluation to count, or several alike. ``kinds``: the kinds of its context.

    ``version`` is ``None`` for an unknown flag; ``variation`` is ``None`` if the value is the default. ``mark``: the part of
    overrides.
    """

    key: str
    kinds: Iterable[str]
    default: Any
    value: Any
    variation: int | None = None
    version: int | None = None
    at_ms: int
    times: int = 1
    mark: OverrideMark | None = None


class _FlagCounters:
    """The counters of one flag."""

    __slots__ = ("by_outcome", "default", "kinds")

    def __init__(self, default: Any) -> None:
        self.default: Any = frozen_value(default)
        self.kinds: dict[str, None] = {}
        self.by_outcome: dict[tuple[int | None, int | None, OverrideMark | None], Counter] = {}


class Summary:
    """The counts of one period, for one ``context`` or for all contexts.

    It is changed under the recorder's lock, except by functions of :meth:`increments`.

    A method that reads every counter returns an iterator. Each step reads a few flags and needs the lock. Between two steps other
    threads count and read. A signal handler may evaluate even within a step: no step iterates over a collection that can grow.
    """

    __slots__ = (
        "_blocks",
        "_flags",
        "_in_use_ref",
        "_increments",
        "_is_taken",
        "_unknown_keys",
        "context",
        "end_ms",
        "evaluations",
        "in_use",
        "start_ms",
    )

    def __init__(self, context: Context | None = None) -> None:
        self.context: Context | None = context
        """The context whose evaluations are counted; ``None`` for all contexts."""
        self.evaluations: int = 0
        """The evaluations that :meth:`take` has taken so far."""
        self.in_use: InUse | None = InUse()
        """Given to each ``HotContext`` that counts here. ``None`` when the period has ended."""
        self._in_use_ref = ref(self.in_use)
        self.start_ms: int = 0
        self.end_ms: int = 0
        self._unknown_keys = 0
        self._flags: dict[str, _FlagCounters] = {}
        self._blocks = [CounterBlock()]
        self._is_taken = False
        self._increments: dict[str | tuple[str, ...], Increments] = {}

    @property
    def is_empty(self) -> bool:
        """Whether no evaluation was counted."""
        return not self._flags

    @property
    def can_grow(self) -> bool:
        """Whether a thread may still count here without the lock, because it got a ``HotContext`` before the period ended."""
        return self._in_use_ref() is not None

    def has_room(self, key: str) -> bool:
        """Whether an evaluation of this unknown key can be counted. A program that builds keys by mistake has no end of them."""
        return self._unknown_keys < MAX_UNKNOWN_KEYS or key in self._flags

    def increments(self, context: Context) -> Increments:
        """The functions that count evaluations for contexts of these kinds, by answer. The caller adds a function to it.

        Beyond ``MAX_KINDS`` sets of kinds the result is not kept, and each evaluation is counted with the lock.
        """
        kinds = context.kind if context.members is None else tuple(context.members)
        try:
            return self._increments[kinds]
        except KeyError:
            return self._increments.setdefault(kinds, {}) if len(self._increments) < MAX_KINDS else {}

    def count(self, entry: SummaryEntry) -> Counter:
        """Count an evaluation, or several alike. Returns the counter that has counted them."""
        key, at_ms, variation, version = entry.key, entry.at_ms, entry.variation, entry.version
        flag = self._flags.get(key)
        if flag is None:
            # `setdefault`: a signal handler may have added the flag while its counters were made.
            flag = self._flags.setdefault(key, _FlagCounters(entry.default))
            self._unknown_keys += version is None
        for kind in entry.kinds:
            if len(flag.kinds) < MAX_KINDS:
                flag.kinds[kind] = None
        outcome = variation, version, entry.mark
        counter = flag.by_outcome.get(outcome)
        if counter is None:
            counter = Counter(entry.value, variation, version, self._block(), entry.mark)
            counter = flag.by_outcome.setdefault(outcome, counter)
        self.start_ms = min(self.start_ms or at_ms, at_ms)
        self.end_ms = max(self.end_ms, at_ms)
        counter.add(entry.times)
        return counter

    def totals(self) -> Iterator[int]:
        """How many evaluations were counted so far, in steps. A counter that was taken returns its count at that time."""
        if not self._is_taken:
            yield from (block.total() for block in list(self._blocks))
            return
        for counters in self._steps():
            yield sum([counter.total() if counter.counted is None else counter.counted for counter in counters])

    def date_pending(self, clock: Callable[[], int]) -> Iterator[None]:
        """Where evaluations were counted without a date, extend the period until now."""
        for counters in self._steps():
            has_undated = False
            for counter in counters:
                total = counter.total()
                if total > counter.dated:
                    counter.dated = total
                    has_undated = True
            if has_undated:
                self.end_ms = max(self.end_ms, clock())
            yield

    def take(self, clock: Callable[[], int]) -> Iterator[int]:
        """End the period, a few flags in each step. Each step returns the number of their evaluations; :meth:`features` has all."""
        self._is_taken = True
        for counters in self._steps():
            total = 0
            has_undated = False
            for counter in counters:
                count = counter.counted = counter.take()
                has_undated = has_undated or count > counter.dated
                total += count
            if has_undated:
                self.end_ms = max(self.end_ms, clock())
            self.evaluations += total
            yield total

    def features(self) -> Iterator[FlagCounts]:
        """The counts that were taken, flag by flag."""
        for key, flag in self._flags.items():
            counts = [
                Count(counter.counted or 0, counter.value, counter.variation, counter.version, counter.mark)
                for counter in flag.by_outcome.values()
            ]
            yield FlagCounts(key, flag.default, tuple(flag.kinds), counts)

    def add_late(self, earlier: Summary, at_ms: int) -> Iterator[None]:
        """Count the evaluations that threads counted in ``earlier`` after it was taken."""
        for flags in sliced(list(earlier._flags.items()), _FLAGS_PER_STEP):
            for key, flag in flags:
                for late in flag.by_outcome.values():
                    times = late.take()
                    if times:
                        self.count(
                            SummaryEntry(
                                key=key,
                                kinds=flag.kinds,
                                default=flag.default,
                                value=late.value,
                                variation=late.variation,
                                version=late.version,
                                at_ms=at_ms,
                                times=times,
                                mark=late.mark,
                            )
                        )
            yield

    def _block(self) -> CounterBlock:
        """The block for a new counter."""
        if not self._blocks[-1].has_room:
            self._blocks.append(CounterBlock())
        return self._blocks[-1]

    def _steps(self) -> Iterator[list[Counter]]:
        """The counters of a few flags at a time."""
        for flags in sliced(list(self._flags.values()), _FLAGS_PER_STEP):
            yield [counter for flag in flags for counter in list(flag.by_outcome.values())]
