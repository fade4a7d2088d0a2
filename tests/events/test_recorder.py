"""Recorder without a client: limits, sampling, dates, the statistics of batches, and which contexts are described."""

from __future__ import annotations

import asyncio
import logging

import pytest

from aioflags import Client, Config, Context, DataSystem, Events
from aioflags.events.summary import Batch
from aioflags.model.defaults import MAX_UNKNOWN_KEYS
from aioflags.model.detail import Reason, ReasonKind
from aioflags.model.event import EvaluationEvent, IndexEvent, MigrationEvent
from aioflags.sources import MemorySource
from tests.events.recorders import Clock, drained, evaluate, fast_evaluation, recorder, snapshot_of
from tests.support.canaries import KEY
from tests.support.events import U1, U2, client_with_events


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


# -- contexts


def people(batch: Batch) -> list[str]:
    """The keys of the contexts that a batch describes."""
    return [event.context.key for event in batch.events if isinstance(event, IndexEvent)]


@pytest.mark.parametrize(
    ("capacity", "met", "new"),
    [
        pytest.param(2, [1, 2, 1, 3, 1, 2], [1, 2, 3, 2], id="a context that is used again stays"),
        pytest.param(2, [1, 2, 3, 1], [1, 2, 3, 1], id="a context that is not used again is forgotten"),
        pytest.param(3, [1, 2, 1, 3, 4, 1, 2], [1, 2, 3, 4, 2], id="used again before the capacity is reached"),
        pytest.param(1, [1, 1, 2, 1], [1, 2, 1], id="capacity 1"),
        pytest.param(0, [1, 1], [1, 1], id="capacity 0"),
    ],
)
async def test_the_most_recently_used_contexts_are_not_described_again(capacity: int, met: list[int], new: list[int]) -> None:
    async with client_with_events(context_keys_capacity=capacity) as sending:
        people = {key: Context(str(key)) for key in met}
        for index, key in enumerate(met):
            if index % 2:
                sending.client.track("x", people[key])
            else:
                sending.client.variation_nowait("plain", people[key], "")
        payload = await sending.payload()
    assert [int(record["context"]["key"]) for record in payload if record["kind"] == "index"] == new


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(Context("org:o"), Context("o", "org"), id="a user whose key looks like another kind's"),
        pytest.param(Context("x"), Context("x", "org"), id="the same key of another kind"),
        pytest.param(Context("u"), Context.multi(Context("u"), Context("o", "org")), id="a part, and the whole"),
        pytest.param(Context("a:b", "org"), Context("a%3Ab", "org"), id="an escape in a key"),
    ],
)
def test_similar_contexts_are_different(one: Context, other: Context) -> None:
    to = recorder()
    for context in (one, other, one):
        to.tracked("x", context)
    assert [event.context for event in drained(to).events if isinstance(event, IndexEvent)] == [one, other]


def test_other_attributes_do_not_make_a_context_new() -> None:
    to = recorder()
    for context in (Context("u"), Context("u", name="N", attributes={"a": 1})):
        to.tracked("x", context)
    assert people(drained(to)) == ["u"]


async def test_contexts_are_described_again_after_the_flush_interval() -> None:
    async with client_with_events(context_keys_flush_interval=300.0) as sending:
        ann = Context("ann")
        for _ in range(2):
            sending.client.variation_nowait("plain", ann, "")
            assert (await sending.sent_records())[0] == "index ann"
            sending.client.variation_nowait("plain", ann, "")
            assert await sending.sent_records() == ["summary plain:1"]
            await asyncio.sleep(301)


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
    (feature,) = batch.summaries[0].features
    assert list(feature.context_kinds) == ["user", "org"]
    assert batch.evaluations == 6


def test_an_omitted_anonymous_user_is_not_mistaken_for_a_described_user() -> None:
    to = recorder(omit_anonymous_contexts=True)
    for context in (Context("a"), Context("a", anonymous=True), Context("b"), Context("a", anonymous=True)):
        fast_evaluation(to, "plain", context)
    assert people(drained(to)) == ["a", "b"]
    assert to.close_period().deduplicated == 0


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
