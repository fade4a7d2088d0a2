"""Threads that nobody waits for: a call of the system that hangs holds neither an event loop's end nor the interpreter's.

The threads of a program's own executor are joined when the loop closes, and again when the interpreter exits.

Source: ``data-system.md`` 1.7; ``client-surface.md`` 1.4.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Final, ParamSpec, TypeVar

__all__ = ["DaemonThreads"]

P = ParamSpec("P")
T = TypeVar("T")


class DaemonThreads(Executor):
    """For ``loop.run_in_executor``: each call has a thread of its own, called ``name``, which ends with it, or never."""

    def __init__(self, name: str) -> None:
        self._name: Final = name

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Starts the call. Raises ``RuntimeError`` if there are no more threads, for now."""
        future: Future[T] = Future()

        def work() -> None:
            # Whoever waits gives up on the other side; nobody takes back a call that has begun.
            future.set_running_or_notify_cancel()
            try:
                result = fn(*args, **kwargs)
            except BaseException as error:  # noqa: BLE001 - it is raised where the answer is awaited
                future.set_exception(error)
            else:
                future.set_result(result)

        threading.Thread(target=work, name=self._name, daemon=True).start()
        return future
