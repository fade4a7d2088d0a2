"""Stray cancellations: a ``CancelledError`` from a hook, plugin or store whose task was not cancelled.

Such code may await a task or future that is cancelled. ``CancelledError`` is not an ``Exception``, so it would end the client's
task, and a task group would treat it as its own cancellation and report nothing.

Source: ``architecture.md`` 9.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Final

__all__ = ["StrayCancellationError", "contain_cancellation", "is_cancelled"]


class StrayCancellationError(Exception):
    """The awaited code raised ``CancelledError`` although the awaiting task was not cancelled: a failure of that code."""

    def __init__(self, message: str = "a task or future that it awaited was cancelled") -> None:
        super().__init__(message)


def is_cancelled() -> bool:
    """Whether the running task, or a cancel scope around it, is cancelled."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class _Containment:
    __slots__ = ()

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if isinstance(error, asyncio.CancelledError) and not is_cancelled():
            raise StrayCancellationError from error


_CONTAINMENT: Final = _Containment()


def contain_cancellation() -> AbstractContextManager[None]:
    """Turn a stray ``CancelledError`` of the code in the block into :class:`StrayCancellationError`.

    Put this block outside of a time limit. Inside, the cancellation by the limit counts as one of the task.
    """
    return _CONTAINMENT
