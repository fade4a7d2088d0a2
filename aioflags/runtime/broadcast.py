"""A value that changes, and those who follow it: each sees the newest, and may miss those in between.

Set and followed on one event loop; read from any thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import anyio

__all__ = ["Latest", "LatestIterator"]

T = TypeVar("T")


class Latest(Generic[T]):
    """The newest value; ``None`` while there is none."""

    def __init__(self) -> None:
        self.value: T | None = None
        self.seq: int = 0
        """How often the value has changed."""
        self.is_closed: bool = False
        self.changed: anyio.Event = anyio.Event()
        """Set at the next change, or at the end."""

    def put(self, value: T) -> bool:
        """Whether that is news, which is then told. After :meth:`close` nothing is."""
        if self.is_closed or value == self.value:
            return False
        self.value, self.seq = value, self.seq + 1
        self._wake()
        return True

    def close(self) -> None:
        """No more will come: every iteration ends after the newest."""
        self.is_closed = True
        self._wake()

    def after_fork(self) -> None:
        """In the child of a fork: the parent's waiters are not here."""
        self.changed = anyio.Event()

    def _wake(self) -> None:
        self.changed.set()
        self.changed = anyio.Event()


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
