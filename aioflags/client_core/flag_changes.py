"""Iterators over flag changes: FlagChange for configurations, ValueChange for the value of one flag for one context.

The call that creates an iterator registers it, so that no change is lost before its first ``anext``.

Source: ``evaluation.md`` 9; ``data-system.md`` 7.3; ``openfeature.md`` 4.4.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, Self, TypeVar
from weakref import ref

from aioflags.client_core.typed import decoder_of, plain_key
from aioflags.model.values import fresh, same_json
from aioflags.runtime.broadcast import Signal
from aioflags.runtime.fork import Lock, ProcessBound
from aioflags.runtime.logs import Once, logger

if TYPE_CHECKING:
    from aioflags.evaluation.snapshot import Snapshot
    from aioflags.model.change import ChangeSet


# -- ClientIterator: an async iterator over what a client reports, such as its events and the changes of flags.
# Source: ``openfeature.md`` 4.4 and 4.6.


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


_MAX_QUEUE: Final = 1000


@dataclass(frozen=True, slots=True)
class FlagChange:
    """The configuration of a flag, or of a flag or segment that it depends on, has changed. Its values may be the same."""

    key: str


@dataclass(frozen=True, slots=True)
class ValueChange:
    """A flag's value for one context has changed. ``None``: the flag is missing or has no value.

    If ``changes`` was called with a typed flag that decodes, the values are decoded; ``None`` for one that cannot be.
    """

    key: str
    old_value: Any
    new_value: Any


class _Follower(Protocol):
    def notify(self, keys: frozenset[str], snapshot: Snapshot) -> None: ...

    def finish(self) -> None: ...


class FlagTracker:
    """Notifies the iterators over one client's changes, on the event loop, after the data were published.

    They register from any thread. No lock is needed: one assignment or deletion adds or removes a follower, and the event loop
    reads a copy.
    """

    def __init__(self, log: logging.Logger = logger) -> None:
        self.log: logging.Logger = log
        # Weak: changes do not pile up in an iterator that is no longer used.
        self._followers: dict[int, ref[_Follower]] = {}
        self._closed = False

    @property
    def is_followed(self) -> bool:
        """Whether there are followers."""
        return bool(self._followers)

    def changed_keys(self, old: Snapshot, new: Snapshot, change_set: ChangeSet) -> frozenset[str] | None:
        """The keys of the flags that changed when ``change_set`` made ``new`` of ``old``; ``None`` after an internal error."""
        try:
            return new.changed_since(old, change_set)
        except Exception:
            # A bug here may lose changes, but not the data, which are published already.
            self.log.exception("followers of flag changes were not notified, after an internal error (please report)")
            return None

    def notify(self, keys: frozenset[str], snapshot: Snapshot) -> None:
        """Notifies each follower. One that fails does not stop the others."""
        for follower in self._alive():
            try:
                follower.notify(keys, snapshot)
            except Exception:
                self.log.exception("a follower of flag changes was not notified, after an internal error (please report)")

    def add(self, follower: _Follower) -> None:
        """Notifies ``follower`` from the next publication on, unless the client is closed for good."""
        number = id(follower)
        self._followers[number] = ref(follower, lambda _: self._followers.pop(number, None))
        if self._closed:
            follower.finish()

    def remove(self, follower: object) -> None:
        """Removes ``follower``, if it was added."""
        self._followers.pop(id(follower), None)

    def close(self, *, for_good: bool = True) -> None:
        """Ends every iteration after the changes that wait. ``for_good``: the client cannot be started again."""
        self._closed = for_good
        for follower in self._alive():
            follower.finish()

    def _alive(self) -> list[_Follower]:
        return [follower for reference in self._followers.copy().values() if (follower := reference()) is not None]


class Changes(ClientIterator[T], ABC):
    """An async iterator of changes, and a context manager that ends it. Iterate and close it on the client's event loop.

    It ends at ``close``, or when the client closes, after the changes before that. On another event loop than the client's
    ``anext`` raises :class:`LifecycleError`, because no change would wake the reader.
    """

    def __init__(self, tracker: FlagTracker, check_loop: Callable[[], None]) -> None:
        super().__init__(tracker, check_loop)
        self._tracker = tracker
        tracker.add(self)

    @abstractmethod
    def notify(self, keys: frozenset[str], snapshot: Snapshot) -> None:
        """Reads the changes of the flags ``keys`` from the new snapshot. Called by the tracker."""


class FlagChanges(Changes[FlagChange]):
    """Every flag that a transfer affects, once a transfer. A flag whose change was not read yet is not added again."""

    def __init__(self, tracker: FlagTracker, check_loop: Callable[[], None]) -> None:
        self._waiting: OrderedDict[str, FlagChange] = OrderedDict()
        super().__init__(tracker, check_loop)

    def notify(self, keys: frozenset[str], snapshot: Snapshot) -> None:  # noqa: ARG002 -- ValueChanges needs it
        for key in sorted(keys):
            self._waiting.setdefault(key, FlagChange(key))
        self._changed.send()

    def _take(self) -> FlagChange | None:
        return self._waiting.popitem(last=False)[1] if self._waiting else None

    def _count(self) -> int:
        return len(self._waiting)


class ValueChanges(Changes[ValueChange]):
    """The changes of one flag's value for one context.

    At most 1000 changes wait for a slow reader; after that the oldest are dropped, with one warning.
    """

    def __init__(
        self,
        tracker: FlagTracker,
        check_loop: Callable[[], None],
        key: str,
        read: Callable[[Snapshot], Any],
        newest: Callable[[], Snapshot],
    ) -> None:
        self._key = plain_key(key)
        self._copied = fresh if decoder_of(key) is None else _shared
        self._read = read
        self._waiting: deque[ValueChange] = deque(maxlen=_MAX_QUEUE)
        self._warn = Once()
        self._lock = Lock()
        # Any thread may register. A change that is published before the first value is read waits until it is.
        with self._lock:
            super().__init__(tracker, check_loop)
            self._value = read(newest())

    def notify(self, keys: frozenset[str], snapshot: Snapshot) -> None:
        if self._key not in keys:
            return
        with self._lock:
            self._compare(self._read(snapshot))

    def _compare(self, value: Any) -> None:
        if same_json(value, self._value):
            return
        if len(self._waiting) == _MAX_QUEUE and self._warn("overflow"):
            self._tracker.log.warning("a reader of value changes is %d changes behind; dropping the oldest", _MAX_QUEUE)
        self._waiting.append(ValueChange(self._key, self._copied(self._value), self._copied(value)))
        self._value = value
        self._changed.send()

    def _take(self) -> ValueChange | None:
        return self._waiting.popleft() if self._waiting else None

    def _count(self) -> int:
        return len(self._waiting)


def _shared(value: Any) -> Any:
    """A decoded value, which all callers share."""
    return value
