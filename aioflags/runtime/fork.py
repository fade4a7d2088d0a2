"""What is made anew in the child of a fork, where no thread but one goes on and no task does.

Source: ``client-surface.md`` 16; ``architecture.md`` 10.
"""

from __future__ import annotations

import os
import threading
from types import TracebackType
from typing import Final, Protocol
from weakref import WeakSet

from aioflags.runtime.logs import logger

__all__ = ["Lock", "notify_after_fork", "reset_after_fork"]


class _Resettable(Protocol):
    def after_fork(self) -> None: ...


class _Notified(Protocol):
    def after_fork_reset(self) -> None: ...


_RESETTABLE: Final[WeakSet[_Resettable]] = WeakSet()
_NOTIFIED: Final[WeakSet[_Notified]] = WeakSet()


def reset_after_fork(thing: _Resettable) -> None:
    """Calls ``thing.forked()`` in every child, before anything else runs there; for as long as ``thing`` lives.

    It resets ``thing``, and uses nothing else that a fork has to reset: nobody knows what comes first.
    """
    _RESETTABLE.add(thing)


def notify_after_fork(thing: _Notified) -> None:
    """Calls ``thing.adapt()`` in every child, once everything there is reset; for as long as ``thing`` lives."""
    _NOTIFIED.add(thing)


class Lock:
    """A ``threading.RLock`` that is free in the child of a fork, whoever held it in the parent.

    Reentrant, since a finalizer or a signal handler may evaluate a flag on the very thread that holds it.
    """

    __slots__ = ("__weakref__", "_lock")

    def __init__(self) -> None:
        self._lock = threading.RLock()
        reset_after_fork(self)

    def after_fork(self) -> None:
        """In the child: nobody who held it is here to let it go."""
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._lock.release()


def _after_fork() -> None:
    """One that fails keeps nobody else from being told; the log hears of it last."""
    failures: list[tuple[str, Exception]] = []
    for step in (*(thing.after_fork for thing in tuple(_RESETTABLE)), *(thing.after_fork_reset for thing in tuple(_NOTIFIED))):
        try:
            step()
        except Exception as error:  # noqa: BLE001 -- whatever it is, the others still have the parent's locks
            failures.append((step.__qualname__, error))
    for name, failure in failures:
        logger.error("%s failed in the child of a fork, because of a bug in aioflags", name, exc_info=failure)


if hasattr(os, "register_at_fork"):  # not where processes cannot fork
    os.register_at_fork(after_in_child=_after_fork)
