"""Objects and locks in the child of a fork. There, one thread continues, and no task does.

First ``after_fork()`` of every object of :func:`reset_after_fork` is called, then ``after_all_fork_resets()`` of every object of
:func:`notify_after_fork`.

Source: ``client-surface.md`` 16; ``architecture.md`` 10.
"""

from __future__ import annotations

import os
import threading
from types import TracebackType
from typing import ClassVar, Final, NoReturn, Protocol
from weakref import WeakSet

from aioflags.runtime.logs import logger

# -- ProcessBound: the base of what belongs to one process, such as clients. It cannot be pickled or copied, and says so.


class ProcessBound:
    """Refuses to be pickled or copied. Otherwise the error would name a part: ``cannot pickle '_thread.lock' object``."""

    __slots__ = ()

    _instead: ClassVar[str] = "make one in each process"
    """What a program does instead."""

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{type(self).__name__} objects cannot be pickled or copied: {self._instead}")


class _Resettable(Protocol):
    def after_fork(self) -> None: ...


class _Notified(Protocol):
    def after_all_fork_resets(self) -> None: ...


_RESETTABLE: Final[WeakSet[_Resettable]] = WeakSet()
_NOTIFIED: Final[WeakSet[_Notified]] = WeakSet()


def reset_after_fork(thing: _Resettable) -> None:
    """Call ``thing.after_fork()`` in the child of every later fork, before anything else runs there. Keeps a weak reference.

    ``after_fork`` resets ``thing`` alone. It must not use other objects that need a reset: the order of the resets is undefined.
    """
    _RESETTABLE.add(thing)


def notify_after_fork(thing: _Notified) -> None:
    """Call ``thing.after_all_fork_resets()`` in the child of every later fork, after all resets. Keeps a weak reference."""
    _NOTIFIED.add(thing)


class Lock:
    """A ``threading.RLock`` that is free in the child of a fork, even if a thread of the parent held it.

    It is reentrant, because a finalizer or a signal handler may evaluate a flag on the thread that holds the lock.
    """

    __slots__ = ("__weakref__", "_lock")

    def __init__(self) -> None:
        self._lock = threading.RLock()
        reset_after_fork(self)

    def after_fork(self) -> None:
        """After a fork, in the child: the thread that held the lock may not exist here, so it would never release it."""
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._lock.release()


def _after_fork() -> None:
    """Run all callbacks, even if some of them fail. Log the failures last, when the locks of the log are usable."""
    failures: list[tuple[str, Exception]] = []
    resets = [thing.after_fork for thing in tuple(_RESETTABLE)]
    notifications = [thing.after_all_fork_resets for thing in tuple(_NOTIFIED)]
    for callback in (*resets, *notifications):
        try:
            callback()
        except Exception as error:  # noqa: BLE001 -- the other objects still need their reset
            failures.append((callback.__qualname__, error))
    for name, failure in failures:
        logger.error("%s failed in the child of a fork, because of a bug in aioflags", name, exc_info=failure)


if hasattr(os, "register_at_fork"):  # not where processes cannot fork
    os.register_at_fork(after_in_child=_after_fork)
