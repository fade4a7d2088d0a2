"""ForkSafeAsyncLock: one task after the other, as with a lock of anyio's, which in the child of a fork nobody has."""

from __future__ import annotations

from types import TracebackType

import anyio

from aioflags.runtime.fork import reset_after_fork

__all__ = ["ForkSafeAsyncLock"]


class ForkSafeAsyncLock:
    """What is done in ``async with`` is done by one task at a time, on whatever event loop. Cancelling who waits harms nobody."""

    def __init__(self) -> None:
        self._lock = anyio.Lock()
        reset_after_fork(self)

    def after_fork(self) -> None:
        """In the child of a fork: the task that had it goes on in the parent alone, and would never let it go here."""
        self._lock = anyio.Lock()

    async def __aenter__(self) -> None:
        await self._lock.acquire()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._lock.release()
