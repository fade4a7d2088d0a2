"""FullLoop: an event loop of a process that can start no more threads. ``no_free_descriptor``: a process that can open nothing."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import Executor
from contextlib import contextmanager, suppress
from typing import Any, TypeVar, TypeVarTuple

import pytest

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


@contextmanager
def no_free_descriptor() -> Generator[None]:
    """This process cannot open anything."""
    resource = pytest.importorskip("resource")
    before, taken = resource.getrlimit(resource.RLIMIT_NOFILE), [os.open(os.devnull, os.O_RDONLY)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (taken[0] + 8, before[1]))
    try:
        with suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        yield
    finally:
        for each in taken:
            os.close(each)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
