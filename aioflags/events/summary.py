"""Summary: how often each flag served what, in one period between two payloads.

Most evaluations are repeats of one that was counted in the same period. For those there is the :class:`HotContext`: the context
that was evaluated last, and for each answer that was counted for its kinds already, a function that counts one more.

That function is the ``__next__`` of an ``itertools.count``. Threads may call it without a lock as long as CPython has its global
interpreter lock (GIL): the call is a single C function, so that no other thread runs in the middle of it. On a free-threaded
interpreter two calls at once may count as one. There the recorder takes its lock for each evaluation (:data:`HAS_GIL`).

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
from aioflags.model.context import Context, invalid_context
from aioflags.model.defaults import MAX_KINDS, MAX_UNKNOWN_KEYS
from aioflags.model.event import Count, FlagCounts
from aioflags.protocol.payloads import try_json

__all__ = [
    "HAS_GIL",
    "NO_CONTEXT",
    "Counter",
    "CounterBlock",
    "HotContext",
    "InUse",
    "Increment",
    "Increments",
    "Summary",
    "has_gil",
    "kept",
    "kinds_of",
]

Increment: TypeAlias = Callable[[], object]
Increments: TypeAlias = dict[Answer, Increment]


def has_gil(interpreter: object = sys) -> bool:
    """Whether threads of this process take turns under the global interpreter lock.

    False on a free-threaded build of CPython (3.13 and later) that runs without it. Args: ``interpreter`` stands for :mod:`sys`.
    """
    is_enabled: Callable[[], bool] | None = getattr(interpreter, "_is_gil_enabled", None)
    return is_enabled is None or is_enabled()


HAS_GIL: Final = has_gil()
"""Decided once. An extension module that is imported later can turn the lock on, and nothing turns it off."""


class InUse:
    """What every focus on a summary has in hand: when it is gone, nobody can count in that summary any more."""

    __slots__ = ("__weakref__",)


class HotContext(msgspec.Struct, eq=False, gc=False):
    """The newest context, and how evaluations are counted that need nothing else, for it and others of its kinds.

    Whoever evaluates for just this context, with an answer that ``increments`` has, calls that, and is done. ``context`` may be
    changed by whoever has made sure that ``kind`` is its only one and that it is known; a focus with ``None`` stays as it is.
    """

    context: Context
    increments: Increments
    kind: str | None = None
    in_use: InUse | None = None


_CONSTANT: Final = frozenset({bool, int, float, str, type(None), msgspec.Raw})

_STEP: Final = 32
"""Flags that are looked at in one go: some 20 microseconds."""

_BLOCK: Final = 1024
"""Counters whose sum is read in one step: some 50 microseconds."""

NO_CONTEXT: Final = HotContext(invalid_context("nobody"), {})


class CounterBlock:
    """Many counters whose sum is read at once: an ``itertools.count`` can be read only by counting, and that in C for all of them.

    ``looks``: how often all were counted in order to read them. ``excess``: by how much the counts are off besides, in all.
    """

    __slots__ = ("_counts", "_is_looking", "excess", "looks")

    def __init__(self) -> None:
        self.looks: int = 0
        self.excess: int = 0
        self._counts: list[itertools.count[int]] = []
        self._is_looking = False

    @property
    def has_room(self) -> bool:
        """Whether a counter may join. Not while the sum is read: a signal handler may evaluate just then."""
        return len(self._counts) < _BLOCK and not self._is_looking

    def join(self) -> Callable[[], int]:
        """The function of a new counter that counts one more."""
        count = itertools.count(self.looks)
        self._counts.append(count)
        return count.__next__

    def total(self) -> int:
        """How often all of them were counted so far."""
        was_looking, self._is_looking = self._is_looking, True
        values = list(map(next, self._counts))
        found = sum(values) - self.looks * len(values) - self.excess
        self.looks += 1
        self._is_looking = was_looking
        return found


class Counter:
    """How often one version of a flag served one variation.

    ``increment`` counts one more: from any thread if there is a GIL, otherwise under the recorder's lock.

    ``counted`` is what the summary reports of it, once the summary is taken. ``noted`` is how many of the counted evaluations are
    between the dates of the summary already. ``block`` sums it up with others.
    """

    __slots__ = ("_added", "_block", "_looks", "_taken", "counted", "increment", "noted", "value", "variation", "version")

    def __init__(self, value: Any, variation: int | None, version: int | None, block: CounterBlock) -> None:
        self.value: Any = kept(value)
        self.variation: int | None = variation
        self.version: int | None = version
        self.increment: Callable[[], int] = block.join()
        self.counted: int | None = None
        self._block = block
        self.noted: int = 0
        self._added = 0
        self._taken = 0
        self._looks = 0

    def add(self, times: int) -> None:
        """Counts so many more, which are noted."""
        if times == 1:  # the everyday case, in which a signal handler may count as well
            self.increment()
        else:
            self._added += times
            self._block.excess -= times
        self.noted += times

    def total(self) -> int:
        """How often it was counted so far."""
        # Looking counts as well, since there is no other way to look.
        found = self.increment() - self._block.looks - self._looks + self._added
        self._looks += 1
        self._block.excess += 1
        return found

    def take(self) -> int:
        """How often it was counted since this was asked last."""
        before, self._taken = self._taken, self.total()
        return self._taken - before


class _FlagCounters:
    """The counters of one flag."""

    __slots__ = ("by_outcome", "default", "kinds")

    def __init__(self, default: Any) -> None:
        self.default: Any = kept(default)
        self.kinds: dict[str, None] = {}
        self.by_outcome: dict[tuple[int | None, int | None], Counter] = {}


class Summary:
    """The counts of one period. Changed under the recorder's lock, but for the ticks.

    What looks at every counter is an iterator, of which a step is a few flags and needs the lock. Between two steps others
    count and look as ever. A signal handler that evaluates does so within one, too: nothing here iterates over what may grow.
    """

    __slots__ = ("_blocks", "_flags", "_held", "_is_taken", "_ticks", "_unknown", "end_ms", "in_use", "start_ms")

    def __init__(self) -> None:
        self.in_use: InUse | None = InUse()
        """For those who get its ticks, while the period lasts."""
        self._held = ref(self.in_use)
        self.start_ms: int = 0
        self.end_ms: int = 0
        self._unknown = 0
        self._flags: dict[str, _FlagCounters] = {}
        self._blocks = [CounterBlock()]
        self._is_taken = False
        self._ticks: dict[str | tuple[str, ...], Increments] = {}

    @property
    def is_empty(self) -> bool:
        """Whether nothing was counted."""
        return not self._flags

    @property
    def is_in_hand(self) -> bool:
        """Whether more may be counted here, without the lock, by whoever got ticks before the period had ended."""
        return self._held() is not None

    def has_room(self, key: str) -> bool:
        """Whether an evaluation of a key that is no flag's can be counted: there are too many of those in a mistaken program."""
        return self._unknown < MAX_UNKNOWN_KEYS or key in self._flags

    def increments(self, context: Context) -> Increments:
        """How evaluations are counted for contexts of these kinds: filled by who counts the first of them.

        Kinds beyond all measure are counted one by one.
        """
        kinds = context.kind if context.members is None else tuple(context.members)
        try:
            return self._ticks[kinds]
        except KeyError:
            return self._ticks.setdefault(kinds, {}) if len(self._ticks) < MAX_KINDS else {}

    def count(
        self,
        key: str,
        kinds: Iterable[str],
        *,
        default: Any,
        value: Any,
        variation: int | None,
        version: int | None,
        at_ms: int,
        times: int = 1,
    ) -> Counter:
        """Counts evaluations, and answers with what has counted them. ``version``: ``None`` for a flag that is not known."""
        flag = self._flags.get(key)
        if flag is None:
            # Whoever came first is in place, should a signal handler have been here meanwhile.
            flag = self._flags.setdefault(key, _FlagCounters(default))
            self._unknown += version is None
        for kind in kinds:
            if len(flag.kinds) < MAX_KINDS:
                flag.kinds[kind] = None
        counter = flag.by_outcome.get((variation, version))
        if counter is None:
            counter = flag.by_outcome.setdefault((variation, version), Counter(value, variation, version, self._block()))
        self.start_ms = min(self.start_ms or at_ms, at_ms)
        self.end_ms = max(self.end_ms, at_ms)
        counter.add(times)
        return counter

    def totals(self) -> Iterator[int]:
        """How many evaluations were counted so far, in steps; of a counter that is taken, how many were by then."""
        if not self._is_taken:
            yield from (block.total() for block in list(self._blocks))
            return
        for counters in self._pieces():
            yield sum([each.total() if each.counted is None else each.counted for each in counters])

    def settle(self, clock: Callable[[], int]) -> Iterator[None]:
        """Where evaluations were counted without a look at the clock, the last of them was just now."""
        for counters in self._pieces():
            is_news = False
            for each in counters:
                total = each.total()
                if total > each.noted:
                    each.noted = total
                    is_news = True
            if is_news:
                self.end_ms = max(self.end_ms, clock())
            yield

    def take(self, clock: Callable[[], int]) -> Iterator[int]:
        """Ends the period: :meth:`features` tells what is counted by then. Answers how much that is, a few flags a step."""
        self._is_taken = True
        for counters in self._pieces():
            total = 0
            is_news = False
            for each in counters:
                found = each.counted = each.take()
                is_news = is_news or found > each.noted
                total += found
            if is_news:
                self.end_ms = max(self.end_ms, clock())
            yield total

    def features(self) -> Iterator[FlagCounts]:
        """What was taken, flag by flag."""
        for key, flag in self._flags.items():
            counts = [Count(each.counted or 0, each.value, each.variation, each.version) for each in flag.by_outcome.values()]
            yield FlagCounts(key, flag.default, tuple(flag.kinds), counts)

    def add_late(self, earlier: Summary, at_ms: int) -> Iterator[None]:
        """Counts what ``earlier``, which is taken and told, counted afterwards: by threads that had its focus in hand just then."""
        flags = list(earlier._flags.items())
        for start in range(0, len(flags), _STEP):
            for key, flag in flags[start : start + _STEP]:
                for late in flag.by_outcome.values():
                    times = late.take()
                    if times:
                        self.count(
                            key,
                            flag.kinds,
                            default=flag.default,
                            value=late.value,
                            variation=late.variation,
                            version=late.version,
                            at_ms=at_ms,
                            times=times,
                        )
            yield

    def _block(self) -> CounterBlock:
        """The block that a new counter joins."""
        if not self._blocks[-1].has_room:
            self._blocks.append(CounterBlock())
        return self._blocks[-1]

    def _pieces(self) -> Iterator[list[Counter]]:
        """The counters of a few flags at a time."""
        flags = list(self._flags.values())
        for start in range(0, len(flags), _STEP):
            yield [counter for flag in flags[start : start + _STEP] for counter in list(flag.by_outcome.values())]


def kinds_of(context: Context) -> tuple[str, ...]:
    """The kinds that a valid context is of."""
    return (context.kind,) if context.members is None else tuple(context.members)


def kept(value: Any) -> Any:
    """A value or default as it is now, whatever its owner does with it; ``None`` for what JSON cannot carry."""
    if value.__class__ in _CONSTANT:
        return value
    found = try_json(value)
    return None if isinstance(found, Exception) else found
