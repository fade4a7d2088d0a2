"""LocalServer: starts and stops that overlap or are cancelled."""

from __future__ import annotations

import asyncio
import socket

import pytest

from aioflags import LifecycleError
from aioflags.testing import FakeFlagd, FlagsService

pytestmark = [pytest.mark.real_time, pytest.mark.parametrize("make", [FlagsService, FakeFlagd])]


def port(server: FlagsService | FakeFlagd) -> int:
    return int(server.url.rpartition(":")[2]) if isinstance(server, FlagsService) else server.port


def accepts(number: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", number)) == 0


async def test_starts_and_stops_at_once_follow_one_another(make: type[FlagsService | FakeFlagd]) -> None:
    async with make() as server:
        await asyncio.gather(server.stop(), server.start(), server.start(), server.stop(), server.restart(), server.start())
        await server.start()
        assert await asyncio.to_thread(accepts, port(server))
        await asyncio.gather(server.restart(), server.stop())
        await server.stop()
        assert not await asyncio.to_thread(accepts, port(server))


@pytest.mark.parametrize("steps", range(14))
async def test_a_start_that_is_cancelled_leaves_nothing(steps: int, make: type[FlagsService | FakeFlagd]) -> None:
    server = make()
    starting = asyncio.create_task(server.start())
    for _ in range(steps):
        await asyncio.sleep(0)
    starting.cancel()
    await asyncio.wait([starting])
    await server.stop()


async def test_a_server_that_was_never_started_has_no_address(make: type[FlagsService | FakeFlagd]) -> None:
    server = make()
    with pytest.raises(LifecycleError, match="async with"):
        _ = server.url if isinstance(server, FlagsService) else server.ofrep_url
