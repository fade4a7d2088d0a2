"""The wall clock, for timestamps."""

from __future__ import annotations

import time

from aioflags.runtime import clock


def test_seconds_and_milliseconds_are_of_the_same_clock() -> None:
    before = time.time()
    seconds, milliseconds = clock.now(), clock.now_ms()
    after = time.time()
    assert before <= seconds <= after
    assert int(before * 1000) <= milliseconds <= after * 1000
