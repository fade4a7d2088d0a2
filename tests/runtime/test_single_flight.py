"""A question that many ask at once is asked once."""

from __future__ import annotations

import asyncio

import pytest

from aioflags.runtime.single_flight import SingleFlight


class Oracle:
    """Answers after a second, with how often it was asked; breaks where it is told to."""

    def __init__(self, *breaks: int) -> None:
        self.asked = 0
        self._breaks = breaks

    async def __call__(self) -> int:
        self.asked += 1
        mine = self.asked
        await asyncio.sleep(1)
        if mine in self._breaks:
            raise ConnectionError
        return mine


async def test_all_who_ask_for_the_same_meanwhile_get_one_answer() -> None:
    flights, oracle = SingleFlight(), Oracle()
    assert await asyncio.gather(*(flights.share("a", oracle) for _ in range(5))) == [1] * 5
    assert oracle.asked == 1


async def test_who_asks_afterwards_or_for_something_else_asks_anew() -> None:
    flights, oracle = SingleFlight(), Oracle()
    assert sorted(await asyncio.gather(flights.share("a", oracle), flights.share("b", oracle))) == [1, 2]
    assert await flights.share("a", oracle) == 3


async def test_if_the_one_who_asks_gives_up_the_next_one_asks() -> None:
    flights, oracle = SingleFlight(), Oracle()
    first, *others = (asyncio.create_task(flights.share("a", oracle)) for _ in range(3))
    await asyncio.sleep(0.5)
    first.cancel()
    assert await asyncio.gather(*others) == [2, 2]
    assert first.cancelled()


async def test_a_failure_is_the_askers_own() -> None:
    flights, oracle = SingleFlight(), Oracle(1)
    first, *others = (asyncio.create_task(flights.share("a", oracle)) for _ in range(3))
    assert await asyncio.gather(*others) == [2, 2]
    with pytest.raises(ConnectionError):
        await first


async def test_what_is_forgotten_holds_nobody_up() -> None:
    flights, oracle = SingleFlight(), Oracle()
    lost = asyncio.create_task(flights.share("a", oracle))
    await asyncio.sleep(0.5)
    flights.forget()
    assert await flights.share("a", oracle) == 2
    assert await lost == 1
