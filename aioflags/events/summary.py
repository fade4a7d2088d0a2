"""Summary: how often each flag served what, in one period between two payloads.

Most evaluations are repeats of one that was counted in the same period. For those there is the :class:`Focus`: the context
that was evaluated last, and for each answer that was counted for its kinds already, a function that counts one more. It is
an ``itertools.count``, which needs no lock.

Source: ``events.md`` 5.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, TypeAlias

import msgspec

from aioflags.evaluation.compiled import Answer
from aioflags.model.context import Context, invalid_context
from aioflags.model.event import Count, FlagCounts
from aioflags.protocol.payloads import try_json

__all__ = ["NOBODY", "Counter", "Focus", "Summary", "Tick", "Ticks", "kept", "kinds_of"]

Tick: TypeAlias = Callable[[], object]
Ticks: TypeAlias = dict[Answer, Tick]


class Focus(msgspec.Struct, frozen=True, eq=False):
    """The newest context, and how its evaluations are counted that need nothing else. Replaced, never changed.

    Whoever evaluates for just this context, with an answer that ``ticks`` has, calls that, and is done.
    """

    context: Context
    ticks: Ticks


_CONSTANT: Final = frozenset({bool, int, float, str, type(None), msgspec.Raw})

NOBODY: Final = Focus(invalid_context("nobody"), {})


class Counter:
    """How often one version of a flag served one variation. ``tick`` counts one more, from any thread.

    ``counted`` is what the summary tells of it, once that is taken.
    """

    __slots__ = ("_looks", "_taken", "counted", "tick", "value", "variation", "version")

    def __init__(self, value: Any, variation: int | None, version: int | None) -> None:
        self.value: Any = kept(value)
        self.variation: int | None = variation
        self.version: int | None = version
        self.tick: Callable[[], int] = itertools.count().__next__
        self.counted: int = 0
        self._taken = 0
        self._looks = 0

    def total(self) -> int:
        """How often it was counted so far."""
        # Looking counts as well, since there is no other way to look.
        found = self.tick() - self._looks
        self._looks += 1
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
    """The counts of one period. Changed under the recorder's lock, but for the ticks."""

    __slots__ = ("_flags", "_noted", "_ticks", "end_ms", "start_ms")

    def __init__(self) -> None:
        self.start_ms: int = 0
        self.end_ms: int = 0
        self._noted = 0
        self._flags: dict[str, _FlagCounters] = {}
        self._ticks: dict[str | tuple[str, ...], Ticks] = {}

    def ticks(self, context: Context) -> Ticks:
        """How evaluations are counted for contexts of these kinds: filled by who counts the first of them."""
        kinds = context.kind if context.members is None else tuple(context.members)
        try:
            return self._ticks[kinds]
        except KeyError:
            found = self._ticks[kinds] = {}
            return found

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
    ) -> Counter:
        """Counts one evaluation, and answers with what has counted it. ``version``: ``None`` for a flag that is not known."""
        flag = self._flags.get(key)
        if flag is None:
            flag = self._flags[key] = _FlagCounters(default)
        for kind in kinds:
            flag.kinds[kind] = None
        counter = flag.by_outcome.get((variation, version))
        if counter is None:
            counter = flag.by_outcome[variation, version] = Counter(value, variation, version)
        counter.tick()
        self._noted += 1
        self.start_ms = min(self.start_ms or at_ms, at_ms)
        self.end_ms = max(self.end_ms, at_ms)
        return counter

    def total(self) -> int:
        """How many evaluations were counted so far."""
        return sum(counter.total() for counter in self._counters())

    def settle(self, now_ms: int) -> None:
        """If evaluations were counted without a look at the clock, the last of them was just now."""
        self._settle(self.total(), now_ms)

    def _settle(self, total: int, now_ms: int) -> None:
        if total > self._noted:
            self._noted = total
            self.end_ms = max(self.end_ms, now_ms)

    def take(self, now_ms: int) -> int:
        """Ends the period, as of now: :meth:`features` tells what is counted by then. Answers how much that is."""
        total = 0
        for counter in self._counters():
            counter.counted = counter.take()
            total += counter.counted
        self._settle(total, now_ms)
        return total

    def features(self) -> Iterator[FlagCounts]:
        """What was taken, flag by flag."""
        for key, flag in self._flags.items():
            counts = [Count(each.counted, each.value, each.variation, each.version) for each in flag.by_outcome.values()]
            yield FlagCounts(key, flag.default, tuple(flag.kinds), counts)

    def add_late(self, earlier: Summary, at_ms: int) -> None:
        """Counts what ``earlier``, which is taken and told, counted afterwards: by threads that had its focus in hand just then."""
        for key, flag in earlier._flags.items():
            for late in flag.by_outcome.values():
                for _ in range(late.take()):
                    self.count(
                        key,
                        flag.kinds,
                        default=flag.default,
                        value=late.value,
                        variation=late.variation,
                        version=late.version,
                        at_ms=at_ms,
                    )

    def _counters(self) -> Iterator[Counter]:
        return (counter for flag in self._flags.values() for counter in flag.by_outcome.values())


def kinds_of(context: Context) -> tuple[str, ...]:
    """The kinds that a valid context is of."""
    return (context.kind,) if context.members is None else tuple(context.members)


def kept(value: Any) -> Any:
    """A value or default as it is now, whatever its owner does with it; ``None`` for what JSON cannot carry."""
    if value.__class__ in _CONSTANT:
        return value
    found = try_json(value)
    return None if isinstance(found, Exception) else found
