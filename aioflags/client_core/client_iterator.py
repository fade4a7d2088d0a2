"""ClientIterator: an async iterator over what a client reports, such as its events and the changes of flags.

Source: ``openfeature.md`` 4.4 and 4.6.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar

from aioflags.runtime.broadcast import Signal
from aioflags.runtime.process_bound import ProcessBound

__all__ = ["ClientIterator"]

T = TypeVar("T")


class _Registry(Protocol):
    """What an iterator is registered with."""

    def remove(self, observer: object, /) -> None: ...


class ClientIterator(ProcessBound, ABC, Generic[T]):
    """An async iterator, and a context manager that ends it. Iterate and close it on the client's event loop.

    It ends at :meth:`close`, or when the client closes, after the items before that. ``check_loop`` raises
    :class:`LifecycleError` on another event loop than the client's, where nothing would wake the reader.
    """

    def __init__(self, registry: _Registry, check_loop: Callable[[], None]) -> None:
        self._registry = registry
        self._check_loop = check_loop
        self._changed = Signal()
        self._finished = False

    @abstractmethod
    def _take(self) -> T | None:
        """Removes and returns the oldest item that waits, if any."""

    @abstractmethod
    def _count(self) -> int:
        """How many items wait to be read."""

    def finish(self) -> None:
        """Deregisters, and ends the iteration after the items that wait."""
        self._registry.remove(self)
        self._finished = True
        self._changed.send()

    def close(self) -> None:
        """Deregisters, and drops the items that were not read."""
        self._registry.remove(self)
        while self._take() is not None:
            pass
        self.finish()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}{', ended' if self._finished else ''}, {self._count()} waiting>"

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        while (item := self._take()) is None:
            if self._finished:
                raise StopAsyncIteration
            self._check_loop()
            await self._changed.wait()
        return item

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
