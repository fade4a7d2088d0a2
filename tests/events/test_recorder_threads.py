"""Recorder: exact numbers while other threads evaluate flags, and while a log handler does."""

from __future__ import annotations

import logging
import threading

import pytest

from aioflags import Context
from aioflags.events.summary import HAS_GIL
from aioflags.model.event import EvaluationEvent
from tests.events.recorders import evaluate, fast_evaluation, recorder, snapshot_of
from tests.support.events import U1, U2, client_with_events


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
