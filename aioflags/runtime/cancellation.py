"""Stray cancellations: those that come out of somebody else's code although nobody cancelled the task that waited for it.

A hook, a plugin, a store may wait for something of its own that was cancelled. ``CancelledError`` is no ``Exception``, so it would
end the client's task on its way out, and task groups would take it for one of their own and say nothing.

Source: ``architecture.md`` 9.
"""

from __future__ import annotations

import asyncio
from types import TracebackType

__all__ = ["Contained", "StrayCancellationError", "is_cancelled"]


class StrayCancellationError(Exception):
    """What was waited for was cancelled, and the one who waited was not: a failure of what was waited for."""

    def __init__(self) -> None:
        super().__init__("something that it waited for was cancelled")


def is_cancelled() -> bool:
    """Whether anybody wants the running task to end, or the scope that it is in."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class Contained:
    """A block around the awaiting of somebody else's code. A stray cancellation leaves it as :class:`StrayCancellationError`.

    It belongs outside of a time limit: inside, the limit's own cancellation counts as somebody's.
    """

    __slots__ = ()

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if isinstance(error, asyncio.CancelledError) and not is_cancelled():
            raise StrayCancellationError from error
