"""Broadcast: a follower gets the newest value, and may miss values in between. Signal: it wakes waiting tasks."""

from __future__ import annotations

import asyncio

import anyio

from aioflags.runtime.broadcast import Latest, LatestIterator, Signal


async def test_a_follower_gets_the_newest_value_and_may_miss_earlier_ones() -> None:
    newest: Latest[int] = Latest()
    assert newest.value is None
    following = LatestIterator(newest)
    newest.put(1)
    assert await anext(following) == 1
    for value in (2, 3, 4):
        newest.put(value)
    assert await anext(following) == 4


async def test_an_equal_value_is_not_reported_again() -> None:
    newest: Latest[int] = Latest()
    assert [newest.put(value) for value in (1, 1, 2, 2, 1)] == [True, False, True, False, True]


async def test_a_follower_waits_for_the_first_value_and_for_each_newer_one() -> None:
    newest: Latest[int] = Latest()
    seen: list[tuple[float, int]] = []
    start = asyncio.get_running_loop().time()

    async def follow() -> None:
        seen.extend([(asyncio.get_running_loop().time() - start, value) async for value in LatestIterator(newest)])

    async with anyio.create_task_group() as group:
        group.start_soon(follow)
        await anyio.sleep(1)
        newest.put(5)
        await anyio.sleep(1)
        newest.put(6)
        await anyio.sleep(1)
        newest.close()
    assert seen == [(1, 5), (2, 6)]


async def test_an_iteration_ends_after_the_last_value() -> None:
    newest: Latest[int] = Latest()
    newest.put(1)
    newest.close()
    assert newest.put(2) is False
    assert [value async for value in LatestIterator(newest)] == [1]


async def test_an_iteration_without_a_value_ends() -> None:
    newest: Latest[int] = Latest()
    newest.close()
    assert [value async for value in LatestIterator(newest)] == []


async def test_followers_do_not_affect_each_other() -> None:
    newest: Latest[str] = Latest()
    newest.put("a")
    one, other = LatestIterator(newest), LatestIterator(newest)
    assert await anext(one) == "a"
    newest.put("b")
    assert (await anext(one), await anext(other)) == ("b", "b")


async def test_a_signal_wakes_the_waiting_tasks_and_no_later_task() -> None:
    signal, woken = Signal(), list[str]()

    async def waiter(name: str) -> None:
        await signal.wait()
        woken.append(name)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(waiter, "a")
        tasks.start_soon(waiter, "b")
        await anyio.wait_all_tasks_blocked()
        signal.send()
        tasks.start_soon(waiter, "late")
        await anyio.wait_all_tasks_blocked()
        assert sorted(woken) == ["a", "b"]
        signal.send()
    assert woken[2:] == ["late"]


async def test_a_signal_does_not_wake_tasks_of_the_parent_of_a_fork() -> None:
    signal = Signal()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(signal.wait)
        await anyio.wait_all_tasks_blocked()
        signal.after_fork()
        signal.send()
        with anyio.move_on_after(1) as limit:
            await anyio.sleep(2)
        assert limit.cancelled_caught
        assert not tasks.cancel_scope.cancel_called
        tasks.cancel_scope.cancel()
