"""How tasks are started so that one that is cancelled before its first step leaves nothing behind.

A task group of anyio wraps the coroutine of a task. If the program ends before the first step of the task, Python reports that the
coroutine "was never awaited". :func:`start` makes the coroutine in that step.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from typing import Any, NoReturn, TypeVarTuple

from anyio.abc import TaskGroup

__all__ = ["start"]

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
