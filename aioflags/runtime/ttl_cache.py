"""Recent: what was learned of things that were asked for lately, for as long as it may be believed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from aioflags.runtime.fork import Lock

__all__ = ["TtlCache"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class TtlCache(Generic[K, V]):
    """At most ``size`` values by key, each for ``seconds`` from when it was put there. What nobody asked for longest goes first.

    For any thread, and for a signal handler that asks while its thread does.
    """

    def __init__(self, size: int, seconds: float) -> None:
        self.time: Callable[[], float] = float
        """The clock, in seconds: 0 for ever until somebody sets another, such as that of an event loop that does not run yet."""
        self._size = size
        self._seconds = seconds
        self._entries: OrderedDict[K, tuple[float, V]] = OrderedDict()
        self._lock = Lock()

    def get(self, key: K) -> V | None:
        """What was put there, unless that is too long ago, or others have taken its place."""
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
            except KeyError:  # gone again: a signal handler on this thread has looked a moment later
                return None
            return value

    def put(self, key: K, value: V) -> None:
        """From now on this is known of ``key``, and for the whole time."""
        with self._lock:
            # The key leaves its old place first: a signal handler on this thread might make others of it in between.
            self._entries.pop(key, None)
            self._entries[key] = (self.time() + self._seconds, value)
            while len(self._entries) > self._size:
                self._entries.popitem(last=False)
