"""Options of a store, and the log line of a store that will never be written."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from aioflags import Client, Config, ConfigError, DataSystem, Persistence
from aioflags.sources import FileSource, MemorySource, Polling
from aioflags.stores import RedisStore
from tests.support.canaries import KEY
from tests.support.feed import Feed
from tests.support.memory_store import MemoryStore

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
