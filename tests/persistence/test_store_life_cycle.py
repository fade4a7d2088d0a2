"""A client with a store: its options, how the store is built and closed, and answers of a wrong type."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, Literal

import anyio
import pytest

from aioflags import Client, Config, ConfigError, DataSystem, Events, Persistence, Status, StoreStatus
from aioflags.model.change import ObjectKind
from aioflags.sources import FileSource, MemorySource, Polling
from aioflags.stores import RedisStore, StoreContext, StoredItem
from tests.support.canaries import KEY
from tests.support.feed import Feed, change, changes, full
from tests.support.memory_store import MemoryStore
from tests.support.store_clients import A_MOMENT, FLAG, USER, beside, daemon, holding, kept, started

# -- life cycle


async def test_closing_writes_pending_changes_and_closes_the_store() -> None:
    feed, store = Feed(), MemoryStore()
    client = Client(KEY, beside(feed, store))
    feed.say(full(a=1))
    await client.start()
    await anyio.sleep(A_MOMENT)
    store.delay = 0.2
    feed.say(changes(change("a", 2, 2)))
    await anyio.sleep(A_MOMENT)
    feed.say(changes(change("a", 3, 3)))
    await anyio.sleep(A_MOMENT)
    await client.aclose()
    assert kept(store) == {"a": 3}
    assert store.is_closed
    assert [status async for status in client.store_statuses()] == [StoreStatus(available=True, stale=False)]
    assert client.variation_nowait("a", USER, 0) == 3


@pytest.mark.parametrize("when", ["reading", "writing", "away"])
async def test_a_store_that_hangs_does_not_delay_closing(when: str) -> None:
    feed, store = Feed(), MemoryStore()
    client = Client(KEY, replace(beside(feed, store), events=Events(send_events=False)))
    if when != "reading":
        feed.say(full(a=1))
        await client.start()
        await anyio.sleep(A_MOMENT)
    store.hangs = True
    feed.say(changes(change("a", 2, 2)))
    await client.start()
    await anyio.sleep(30 if when == "away" else A_MOMENT)
    began = anyio.current_time()
    await client.aclose()
    assert anyio.current_time() - began <= 1


@pytest.mark.parametrize(
    ("closes_after", "warning"),
    [
        pytest.param(0.1, "before everything was written", id="closing takes 0.1 s"),
        pytest.param(3600, "did not close within", id="closing hangs as well"),
    ],
)
async def test_closing_a_store_that_hangs_in_the_last_write(
    closes_after: float, warning: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Slow(MemoryStore):
        async def aclose(self) -> None:
            await anyio.sleep(closes_after)
            await super().aclose()

    feed, store = Feed(), Slow()
    client = Client(KEY, replace(beside(feed, store), events=Events(send_events=False)))
    feed.say(full(a=1))
    await client.start()
    await anyio.sleep(A_MOMENT)
    store.hangs = True
    feed.say(changes(change("a", 2, 2)))
    began = anyio.current_time()
    await anyio.sleep(A_MOMENT)
    await client.aclose()
    assert store.is_closed is (closes_after < 1)
    assert anyio.current_time() - began <= 2
    assert caplog.text.count(warning) == 1
    assert "closing took longer" not in caplog.text


async def test_an_error_of_closing_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    class Sticky(MemoryStore):
        async def aclose(self) -> None:
            raise OSError("stuck")

    async with Client("", daemon(Sticky())):
        pass
    assert "the store of flag data could not be closed: OSError: stuck" in caplog.text


EXPECTED_ITEMS = "WrongAnswers.load: expected StoredItem by kind and key"


@pytest.mark.parametrize("cache", ["ttl", "off"])
@pytest.mark.parametrize(
    ("answer", "logged"),
    [
        pytest.param(["rubbish"], EXPECTED_ITEMS, id="a list"),
        pytest.param({FLAG: ["rubbish"]}, EXPECTED_ITEMS, id="lists by kind"),
        pytest.param({FLAG: {"a": b"{}"}}, EXPECTED_ITEMS, id="text instead of items"),
        pytest.param(
            {FLAG: {"a": StoredItem(FLAG, "a", 1, 5)}},  # type: ignore[arg-type]  # a number instead of text
            "is left out: flag a: a bytes-like object is required, not 'int'",
            id="an item without text",
        ),
    ],
)
async def test_an_answer_of_a_wrong_type_is_a_failure_of_the_store(
    answer: Any, logged: str, cache: Literal["ttl", "off"], caplog: pytest.LogCaptureFixture
) -> None:
    class WrongAnswers(MemoryStore):
        async def load(self) -> Any:
            return answer

        async def get(self, kind: ObjectKind, key: str) -> Any:
            return answer if isinstance(answer, list) else answer[FLAG]

    feed, store = Feed(), WrongAnswers()
    store.marker = True
    async with started(beside(feed, store, cache=cache, mode="read_only")) as client:
        assert await client.variation("a", USER, "default") == "default"
        feed.say(full(a="streamed"))
        await anyio.sleep(A_MOMENT)
        assert await client.variation("a", USER, "default") == "streamed"
    assert "bug" not in caplog.text
    assert logged in caplog.text


async def test_the_child_of_a_fork_does_not_call_the_store_of_the_parent() -> None:
    store = holding(a="stored")
    async with Client("", daemon(store, cache="off")) as client:
        assert await client.variation("a", USER, "") == "stored"
        session = client._core.store_session
        assert session is not None
        store.calls.clear()
        session.after_fork()
        assert await client.variation("a", USER, "") == "stored"
        assert store.calls == []


# -- options


async def test_a_builder_builds_a_store_for_each_client_and_names_its_environment() -> None:
    class Builder:
        def __init__(self) -> None:
            self.environments: list[str] = []
            self.stores: list[MemoryStore] = []

        def build(self, context: StoreContext, /) -> MemoryStore:
            self.environments.append(context.environment)
            self.stores.append(holding(a=1))
            return self.stores[-1]

    builder = Builder()
    config = Config(events=Events(send_events=False), data_system=DataSystem.daemon(builder))
    for key in ("sdk-one", "sdk-one", "sdk-two"):
        async with Client(key, config) as client:
            assert await client.variation("a", USER, 0) == 1
    first, same, other = builder.environments
    assert first == same != other
    assert "sdk-one" not in first
    assert [store.is_closed for store in builder.stores] == [True, True, True]


class FailingBuilder:
    """A builder that raises, or builds something else than a store, until ``problem`` is ``None``."""

    def __init__(self, problem: object) -> None:
        self.problem = problem
        self.store = holding(a="stored")

    def build(self, context: StoreContext, /) -> Any:
        if isinstance(self.problem, BaseException):
            raise self.problem
        return self.store if self.problem is None else self.problem


failing_builds = pytest.mark.parametrize(
    ("problem", "reason"),
    [
        pytest.param(OSError("no secret mounted"), "could not build the store: OSError: no secret mounted", id="raises"),
        pytest.param(KeyError(), "could not build the store: KeyError", id="raises without a text"),
        pytest.param(
            "redis", "FailingBuilder.build: str is not a store (it has no method initialized)", id="builds something else"
        ),
        pytest.param(asyncio.CancelledError(), "a task or future that it awaited was cancelled", id="raises CancelledError"),
    ],
)


@failing_builds
async def test_a_store_that_cannot_be_built_is_unavailable(problem: object, reason: str, caplog: pytest.LogCaptureFixture) -> None:
    """Flags come from the network, and the store is used as soon as it can be built."""
    feed, builder = Feed(), FailingBuilder(problem)
    async with started(beside(feed, builder)) as client:
        assert client.store_status == StoreStatus(available=False, stale=True)
        feed.say(full(a="streamed"))
        await anyio.sleep(A_MOMENT)
        assert await client.variation("a", USER, "") == "streamed"
        assert client.status is Status.READY
        feed.say(changes(change("a", "newer", 2)))
        await anyio.sleep(30)
        assert await client.variation("a", USER, "") == "newer"
        builder.problem = None
        await anyio.sleep(1)
        assert kept(builder.store) == {"a": "newer"}
        assert client.store_status == StoreStatus(available=True, stale=False)
    assert builder.store.is_closed
    assert caplog.text.count("the store of flag data failed") == 1
    assert reason in caplog.text
    assert "bug" not in caplog.text


@failing_builds
async def test_a_client_without_sources_is_ready_when_its_store_can_be_built(problem: object, reason: str) -> None:
    builder = FailingBuilder(problem)
    async with Client("", Config(start_wait=1, data_system=DataSystem.daemon(builder))) as client:
        before = client.report
        assert before.status is Status.ERROR
        assert before.last_error is not None
        assert reason in before.last_error.message
        builder.problem = None
        await anyio.sleep(1)
        assert await client.variation("a", USER, "") == "stored"
        assert client.status is Status.READY


async def test_a_store_that_was_never_built_is_not_closed(caplog: pytest.LogCaptureFixture) -> None:
    builder = FailingBuilder(OSError("no secret mounted"))
    async with started(beside(Feed(), builder)):
        pass
    assert not builder.store.is_closed
    assert "could not be closed" not in caplog.text


# -- options


# -- beside sources whose flags are not persisted


NEVER_WRITTEN = "persistence: nothing will be written to the store"


@pytest.mark.parametrize(
    ("sources", "mode", "warned"),
    [
        pytest.param([MemorySource()], "read_write", True, id="a memory source"),
        pytest.param([FileSource("flags.json"), MemorySource()], "read_write", True, id="a file and a memory source"),
        pytest.param([MemorySource(), Polling()], "read_write", False, id="a memory source and the service"),
        pytest.param([Feed()], "read_write", False, id="a custom source"),
        pytest.param([MemorySource()], "read_only", False, id="a read-only store"),
    ],
)
def test_a_store_that_will_never_be_written_is_logged(
    sources: list[Any], mode: Literal["read_only", "read_write"], warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    persistence = Persistence(store=MemoryStore(), mode=mode)
    Client(KEY, Config(data_system=DataSystem.custom(synchronizers=sources, persistence=persistence)))
    assert (NEVER_WRITTEN in caplog.text) is warned


# -- options


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        pytest.param({"store": None}, "store: NoneType is not a store (it has no method initialized)", id="no store"),
        pytest.param({"store": RedisStore}, "store: RedisStore is a class", id="a class"),
        pytest.param({"mode": "write"}, "mode: expected 'read_only' or 'read_write', got 'write'", id="an unknown mode"),
        pytest.param({"cache": 15}, "cache: expected 'ttl' or 'off' or 'infinite', got 15", id="a cache that is a number"),
        pytest.param({"cache_ttl": "15"}, "cache_ttl: expected int or float, got str", id="a time that is text"),
    ],
)
def test_an_invalid_option_raises(options: dict[str, Any], problem: str) -> None:
    chosen: dict[str, Any] = {"store": MemoryStore(), **options}
    with pytest.raises(ConfigError) as raised:
        Persistence(**chosen)
    assert str(raised.value).startswith(problem)


def test_the_named_configurations() -> None:
    store = MemoryStore()
    assert DataSystem.daemon(store) == DataSystem(persistence=Persistence(store=store, mode="read_only"))
    kept_up = DataSystem.persistent_store(store)
    assert kept_up.persistence == Persistence(store=store, mode="read_write")
    assert (kept_up.initializers, kept_up.synchronizers) == (DataSystem.default().initializers, DataSystem.default().synchronizers)
