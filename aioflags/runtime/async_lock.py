"""ForkSafeAsyncLock: an ``anyio.Lock`` that is free in the child of a fork."""

from __future__ import annotations

from types import TracebackType

import anyio

from aioflags.runtime.fork import reset_after_fork

__all__ = ["ForkSafeAsyncLock"]


class ForkSafeAsyncLock:
    """At most one task is inside ``async with``. Works on any event loop; a waiting task can be cancelled.

    ``fast_acquire``: a free lock is taken without a pause, in which other tasks could run.
    """

    def __init__(self, *, fast_acquire: bool = False) -> None:
        self._fast_acquire = fast_acquire
        self._lock = anyio.Lock(fast_acquire=fast_acquire)
        reset_after_fork(self)

    def after_fork(self) -> None:
        """In the child of a fork: the task that held the lock runs in the parent only, so it would never release it."""
        self._lock = anyio.Lock(fast_acquire=self._fast_acquire)

    async def __aenter__(self) -> None:
        await self._lock.acquire()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._lock.release()
