"""The event loop of this thread and its clock, stray cancellations, and a lock for tasks that is free in the child of a fork."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Final

import anyio

from aioflags.errors import LifecycleError
from aioflags.runtime.fork import reset_after_fork


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The event loop that runs in this thread, if any."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def asyncio_loop() -> asyncio.AbstractEventLoop:
    """The event loop that runs in this thread. Raises :class:`LifecycleError` without one: under trio, for example."""
    loop = running_loop()
    if loop is None:
        raise LifecycleError("a client needs the event loop of asyncio, which is not running: it does not work under trio")
    return loop


def loop_time() -> float:
    """The clock of the event loop that runs in this thread; 0.0 without one."""
    return 0.0 if (loop := running_loop()) is None else loop.time()


# -- Stray cancellations: a ``CancelledError`` from a hook, plugin or store whose task was not cancelled.
#
# Such code may await a task or future that is cancelled. ``CancelledError`` is not an ``Exception``, so it would end the
# client's task, and a task group would treat it as its own cancellation and report nothing.
#
# Source: ``architecture.md`` 9.


class StrayCancellationError(Exception):
    """The awaited code raised ``CancelledError`` although the awaiting task was not cancelled: a failure of that code."""

    def __init__(self, message: str = "a task or future that it awaited was cancelled") -> None:
        super().__init__(message)


def is_cancelled() -> bool:
    """Whether the running task, or a cancel scope around it, is cancelled."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class _Containment:
    __slots__ = ()

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if isinstance(error, asyncio.CancelledError) and not is_cancelled():
            raise StrayCancellationError from error


_CONTAINMENT: Final = _Containment()


def contain_cancellation() -> AbstractContextManager[None]:
    """Turn a stray ``CancelledError`` of the code in the block into :class:`StrayCancellationError`.

    Put this block outside of a time limit. Inside, the cancellation by the limit counts as one of the task.
    """
    return _CONTAINMENT


# -- ForkSafeAsyncLock: an ``anyio.Lock`` that is free in the child of a fork.


class ForkSafeAsyncLock:
    """At most one task is inside ``async with``. Works on any event loop; a waiting task can be cancelled.

    ``fast_acquire``: a free lock is taken without a pause, in which other tasks could run.
    """

    def __init__(self, *, fast_acquire: bool = False) -> None:
        self._fast_acquire = fast_acquire
        self._lock = anyio.Lock(fast_acquire=fast_acquire)
        reset_after_fork(self)

    def after_fork(self) -> None:
        """After a fork, in the child: the task that held the lock runs in the parent only, so it would never release it."""
        self._lock = anyio.Lock(fast_acquire=self._fast_acquire)

    async def __aenter__(self) -> None:
        await self._lock.acquire()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._lock.release()
