"""SingleFlight: concurrent calls with the same key share one call."""

from __future__ import annotations

import asyncio

import pytest

from aioflags.runtime.tasks import SingleFlight


class CountedCall:
    """Returns the number of its call after a second. The calls with these numbers raise."""

    def __init__(self, *breaks: int) -> None:
        self.count = 0
        self._breaks = breaks

    async def __call__(self) -> int:
        self.count += 1
        mine = self.count
        await asyncio.sleep(1)
        if mine in self._breaks:
            raise ConnectionError
        return mine


async def test_concurrent_calls_with_the_same_key_share_one_result() -> None:
    flights, call = SingleFlight(), CountedCall()
    assert await asyncio.gather(*(flights.share("a", call) for _ in range(5))) == [1] * 5
    assert call.count == 1


async def test_later_calls_and_calls_with_another_key_are_not_shared() -> None:
    flights, call = SingleFlight(), CountedCall()
    assert sorted(await asyncio.gather(flights.share("a", call), flights.share("b", call))) == [1, 2]
    assert await flights.share("a", call) == 3


async def test_if_the_first_caller_is_cancelled_another_one_makes_the_call() -> None:
    flights, call = SingleFlight(), CountedCall()
    first, *others = (asyncio.create_task(flights.share("a", call)) for _ in range(3))
    await asyncio.sleep(0.5)
    first.cancel()
    assert await asyncio.gather(*others) == [2, 2]
    assert first.cancelled()


async def test_a_failure_is_raised_for_every_caller_that_waited_and_the_next_call_is_made_again() -> None:
    flights, call = SingleFlight(), CountedCall(1)
    results = await asyncio.gather(*(flights.share("a", call) for _ in range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [ConnectionError] * 3
    assert await flights.share("a", call) == 2


async def test_a_call_that_waits_for_its_own_result_fails() -> None:
    flights = SingleFlight()

    async def again() -> int:
        return await flights.share("a", again)

    with pytest.raises(RecursionError, match="waits for its own result"):
        await flights.share("a", again)


async def test_a_call_does_not_wait_for_a_call_that_was_forgotten() -> None:
    flights, call = SingleFlight(), CountedCall()
    lost = asyncio.create_task(flights.share("a", call))
    await asyncio.sleep(0.5)
    flights.forget()
    assert await flights.share("a", call) == 2
    assert await lost == 1
