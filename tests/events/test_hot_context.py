"""HotContext: repeated evaluations that are counted without the lock of the recorder, and exact numbers with threads."""

from __future__ import annotations

import logging
import threading
from typing import Any

import pytest

from aioflags import Context
from aioflags.evaluation.answers import Answer
from aioflags.events.summary import HAS_GIL
from aioflags.model.defaults import MAX_HOT_ANSWERS
from aioflags.model.detail import Reason, ReasonKind
from aioflags.model.event import EvaluationEvent
from tests.events.recorders import Clock, date_pending, drained, evaluate, fast_evaluation, recorder, snapshot_of
from tests.support.events import U1, U2, client_with_events


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="with a GIL"),
        pytest.param({"has_gil": False}, id="without a GIL"),
        pytest.param({"context_keys_capacity": 0}, id="if every context is described again"),
    ],
)
def test_evaluations_without_a_date_extend_the_period_until_date_pending(options: dict[str, Any]) -> None:
    clock = Clock(1000)
    to = recorder(clock=clock, **options)
    fast_evaluation(to, "plain", U1)
    clock.now = 2000
    fast_evaluation(to, "plain", U1)
    clock.now = 5000
    date_pending(to)
    clock.now = 9000
    date_pending(to)
    batch = drained(to)
    assert (batch.summaries[0].start_ms, batch.summaries[0].end_ms, batch.evaluations) == (1000, 5000, 2)


def test_evaluations_without_a_date_are_dated_after_an_identify() -> None:
    clock = Clock(1000)
    to = recorder(clock=clock)
    fast_evaluation(to, "plain", U1)
    fast_evaluation(to, "plain", U1)
    to.identified(U2)
    clock.now = 5000
    date_pending(to)
    clock.now = 9000
    assert drained(to).summaries[0].end_ms == 5000


@pytest.mark.parametrize(
    ("has_gil", "waits"),
    [pytest.param(True, False, id="with a GIL without the lock"), pytest.param(False, True, id="without a GIL under the lock")],
)
def test_a_repeated_evaluation_is_counted(has_gil: bool, waits: bool) -> None:
    to = recorder(has_gil=has_gil)
    for context in (U1, U2):
        fast_evaluation(to, "plain", context)
    is_held, released = threading.Event(), threading.Event()

    def in_use() -> None:
        with to._lock:
            is_held.set()
            released.wait(20)

    holding = threading.Thread(target=in_use)
    holding.start()
    is_held.wait(20)
    counting = [threading.Thread(target=fast_evaluation, args=(to, "plain", context)) for context in (U1, U2)]
    for thread in counting:
        thread.start()
    for thread in counting:
        thread.join(0.1 if waits else 20)
    are_waiting = [thread.is_alive() for thread in counting]
    released.set()
    for thread in (holding, *counting):
        thread.join()
    assert are_waiting == [waits, waits]
    assert drained(to).evaluations == 4


def test_a_log_filter_that_raises_does_not_make_an_evaluation_count_twice() -> None:
    def refuse(_: logging.LogRecord) -> bool:
        raise OSError("no log")

    logger = logging.getLogger("aioflags.tests.a log that fails")
    logger.addFilter(refuse)
    to = recorder(events_max_pending=1, logger=logger)
    for _ in range(2):
        fast_evaluation(to, "tracked", U1)
    assert drained(to).evaluations == 2


def test_a_hot_context_has_at_most_max_answers_and_all_evaluations_are_counted() -> None:
    to = recorder(has_gil=True)
    fast_evaluation(to, "plain", U1)
    (increment,) = to.hot_context.increments.values()
    to.hot_context.increments.update(
        {Answer(number, 0, Reason(kind=ReasonKind.OFF)): increment for number in range(MAX_HOT_ANSWERS)}
    )
    many = len(to.hot_context.increments)
    for _ in range(2):
        fast_evaluation(to, "other", U1)
    assert len(to.hot_context.increments) == many
    assert drained(to).evaluations == 3


def test_an_evaluation_counted_after_the_end_of_a_period_is_in_the_next() -> None:
    to = recorder(has_gil=True)
    fast_evaluation(to, "plain", U1)
    late = to.hot_context
    (increment,) = late.increments.values()
    first = drained(to)
    increment()
    increment()
    batch = drained(to)
    # A batch is shaped from the counts at the time of the drain.
    assert [feature.counts[0].count for feature in first.summaries[0].features] == [first.evaluations] == [1]
    assert batch.evaluations == 2
    (feature,) = batch.summaries[0].features
    assert (feature.key, feature.default, list(feature.context_kinds)) == ("plain", "d", ["user"])
    assert [(count.count, count.value, count.variation, count.version) for count in feature.counts] == [(2, "b", 1, 7)]
    # More evaluations may come later, while a thread still has the hot context.
    for _ in range(3):
        assert drained(to).evaluations == 0
    increment()
    del late
    assert drained(to).evaluations == 1
    assert to.drain() is None
    assert to.stats.evaluations_recorded == 4


@pytest.mark.parametrize("key", ["tracked", "exp", "debug", "quiet", "top"])
def test_an_evaluation_with_events_never_takes_the_fast_path(key: str) -> None:
    to = recorder(has_gil=True)
    for _ in range(3):
        fast_evaluation(to, key, U1)
    assert to.hot_context.context is U1
    assert not to.hot_context.increments


# -- threads


def test_the_stats_are_exact_at_every_step_of_counting() -> None:
    """Between two steps other threads evaluate, read the stats and drain the next batch."""
    keys = [f"f{number}" for number in range(100)]
    snapshot = snapshot_of({"flagValues": dict.fromkeys(keys, 1)})
    to, made = recorder(), 0

    def evaluate_all() -> int:
        for key in keys:
            to.evaluated(key, U1, 0, snapshot.evaluate(key, U1, 0), with_reason=False)
        return len(keys)

    made += evaluate_all()
    batches = [to.drain()]
    for step in range(12):
        assert to.stats.evaluations_recorded == made
        if step == 2:
            made += evaluate_all()
            batches.append(to.drain())
        for batch in batches:
            assert batch is not None
            next(batch.counting, None)
    assert to.stats.evaluations_recorded == made == 200
    for batch in batches:
        assert batch is not None
        to.mark_settled(evaluations=batch.count(), is_sent=True)
    assert (to.stats.evaluations_sent, to.stats.evaluations_pending) == (200, 0)
    assert to.drain() is None


def test_the_handler_of_the_full_buffer_warning_can_evaluate_flags() -> None:
    messages: list[str] = []
    log = logging.getLogger("aioflags.test.full")
    to = recorder(events_max_pending=1, logger=log)

    class EvaluatingHandler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            evaluate(to, "tracked", U2)
            messages.append(record.getMessage())

    log.addHandler(handler := EvaluatingHandler())
    try:
        evaluate(to, "tracked")
    finally:
        log.removeHandler(handler)
    assert len(messages) == 1
    assert to.stats.evaluations_recorded == 2


@pytest.mark.real_time
@pytest.mark.parametrize("has_gil", [pytest.param(True, id="with a GIL"), pytest.param(False, id="without a GIL")])
def test_evaluations_of_threads_are_all_counted_while_batches_are_drained(has_gil: bool) -> None:
    to = recorder(events_max_pending=100_000, has_gil=has_gil and HAS_GIL)
    rounds, contexts = 3000, [Context(f"u{number}") for number in range(4)]
    counted: dict[str, int] = {}

    def work(context: Context) -> None:
        for number in range(rounds):
            fast_evaluation(to, "plain", context if number % 3 else contexts[number % 4])
            if number % 50 == 0:
                evaluate(to, "tracked", context)

    def count() -> int:
        batch = to.drain()
        if batch is None:
            return 0
        batch.count()
        for feature in (feature for summary in batch.summaries for feature in summary.features):
            counted[feature.key] = counted.get(feature.key, 0) + sum(count.count for count in feature.counts)
        return sum(isinstance(event, EvaluationEvent) for event in batch.events)

    threads = [threading.Thread(target=work, args=(context,)) for context in contexts]
    for thread in threads:
        thread.start()
    features = 0
    while any(thread.is_alive() for thread in threads):
        features += count()
    features += count() + count()
    assert counted == {"plain": 4 * rounds, "tracked": features}
    assert features == 4 * rounds / 50
    assert to.stats.evaluations_recorded == sum(counted.values())


@pytest.mark.real_time
async def test_a_client_can_be_used_from_any_thread() -> None:
    async with client_with_events() as sending:
        client = sending.client
        flags = client.flags_nowait(U1)

        def work() -> None:
            for _ in range(500):
                client.variation_nowait("plain", U1, "")
                flags.variation("plain", "")
                client.track("x", U2)
            client.flush()

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        payloads = await sending.payloads()
        stats = client.stats
    assert stats.evaluations_recorded == stats.evaluations_sent == 4000
    assert stats.events_recorded == stats.events_sent == 2000 + 2
    assert (
        sum(payload[-1]["features"]["plain"]["counters"][0]["count"] for payload in payloads if payload[-1]["kind"] == "summary")
        == 4000
    )
