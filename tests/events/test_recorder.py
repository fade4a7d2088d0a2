"""Recorder without a client: limits, sampling, dates, and the statistics of batches."""

from __future__ import annotations

import logging

import pytest

from aioflags import Client, Config, Context, DataSystem, Events
from aioflags.model.defaults import MAX_UNKNOWN_KEYS
from aioflags.model.detail import Reason, ReasonKind
from aioflags.model.event import EvaluationEvent, IndexEvent, MigrationEvent
from aioflags.sources import MemorySource
from tests.events.recorders import Clock, drained, evaluate, fast_evaluation, recorder, snapshot_of
from tests.support.canaries import KEY
from tests.support.events import U1


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
    assert (batch.summaries[0].start_ms, batch.summaries[0].end_ms) == (1000, 3000)


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
        assert len(batch.summaries[0].features) == MAX_UNKNOWN_KEYS + 1
        assert to.stats == stats
    assert [(record.levelno, record.args) for record in caplog.records] == [(logging.WARNING, (MAX_UNKNOWN_KEYS,))]


def test_a_client_without_a_key_or_offline_or_without_events_has_no_outbox() -> None:
    system = DataSystem.custom(synchronizers=[MemorySource({"f": 1})])
    for client in (
        Client("", Config(data_system=system)),
        Client(KEY, Config(offline=True)),
        Client(KEY, Config(data_system=system, events=Events(send_events=False))),
        Client.local({"flagValues": {"f": 1}}),
    ):
        assert client._core.outbox is None
        client.flush()
