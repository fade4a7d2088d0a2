"""ForkSafeAsyncLock: one after the other, whoever waits may go, and a fork leaves nobody in the way."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from aioflags.runtime.async_lock import ForkSafeAsyncLock


async def test_one_after_the_other_in_the_order_in_which_they_came() -> None:
    turns, log = ForkSafeAsyncLock(), list[str]()

    async def take(name: str) -> None:
        async with turns:
            log.append(f"{name} begins")
            await anyio.sleep(1)
            log.append(f"{name} ends")

    async with anyio.create_task_group() as tasks:
        for name in "abc":
            tasks.start_soon(take, name)
    assert log == [f"{name} {what}" for name in "abc" for what in ("begins", "ends")]


async def test_an_error_ends_a_turn() -> None:
    turns = ForkSafeAsyncLock()
    with pytest.raises(KeyError):
        async with turns:
            raise KeyError
    with anyio.fail_after(1):
        async with turns:
            pass


async def test_who_goes_while_waiting_is_not_waited_for() -> None:
    turns = ForkSafeAsyncLock()
    async with turns:
        waiting = asyncio.create_task(turns.__aenter__())
        await anyio.sleep(1)
        waiting.cancel()
    with anyio.fail_after(1):
        async with turns:
            pass


async def test_in_the_child_of_a_fork_it_is_nobodys_turn() -> None:
    turns = ForkSafeAsyncLock()
    await turns.__aenter__()
    turns.after_fork()
    with anyio.fail_after(1):
        async with turns:
            pass
