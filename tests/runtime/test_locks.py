"""ForkSafeAsyncLock: tasks get it one at a time and in order, a waiting task can be cancelled, and a fork releases it."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import anyio
import pytest

from aioflags.cli.override import edit_lock
from aioflags.runtime.event_loops import ForkSafeAsyncLock
from aioflags.runtime.tasks import SingleFlight


async def test_tasks_get_the_lock_one_at_a_time_in_order() -> None:
    lock, log = ForkSafeAsyncLock(), list[str]()

    async def take(name: str) -> None:
        async with lock:
            log.append(f"{name} begins")
            await anyio.sleep(1)
            log.append(f"{name} ends")

    async with anyio.create_task_group() as tasks:
        for name in "abc":
            tasks.start_soon(take, name)
    assert log == [f"{name} {what}" for name in "abc" for what in ("begins", "ends")]


async def test_an_exception_releases_the_lock() -> None:
    lock = ForkSafeAsyncLock()
    with pytest.raises(KeyError):
        async with lock:
            raise KeyError
    with anyio.fail_after(1):
        async with lock:
            pass


async def test_a_task_that_is_cancelled_while_it_waits_does_not_get_the_lock() -> None:
    lock = ForkSafeAsyncLock()
    async with lock:
        waiting = asyncio.create_task(lock.__aenter__())
        await anyio.sleep(1)
        waiting.cancel()
    with anyio.fail_after(1):
        async with lock:
            pass


async def test_in_the_child_of_a_fork_the_lock_is_free() -> None:
    lock = ForkSafeAsyncLock()
    await lock.__aenter__()
    lock.after_fork()
    with anyio.fail_after(1):
        async with lock:
            pass


# -- SingleFlight: concurrent calls with the same key share one call.


class CountedCall:
    """Returns the number of its call after a second. The calls with these numbers raise."""

    def __init__(self, *breaks: int) -> None:
        self.count = 0
        self._breaks = breaks

    async def __call__(self) -> int:
        self.count += 1
        mine = self.count
        await asyncio.sleep(1)
        if mine in self._breaks:
            raise ConnectionError
        return mine


async def test_concurrent_calls_with_the_same_key_share_one_result() -> None:
    flights, call = SingleFlight(), CountedCall()
    assert await asyncio.gather(*(flights.share("a", call) for _ in range(5))) == [1] * 5
    assert call.count == 1


async def test_later_calls_and_calls_with_another_key_are_not_shared() -> None:
    flights, call = SingleFlight(), CountedCall()
    assert sorted(await asyncio.gather(flights.share("a", call), flights.share("b", call))) == [1, 2]
    assert await flights.share("a", call) == 3


async def test_if_the_first_caller_is_cancelled_another_one_makes_the_call() -> None:
    flights, call = SingleFlight(), CountedCall()
    first, *others = (asyncio.create_task(flights.share("a", call)) for _ in range(3))
    await asyncio.sleep(0.5)
    first.cancel()
    assert await asyncio.gather(*others) == [2, 2]
    assert first.cancelled()


async def test_a_failure_is_raised_for_every_caller_that_waited_and_the_next_call_is_made_again() -> None:
    flights, call = SingleFlight(), CountedCall(1)
    results = await asyncio.gather(*(flights.share("a", call) for _ in range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [ConnectionError] * 3
    assert await flights.share("a", call) == 2


async def test_a_call_that_waits_for_its_own_result_fails() -> None:
    flights = SingleFlight()

    async def again() -> int:
        return await flights.share("a", again)

    with pytest.raises(RecursionError, match="waits for its own result"):
        await flights.share("a", again)


async def test_a_call_does_not_wait_for_a_call_that_was_forgotten() -> None:
    flights, call = SingleFlight(), CountedCall()
    lost = asyncio.create_task(flights.share("a", call))
    await asyncio.sleep(0.5)
    flights.forget()
    assert await flights.share("a", call) == 2
    assert await lost == 1


# -- edit_lock: the second edit waits for the first one, for a limited time.


def test_a_second_edit_waits_until_the_first_one_has_ended(tmp_path: Path) -> None:
    file, order = tmp_path / "f", list[str]()

    def second() -> None:
        with edit_lock(file):
            order.append("second")

    thread = threading.Thread(target=second)
    with edit_lock(file):
        thread.start()
        with pytest.raises(OSError, match="another program has been editing in this folder for 0 s"), edit_lock(file, max_wait=0):
            raise AssertionError
        order.append("first")
    thread.join(30)
    assert order == ["first", "second"]


def test_a_link_and_its_target_share_the_lock(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    link = tmp_path / "link"
    link.symlink_to("folder/f")
    with edit_lock(link), pytest.raises(OSError, match="another program"), edit_lock(tmp_path / "folder" / "f", max_wait=0):
        raise AssertionError


def test_a_folder_that_does_not_exist_is_not_locked(tmp_path: Path) -> None:
    with edit_lock(tmp_path / "no" / "f"):
        pass
    assert list(tmp_path.iterdir()) == []
