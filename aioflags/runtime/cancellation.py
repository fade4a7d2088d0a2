"""Stray cancellations: a ``CancelledError`` from code of a program, although the task that awaited it was not cancelled.

A hook, a plugin or a store may await something of its own that is cancelled. ``CancelledError`` is not an ``Exception``, so it
would end the client's task, and a task group would treat it as its own cancellation and say nothing.

Source: ``architecture.md`` 9.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Final

__all__ = ["StrayCancellationError", "contain_cancellation", "is_cancelled"]


class StrayCancellationError(Exception):
    """The awaited code was cancelled, and the task that awaited it was not: a failure of that code."""

    def __init__(self) -> None:
        super().__init__("something that it waited for was cancelled")


def is_cancelled() -> bool:
    """Whether the running task, or the scope that it is in, is cancelled."""
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
    """A block around the awaiting of a program's code. A stray cancellation leaves it as :class:`StrayCancellationError`.

    Put it outside of a time limit: inside, the cancellation by the limit counts as one of the task.
    """
    return _CONTAINMENT
