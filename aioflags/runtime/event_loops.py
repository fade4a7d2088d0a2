"""The event loop that runs in this thread, and its clock, for code that may run without one."""

from __future__ import annotations

import asyncio

from aioflags.errors import LifecycleError

__all__ = ["asyncio_loop", "loop_time", "running_loop"]


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The event loop that runs in this thread, if any."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def asyncio_loop() -> asyncio.AbstractEventLoop:
    """The event loop that runs in this thread. Raises :class:`LifecycleError` without one: under trio, for example."""
    loop = running_loop()
    if loop is None:
        raise LifecycleError("a client needs the event loop of asyncio, which is not running: it does not work under trio")
    return loop


def loop_time() -> float:
    """The clock of the event loop that runs in this thread; 0.0 without one."""
    return 0.0 if (loop := running_loop()) is None else loop.time()
