"""Broadcast: one task wakes all that wait (:class:`Signal`), or gives them its newest value (:class:`Latest`).

Set and awaited on one event loop; a value can be read from any thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import anyio

__all__ = ["Latest", "LatestIterator", "Signal"]

T = TypeVar("T")


class Signal:
    """Wakes every task that waits at this moment. A task that waits later waits for the next call of :meth:`send`."""

    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event = anyio.Event()

    def send(self) -> None:
        """Wake the tasks that wait."""
        event, self._event = self._event, anyio.Event()
        event.set()

    async def wait(self) -> None:
        """Wait for the next :meth:`send`."""
        await self._event.wait()

    def after_fork(self) -> None:
        """In the child of a fork: the tasks that wait are the parent's."""
        self._event = anyio.Event()


class Latest(Generic[T]):
    """The newest value; ``None`` before the first. It skips values that equal the newest."""

    def __init__(self) -> None:
        self.value: T | None = None
        self.seq: int = 0
        """How often the value has changed."""
        self.is_closed: bool = False
        self.changed: Signal = Signal()
        """Sent at each change, and at the end."""

    def put(self, value: T) -> bool:
        """Set the value and wake all that follow it. False if the value is not new, or after :meth:`close`."""
        if self.is_closed or value == self.value:
            return False
        self.value, self.seq = value, self.seq + 1
        self.changed.send()
        return True

    def close(self) -> None:
        """End every iteration after the newest value."""
        self.is_closed = True
        self.changed.send()

    def after_fork(self) -> None:
        """In the child of a fork: the tasks that wait are the parent's."""
        self.changed.after_fork()


class LatestIterator(Generic[T]):
    """An async iterator: the value of now, if there is one, then the newest whenever there is a newer. Ends after the last.

    ``check_loop`` raises where the iterator cannot wait: on another event loop than the client's.
    """

    def __init__(self, newest: Latest[T], check_loop: Callable[[], None] = lambda: None) -> None:
        self._newest = newest
        self._check_loop = check_loop
        self._seen = 0

    def __aiter__(self) -> LatestIterator[T]:
        return self

    async def __anext__(self) -> T:
        newest = self._newest
        while (value := newest.value) is None or newest.seq == self._seen:
            if newest.is_closed:
                raise StopAsyncIteration
            self._check_loop()
            await newest.changed.wait()
        self._seen = newest.seq
        return value
