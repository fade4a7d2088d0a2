"""Broadcast: one task wakes all waiting tasks (:class:`Signal`), or sends them its newest value (:class:`Latest`).

Send and wait on one event loop. A value can be read from any thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import anyio

from aioflags.runtime.fork import ProcessBound

T = TypeVar("T")


class Signal:
    """Wakes every task that is waiting now. A task that starts to wait later waits for the next :meth:`send`."""

    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event = anyio.Event()

    def send(self) -> None:
        """Wake the waiting tasks."""
        event, self._event = self._event, anyio.Event()
        event.set()

    async def wait(self) -> None:
        """Wait for the next :meth:`send`."""
        await self._event.wait()

    def after_fork(self) -> None:
        """After a fork, in the child: the waiting tasks exist in the parent only."""
        self._event = anyio.Event()


class Latest(Generic[T]):
    """The newest value; ``None`` before the first. A value that equals the newest is ignored."""

    def __init__(self) -> None:
        self.value: T | None = None
        self.seq: int = 0
        """Number of changes of the value."""
        self.is_closed: bool = False
        self.changed: Signal = Signal()
        """Sent at each change, and by :meth:`close`."""

    def put(self, value: T) -> bool:
        """Set the value and wake the waiting iterators. False if it equals the newest value, or after :meth:`close`."""
        if self.is_closed or value == self.value:
            return False
        self.value, self.seq = value, self.seq + 1
        self.changed.send()
        return True

    def close(self) -> None:
        """End every iterator after the newest value."""
        self.is_closed = True
        self.changed.send()

    def after_fork(self) -> None:
        """After a fork, in the child: the waiting tasks exist in the parent only."""
        self.changed.after_fork()


class LatestIterator(ProcessBound, Generic[T]):
    """An async iterator over a :class:`Latest`: its current value, then the newest value after each change.

    It skips values that were replaced before they were read, and ends when the :class:`Latest` is closed. ``check_loop`` is
    called before each wait; it raises on an event loop that is not the client's.
    """

    def __init__(self, latest: Latest[T], check_loop: Callable[[], None] = lambda: None) -> None:
        self._latest = latest
        self._check_loop = check_loop
        self._seen = 0

    def __aiter__(self) -> LatestIterator[T]:
        return self

    async def __anext__(self) -> T:
        latest = self._latest
        while (value := latest.value) is None or latest.seq == self._seen:
            if latest.is_closed:
                raise StopAsyncIteration
            self._check_loop()
            await latest.changed.wait()
        self._seen = latest.seq
        return value

    def __repr__(self) -> str:
        latest = self._latest
        return f"<{type(self).__name__}{', ended' if latest.is_closed else ''}, {int(latest.seq != self._seen)} waiting>"
