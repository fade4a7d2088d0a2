"""SingleFlight: a question that many ask at once is asked once, and all of them get its answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from typing import TypeVar, cast

import anyio

__all__ = ["SingleFlight"]

T = TypeVar("T")


class SingleFlight:
    """The questions that are on their way, by what they ask for. For one event loop."""

    def __init__(self) -> None:
        self._under_way: dict[Hashable, _Call] = {}

    async def share(self, key: Hashable, ask: Callable[[], Awaitable[T]]) -> T:
        """What ``ask`` gives; who wants the same meanwhile waits for that answer. If the one who asks gives up, the next asks.

        One ``key`` stands for one type of answer.
        """
        while (flight := self._under_way.get(key)) is not None:
            await flight.landed.wait()
            if flight.answers:
                return cast("T", flight.answers[0])
        flight = self._under_way[key] = _Call()
        try:
            answer = await ask()
            flight.answers.append(answer)
            return answer
        finally:
            if self._under_way.get(key) is flight:
                del self._under_way[key]
            flight.landed.set()

    def forget(self) -> None:
        """Nobody who asked is here any more, as in the child of a fork."""
        self._under_way = {}


class _Call:
    """A question on its way, and its answer, unless whoever asked gave up."""

    def __init__(self) -> None:
        self.landed = anyio.Event()
        self.answers: list[object] = []
