"""DeviceStorage: a storage that fails, hangs or answers nonsense."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from aioflags.errors import StoreError
from aioflags.stores.storage import DeviceStorage, FileStorage, ListedStorage, MemoryStorage, Storage
from tests.support.device_storages import ScriptedStorage, device_storage

Call = Callable[[DeviceStorage], Awaitable[object]]
GET: Call = lambda device: device.get("a", "key")  # noqa: E731 -- a row of the tables
SET: Call = lambda device: device.set("a", {"key": "text"})  # noqa: E731 -- as above
REMOVE: Call = lambda device: device.remove("a", ["key"])  # noqa: E731 -- as above
CLEAR: Call = lambda device: device.clear("a")  # noqa: E731 -- as above
CALLS = [
    pytest.param(GET, id="get"),
    pytest.param(SET, id="set"),
    pytest.param(REMOVE, id="remove"),
    pytest.param(CLEAR, id="clear"),
]


async def test_calls_reach_the_storage() -> None:
    storage = ScriptedStorage()
    device = device_storage(storage)
    await SET(device)
    assert await GET(device) == "text"
    await REMOVE(device)
    assert await GET(device) is None
    await CLEAR(device)
    assert storage.calls == ["set key", "get key", "remove key", "get key", "clear"]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        pytest.param(OSError("full\nup"), r"OSError: full\\nup", id="an exception"),
        pytest.param(StoreError("it is a link"), "it is a link", id="a StoreError"),
        pytest.param(asyncio.CancelledError(), "StrayCancellationError", id="a cancellation of its own"),
    ],
)
async def test_a_failure_is_a_store_error(
    call: Call, failure: BaseException, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(StoreError, match=f"^{reason}"):
        await call(device_storage(ScriptedStorage(failure=failure)))
    (line,) = caplog.messages
    assert line.startswith("the storage of the device failed (")


@pytest.mark.parametrize(("call", "limit"), [(GET, 2), (SET, 10), (REMOVE, 10), (CLEAR, 10)])
async def test_a_call_that_hangs_is_given_up_and_the_next_ones_fail_at_once_for_half_a_minute(call: Call, limit: float) -> None:
    storage = ScriptedStorage(delay=3600)
    device = device_storage(storage)
    began = anyio.current_time()
    for _ in range(3):
        with pytest.raises(StoreError, match="no answer within"):
            await call(device)
        assert anyio.current_time() == began + limit
    assert len(storage.calls) == 1
    storage.delay = 0
    await anyio.sleep(30)
    await call(device)
    assert len(storage.calls) == 2


@pytest.mark.parametrize("text", [b"bytes", 5, ["text"]])
async def test_a_value_that_is_not_text_is_a_failure(text: Any) -> None:
    storage = ScriptedStorage()
    await storage.set("a", {"key": text})
    with pytest.raises(StoreError, match=f"get returned {type(text).__name__}"):
        await GET(device_storage(storage))


async def test_failures_are_logged_once_until_a_write_works_again(caplog: pytest.LogCaptureFixture) -> None:
    storage = ScriptedStorage()
    device = device_storage(storage)

    async def attempt(call: Call, failure: Exception | None) -> None:
        storage.failure = failure
        try:
            await call(device)
        except StoreError:
            assert failure is not None

    full = OSError("full")
    for call, failure, lines in [(SET, full, 1), (GET, None, 1), (SET, full, 1), (SET, None, 1), (GET, full, 2), (SET, full, 2)]:
        await attempt(call, failure)
        assert len(caplog.messages) == lines


# -- What every storage of a device does.


@pytest.fixture(params=["memory", "files"])
def storage(request: pytest.FixtureRequest, path: Path) -> Storage:
    return MemoryStorage() if request.param == "memory" else FileStorage(path.parent / "new" / "folder")


async def test_a_new_storage_is_empty(storage: Storage) -> None:
    assert await storage.get("a", "key") is None
    await storage.remove("a", ["key"])
    await storage.clear("a")
    assert await storage.get("a", "key") is None


@pytest.mark.parametrize("text", ["", "{}", "line\nline", "Ä\u2028🏁", "x" * 300_000])
async def test_a_text_is_read_as_it_was_written(storage: Storage, text: str) -> None:
    await storage.set("a", {"other": "o", "key": text})
    assert (await storage.get("a", "key"), await storage.get("a", "other")) == (text, "o")


async def test_a_write_keeps_the_other_keys_and_namespaces(storage: Storage) -> None:
    await storage.set("a", {"one": "1", "two": "2"})
    await storage.set("b", {"one": "b"})
    await storage.set("a", {"two": "new", "three": "3"})
    assert [await storage.get("a", key) for key in ("one", "two", "three")] == ["1", "new", "3"]
    assert await storage.get("b", "one") == "b"


async def test_only_the_given_keys_are_removed(storage: Storage) -> None:
    await storage.set("a", {"one": "1", "two": "2", "three": "3"})
    await storage.remove("a", iter(["one", "three", "missing"]))
    assert [await storage.get("a", key) for key in ("one", "two", "three")] == [None, "2", None]


async def test_the_keys_of_a_namespace_are_listed(storage: ListedStorage) -> None:
    assert await storage.list_keys("a") == []
    await storage.set("a", {"one": "1", "two": "2"})
    await storage.set("b", {"other": "b"})
    await storage.remove("a", ["one"])
    assert await storage.list_keys("a") == ["two"]


async def test_only_the_given_namespace_is_cleared(storage: Storage) -> None:
    await storage.set("a", {"one": "1"})
    await storage.set("b", {"one": "b"})
    await storage.clear("a")
    assert (await storage.get("a", "one"), await storage.get("b", "one")) == (None, "b")
