"""FlagChangeLog: the changes of the clients it follows, for assertions and waits."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from aioflags.testing import FlagChangeLog, MemoryClient


@pytest.fixture
def client() -> MemoryClient:
    """A client without flags."""
    return MemoryClient()


@pytest.fixture
def log(client: MemoryClient) -> FlagChangeLog:
    """A log that follows the client."""
    found = FlagChangeLog()
    found.follow(client)
    return found


def test_the_log_has_the_keys_in_order(client: MemoryClient, log: FlagChangeLog) -> None:
    for key in ("b", "a", "b"):
        client.set(key, key)
    assert log.keys == ["b", "a", "b"]
    assert repr(log) == "<FlagChangeLog ['b', 'a', 'b']>"
    log.assert_changed("a")
    log.assert_unchanged("c")
    log.clear()
    assert log.keys == []


def test_a_log_follows_several_clients(client: MemoryClient, log: FlagChangeLog) -> None:
    log.follow(other := MemoryClient())
    client.set("one", 1)
    other.set("other", 1)
    assert log.keys == ["one", "other"]


def test_failures_list_the_changes(client: MemoryClient, log: FlagChangeLog) -> None:
    with pytest.raises(AssertionError, match=r"the flag 'theme' did not change; no flag changed$"):
        log.assert_changed("theme")
    client.set("themes", 1)
    client.set("themes", 2)
    with pytest.raises(AssertionError, match="did not change; changed flags: themes; did you mean 'themes'"):
        log.assert_changed("theme")
    with pytest.raises(AssertionError, match="the flag 'themes' changed, 2 times"):
        log.assert_unchanged("themes")


async def test_wait_for_returns_when_the_flag_changes(client: MemoryClient, log: FlagChangeLog) -> None:
    async def later() -> None:
        for key in ("other", "theme"):
            await anyio.sleep(1)
            client.set(key, 1)

    async with client:
        changing = asyncio.create_task(later())
        await log.wait_for("theme")
        assert log.keys == ["other", "theme"]
        await log.wait_for("other")  # is in the log already
        await changing


async def test_wait_for_fails_at_its_timeout(client: MemoryClient, log: FlagChangeLog) -> None:
    began = asyncio.get_running_loop().time()
    async with client:
        with pytest.raises(AssertionError, match="the flag 'theme' did not change within 3 s; no flag changed"):
            await log.wait_for("theme", timeout=3)
    assert asyncio.get_running_loop().time() - began == pytest.approx(3, abs=0.1)
