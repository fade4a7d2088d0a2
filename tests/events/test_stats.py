"""The sums of stats and periods. test_conservation.py tests that they always hold."""

from __future__ import annotations

from aioflags.events.stats import DiagnosticPeriod, EventCounters, Stats


def test_new_counters_are_zero() -> None:
    accounts = EventCounters()
    assert accounts.stats(0) == Stats()
    assert accounts.close_period(0) == DiagnosticPeriod()


def test_recorded_is_sent_plus_dropped_plus_pending() -> None:
    accounts = EventCounters()
    accounts.events_recorded, accounts.events_sent, accounts.events_dropped = 100, 60, 7
    accounts.evaluations_taken, accounts.evaluations_sent, accounts.evaluations_dropped = 50, 20, 4
    assert accounts.stats(5) == Stats(
        events_recorded=100,
        events_sent=60,
        events_dropped=7,
        events_pending=33,
        evaluations_recorded=55,
        evaluations_sent=20,
        evaluations_dropped=4,
        evaluations_pending=31,
    )


def test_a_period_begins_at_the_end_of_the_previous_one() -> None:
    accounts = EventCounters()
    accounts.evaluations_taken, accounts.deduplicable, accounts.new_contexts = 10, 3, 4
    accounts.dropped_for_room, accounts.last_batch = 2, 9
    assert accounts.close_period(5) == DiagnosticPeriod(dropped=2, deduplicated=14, last_batch=9)
    assert accounts.close_period(5) == DiagnosticPeriod()
    accounts.evaluations_taken, accounts.new_contexts = 12, 1
    assert accounts.close_period(6) == DiagnosticPeriod(deduplicated=2)


def test_the_number_of_deduplicated_contexts_is_never_negative() -> None:
    accounts = EventCounters()
    accounts.new_contexts = 3
    assert accounts.close_period(1) == DiagnosticPeriod()
