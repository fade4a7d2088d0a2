"""Checkpoints: where cooperative work lets the event loop run other tasks."""

from __future__ import annotations

from typing import TypeVar

from anyio.lowlevel import checkpoint

from aioflags.runtime.cooperative import Budget, Cooperative

T = TypeVar("T")


async def run_cooperatively(work: Cooperative[T]) -> T:
    """Do all the work and return its result. Each pause lets the event loop run one cycle."""
    while True:
        try:
            next(work)
        except StopIteration as done:
            result: T = done.value
            return result
        await checkpoint()


async def pause_when_spent(budget: Budget) -> None:
    """Let other tasks run if the time of the slice is over, then start the next slice."""
    if budget.is_spent():
        await checkpoint()
        budget.restart()
