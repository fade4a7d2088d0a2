"""Flag changes: which flags are reported, once for each transfer, after the data are visible."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from aioflags import Client, Config, ConfigError, Context, DataSystem, FlagChange, ValueChange
from aioflags.client_core.observers import Step
from aioflags.sources import MemorySource, Streaming
from tests.support.canaries import secretive
from tests.support.client_flags import on
from tests.support.scripted_http import Service, intent, sse, stream_of

USER = secretive("u")


def segment_rule(key: str) -> dict[str, Any]:
    return {"variation": 1, "clauses": [{"op": "segmentMatch", "values": [key]}]}


LINKED: dict[str, dict[str, Any]] = {
    "flags": {
        "a": on(True, False),
        "b": on(1, 2, prerequisites=[{"key": "a", "variation": 0}]),
        "c": on(1, 2, rules=[segment_rule("s")]),
        "d": on("alone"),
    },
    "segments": {
        "s": {"rules": [{"clauses": [{"op": "segmentMatch", "values": ["t"]}]}]},
        "t": {"included": ["u"]},
    },
}


def client_of(source: MemorySource) -> Client:
    return Client("", Config(data_system=DataSystem.custom(synchronizers=[source])))


async def waiting(changes: Any) -> list[Any]:
    """The items that can be read without waiting."""
    for _ in range(20):
        await asyncio.sleep(0)
    found = []
    while (change := changes._take()) is not None:
        found.append(change)
    return found


@pytest.mark.parametrize(
    ("kind", "key", "expected"),
    [
        pytest.param("flag", "a", ["a", "b"], id="DS-140 a prerequisite"),
        pytest.param("segment", "s", ["c"], id="DS-140 a segment"),
        pytest.param("segment", "t", ["c"], id="DS-140 a segment that another one needs"),
        pytest.param("flag", "d", ["d"], id="DS-140 a flag that nothing depends on"),
    ],
)
async def test_a_change_is_reported_for_all_flags_that_depend_on_it(kind: str, key: str, expected: list[str]) -> None:
    def put(kind: str, key: str, version: int) -> tuple[str, object]:
        item = {"key": key, "version": version, **LINKED[f"{kind}s"][key]}
        return "put-object", {"version": version, "kind": kind, "key": key, "object": item}

    done = ("payload-transferred", {"state": "s", "version": 1})
    everything = [put(section.removesuffix("s"), each, 1) for section in LINKED for each in LINKED[section]]
    service = Service(stream_of(sse(intent("xfer-full"), *everything, done), 1, sse(put(kind, key, 2), done)))
    async with Client("", Config(http=service.http(), data_system=DataSystem.custom(synchronizers=[Streaming()]))) as client:
        changes = client.changes()
        await asyncio.sleep(2)
        assert await waiting(changes) == [FlagChange(each) for each in expected]


@pytest.mark.holds("DS-139")
async def test_a_flag_is_reported_although_its_value_stays_the_same() -> None:
    source = MemorySource({"f": 1})
    async with client_of(source) as client:
        changes = client.changes()
        source.update(source.flag("f"))
        assert await waiting(changes) == [FlagChange("f")]
        assert await client.variation("f", USER, 0) == 1


@pytest.mark.holds("DS-143")
async def test_a_value_change_is_reported_only_for_the_context_whose_value_differs() -> None:
    source = MemorySource()
    source.update(source.flag("f").variations("old", "new").fallthrough_variation(0))
    async with client_of(source) as client:
        anna, bert = client.changes("f", Context("anna")), client.changes("f", Context("bert"))
        source.update(source.flag("f").variation_for_key("user", "anna", 1))
        assert await waiting(anna) == [ValueChange("f", "old", "new")]
        assert await waiting(bert) == []


async def test_data_are_visible_when_their_change_is_reported() -> None:
    source = MemorySource({"f": 1})
    async with client_of(source) as client:
        with client.changes() as changes:
            source.update(source.flag("f").value_for_all(2))
            assert await anext(changes) == FlagChange("f")
            assert await client.variation("f", USER, 0) == 2


async def test_changes_between_the_call_and_the_first_read_are_kept() -> None:
    source = MemorySource({"f": 1})
    async with client_of(source) as client:
        values = client.changes("f", USER)
        for value in (2, 3):
            source.update(source.flag("f").value_for_all(value))
        assert [await anext(values), await anext(values)] == [ValueChange("f", 1, 2), ValueChange("f", 2, 3)]


async def test_values_of_changes_are_copies() -> None:
    source = MemorySource({"f": {"deep": [1]}})
    async with client_of(source) as client:
        values = client.changes("f", USER)
        source.update(source.flag("f").value_for_all({"deep": [2]}))
        (await anext(values)).new_value["deep"].append("mine")
        assert await client.variation("f", USER, {}) == {"deep": [2]}


async def test_a_flag_that_changes_twice_before_a_read_is_reported_once() -> None:
    source = MemorySource({"f": 1})
    async with client_of(source) as client:
        changes = client.changes()
        for value in range(5):
            source.update(source.flag("f").value_for_all(value))
        assert await waiting(changes) == [FlagChange("f")]


@pytest.mark.holds("DS-95")
async def test_a_follower_that_is_slow_or_raises_delays_no_other() -> None:
    source = MemorySource({"f": 1})

    async def raising() -> None:
        async for _ in client.changes():
            raise RuntimeError("mine")

    async def slow() -> None:
        async for _ in client.changes():
            await asyncio.sleep(60)

    async def steady() -> list[float]:
        return [await client.variation("f", USER, 0) async for _ in client.changes()]

    async with client_of(source) as client:
        broken, late, other = (asyncio.create_task(follow()) for follow in (raising, slow, steady))
        for value in (2, 3, 4):
            await asyncio.sleep(1)
            source.update(source.flag("f").value_for_all(value))
        await asyncio.sleep(1)
        assert (broken.done(), late.done()) == (True, False)
    assert await other == [2, 3, 4]
    with pytest.raises(RuntimeError, match="mine"):
        await broken
    await late


async def test_an_iteration_ends_after_the_pending_changes_when_the_client_closes() -> None:
    source = MemorySource({"f": 1})
    client = client_of(source)
    await client.start()
    changes, values = client.changes(), client.changes("f", USER)
    source.update(source.flag("f").value_for_all(2))
    for _ in range(20):
        await asyncio.sleep(0)
    await client.aclose()
    assert [change async for change in changes] == [FlagChange("f")]
    assert [change async for change in values] == [ValueChange("f", 1, 2)]
    assert [change async for change in client.changes()] == []


async def test_the_end_of_the_block_removes_the_iterator() -> None:
    source = MemorySource({"f": 1})
    async with client_of(source) as client:
        with client.changes() as changes:
            pass
        source.update(source.flag("f").value_for_all(2))
        assert [change async for change in changes] == []


async def test_an_iterator_without_references_is_removed() -> None:
    async with client_of(MemorySource()) as client:
        observer = client.changes()
        assert client._core.cell.is_followed
        del observer
        assert not client._core.cell.is_followed


async def test_a_slow_reader_of_values_loses_the_oldest_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    source = MemorySource({"f": -1})
    async with client_of(source) as client:
        values = client.changes("f", USER)
        for value in range(1100):
            source.update(source.flag("f").value_for_all(value))
            await asyncio.sleep(0)
        found = await waiting(values)
        assert len(found) == 1000
        assert found[-1] == ValueChange("f", 1098, 1099)
        assert caplog.text.count("dropping the oldest") == 1


async def test_an_invalid_context_is_refused() -> None:
    async with client_of(MemorySource()) as client:
        with pytest.raises(ConfigError, match="key"):
            client.changes("f", Context(""))
        with pytest.raises(ConfigError, match="none was given"):
            client.changes("f")


@pytest.mark.real_time
async def test_iterators_register_in_other_threads_while_changes_are_published() -> None:
    source = MemorySource({"f": 0})
    async with client_of(source) as client:
        stop = threading.Event()

        def register() -> None:
            while not stop.is_set():
                client.changes().close()

        threads = [threading.Thread(target=register) for _ in range(3)]
        for thread in threads:
            thread.start()
        with client.changes() as changes:
            for value in range(200):
                source.set("f", value)
                await anext(changes)
        stop.set()
        for thread in threads:
            await asyncio.to_thread(thread.join)
        assert client.report.source_state == "VALID"


async def test_a_follower_that_raises_affects_neither_the_data_nor_other_followers(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def notify(self, step: Step) -> None:
            raise ZeroDivisionError

        def finish(self) -> None:
            pass

    source, broken = MemorySource({"f": 1}), Broken()
    async with client_of(source) as client:
        client._core.cell.observers.add(broken)
        changes = client.changes()
        source.set("f", 2)
        assert await asyncio.wait_for(anext(changes), 1) == FlagChange("f")
        assert await client.variation("f", USER, 0) == 2
        assert client.report.source_state == "VALID"
    assert "an observer was not notified" in caplog.text
