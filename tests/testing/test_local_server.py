"""LocalServer: starts and stops that overlap or are cancelled."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest

from aioflags import Client, Context, FlagdClient, FlagdConfig, LifecycleError
from aioflags.testing import FakeFlagd, FlagsService

pytestmark = [pytest.mark.real_time, pytest.mark.parametrize("make", [FlagsService, FakeFlagd])]

EXEMPTING = ("NO_PROXY", "no_proxy", "no_grpc_proxy")
USER = Context("anna")


def port(server: FlagsService | FakeFlagd) -> int:
    return int(server.url.rpartition(":")[2]) if isinstance(server, FlagsService) else server.port


def clients_of(server: FlagsService | FakeFlagd) -> list[Client | FlagdClient]:
    if isinstance(server, FlagsService):
        return [server.client()]
    in_process = FlagdConfig(resolver="in-process", host=server.host, port=server.sync_port, deadline=10, environment={})
    rpc = FlagdConfig(resolver="rpc", host=server.host, port=server.port, deadline=10, environment={})
    ofrep = FlagdConfig(resolver="ofrep", ofrep_base_url=server.ofrep_url, environment={})
    return [FlagdClient(config) for config in (in_process, rpc, ofrep)]


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


@pytest.mark.parametrize(
    "given",
    [
        pytest.param({}, id="no exemptions"),
        pytest.param({"NO_PROXY": "flags.test"}, id="other exemptions"),
        pytest.param({"no_proxy": "", "NO_PROXY": "*"}, id="an empty exemption that wins"),
        pytest.param({"no_proxy": "flags.test", "no_grpc_proxy": "flags.test"}, id="other exemptions of gRPC"),
    ],
)
async def test_while_servers_run_clients_need_no_proxy(
    given: dict[str, str], make: type[FlagsService | FakeFlagd], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in EXEMPTING:
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "http_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    first, server = make(), make()
    await first.__aenter__()
    async with server:
        await first.__aexit__()
        server.set("f", "served")
        await server.restart()
        for client in clients_of(server):
            async with client:
                assert await client.variation("f", USER, "") == "served"
    assert {name: os.environ[name] for name in EXEMPTING if name in os.environ} == given


async def test_a_server_that_was_never_started_has_no_address(make: type[FlagsService | FakeFlagd]) -> None:
    server = make()
    with pytest.raises(LifecycleError, match="async with"):
        _ = server.url if isinstance(server, FlagsService) else server.ofrep_url
