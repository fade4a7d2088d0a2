"""ContextDeduplicator: it forgets the least recently used contexts first."""

from __future__ import annotations

import asyncio

import pytest

from aioflags import Context
from aioflags.events.shaping import ContextDeduplicator
from tests.support.events import client_with_events


def user(key: int) -> Context:
    return Context(str(key))


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
    known = ContextDeduplicator(capacity)
    assert [key for key in met if known.add(user(key))] == new
    # The same through a client, whether or not it remembers contexts itself.
    async with client_with_events(context_keys_capacity=capacity) as sending:
        people = {key: user(key) for key in met}
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
    known = ContextDeduplicator(10)
    assert known.add(one)
    assert known.add(other)
    assert not known.add(one)


def test_other_attributes_do_not_make_a_context_new() -> None:
    known = ContextDeduplicator(10)
    known.add(Context("u"))
    assert not known.add(Context("u", name="N", attributes={"a": 1}))


async def test_contexts_are_described_again_after_the_flush_interval() -> None:
    async with client_with_events(context_keys_flush_interval=300.0) as sending:
        ann = Context("ann")
        for _ in range(2):
            sending.client.variation_nowait("plain", ann, "")
            assert (await sending.sent_records())[0] == "index ann"
            sending.client.variation_nowait("plain", ann, "")
            assert await sending.sent_records() == ["summary plain:1"]
            await asyncio.sleep(301)


def test_one_key_in_several_kinds_is_several_contexts() -> None:
    known = ContextDeduplicator(10)
    kinds = [Context.from_dict({"kind": kind, "key": "k"}) for kind in ("user", "org", "device")]
    met = [*kinds, Context("org:k"), *kinds]
    assert [known.add(context) for context in met] == [True, True, True, True, False, False, False]
