"""How long a call takes, and how long the event loop is held."""

from __future__ import annotations

import asyncio
import gc
import math
from collections.abc import Awaitable, Callable, Mapping
from time import perf_counter
from types import TracebackType
from typing import Final, TypeAlias

__all__ = ["Loop", "LoopWatch", "least"]

Loop: TypeAlias = Callable[[int], Awaitable[float]]
"""Makes a call so many times, and answers how many seconds that took. The counting loop is within the time, for all alike."""


async def least(loops: Mapping[str, Loop], *, samples: int = 50, seconds: float = 0.005) -> dict[str, float]:
    """Seconds a call, for each loop: the least of its samples, each about ``seconds`` long, without the garbage collector.

    A busy machine is slow for a second or two and then fast again. So samples are short and many, and the loops take turns: all of
    them get some of the good moments. The first calls, which may have to build something, are not timed.
    """
    counts = {name: await _count(loop, seconds) for name, loop in loops.items()}
    found = dict.fromkeys(loops, math.inf)
    gc.collect()
    gc.disable()
    try:
        for _ in range(samples):
            for name, loop in loops.items():
                found[name] = min(found[name], await loop(counts[name]) / counts[name])
    finally:
        gc.enable()
    return found


async def _count(loop: Loop, seconds: float) -> int:
    """How many calls take so long."""
    await loop(20)
    count = 1
    while (took := await loop(count)) < seconds / 4:
        count *= 4
    return max(1, round(count * seconds / took))


class LoopWatch:
    """The longest time for which other tasks were kept from running while the watch was on.

    A task asks to be woken every millisecond; what it waits beyond that, somebody else has taken.
    """

    _STEP: Final = 0.001

    def __init__(self) -> None:
        self.longest = 0.0
        """In seconds."""

    async def __aenter__(self) -> LoopWatch:
        self._task = asyncio.create_task(self._tick())
        await asyncio.sleep(0.01)
        self.longest = 0.0
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await asyncio.sleep(3 * self._STEP)
        self._task.cancel()

    async def _tick(self) -> None:
        while True:
            before = perf_counter()
            await asyncio.sleep(self._STEP)
            self.longest = max(self.longest, perf_counter() - before - self._STEP)
