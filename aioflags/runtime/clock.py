"""The wall clock, for timestamps. Durations are measured on the event loop's clock instead."""

from __future__ import annotations

import time


def now() -> float:
    """Unix time in seconds, for the timestamps of statuses and errors."""
    return time.time()


def now_ms() -> int:
    """Unix time in whole milliseconds, for events and flags."""
    return int(time.time() * 1000)
