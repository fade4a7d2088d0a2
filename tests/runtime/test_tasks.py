"""Calls in tasks of their own: what their callers get, and what a cancellation leaves behind."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import anyio
import pytest

from aioflags.runtime.tasks import in_own_task


async def test_the_caller_gets_the_result_or_the_exception() -> None:
    async def fails() -> None:
        raise ConnectionError

    assert await in_own_task(lambda: asyncio.sleep(1, "result")) == "result"
    with pytest.raises(ConnectionError):
        await in_own_task(fails)


@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("steps", [0, 1, 2, 5])
async def test_however_often_the_caller_is_cancelled_shielded_work_ends(times: int, steps: int) -> None:
    tidied: list[str] = []

    async def call() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            with anyio.CancelScope(shield=True):
                await asyncio.sleep(1)
                tidied.append("tidied")

    caller = asyncio.create_task(in_own_task(call))
    for _ in range(steps):
        await asyncio.sleep(0)
    for _ in range(times):
        caller.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await caller
    await asyncio.sleep(2)
    assert tidied == (["tidied"] if steps else [])  # without a step of the caller the call does not begin


async def test_a_time_limit_of_the_caller_ends_the_call() -> None:
    ended: list[float] = []

    async def call() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(asyncio.get_running_loop().time() - start)

    start = asyncio.get_running_loop().time()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(in_own_task(call), 1)
    with anyio.move_on_after(1):
        await in_own_task(call)
    await asyncio.sleep(0)
    assert ended == [pytest.approx(1), pytest.approx(2)]


async def test_a_call_that_fails_after_its_caller_was_cancelled_is_not_reported() -> None:
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))

    async def call() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            raise ConnectionError

    caller = asyncio.create_task(in_own_task(call))
    await asyncio.sleep(1)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    await asyncio.sleep(1)
    gc.collect()
    assert reported == []
