"""Recorder without a client: limits, sampling, clocks, threads, and exact statistics."""

from __future__ import annotations

import logging
import threading
from typing import Any

import pytest

from aioflags import Client, Config, Context, DataSystem, Events
from aioflags.client.evaluator import Evaluator
from aioflags.client.flags import Flags
from aioflags.evaluation.answers import Answer
from aioflags.evaluation.snapshot import Snapshot
from aioflags.events.batch import Batch
from aioflags.events.counters import HAS_GIL
from aioflags.events.recorder import Recorder
from aioflags.model.defaults import MAX_HOT_ANSWERS, MAX_UNKNOWN_KEYS
from aioflags.model.detail import Reason, ReasonKind
from aioflags.model.event import EvaluationEvent, IndexEvent, MigrationEvent
from aioflags.sources import MemorySource
from tests.support.canaries import KEY
from tests.support.events import U1, U2, client_with_events, document


def snapshot_of(flags: dict[str, Any] | None = None) -> Snapshot:
    return Snapshot.empty().apply(MemorySource.from_document(flags or document()).change_set())


SNAPSHOT = snapshot_of()


class Clock:
    def __init__(self, now: int = 1000) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


def recorder(**options: Any) -> Recorder:
    own = {"chance", "clock", "has_gil", "logger"}
    settings = Events(**{name: options.pop(name) for name in list(options) if name not in own})
    made = Recorder(settings, **options)
    made.open()
    return made


def evaluate(to: Recorder, key: str, context: Context = U1, *, with_reason: bool = False) -> None:
    to.evaluated(key, context, "d", SNAPSHOT.evaluate(key, context, "d"), with_reason=with_reason)


def drained(from_: Recorder) -> Batch:
    batch = from_.drain()
    assert batch is not None
    batch.count()
    return batch


def date_pending(of: Recorder) -> None:
    for _ in of.date_pending():
        pass


@pytest.mark.parametrize(
    ("capacity", "events"),
    [pytest.param(5, 5, id="five fit"), pytest.param(1, 1, id="one fits"), pytest.param(100, 7, id="all fit")],
)
def test_a_full_buffer_drops_new_events_and_still_counts_evaluations(
    capacity: int, events: int, caplog: pytest.LogCaptureFixture
) -> None:
    to = recorder(events_max_pending=capacity)
    for round_ in range(1, 3):
        for _ in range(6):
            evaluate(to, "tracked", Context(f"u{round_}"))
        assert to.stats.events_dropped == (7 - events) * round_
        batch = drained(to)
        assert len(batch.events) == events
        assert isinstance(batch.events[0], IndexEvent)
        assert batch.evaluations == 6
    # One line for each time that the buffer fills up.
    assert caplog.text.count("the event buffer is full") == (2 if events < 7 else 0)


@pytest.mark.parametrize(
    ("ratio", "chance", "kept"),
    [
        pytest.param(None, 0.99, True, id="without a ratio all are kept"),
        pytest.param(1, 0.99, True, id="a ratio of 1 keeps all"),
        pytest.param(0, 0.0, False, id="a ratio of 0 keeps none"),
        pytest.param(-1, 0.0, False, id="a negative ratio keeps none"),
        pytest.param(10, 0.099, True, id="one in ten, selected"),
        pytest.param(10, 0.1, False, id="one in ten, not selected"),
    ],
)
def test_an_event_is_kept_by_its_sampling_ratio(ratio: int | None, chance: float, kept: bool) -> None:
    to = recorder(chance=lambda: chance)
    event = MigrationEvent(
        at_ms=1,
        operation="read",
        key="k",
        context=U1,
        value="live",
        default="off",
        reason=Reason(kind=ReasonKind.FALLTHROUGH),
        sampling_ratio=ratio,
    )
    to.migrated(event)
    assert (to.drain() is not None) is kept


def test_the_feature_and_the_debug_event_are_sampled_separately() -> None:
    draws = [0.9, 0.1]
    to = recorder(chance=lambda: draws.pop(0), clock=Clock())
    snapshot = snapshot_of(
        {
            "flags": {
                "f": {
                    "on": True,
                    "variations": [1],
                    "fallthrough": {"variation": 0},
                    "trackEvents": True,
                    "samplingRatio": 2,
                    "debugEventsUntilDate": 2000,
                }
            }
        }
    )
    to.evaluated("f", U1, 0, snapshot.evaluate("f", U1, 0), with_reason=False)
    _, debug = drained(to).events
    assert isinstance(debug, EvaluationEvent)
    assert debug.is_debug
    assert draws == []


@pytest.mark.parametrize(
    ("now", "server", "is_debugged"),
    [
        pytest.param(1000, None, True, id="before the date"),
        pytest.param(1000, 1500, True, id="before the date on both clocks"),
        pytest.param(3000, None, False, id="after the date"),
        pytest.param(3000, 1000, False, id="after the date on the local clock only"),
        pytest.param(1000, 2500, False, id="after the date on the server's clock only"),
        pytest.param(2000, None, False, id="at the date"),
        pytest.param(1000, 2000, False, id="at the date on the server's clock"),
    ],
)
def test_debugging_ends_by_the_local_clock_and_by_that_of_the_service(now: int, server: int | None, is_debugged: bool) -> None:
    to = recorder(clock=Clock(now))
    if server is not None:
        to.set_server_time(server)
    snapshot = snapshot_of(
        {"flags": {"f": {"on": True, "variations": [1], "fallthrough": {"variation": 0}, "debugEventsUntilDate": 2000}}}
    )
    to.evaluated("f", U1, 0, snapshot.evaluate("f", U1, 0), with_reason=False)
    assert [type(event) for event in drained(to).events] == [IndexEvent, *([EvaluationEvent] if is_debugged else [])]


def test_all_counted_evaluations_lie_between_the_dates_of_the_summary() -> None:
    clock = Clock(1000)
    to = recorder(clock=clock)
    evaluate(to, "plain")
    clock.now = 3000
    evaluate(to, "plain")
    clock.now = 9000
    batch = drained(to)
    assert (batch.summary.start_ms, batch.summary.end_ms) == (1000, 3000)


SOME_CLIENT = Client.local(document())


def fast_evaluation(to: Recorder, key: str, context: Context) -> None:
    """An evaluation that this recorder counts. It takes the fast path if the flag allows that."""
    evaluator = Evaluator(
        SOME_CLIENT._cell, SOME_CLIENT._hooks, to, offline=False, defaults={}, big_segments=None, logger=SOME_CLIENT._logger
    )
    evaluator.update_fast_path()
    assert SNAPSHOT.compiled(key)  # the first evaluation compiles the flag and takes the slow path
    Flags(evaluator, SNAPSHOT, context).variation(key, "d")


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
    assert (batch.summary.start_ms, batch.summary.end_ms, batch.evaluations) == (1000, 5000, 2)


def test_evaluations_without_a_date_are_dated_after_an_identify() -> None:
    clock = Clock(1000)
    to = recorder(clock=clock)
    fast_evaluation(to, "plain", U1)
    fast_evaluation(to, "plain", U1)
    to.identified(U2)
    clock.now = 5000
    date_pending(to)
    clock.now = 9000
    assert drained(to).summary.end_ms == 5000


def people(batch: Batch) -> list[str]:
    """The keys of the contexts that a batch describes."""
    return [event.context.key for event in batch.events if isinstance(event, IndexEvent)]


def test_alternating_users_are_described_once_and_the_oldest_is_forgotten_first() -> None:
    to = recorder(context_keys_capacity=2)
    for key in ("a", "b", "a", "b", "a", "c", "a", "b", "a"):
        fast_evaluation(to, "plain", Context(key))
    batch = drained(to)
    assert people(batch) == ["a", "b", "c", "b"]
    assert batch.evaluations == 9
    assert to.close_period().deduplicated == 5


def test_after_a_reset_of_deduplication_every_user_is_described_again() -> None:
    to = recorder()
    for _ in range(2):
        for key in ("a", "b", "a"):
            fast_evaluation(to, "plain", Context(key))
        to.reset_deduplication()
    assert people(drained(to)) == ["a", "b", "a", "b"]


def test_a_user_and_an_org_with_the_same_key_are_two_contexts() -> None:
    to = recorder()
    several = Context.multi(Context("a"), Context("a", "org"))
    for context in (Context("a"), Context("a", "org"), several, Context("a"), Context("a", "org"), several):
        fast_evaluation(to, "plain", context)
    batch = drained(to)
    assert [event.context.kind for event in batch.events if isinstance(event, IndexEvent)] == ["user", "org", "multi"]
    (feature,) = batch.summary.features()
    assert list(feature.context_kinds) == ["user", "org"]
    assert batch.evaluations == 6


def test_an_omitted_anonymous_user_is_not_mistaken_for_a_described_user() -> None:
    to = recorder(omit_anonymous_contexts=True)
    for context in (Context("a"), Context("a", anonymous=True), Context("b"), Context("a", anonymous=True)):
        fast_evaluation(to, "plain", context)
    assert people(drained(to)) == ["a", "b"]
    assert to.close_period().deduplicated == 0


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
    to = recorder()
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
    to = recorder()
    fast_evaluation(to, "plain", U1)
    late = to.hot_context
    (increment,) = late.increments.values()
    first = drained(to)
    increment()
    increment()
    batch = drained(to)
    # A batch is shaped from the counts at the time of the drain.
    assert [feature.counts[0].count for feature in first.summary.features()] == [first.evaluations] == [1]
    assert batch.evaluations == 2
    (feature,) = batch.summary.features()
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
    to = recorder()
    for _ in range(3):
        fast_evaluation(to, key, U1)
    assert to.hot_context.context is U1
    assert not to.hot_context.increments


def test_a_drained_batch_is_settled_once() -> None:
    to = recorder()
    evaluate(to, "tracked")
    batch = drained(to)
    stats = to.stats
    assert (stats.events_pending, stats.evaluations_pending) == (2, 1)
    to.mark_settled(events=len(batch.events), is_sent=True)
    to.mark_settled(evaluations=batch.evaluations, is_sent=False)
    stats = to.stats
    assert (stats.events_sent, stats.events_pending) == (2, 0)
    assert (stats.evaluations_dropped, stats.evaluations_pending) == (1, 0)


def test_a_diagnostic_period_counts_inputs_with_a_described_context() -> None:
    to = recorder(events_max_pending=3)
    fast_evaluation(to, "plain", U1)  # new
    fast_evaluation(to, "plain", U1)
    evaluate(to, "quiet")
    evaluate(to, "plain top")  # two inputs
    to.tracked("x", U1)
    to.identified(U1)
    to.identified(U2)  # new, and the buffer is full
    drained(to)
    period = to.close_period()
    assert (period.deduplicated, period.dropped, period.last_batch) == (6, 1, 3)
    period = to.close_period()
    assert (period.deduplicated, period.dropped, period.last_batch) == (0, 0, 0)
    fast_evaluation(to, "plain", U1)
    assert to.close_period().deduplicated == 1


def test_omitted_contexts_are_neither_new_nor_deduplicated() -> None:
    to = recorder(omit_anonymous_contexts=True)
    for _ in range(2):
        fast_evaluation(to, "plain", Context("a", anonymous=True))
    assert drained(to).evaluations == 2
    assert to.close_period().deduplicated == 0


def test_a_closed_recorder_records_nothing(caplog: pytest.LogCaptureFixture) -> None:
    to = recorder()
    to.close()
    evaluate(to, "tracked")
    fast_evaluation(to, "plain", U1)
    to.tracked("x", U1, object())
    to.identified(U1)
    assert to.drain() is None
    assert to.stats.events_recorded == 0
    assert caplog.records == []


def test_unknown_keys_are_counted_up_to_a_limit_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    to = recorder()
    for round_ in (1, 2):
        for number in range(MAX_UNKNOWN_KEYS + 5):
            evaluate(to, f"flag-of-{number}")
        evaluate(to, "flag-of-0")
        evaluate(to, "plain")
        stats = to.stats
        assert stats.evaluations_dropped == 5 * round_
        assert stats.evaluations_recorded == (MAX_UNKNOWN_KEYS + 7) * round_
        assert stats.evaluations_pending == (MAX_UNKNOWN_KEYS + 2) * round_
        batch = drained(to)
        assert batch.evaluations == MAX_UNKNOWN_KEYS + 2
        assert len(list(batch.summary.features())) == MAX_UNKNOWN_KEYS + 1
        assert to.stats == stats
    assert [(record.levelno, record.args) for record in caplog.records] == [(logging.WARNING, (MAX_UNKNOWN_KEYS,))]


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
        for feature in batch.summary.features():
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


def test_a_client_without_a_key_or_offline_or_without_events_has_no_outbox() -> None:
    system = DataSystem.custom(synchronizers=[MemorySource({"f": 1})])
    for client in (
        Client("", Config(data_system=system)),
        Client(KEY, Config(offline=True)),
        Client(KEY, Config(data_system=system, events=Events(send_events=False))),
        Client.local({"flagValues": {"f": 1}}),
    ):
        assert client._outbox is None
        client.flush()
