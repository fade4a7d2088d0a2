"""Summaries by themselves. What is told of them is in test_scenarios.py, their dates are in test_recorder.py."""

from __future__ import annotations

from aioflags import Context
from aioflags.events.summary import Counter, Summary

ORG, DEVICE = Context("o", "org"), Context("d", "device")


def test_contexts_share_their_ticks_with_those_of_the_same_kinds() -> None:
    summary = Summary()
    one, other = Context("one"), Context("other")
    assert summary.ticks(one) is summary.ticks(other)
    assert summary.ticks(Context.multi(one, ORG)) is summary.ticks(Context.multi(other, ORG))
    different = [one, ORG, Context.multi(one, ORG), Context.multi(one, DEVICE)]
    assert len({id(summary.ticks(context)) for context in different}) == 4


def test_looking_does_not_count() -> None:
    counter = Counter("value", 0, 1)
    assert [counter.total(), counter.total()] == [0, 0]
    counter.tick()
    counter.tick()
    assert [counter.total(), counter.total()] == [2, 2]
    assert [counter.take(), counter.take()] == [2, 0]
    counter.tick()
    assert [counter.total(), counter.take(), counter.total()] == [3, 1, 3]


def count(summary: Summary, at_ms: int, key: str = "f") -> None:
    summary.count(key, ("user",), default="d", value="v", variation=0, version=1, at_ms=at_ms)


def test_the_dates_of_a_summary_are_those_of_its_first_and_last_evaluation() -> None:
    summary = Summary()
    for at_ms in (50, 40, 60, 45):
        count(summary, at_ms)
    assert (summary.start_ms, summary.end_ms) == (40, 60)
    summary.settle(99)
    assert summary.end_ms == 60


def test_what_was_counted_without_a_look_at_the_clock_was_just_now() -> None:
    summary = Summary()
    counter = summary.count("f", ("user",), default="d", value="v", variation=0, version=1, at_ms=50)
    counter.tick()
    summary.settle(70)
    summary.settle(90)
    assert (summary.total(), summary.end_ms) == (2, 70)


def test_what_is_counted_late_is_counted_in_the_next() -> None:
    earlier, later = Summary(), Summary()
    counter = earlier.count("f", ("user", "org"), default=[1], value={"a": 1}, variation=3, version=7, at_ms=50)
    assert earlier.take(55) == 1
    for _ in range(2):
        counter.tick()
    later.add_late(earlier, 60)
    assert (later.take(61), later.start_ms, later.end_ms) == (2, 60, 60)
    (told,), (before,) = later.features(), earlier.features()
    assert (told.key, told.default, told.context_kinds) == ("f", before.default, ("user", "org"))
    (late,), (first,) = told.counts, before.counts
    assert (late.count, first.count) == (2, 1)
    assert (late.value, late.variation, late.version) == (first.value, 3, 7)
