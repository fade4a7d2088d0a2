"""Tasks that leave nothing behind if they are cancelled before their first step, and calls that share one result.

A task group of anyio wraps the coroutine of a task. If the program ends before the first step of the task, Python reports that the
coroutine "was never awaited". :func:`start` makes the coroutine in that step.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator, Hashable
from typing import Any, NoReturn, TypeVar, TypeVarTuple, cast

import anyio
from anyio.abc import TaskGroup

# -- SingleFlight: concurrent calls with the same key share one call and its result.


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


Ts = TypeVarTuple("Ts")


def start(group: TaskGroup, function: Callable[[*Ts], Coroutine[Any, Any, object]], *args: *Ts) -> None:
    """Run ``function(*args)`` in a task of ``group``. The function is called in the first step of the task."""
    name = f"{function.__module__}.{getattr(function, '__qualname__', function)}"
    group.start_soon(lambda: _Deferred(lambda: function(*args)), name=name)


class _Deferred(Coroutine[Any, Any, object]):
    """A coroutine that is made when it is awaited."""

    def __init__(self, make: Callable[[], Coroutine[Any, Any, object]]) -> None:
        self._make = make

    def __await__(self) -> Generator[Any, Any, object]:
        return self._make().__await__()

    def send(self, value: object) -> NoReturn:  # noqa: ARG002 - of the protocol; ``await`` calls __await__ alone
        raise RuntimeError("await it")

    def throw(self, *_: object) -> NoReturn:
        raise RuntimeError("await it")

    def close(self) -> None:
        """It was not started, so there is nothing to close."""


async def in_own_task(function: Callable[[], Awaitable[T]]) -> T:
    """Await ``function()`` in a task of its own. If the running task is cancelled, a cancel scope cancels that one.

    For calls of libraries that protect their clean-up by a shielded scope of anyio. A task that is cancelled twice (by a time limit
    and a task group, for instance) leaves such a scope at the second time, with the connection still open.
    """
    scope = anyio.CancelScope()

    async def run() -> T:
        with scope:
            return await function()
        raise asyncio.CancelledError

    task = asyncio.get_running_loop().create_task(run())
    # Retrieve its exception in any case: asyncio logs one that no task retrieves.
    task.add_done_callback(lambda finished: None if finished.cancelled() else finished.exception())
    try:
        await asyncio.wait({task})
        return task.result()
    except asyncio.CancelledError:
        scope.cancel()
        raise
    finally:
        del task  # the traceback of its exception refers to this frame
