"""TtlCache: a least-recently-used cache whose entries expire."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from aioflags.runtime.fork import Lock

__all__ = ["TtlCache"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class TtlCache(Generic[K, V]):
    """At most ``size`` values by key, each for ``seconds`` after its :meth:`put`. The least recently used value is evicted first.

    Can be used from any thread, and from a signal handler that interrupts a call.
    """

    def __init__(self, size: int, seconds: float) -> None:
        self.time: Callable[[], float] = float
        """The clock, in seconds. It returns 0 until it is replaced, for example by the clock of an event loop that starts later."""
        self._size = size
        self._seconds = seconds
        self._entries: OrderedDict[K, tuple[float, V]] = OrderedDict()
        self._lock = Lock()

    def get(self, key: K) -> V | None:
        """The value of ``key``; ``None`` if it was never put, has expired or was evicted."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            until, value = entry
            if self.time() >= until:
                self._entries.pop(key, None)
                return None
            try:
                self._entries.move_to_end(key)
            except KeyError:  # a signal handler on this thread removed the expired entry meanwhile
                return None
            return value

    def put(self, key: K, value: V) -> None:
        """Set the value of ``key`` and restart its time."""
        with self._lock:
            # Remove the key first, so that a signal handler on this thread that puts other keys in between does not evict it.
            self._entries.pop(key, None)
            self._entries[key] = (self.time() + self._seconds, value)
            while len(self._entries) > self._size:
                self._entries.popitem(last=False)
