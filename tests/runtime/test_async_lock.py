"""ForkSafeAsyncLock: tasks get it one at a time and in order, a waiting task can be cancelled, and a fork releases it."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from aioflags.runtime.event_loops import ForkSafeAsyncLock


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
