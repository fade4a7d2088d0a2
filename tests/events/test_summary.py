"""Summary without a client. Payloads with summaries are in test_scenarios.py, dates in test_recorder.py."""

from __future__ import annotations

from typing import Any

import pytest

from aioflags import Context
from aioflags.events.shaping import kinds_of
from aioflags.events.summary import Summary, SummaryEntry
from aioflags.model.defaults import MAX_KINDS, MAX_UNKNOWN_KEYS

USER, ORG, DEVICE = Context("u"), Context("o", "org"), Context("d", "device")


def entry(key: str = "f", context: Context = USER, **fields: Any) -> SummaryEntry:
    """An entry for version 1 of a flag that serves "v", its variation 0, unless ``fields`` replace that."""
    defaults: dict[str, Any] = {"default": "d", "value": "v", "variation": 0, "version": 1, "at_ms": 50}
    return SummaryEntry(key=key, kinds=kinds_of(context), **{**defaults, **fields})


def test_contexts_of_the_same_kinds_share_their_increments() -> None:
    summary = Summary()
    one, other = Context("one"), Context("other")
    assert summary.increments(one) is summary.increments(other)
    assert summary.increments(Context.multi(one, ORG)) is summary.increments(Context.multi(other, ORG))
    different = [one, ORG, Context.multi(one, ORG), Context.multi(one, DEVICE)]
    assert len({id(summary.increments(context)) for context in different}) == 4


def test_a_full_block_of_counters_is_followed_by_another() -> None:
    summary = Summary()
    for number in range(2500):
        count(summary, 50, f"f{number}")
    assert list(summary.totals()) == [1024, 1024, 452]
    count(summary, 50, "f0")
    assert sum(summary.totals()) == 2501
    assert take(summary, 60) == 2501


def test_the_total_of_a_taken_summary_does_not_change() -> None:
    summary = Summary()
    for number in range(100):
        count(summary, 50, f"f{number}")
    assert sum(summary.totals()) == 100
    steps = summary.take(lambda: 60)
    next(steps)
    count(summary, 50, "f0")
    assert sum(summary.totals()) == 100
    assert 32 + sum(steps) == 100


def date_pending(summary: Summary, now_ms: int) -> None:
    for _ in summary.date_pending(lambda: now_ms):
        pass


def take(summary: Summary, now_ms: int) -> int:
    return sum(summary.take(lambda: now_ms))


def add_late(later: Summary, earlier: Summary, at_ms: int) -> None:
    for _ in later.add_late(earlier, at_ms):
        pass


def count(summary: Summary, at_ms: int, key: str = "f") -> None:
    summary.count(entry(key, at_ms=at_ms))


def test_the_dates_of_a_summary_are_those_of_its_first_and_last_evaluation() -> None:
    summary = Summary()
    for at_ms in (50, 40, 60, 45):
        count(summary, at_ms)
    assert (summary.start_ms, summary.end_ms) == (40, 60)
    date_pending(summary, 99)
    assert summary.end_ms == 60


def test_evaluations_without_a_date_are_dated_now() -> None:
    summary = Summary()
    counter = summary.count(entry())
    counter.increment()
    date_pending(summary, 70)
    date_pending(summary, 90)
    assert (sum(summary.totals()), summary.end_ms) == (2, 70)
    assert (take(summary, 99), summary.end_ms) == (2, 70)


def test_taking_a_summary_extends_it_until_now_for_evaluations_without_a_date() -> None:
    summary = Summary()
    summary.count(entry()).increment()
    assert (take(summary, 99), summary.end_ms) == (2, 99)
    late = summary.count(entry("g", at_ms=20))
    assert (summary.start_ms, summary.end_ms, late.dated) == (20, 99, 1)


def test_late_evaluations_are_counted_in_the_next_summary() -> None:
    earlier, later = Summary(), Summary()
    counter = earlier.count(entry("f", Context.multi(USER, ORG), default=[1], value={"a": 1}, variation=3, version=7))
    assert take(earlier, 55) == 1
    for _ in range(2):
        counter.increment()
    assert sum(earlier.totals()) == 1  # it is in the payload
    add_late(later, earlier, 60)
    assert sum(later.totals()) == 2
    add_late(later, earlier, 65)
    assert (take(later, 61), later.start_ms, later.end_ms) == (2, 60, 60)
    (feature,), (before,) = later.features(), earlier.features()
    assert (feature.key, feature.default, feature.context_kinds) == ("f", before.default, ("org", "user"))
    (late,), (first,) = feature.counts, before.counts
    assert (late.count, first.count) == (2, 1)
    assert (late.value, late.variation, late.version) == (first.value, 3, 7)


@pytest.mark.parametrize("where", ["default", "value"])
def test_a_signal_handler_that_evaluates_the_same_flag_is_counted(where: str) -> None:
    """A signal handler may evaluate the flag whose first evaluation it interrupts."""
    summary = Summary()

    class Interrupted(dict[str, object]):
        """Evaluates the flag while it is copied."""

        def items(self) -> Any:
            count(summary, 40)
            return super().items()

    values: dict[str, Any] = {"default": "d", "value": "v", where: Interrupted()}
    summary.count(entry("f", **values)).increment()
    assert take(summary, 60) == 3
    (feature,) = summary.features()
    assert [each.count for each in feature.counts] == [3]


def test_a_summary_can_grow_while_it_is_read() -> None:
    summary = Summary()
    for number in range(100):
        count(summary, 50, f"f{number}")
    steps = summary.totals()
    found = next(steps)
    for number in range(100):
        count(summary, 50, f"g{number}")
    assert found + sum(steps) == 100
    assert sum(summary.totals()) == 200


def test_one_step_reads_32_flags() -> None:
    summary, later = Summary(), Summary()
    for number in range(100):
        count(summary, 50, f"f{number}")
    assert list(summary.totals()) == [100]
    assert len(list(summary.date_pending(lambda: 1))) == 4
    assert list(summary.take(lambda: 60)) == [32, 32, 32, 4]
    assert len(list(later.add_late(summary, 60))) == 4
    assert later.is_empty


def test_a_summary_has_room_for_a_limited_number_of_unknown_keys() -> None:
    summary = Summary()
    for number in range(MAX_UNKNOWN_KEYS):
        assert summary.has_room(f"f{number}")
        summary.count(entry(f"f{number}", default="d", value="d", variation=None, version=None))
    assert not summary.has_room("another")
    assert summary.has_room("f0")


def test_an_unknown_key_is_counted_once_against_the_limit() -> None:
    summary = Summary()
    for _ in range(MAX_UNKNOWN_KEYS):
        summary.count(entry("f", default="d", value="d", variation=None, version=None))
    assert summary.has_room("another")


def test_variations_and_versions_are_counted_separately() -> None:
    summary = Summary()
    outcomes = [(0, 1), (1, 1), (0, 2), (None, 1), (0, 1)]
    for variation, version in outcomes:
        summary.count(entry("f", default="d", value=variation, variation=variation, version=version))
    (feature,) = summary.features()
    assert [each.count for each in feature.counts] == [0] * 4  # before the summary is taken
    assert take(summary, 60) == 5
    (feature,) = summary.features()
    counted = [(each.variation, each.version, each.value, each.count) for each in feature.counts]
    assert counted == [(0, 1, 0, 2), (1, 1, 1, 1), (0, 2, 0, 1), (None, 1, None, 1)]


def test_late_evaluations_of_two_summaries_are_added() -> None:
    later = Summary()
    for _ in range(2):
        earlier = Summary()
        count(earlier, 50)
        count(earlier, 50)
        add_late(later, earlier, 60)
    count(later, 70)
    assert take(later, 80) == 5


def test_a_summary_lists_a_limited_number_of_kinds_and_counts_all() -> None:
    summary = Summary()
    contexts = [Context("k", f"kind-{number}") for number in range(MAX_KINDS + 5)]
    for context in contexts:
        summary.count(entry("f", context))
    assert take(summary, 60) == MAX_KINDS + 5
    (feature,) = summary.features()
    assert list(feature.context_kinds) == [context.kind for context in contexts[:MAX_KINDS]]


def test_increments_are_kept_for_a_limited_number_of_kinds() -> None:
    summary = Summary()
    contexts = [Context("k", f"kind-{number}") for number in range(MAX_KINDS + 5)]
    shared = [summary.increments(context) is summary.increments(context) for context in contexts]
    assert shared == [True] * MAX_KINDS + [False] * 5
