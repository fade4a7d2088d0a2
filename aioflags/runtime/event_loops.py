"""The event loop that runs in this thread, and its clock, for code that may run without one."""

from __future__ import annotations

import asyncio

__all__ = ["loop_time", "running_loop"]


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The event loop that runs in this thread, if any."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def loop_time() -> float:
    """The clock of the event loop that runs in this thread; 0.0 without one."""
    return 0.0 if (loop := running_loop()) is None else loop.time()
