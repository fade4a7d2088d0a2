"""FlagChangeLog: what changed on the clients it follows, to look at and to wait for."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from aioflags.testing import FlagChangeLog, MemoryClient


@pytest.fixture
def client() -> MemoryClient:
    """One with no flags."""
    return MemoryClient()


@pytest.fixture
def log(client: MemoryClient) -> FlagChangeLog:
    """One that follows it."""
    found = FlagChangeLog()
    found.follow(client)
    return found


def test_it_has_the_keys_in_order(client: MemoryClient, log: FlagChangeLog) -> None:
    for key in ("b", "a", "b"):
        client.set(key, key)
    assert log.keys == ["b", "a", "b"]
    assert repr(log) == "<FlagChangeLog ['b', 'a', 'b']>"
    log.assert_changed("a")
    log.assert_unchanged("c")
    log.clear()
    assert log.keys == []


def test_it_follows_several(client: MemoryClient, log: FlagChangeLog) -> None:
    log.follow(other := MemoryClient())
    client.set("one", 1)
    other.set("other", 1)
    assert log.keys == ["one", "other"]


def test_failures_tell_what_did_change(client: MemoryClient, log: FlagChangeLog) -> None:
    with pytest.raises(AssertionError, match=r"the flag 'theme' did not change; no flag changed$"):
        log.assert_changed("theme")
    client.set("themes", 1)
    client.set("themes", 2)
    with pytest.raises(AssertionError, match="did not change; changed flags: themes; did you mean 'themes'"):
        log.assert_changed("theme")
    with pytest.raises(AssertionError, match="the flag 'themes' changed, 2 times"):
        log.assert_unchanged("themes")


async def test_a_change_is_waited_for(client: MemoryClient, log: FlagChangeLog) -> None:
    async def later() -> None:
        for key in ("other", "theme"):
            await anyio.sleep(1)
            client.set(key, 1)

    async with client:
        changing = asyncio.create_task(later())
        await log.wait_for("theme")
        assert log.keys == ["other", "theme"]
        await log.wait_for("other")  # was there already
        await changing


async def test_one_that_does_not_come_fails_in_time(client: MemoryClient, log: FlagChangeLog) -> None:
    began = asyncio.get_running_loop().time()
    async with client:
        with pytest.raises(AssertionError, match="the flag 'theme' did not change within 3 s; no flag changed"):
            await log.wait_for("theme", timeout=3)
    assert asyncio.get_running_loop().time() - began == pytest.approx(3, abs=0.1)
