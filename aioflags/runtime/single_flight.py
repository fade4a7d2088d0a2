"""SingleFlight: concurrent calls with the same key share one call and its result."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import TypeVar, cast

import anyio

__all__ = ["SingleFlight"]

T = TypeVar("T")


class SingleFlight:
    """The calls that are running, by key. Calls with the same key belong to one event loop."""

    def __init__(self) -> None:
        self._running: dict[Hashable, _Call] = {}

    async def share(self, key: Hashable, function: Callable[[], Awaitable[T]]) -> T:
        """Call ``function``, or wait for the running call with the same ``key``: return its result, or raise its exception.

        If the running call is cancelled, one of the waiting tasks calls its own ``function``. Calls with the same ``key`` must
        return the same type.

        Raises:
            RecursionError: ``function`` itself asks for the result of its call.
        """
        while (call := self._running.get(key)) is not None:
            if call.task is asyncio.current_task():
                raise RecursionError("this call waits for its own result")
            await call.done.wait()
            if call.error is not None:
                raise call.error
            if call.results:
                return cast("T", call.results[0])
        call = self._running[key] = _Call()
        try:
            result = await function()
            call.results.append(result)
            return result
        except Exception as error:
            call.error = error
            raise
        finally:
            if self._running.get(key) is call:
                del self._running[key]
            call.done.set()
            del call  # the traceback of its error refers to this frame

    def forget(self) -> None:
        """Forget all running calls. In the child of a fork their tasks do not exist."""
        self._running = {}


class _Call:
    """A running call of a task. ``results`` has one item once it returned. It has none, and no ``error``, if it was cancelled."""

    def __init__(self) -> None:
        self.task = asyncio.current_task()
        self.done = anyio.Event()
        self.results: list[object] = []
        self.error: Exception | None = None
