"""DeviceStorage: a storage that fails, hangs or answers nonsense."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from aioflags.errors import StoreError
from aioflags.stores.storage import DeviceStorage
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
