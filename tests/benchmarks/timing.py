"""How long a call takes, and how long the event loop is blocked."""

from __future__ import annotations

import asyncio
import gc
import math
from collections.abc import Awaitable, Callable, Mapping
from time import perf_counter
from types import TracebackType
from typing import Final, TypeAlias

Loop: TypeAlias = Callable[[int], Awaitable[float]]
"""Makes that many calls, and returns how many seconds they took. The time includes the loop that counts, in all columns."""


async def least(loops: Mapping[str, Loop], *, samples: int = 50, seconds: float = 0.005) -> dict[str, float]:
    """Seconds a call, for each loop: the least of its samples, each about ``seconds`` long, without the garbage collector.

    A busy machine is slow for a second or two and then fast again. So the samples are short and many, and the loops alternate: all
    of them get some of the fast moments. The first calls of each sample are not timed: they may have to build something, and the
    interpreter adapts code that loops share to the loop that runs, which takes some dozens of calls.
    """
    counts = {name: await _count(loop, seconds) for name, loop in loops.items()}
    found = dict.fromkeys(loops, math.inf)
    gc.collect()
    gc.disable()
    try:
        for _ in range(samples):
            for name, loop in loops.items():
                await loop(counts[name] // 2)
                found[name] = min(found[name], await loop(counts[name]) / counts[name])
    finally:
        gc.enable()
    return found


async def _count(loop: Loop, seconds: float) -> int:
    """The number of calls that takes this long."""
    await loop(20)
    count = 1
    while (took := await loop(count)) < seconds / 4:
        count *= 4
    return max(1, round(count * seconds / took))


class LoopWatch:
    """The longest time for which other tasks were kept from running while the watch was on.

    A task sleeps for a millisecond at a time. The rest of the time until it runs again was used by other tasks. With ``clock``
    ``time.process_time`` other processes do not count, nor what waits for something else than a processor.
    """

    _STEP: Final = 0.001

    def __init__(self, clock: Callable[[], float] = perf_counter) -> None:
        self.longest = 0.0
        """In seconds."""
        self._clock = clock
        self._asleep = self._STEP if clock is perf_counter else 0.0

    async def __aenter__(self) -> LoopWatch:
        self._task = asyncio.create_task(self._tick())
        await asyncio.sleep(0.01)
        self.longest = 0.0
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await asyncio.sleep(3 * self._STEP)
        self._task.cancel()
        await asyncio.wait({self._task})

    async def _tick(self) -> None:
        while True:
            before = self._clock()
            await asyncio.sleep(self._STEP)
            self.longest = max(self.longest, self._clock() - before - self._asleep)
