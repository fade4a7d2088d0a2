"""Recorder: each context is described once, the least recently used is forgotten first, and diagnostics count the others."""

from __future__ import annotations

import asyncio

import pytest

from aioflags import Context
from aioflags.events.summary import Batch
from aioflags.model.event import IndexEvent
from tests.events.recorders import drained, evaluate, fast_evaluation, recorder
from tests.support.events import U1, U2, client_with_events


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
