"""Summary: how often which flag served which value between two payloads. Most evaluations are counted without a lock.

The way of a count: a :class:`HotContext` has the function that counts one more evaluation; a :class:`Counter` has the number; a
:class:`Summary` has the counters of a period; the :class:`Summarizer` ends the period, and a :class:`Batch` is what is sent.

Source: ``events.md`` 5 and 10; ``client-side.md`` 6.2; ``architecture.md`` 6.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final, TypeAlias, TypeVar
from weakref import ref

import msgspec

from aioflags.evaluation.answers import Answer
from aioflags.events.stats import EventCounters
from aioflags.model.context import Context, invalid_context
from aioflags.model.defaults import MAX_CONTEXT_SUMMARIES, MAX_KINDS, MAX_UNKNOWN_KEYS
from aioflags.model.detail import OverrideMark
from aioflags.model.event import AnalyticsEvent, Count, FlagCounts
from aioflags.protocol.event_json import try_json
from aioflags.runtime.cooperative import sliced

Increment: TypeAlias = Callable[[], object]
"""Counts one more evaluation."""

Increments: TypeAlias = dict[Answer, Increment]

T = TypeVar("T")

_COUNTERS_PER_STEP: Final = 32
"""Counters, or flags with their counters, that one step reads: about 20 microseconds."""


def has_gil(interpreter: object = sys) -> bool:
    """Whether this process runs with the global interpreter lock.

    False on a free-threaded build of CPython (3.13 and later) that runs without it. Args: ``interpreter`` stands for :mod:`sys`.
    """
    is_enabled: Callable[[], bool] | None = getattr(interpreter, "_is_gil_enabled", None)
    return is_enabled is None or is_enabled()


HAS_GIL: Final = has_gil()
"""Read once. An extension module that is imported later can switch the GIL on; it is never switched off."""


def frozen_value(value: object) -> Any:
    """A flag value or default that can no longer change: itself if it is immutable, otherwise its JSON.

    Returns ``None`` for a value that JSON cannot represent.
    """
    kind = type(value)  # not `__class__`, which says the same of lazy text, whose target changes
    if kind is str or kind is bool or value is None or kind is int or kind is float or kind is msgspec.Raw:
        return value
    encoded = try_json(value)
    return None if isinstance(encoded, Exception) else encoded


class Counter:
    """How often one version of a flag served one variation, with the same part of overrides (``mark``).

    ``increment`` counts one more: from any thread if there is a GIL, otherwise under the recorder's lock. ``dated`` is how many of
    the counted evaluations lie between the dates of the summary, ``taken`` how many a batch has.
    """

    __slots__ = ("_reads", "dated", "increment", "mark", "taken", "value", "variation", "version")

    def __init__(self, value: Any, variation: int | None, version: int | None, mark: OverrideMark | None = None) -> None:
        self.value: Any = frozen_value(value)
        self.variation: int | None = variation
        self.version: int | None = version
        self.mark: OverrideMark | None = mark
        # `__next__` is one C function: the GIL lets no other thread run in the middle of it. `+= 1` would lose the count of a
        # thread that runs between its read and its write, and a lock would double the time of most evaluations.
        self.increment: Callable[[], int] = itertools.count().__next__
        self.dated: int = 0
        self.taken: int = 0
        self._reads = 0

    def total(self) -> int:
        """How often it was counted so far."""
        # An `itertools.count` can be read only by counting: each read adds one, which later reads subtract.
        total = self.increment() - self._reads
        self._reads += 1
        return total


class _FlagCounters:
    """The counters of one flag."""

    __slots__ = ("by_outcome", "default", "kinds")

    def __init__(self, default: Any) -> None:
        self.default: Any = frozen_value(default)
        self.kinds: dict[str, None] = {}
        self.by_outcome: dict[tuple[int | None, int | None, OverrideMark | None], Counter] = {}

    def take(self) -> list[Count]:
        """What was counted and dated since the previous call."""
        counts: list[Count] = []
        for counter in list(self.by_outcome.values()):
            count = counter.dated - counter.taken
            if count:
                counter.taken += count
                counts.append(Count(count, counter.value, counter.variation, counter.version, counter.mark))
        return counts


class SummaryEvent(msgspec.Struct, eq=False):
    """The counts of one period as they are sent, for one ``context`` or for all contexts. ``evaluations``: their sum."""

    context: Context | None = None
    start_ms: int = 0
    end_ms: int = 0
    features: list[FlagCounts] = msgspec.field(default_factory=list[FlagCounts])
    evaluations: int = 0


class InUse:
    """Held by every ``HotContext`` of a summary. When no reference is left, no thread can count in that summary."""

    __slots__ = ("__weakref__",)


class Summary:
    """The counts of one period, for one ``context`` or for all contexts.

    It is changed under the recorder's lock, except by functions of :meth:`increments`. A method that reads every counter of many
    flags returns an iterator. Each step reads a few flags and needs the lock; between two steps other threads count and read.
    """

    # A signal handler may evaluate even within a step, on the thread that has the lock. So no loop is over a collection that can
    # grow, and what a miss adds is added by `setdefault`: the handler may have added the same while the new one was made.

    __slots__ = (
        "_counters",
        "_flags",
        "_in_use_ref",
        "_increments",
        "_taken",
        "_unknown_keys",
        "context",
        "end_ms",
        "in_use",
        "start_ms",
    )

    def __init__(self, context: Context | None = None) -> None:
        self.context: Context | None = context
        """The context whose evaluations are counted; ``None`` for all contexts."""
        self.in_use: InUse | None = InUse()
        """Given to each ``HotContext`` that counts here. ``None`` when the period has ended."""
        self._in_use_ref = ref(self.in_use)
        self.start_ms: int = 0
        self.end_ms: int = 0
        self._unknown_keys = 0
        self._flags: dict[str, _FlagCounters] = {}
        self._counters: list[Counter] = []
        self._taken = 0
        self._increments: dict[tuple[str, ...], Increments] = {}

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
        kinds = kinds_of(context)
        try:
            return self._increments[kinds]
        except KeyError:
            return self._increments.setdefault(kinds, {}) if len(self._increments) < MAX_KINDS else {}

    def count(
        self,
        key: str,
        context: Context,
        *,
        default: Any,
        value: Any,
        variation: int | None = None,
        version: int | None = None,
        mark: OverrideMark | None = None,
        at_ms: int,
    ) -> Counter:
        """Count an evaluation. Returns the counter that has counted it.

        ``version`` is ``None`` for an unknown flag; ``variation`` is ``None`` if the value is the default. ``mark``: the part of
        overrides.
        """
        flag = self._flags.get(key)
        if flag is None:
            flag = self._flags.setdefault(key, _FlagCounters(default))
            self._unknown_keys += version is None
        for kind in kinds_of(context):
            if len(flag.kinds) < MAX_KINDS:
                flag.kinds[kind] = None
        outcome = variation, version, mark
        counter = flag.by_outcome.get(outcome)
        if counter is None:
            new = Counter(value, variation, version, mark)
            counter = flag.by_outcome.setdefault(outcome, new)
            if counter is new:
                self._counters.append(counter)
        self.start_ms = min(self.start_ms or at_ms, at_ms)
        self.end_ms = max(self.end_ms, at_ms)
        counter.increment()
        counter.dated += 1
        return counter

    def pending(self) -> int:
        """How many evaluations no batch has taken."""
        return sum([counter.total() for counter in list(self._counters)]) - self._taken

    def date_pending(self, clock: Callable[[], int]) -> Iterator[None]:
        """Where evaluations were counted without a date, extend the period until now."""
        for counters in sliced(list(self._counters), _COUNTERS_PER_STEP):
            self._date(counters, clock)
            yield

    def take(self, into: SummaryEvent, clock: Callable[[], int]) -> Iterator[None]:
        """Move the counts to ``into``, a few flags in each step; its dates follow in the last step."""
        for flags in sliced(list(self._flags.items()), _COUNTERS_PER_STEP):
            self._date([counter for _, flag in flags for counter in list(flag.by_outcome.values())], clock)
            for key, flag in flags:
                if counts := flag.take():
                    into.features.append(FlagCounts(key, flag.default, tuple(flag.kinds), counts))
                    taken = sum([count.count for count in counts])
                    into.evaluations += taken
                    self._taken += taken
            yield
        into.start_ms, into.end_ms = self.start_ms or self.end_ms, self.end_ms
        self.start_ms = self.end_ms = 0  # what a thread still counts here belongs to a later period

    def _date(self, counters: Iterable[Counter], clock: Callable[[], int]) -> None:
        has_undated = False
        for counter in counters:
            total = counter.total()
            if total > counter.dated:
                counter.dated = total
                has_undated = True
        if has_undated:
            self.end_ms = max(self.end_ms, clock())


def kinds_of(context: Context) -> tuple[str, ...]:
    """The kinds of a valid context."""
    return (context.kind,) if context.members is None else tuple(context.members)


class HotContext(msgspec.Struct, eq=False, gc=False):
    """The context that was evaluated last, and the functions that count evaluations for contexts of its kinds.

    An evaluation for exactly this context, with an answer in ``increments``, calls that function and is recorded.
    ``swappable_kind`` is the kind of the context if it is a single user that events describe, otherwise ``None``. Another context
    of that kind that was already described may take its place. ``summary`` is where the functions count; it is ``None``
    if evaluations for the context are not counted.
    """

    context: Context
    increments: Increments
    swappable_kind: str | None = None
    in_use: InUse | None = None
    summary: Summary | None = None


NO_CONTEXT: Final = HotContext(invalid_context("no context was evaluated"), {})
"""Equals no context of an evaluation: every evaluation takes the lock."""


class Batch(msgspec.Struct, eq=False):
    """Events in the order in which they happened, and the summaries of a period: one, or one for each context.

    ``summaries`` are complete when ``counting`` is exhausted. A step of ``counting`` takes some microseconds, on any thread.
    """

    events: Sequence[AnalyticsEvent]
    summaries: list[SummaryEvent] = msgspec.field(default_factory=list[SummaryEvent])
    counting: Iterator[object] = msgspec.field(default_factory=lambda: iter(()))

    @property
    def evaluations(self) -> int:
        """The evaluations that were counted so far."""
        return sum([summary.evaluations for summary in self.summaries])

    def count(self) -> int:
        """Do the remaining steps of counting at once. Returns the number of evaluations."""
        for _ in self.counting:
            pass
        return self.evaluations


class Summarizer:
    """The summaries of the current period, and of earlier periods that are not counted yet, or may still grow.

    There is one summary for each context, by all its attributes, with ``for_each_context``: at most ``MAX_CONTEXT_SUMMARIES``.
    Otherwise one counts all contexts. Callers hold ``lock`` (the recorder's). An iterator that a method returns is used later,
    without the lock: each step takes it for a few flags.
    """

    def __init__(
        self,
        lock: AbstractContextManager[object],
        counters: EventCounters,
        clock: Callable[[], int],
        *,
        for_each_context: bool = False,
    ) -> None:
        self._lock = lock
        self._counters = counters
        self._clock = clock
        self._for_each_context = for_each_context
        self.has_undated: bool = False
        """Whether evaluations may have been counted without a date."""
        self._current: dict[Context | None, Summary] = {}
        """The summaries of the current period by their context."""
        self._ended: list[Summary] = []
        """Summaries of earlier periods whose counts no batch has taken yet, or that may still grow."""
        self._growing: list[Summary] = []
        """The ended summaries that the next batch counts again."""

    def summary_for(self, context: Context) -> Summary | None:
        """Where evaluations for a context are counted in this period; ``None`` if they are not counted."""
        key = context if self._for_each_context else None
        summary = self._current.get(key)
        if summary is None and len(self._current) < MAX_CONTEXT_SUMMARIES:
            summary = self._current.setdefault(key, Summary(key))
        return summary

    @property
    def is_empty(self) -> bool:
        """Whether there are no evaluations to report, and no earlier summary can grow."""
        return not self._growing and all(summary.is_empty for summary in self._current.values())

    def pending(self) -> int:
        """How many evaluations no batch has counted."""
        return sum([summary.pending() for summary in (*self._current.values(), *self._ended)])

    def end_period(self, events: Sequence[AnalyticsEvent]) -> Batch:
        """End the period and begin the next. Returns a batch of the events and the summaries."""
        ended, self._current = self._current, {}  # in one step: a signal handler in between would add a summary that is lost
        current = list(ended.values())
        again, self._growing = self._growing, []
        self._ended += current
        for summary in current:
            summary.in_use = None
        self.has_undated = False
        batch = Batch(events)
        batch.counting = self._locked(self._count([*current, *again], batch))
        return batch

    def _count(self, ended: Sequence[Summary], batch: Batch) -> Iterator[object]:
        for summary in ended:
            # Read first: if it is false, the counts that follow are final. A thread that took the `HotContext` before the period
            # ended may count at any time after that; these evaluations would otherwise be lost.
            can_grow = summary.can_grow
            event, before = SummaryEvent(summary.context), 0
            for _ in summary.take(event, self._clock):
                # In the same step as the counts: the sum of both is exact whenever the lock is free.
                self._counters.evaluations_taken += event.evaluations - before
                before = event.evaluations
                yield None
            if event.evaluations:
                batch.summaries.append(event)
            if can_grow:
                self._growing.append(summary)
            else:
                self._ended.remove(summary)

    def date_pending(self) -> Iterator[object]:
        """Extend the period until now for evaluations that were counted without a date, in steps."""
        self.has_undated = False
        summaries = list(self._current.values())
        return self._locked(step for summary in summaries for step in summary.date_pending(self._clock))

    def _locked(self, steps: Iterator[T]) -> Iterator[T]:
        """The same steps, each with the lock; between two steps the lock is free."""
        while True:
            with self._lock:
                try:
                    result = next(steps)
                except StopIteration:
                    return
            yield result


def combined(increments: Sequence[Increment | None]) -> Increment | None:
    """One function that calls all increments; ``None`` if one of them is ``None``."""
    if len(increments) == 1:
        return increments[0]  # a flag without prerequisites
    present = [increment for increment in increments if increment is not None]
    if len(present) < len(increments):
        return None

    def increment() -> None:
        for count_one in present:
            count_one()

    return increment
