"""Interruptions: a call is cancelled when it waits for the n-th time."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from types import coroutine
from typing import Any, Final, Literal, TypeAlias, TypeVar

import anyio

T = TypeVar("T")
Way: TypeAlias = Literal["task", "scope", "timeout"]
WAYS: Final[tuple[Way, ...]] = ("task", "scope", "timeout")
"""How a call is cancelled: by its task, by a cancel scope of anyio, or by ``asyncio.timeout``."""


async def interrupted(call: Coroutine[Any, Any, object], number: int, way: Way) -> bool:
    """Whether the call waited ``number`` times. It was cancelled then. An ``AssertionError`` if it swallowed that."""
    reached = False

    def during(interrupt: Callable[[], object]) -> Coroutine[Any, Any, object]:
        def note() -> None:
            nonlocal reached
            reached = True
            interrupt()

        return _watched(call, number, note)

    async def in_a_task() -> None:
        task = asyncio.current_task()
        assert task
        await during(task.cancel)

    if way == "task":
        task = asyncio.create_task(in_a_task())
        await asyncio.wait({task})
        assert task.cancelled() is reached, "the call swallowed its cancellation"
        if not reached:
            task.result()
        return reached
    if way == "scope":
        with anyio.CancelScope() as scope:
            await during(scope.cancel)
        return reached
    try:
        async with asyncio.timeout(None) as limit:
            await during(partial(limit.reschedule, asyncio.get_running_loop().time()))
            await asyncio.sleep(0)  # a limit that expired after the last wait
    except TimeoutError:
        return reached
    assert not reached, "the call swallowed its time limit"
    return False


async def _watched(call: Coroutine[Any, Any, T], number: int, reached: Callable[[], object]) -> T:
    return await _steps(call, number, reached)


@coroutine
def _steps(call: Coroutine[Any, Any, T], number: int, reached: Callable[[], object]) -> Generator[Any, Any, T]:
    """Runs the call step by step, and calls ``reached`` before its n-th wait."""
    step: Callable[[], Any] = partial(call.send, None)
    for wait in itertools.count(1):
        try:
            waits_for = step()
        except StopIteration as ended:
            result: T = ended.value
            return result
        if wait == number:
            reached()
        try:
            step = partial(call.send, (yield waits_for))
        except BaseException as error:  # noqa: BLE001 -- cancellations too
            step = partial(call.throw, error)
    raise AssertionError("endless")
