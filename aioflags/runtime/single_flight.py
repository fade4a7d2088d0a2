"""SingleFlight: concurrent calls with the same key share one call and its result."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from typing import TypeVar, cast

import anyio

__all__ = ["SingleFlight"]

T = TypeVar("T")


class SingleFlight:
    """The calls that are running, by key. For one event loop."""

    def __init__(self) -> None:
        self._running: dict[Hashable, _Call] = {}

    async def share(self, key: Hashable, function: Callable[[], Awaitable[T]]) -> T:
        """Call ``function``, or wait for the running call with the same ``key``, and return its result.

        If the running call fails or is cancelled, one of the waiting tasks calls its own ``function``. Calls with the same ``key``
        must return the same type.
        """
        while (call := self._running.get(key)) is not None:
            await call.done.wait()
            if call.results:
                return cast("T", call.results[0])
        call = self._running[key] = _Call()
        try:
            result = await function()
            call.results.append(result)
            return result
        finally:
            if self._running.get(key) is call:
                del self._running[key]
            call.done.set()

    def forget(self) -> None:
        """Forget all running calls. In the child of a fork their tasks do not exist."""
        self._running = {}


class _Call:
    """A running call. ``results`` has one item once it returned, and none if it failed or was cancelled."""

    def __init__(self) -> None:
        self.done = anyio.Event()
        self.results: list[object] = []
