"""FastTimeLoop: an event loop whose clock runs faster than the wall clock, with real sockets.

Virtual time jumps as soon as nothing is ready, so bytes that are on their way in the kernel would arrive after a time limit. Here
they have a part of the limit in real time.
"""

from __future__ import annotations

import asyncio
import selectors


class _FastSelector(selectors.DefaultSelector):
    speed: float

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return super().select(timeout and timeout / self.speed)


class FastTimeLoop(asyncio.SelectorEventLoop):
    """An event loop on which ``speed`` seconds pass in a second."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        selector = _FastSelector()
        selector.speed = speed
        super().__init__(selector)

    def time(self) -> float:
        """The fast time, in seconds."""
        return super().time() * self._speed
