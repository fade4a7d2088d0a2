"""Who follows flag changes: FlagChange for configurations, ValueChange for what one context gets.

Registered by the call that makes the observer, so that nothing is lost before its first ``anext``.

Source: ``evaluation.md`` 9; ``data-system.md`` 7.3; ``openfeature.md`` 4.4.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Generic, Protocol, TypeVar
from weakref import ref

import anyio

from aioflags.evaluation.snapshot import Snapshot
from aioflags.model.change import ChangeSet
from aioflags.model.values import fresh, same_json
from aioflags.runtime.logs import Once, logger

__all__ = ["Changes", "FlagChange", "FlagChanges", "FlagTracker", "ValueChange", "ValueChanges"]

T = TypeVar("T")

_LONGEST_QUEUE: Final = 1000


@dataclass(frozen=True, slots=True)
class FlagChange:
    """The configuration of a flag, or of something it depends on, has changed; its values need not have."""

    key: str


@dataclass(frozen=True, slots=True)
class ValueChange:
    """A flag's value for one context has changed. ``None`` stands for a flag that is missing or has no value."""

    key: str
    old_value: Any
    new_value: Any


class _Follower(Protocol):
    def tell(self, keys: frozenset[str], snapshot: Snapshot) -> None: ...

    def finish(self) -> None: ...


class FlagTracker:
    """The followers of one client's data; told on the event loop, after the data can be seen. They register from any thread.

    No lock is needed: a follower comes and goes by one assignment or deletion, and the event loop reads a copy.
    """

    def __init__(self, log: logging.Logger = logger) -> None:
        self.log: logging.Logger = log
        # Weak: an observer that nobody iterates any more is not fed for ever.
        self._followers: dict[int, ref[_Follower]] = {}
        self._closed = False

    @property
    def is_followed(self) -> bool:
        """Whether anybody is there to be told."""
        return bool(self._followers)

    def publish(self, old: Snapshot, new: Snapshot, change_set: ChangeSet) -> None:
        """Tells everybody which flags ``change_set`` affects. Costs nothing where nobody follows."""
        try:
            if self.is_followed and (keys := new.changed_since(old, change_set)):
                for follower in self._present():
                    follower.tell(keys, new)
        except Exception:
            # Who follows changes may miss some by a bug of ours. The data, which are there already, do not suffer from it.
            self.log.exception("changes could not be told")

    def add(self, follower: _Follower) -> None:
        """From the next publication on."""
        number = id(follower)
        self._followers[number] = ref(follower, lambda _: self._followers.pop(number, None))
        if self._closed:
            follower.finish()

    def remove(self, follower: _Follower) -> None:
        """Whether it is there or not."""
        self._followers.pop(id(follower), None)

    def close(self) -> None:
        """Lets every iteration end when it has had what came before."""
        self._closed = True
        for follower in self._present():
            follower.finish()

    def _present(self) -> list[_Follower]:
        return [follower for known in self._followers.copy().values() if (follower := known()) is not None]


class Changes(ABC, Generic[T]):
    """An async iterator of changes, and a context manager that ends it. Iterate and close it on the client's event loop.

    It ends when the client closes, after the changes before that, or at :meth:`close`. ``check_loop`` raises
    :class:`LifecycleError` on another event loop than the client's, where no change would ever wake the reader.
    """

    def __init__(self, feed: FlagTracker, check_loop: Callable[[], None]) -> None:
        self._feed = feed
        self._check_loop = check_loop
        self._news = anyio.Event()
        self._finished = False
        feed.add(self)

    @abstractmethod
    def tell(self, keys: frozenset[str], snapshot: Snapshot) -> None:
        """These flags are affected, and this snapshot shows how. Called by the feed."""

    @abstractmethod
    def _take(self) -> T | None:
        """The oldest change that waits, if any."""

    @abstractmethod
    def _count(self) -> int:
        """How many changes wait to be read."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}{', ended' if self._finished else ''}, {self._count()} waiting>"

    def _wake(self) -> None:
        self._news.set()
        self._news = anyio.Event()

    def finish(self) -> None:
        """No more will come."""
        self._finished = True
        self._wake()

    def close(self) -> None:
        """Deregisters. Changes that were not read yet are forgotten."""
        self._feed.remove(self)
        while self._take() is not None:
            pass
        self.finish()

    def __aiter__(self) -> Changes[T]:
        return self

    async def __anext__(self) -> T:
        while (change := self._take()) is None:
            if self._finished:
                raise StopAsyncIteration
            self._check_loop()
            await self._news.wait()
        return change

    async def __aenter__(self) -> Changes[T]:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __enter__(self) -> Changes[T]:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class FlagChanges(Changes[FlagChange]):
    """Every flag that a transfer affects, once a transfer. A flag that still waits to be read does not wait twice."""

    def __init__(self, feed: FlagTracker, check_loop: Callable[[], None]) -> None:
        self._waiting: OrderedDict[str, FlagChange] = OrderedDict()
        super().__init__(feed, check_loop)

    def tell(self, keys: frozenset[str], snapshot: Snapshot) -> None:  # noqa: ARG002 -- for values alone
        for key in sorted(keys):
            self._waiting.setdefault(key, FlagChange(key))
        self._wake()

    def _take(self) -> FlagChange | None:
        return self._waiting.popitem(last=False)[1] if self._waiting else None

    def _count(self) -> int:
        return len(self._waiting)


class ValueChanges(Changes[ValueChange]):
    """One flag's value for one context, whenever it differs from the one before.

    At most 1000 changes wait for a slow reader; past that the oldest are dropped, with one warning.
    """

    def __init__(
        self, feed: FlagTracker, check_loop: Callable[[], None], key: str, read: Callable[[Snapshot], Any], now: Snapshot
    ) -> None:
        self._key = key
        self._read = read
        self._value = read(now)
        self._waiting: deque[ValueChange] = deque(maxlen=_LONGEST_QUEUE)
        self._warn = Once()
        super().__init__(feed, check_loop)

    def tell(self, keys: frozenset[str], snapshot: Snapshot) -> None:
        if self._key not in keys or same_json(value := self._read(snapshot), self._value):
            return
        if len(self._waiting) == _LONGEST_QUEUE and self._warn("overflow"):
            self._feed.log.warning("a reader of value changes is %d behind: the oldest are dropped", _LONGEST_QUEUE)
        self._waiting.append(ValueChange(self._key, fresh(self._value), fresh(value)))
        self._value = value
        self._wake()

    def _take(self) -> ValueChange | None:
        return self._waiting.popleft() if self._waiting else None

    def _count(self) -> int:
        return len(self._waiting)
