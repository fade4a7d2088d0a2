"""MemorySource: which updates its clients get, from any thread, before and after they start."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from aioflags.errors import ConfigError
from aioflags.evaluation.snapshot import Snapshot
from aioflags.model.change import Basis, ChangeKind, ChangeSet, Selector, Update
from aioflags.model.context import Context
from aioflags.model.status import SourceState
from aioflags.protocol.flag_documents import DocumentError, read_document
from aioflags.sources.base import SourceContext, closing
from aioflags.sources.memory import MemorySource, _Queue


class Client:
    """A reader with a snapshot. ``received`` has its change sets."""

    def __init__(self, source: MemorySource) -> None:
        self.snapshot = Snapshot.empty()
        self.updates: AsyncGenerator[Update, None] = source.build(SourceContext()).sync(lambda: self.snapshot.selector)
        self.received: list[ChangeSet] = []

    async def hear(self, times: int = 1) -> None:
        for _ in range(times):
            update = await anext(self.updates)
            assert update.state is SourceState.VALID
            assert update.directive is None
            assert update.change_set is not None
            self.received.append(update.change_set)
            self.snapshot = self.snapshot.apply(update.change_set)

    def value(self, key: str) -> Any:
        return self.snapshot.evaluate(key, Context("u"), None, wanted=object).detail.value


async def test_as_an_initializer_it_yields_the_whole_data_set() -> None:
    source = MemorySource({"a": 1, "b": {"x": [None]}})
    source.set("a", 2)
    (basis,) = [result async for result in source.build(SourceContext()).fetch(Selector.none)]
    assert basis == Basis(change_set=source.change_set(), directive=None)
    assert basis.change_set.kind is ChangeKind.FULL
    assert basis.change_set.selector == Selector("1", 1)
    assert not basis.change_set.persist
    assert [(change.key, change.version) for change in basis.change_set.changes] == [("a", 2), ("b", 1)]


def test_a_new_source_starts_counting_at_zero() -> None:
    assert MemorySource().change_set() == ChangeSet(kind=ChangeKind.FULL, selector=Selector("0", 0), persist=False)


@pytest.mark.holds("DS-146")
async def test_each_client_gets_updates_in_order_until_it_is_closed() -> None:
    source = MemorySource()
    source.set("a", "before")
    early, late = Client(source), Client(source)
    await early.hear()
    assert early.value("a") == "before"
    source.set("a", "first")
    source.set("a", "second")
    await late.hear()
    await early.hear(2)
    assert [change_set.selector.version for change_set in early.received] == [1, 2, 3]
    assert [change_set.kind for change_set in early.received] == [ChangeKind.FULL, ChangeKind.CHANGES, ChangeKind.CHANGES]
    assert [change.version for change_set in early.received for change in change_set.changes] == [1, 2, 3]
    assert (early.value("a"), late.value("a")) == ("second", "second")
    await early.updates.aclose()
    source.set("a", "third")
    await late.hear()
    assert late.value("a") == "third"
    with pytest.raises(StopAsyncIteration):
        await anext(early.updates)
    await late.updates.aclose()


async def test_an_update_between_registration_and_the_first_read_is_yielded_once() -> None:
    # Only another thread could come in between there, so the queue is asked itself.
    queue = _Queue(asyncio.get_running_loop())
    for count in (1, 2):
        queue.offer(ChangeSet(kind=ChangeKind.CHANGES, selector=Selector(str(count), count)))
    news = await queue.next(after=1)
    assert news is not None
    assert news.selector.version == 2


async def test_a_reader_waits_for_updates() -> None:
    source = MemorySource({"a": 0})
    client = Client(source)
    async with closing(client.updates):
        await client.hear()
        source.set("a", 1)
        await client.hear()
        waiting = asyncio.ensure_future(client.hear())
        await asyncio.sleep(5)
        assert not waiting.done()
        source.set("a", 2)
        await waiting
    assert [change_set.selector.version for change_set in client.received] == [0, 1, 2]


async def test_a_client_whose_queue_overflows_gets_the_whole_data_set() -> None:
    source = MemorySource({"other": 1})
    client = Client(source)
    async with closing(client.updates):
        await client.hear()
        for number in range(1500):
            source.set("a", number)
        await client.hear()
        everything = client.received[-1]
        assert (everything.kind, everything.selector.version) == (ChangeKind.FULL, 1500)
        assert (client.value("a"), client.value("other")) == (1499, 1)
        source.set("a", "and on")
        await client.hear()
        assert client.received[-1].kind is ChangeKind.CHANGES
        assert client.value("a") == "and on"


async def test_a_client_whose_queue_overflows_while_it_reads_misses_nothing() -> None:
    source = MemorySource()
    client = Client(source)
    async with closing(client.updates):
        await client.hear()
        for number in range(600):
            source.set("a", number)
        await client.hear(5)
        for number in range(600, 1700):
            source.set("a", number)
        while client.value("a") != 1699:
            await client.hear()
    versions = [change_set.selector.version for change_set in client.received]
    assert versions == sorted(set(versions))


async def test_a_closed_reader_is_removed_from_the_source() -> None:
    source = MemorySource()
    kept, closed, cancelled = Client(source), Client(source), Client(source)
    for client in (kept, closed, cancelled):
        await client.hear()
    waiting = asyncio.ensure_future(cancelled.hear())
    await asyncio.sleep(1)
    await closed.updates.aclose()
    waiting.cancel()
    await asyncio.wait([waiting])
    assert len(source._memory.queues) == 1
    source.set("a", 1)
    await kept.hear()
    await kept.updates.aclose()
    assert not source._memory.queues


@pytest.mark.real_time
async def test_updates_may_come_from_any_thread() -> None:
    source = MemorySource()
    clients = [Client(source) for _ in range(3)]
    for client in clients:
        await client.hear()

    def update(name: str) -> None:
        for number in range(200):
            source.set(name, number)

    threads = [threading.Thread(target=update, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for client in clients:
        while client.snapshot.selector.version < 800:
            await client.hear()
        assert [client.value(name) for name in "abcd"] == [199] * 4
        versions = [change_set.selector.version for change_set in client.received]
        assert versions == sorted(set(versions))
        await client.updates.aclose()
    for thread in threads:
        thread.join()


@pytest.mark.real_time
def test_a_closed_event_loop_does_not_block_updates_for_other_clients() -> None:
    source = MemorySource()
    abandoned = Client(source)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(abandoned.hear())
    loop.close()
    source.set("a", 1)
    source.set("a", 2)
    assert source.change_set().selector.version == 2


async def test_a_cancelled_reader_gets_no_more_updates() -> None:
    source = MemorySource()
    client = Client(source)
    await client.hear()
    waiting = asyncio.ensure_future(client.hear())
    await asyncio.sleep(1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    source.set("a", 1)
    with pytest.raises(StopAsyncIteration):
        await anext(client.updates)


DOCUMENT = {
    "flags": {
        "f": {
            "on": True,
            "version": 5,
            "variations": ["in", "out"],
            "fallthrough": {"variation": 1},
            "rules": [{"variation": 0, "clauses": [{"op": "segmentMatch", "values": ["s"]}]}],
        }
    },
    "segments": {"s": {"included": ["u"]}},
}


@pytest.mark.parametrize(
    "document",
    [pytest.param(DOCUMENT, id="a mapping"), pytest.param(read_document(DOCUMENT, name="f.json"), id="a document that was read")],
)
async def test_a_source_from_a_document_has_its_segments(document: Any) -> None:
    source = MemorySource.from_document(document)
    client = Client(source)
    async with closing(client.updates):
        await client.hear()
        assert client.value("f") == "in"
        source.update(source.flag("f").clear_rules())
        await client.hear()
        assert client.value("f") == "out"
        assert client.received[-1].changes[0].version == 6


def test_a_document_with_a_mistake_is_refused() -> None:
    with pytest.raises(DocumentError, match=r"flags\.f"):
        MemorySource.from_document({"flags": {"f": 5}})


def test_a_builder_for_a_deleted_flag_starts_as_a_new_flag() -> None:
    source = MemorySource.from_document({"flags": {"f": {"deleted": True, "version": 8}}})
    source.update(source.flag("f"))
    change = source.change_set().changes[0]
    assert change.version == 9
    assert change.definition is not None


def test_a_builder_changes_nothing_before_update_is_called() -> None:
    source = MemorySource({"a": 1})
    flag = source.flag("a").value_for_all(2)
    assert source.change_set().changes[0].definition == MemorySource({"a": 1}).change_set().changes[0].definition
    source.update(flag)
    flag.value_for_all(3)
    assert Snapshot.empty().apply(source.change_set()).evaluate("a", Context("u"), None, wanted=object).detail.value == 2


@pytest.mark.parametrize(
    "values",
    [pytest.param(["a"], id="a list"), pytest.param({"a": {1}}, id="a set"), pytest.param({1: 2}, id="a number for a key")],
)
def test_values_that_are_not_json_are_refused(values: Any) -> None:
    with pytest.raises(ConfigError):
        MemorySource(values)
