"""FullLoop: an event loop of a process that can start no more threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, TypeVar, TypeVarTuple

__all__ = ["FullLoop", "run_full"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class FullLoop(asyncio.SelectorEventLoop):
    """While ``is_full``, no thread can be started: the system limits them, or CPython ends."""

    is_full = True

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        if self.is_full:
            raise RuntimeError("can't start new thread")
        return super().run_in_executor(executor, func, *args)


def run_full(work: Coroutine[Any, Any, T], loop: FullLoop | None = None) -> T:
    """What the coroutine returns on such a loop."""
    with asyncio.Runner(loop_factory=lambda: loop or FullLoop()) as runner:
        return runner.run(work)
