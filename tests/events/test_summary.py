"""Summary, its counters and its values, without a client. Payloads with summaries are in test_scenarios.py, dates in
test_recorder.py."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from aioflags import Context
from aioflags.events.summary import HAS_GIL, Counter, Summary, SummaryEvent, frozen_value, has_gil
from aioflags.model.defaults import MAX_KINDS, MAX_UNKNOWN_KEYS
from tests.support.hostile import Lazy

USER, ORG, DEVICE = Context("u"), Context("o", "org"), Context("d", "device")


def count(summary: Summary, at_ms: int = 50, key: str = "f", context: Context = USER, **fields: Any) -> Counter:
    """Count version 1 of a flag that serves "v", its variation 0, unless ``fields`` replace that."""
    served: dict[str, Any] = {"default": "d", "value": "v", "variation": 0, "version": 1, **fields}
    return summary.count(key, context, at_ms=at_ms, **served)


def count_flags(summary: Summary, number: int) -> None:
    for each in range(number):
        count(summary, key=f"f{each}")


def take(summary: Summary, now_ms: int = 60) -> SummaryEvent:
    event = SummaryEvent(summary.context)
    for _ in summary.take(event, lambda: now_ms):
        pass
    return event


def date_pending(summary: Summary, now_ms: int) -> None:
    for _ in summary.date_pending(lambda: now_ms):
        pass


@pytest.mark.parametrize("value", [object(), [object()]])
def test_a_value_that_json_cannot_represent_becomes_none(value: object) -> None:
    assert frozen_value(value) is None


def test_a_lazy_value_is_read_when_it_is_recorded() -> None:
    now = "alice"
    lazy = Lazy(lambda: now)
    frozen = frozen_value(lazy)
    now = "bob"
    assert bytes(frozen) == b'"alice"'


@pytest.mark.parametrize(
    ("interpreter", "expected"),
    [
        pytest.param(SimpleNamespace(), True, id="an interpreter that cannot disable it has it"),
        pytest.param(SimpleNamespace(_is_gil_enabled=lambda: True), True, id="it is on"),
        pytest.param(SimpleNamespace(_is_gil_enabled=lambda: False), False, id="it is off"),
    ],
)
def test_has_gil_returns_whether_the_gil_is_enabled(interpreter: object, expected: bool) -> None:
    assert has_gil(interpreter) is expected
    assert has_gil() is HAS_GIL


def test_reading_a_counter_does_not_change_it() -> None:
    counter = Counter("value", 0, 1)
    assert [counter.total(), counter.total()] == [0, 0]
    counter.increment()
    counter.increment()
    assert [counter.total(), counter.total()] == [2, 2]


def test_contexts_of_the_same_kinds_share_their_increments() -> None:
    summary = Summary()
    one, other = Context("one"), Context("other")
    assert summary.increments(one) is summary.increments(other)
    assert summary.increments(Context.multi(one, ORG)) is summary.increments(Context.multi(other, ORG))
    different = [one, ORG, Context.multi(one, ORG), Context.multi(one, DEVICE)]
    assert len({id(summary.increments(context)) for context in different}) == 4


def test_increments_are_kept_for_a_limited_number_of_kinds() -> None:
    summary = Summary()
    contexts = [Context("k", f"kind-{number}") for number in range(MAX_KINDS + 5)]
    shared = [summary.increments(context) is summary.increments(context) for context in contexts]
    assert shared == [True] * MAX_KINDS + [False] * 5


def test_the_dates_of_a_summary_are_the_dates_of_its_first_and_last_evaluation() -> None:
    summary = Summary()
    for at_ms in (50, 40, 60, 45):
        count(summary, at_ms)
    date_pending(summary, 99)
    event = take(summary, 99)
    assert (event.start_ms, event.end_ms) == (40, 60)


def test_evaluations_without_a_date_are_dated_now() -> None:
    summary = Summary()
    count(summary).increment()
    date_pending(summary, 70)
    date_pending(summary, 90)
    event = take(summary, 99)
    assert (event.evaluations, event.end_ms) == (2, 70)


def test_taking_a_summary_extends_it_until_now_for_evaluations_without_a_date() -> None:
    summary = Summary()
    count(summary).increment()
    event = take(summary, 99)
    assert (event.evaluations, event.start_ms, event.end_ms) == (2, 50, 99)


def test_late_evaluations_are_taken_the_next_time() -> None:
    summary = Summary()
    counter = count(summary, 50, "f", Context.multi(USER, ORG), default=[1], value={"a": 1}, variation=3, version=7)
    first = take(summary, 55)
    counter.increment()
    counter.increment()
    assert summary.pending() == 2
    second, third = take(summary, 61), take(summary, 62)
    assert (first.evaluations, second.evaluations, third.evaluations) == (1, 2, 0)
    assert (second.start_ms, second.end_ms) == (61, 61)
    (feature,), (before,) = second.features, first.features
    assert (feature.key, feature.default, feature.context_kinds) == ("f", before.default, ("org", "user"))
    (late,), (early,) = feature.counts, before.counts
    assert (late.count, early.count) == (2, 1)
    assert (late.value, late.variation, late.version) == (early.value, 3, 7)


@pytest.mark.parametrize("where", ["default", "value"])
def test_a_signal_handler_that_evaluates_the_same_flag_is_counted(where: str) -> None:
    """A signal handler may evaluate the flag whose first evaluation it interrupts."""
    summary = Summary()

    class Interrupted(dict[str, object]):
        """Evaluates the flag while it is copied."""

        def items(self) -> Any:
            count(summary, 40)
            return super().items()

    replaced: dict[str, Any] = {where: Interrupted()}
    count(summary, **replaced).increment()
    assert summary.pending() == 3
    (feature,) = take(summary).features
    assert [each.count for each in feature.counts] == [3]


def test_a_summary_can_grow_while_it_is_taken() -> None:
    summary, event = Summary(), SummaryEvent()
    count_flags(summary, 100)
    steps = summary.take(event, lambda: 60)
    next(steps)
    count_flags(summary, 200)
    for _ in steps:
        pass
    assert event.evaluations + summary.pending() == 300


def test_one_step_reads_32_flags() -> None:
    summary, event = Summary(), SummaryEvent()
    count_flags(summary, 100)
    assert len(list(summary.date_pending(lambda: 1))) == 4
    assert [event.evaluations for _ in summary.take(event, lambda: 60)] == [32, 64, 96, 100]


def test_a_summary_has_room_for_a_limited_number_of_unknown_keys_and_counts_each_once() -> None:
    summary = Summary()
    for number in range(MAX_UNKNOWN_KEYS):
        assert summary.has_room(f"f{number}")
        for _ in range(2):
            count(summary, 50, f"f{number}", variation=None, version=None)
    assert not summary.has_room("another")
    assert summary.has_room("f0")


def test_variations_and_versions_are_counted_separately() -> None:
    summary = Summary()
    for variation, version in [(0, 1), (1, 1), (0, 2), (None, 1), (0, 1)]:
        count(summary, value=variation, variation=variation, version=version)
    (feature,) = take(summary).features
    counted = [(each.variation, each.version, each.value, each.count) for each in feature.counts]
    assert counted == [(0, 1, 0, 2), (1, 1, 1, 1), (0, 2, 0, 1), (None, 1, None, 1)]


def test_a_summary_lists_a_limited_number_of_kinds_and_counts_all() -> None:
    summary = Summary()
    contexts = [Context("k", f"kind-{number}") for number in range(MAX_KINDS + 5)]
    for context in contexts:
        count(summary, context=context)
    event = take(summary)
    assert event.evaluations == MAX_KINDS + 5
    assert list(event.features[0].context_kinds) == [context.kind for context in contexts[:MAX_KINDS]]
