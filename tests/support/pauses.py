"""How often other tasks can run while something is done."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Generator
from typing import TypeVar

T = TypeVar("T")


def with_pauses(work: Generator[None, None, T]) -> tuple[T, int]:
    """The result of work in slices, and how many pauses it made."""
    pauses = 0
    while True:
        try:
            next(work)
        except StopIteration as done:
            return done.value, pauses
        pauses += 1


async def pauses_until(done: Awaitable[T]) -> tuple[T, int]:
    """The result, and how often another task could run before it."""
    pauses = 0

    async def count() -> None:
        nonlocal pauses
        while True:
            pauses += 1
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        counter = group.create_task(count())
        result = await done
        counter.cancel()
    return result, pauses
