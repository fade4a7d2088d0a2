"""Checks in the child of a fork."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable


def succeeds_in_a_child(check: Callable[[], Awaitable[None]]) -> bool:
    """Whether ``check`` raises nothing in the child of a fork, on an event loop of its own."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            asyncio.events._set_running_loop(None)
            asyncio.new_event_loop().run_until_complete(check())
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
