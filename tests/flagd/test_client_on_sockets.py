"""FlagdClient against servers over real sockets: what scripted calls cannot show.

Source: ``flagd.md`` 1.4, 2 and 3.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from aioflags import Context, FlagdClient, FlagdConfig, Status
from aioflags.testing import FaultProxy, toxics
from aioflags.testing.service import FakeFlagd
from aioflags.transport.flagd_pb import evaluation_v1_pb2 as v1
from aioflags.transport.grpc_settings import EVALUATION_V1, SYNC
from tests.support.flagd_server import SILENCE, FlagdServer, event, flag_set
from tests.support.scripted_flagd import Diary, flag

pytestmark = pytest.mark.real_time

RULE = {"if": [{"==": [{"var": "plan"}, "pro"]}, "off", "on"]}
DOCUMENT = {"flags": {"static": flag(), "targeted": flag(targeting=RULE)}}
ANN = Context("ann", attributes={"plan": "pro"})


def config(resolver: Any, flagd: FakeFlagd, **options: Any) -> FlagdConfig:
    """Options of a client with short waits."""
    port = flagd.sync_port if resolver == "in-process" else flagd.port
    options = {"deadline": 5, "retry_backoff": 0.05, "retry_backoff_max": 0.05} | options
    return FlagdConfig(resolver=resolver, host=flagd.host, port=port, ofrep_base_url=flagd.ofrep_url, environment={}, **options)


@pytest.fixture
async def flagd() -> AsyncIterator[FakeFlagd]:
    """A server with a flag without rules and one with a rule."""
    async with FakeFlagd(DOCUMENT) as running:
        yield running


@pytest.fixture
async def line(tmp_path: Path) -> AsyncIterator[tuple[FlagdServer, str]]:
    """A server whose answers the test writes, and the path of its socket. It does not listen yet."""
    server = FlagdServer()
    yield server, str(tmp_path / "flagd.sock")
    await server.stop()


@pytest.mark.holds("FL-14")
@pytest.mark.parametrize("resolver", ["in-process", "rpc", "ofrep"])
async def test_every_resolver_serves_the_same_values(flagd: FakeFlagd, resolver: str) -> None:
    async with FlagdClient(config(resolver, flagd)) as client:
        assert client.status is Status.READY
        details = [await client.variation_detail(key, ANN) for key in ("static", "targeted", "missing")]
        assert [(each.value, str(each.reason.error_kind or each.reason.kind), each.variant) for each in details] == [
            (True, "STATIC", "on"),
            (False, "TARGETING_MATCH", "off"),
            (None, "FLAG_NOT_FOUND", None),
        ]
        flags = await client.flags(ANN)
        assert [flags.variation(key) for key in ("static", "targeted", "missing")] == [True, False, None]


@pytest.mark.holds("FL-16", "FL-22", "FL-23")
@pytest.mark.parametrize("resolver", ["in-process", "rpc"])
async def test_a_server_may_appear_late_and_restart(flagd: FakeFlagd, resolver: str) -> None:
    await flagd.stop()
    client = FlagdClient(config(resolver, flagd, deadline=0.3, retry_grace_period=30))
    diary = Diary(client)
    async with client:
        assert client.status is Status.ERROR
        await flagd.start()
        await client.wait_ready(10)
        await flagd.restart()
        await flagd.until_streaming(timeout=10)
        with anyio.fail_after(10):
            while kinds(diary)[-2:] != BACK or len(diary.events) < 6:
                await anyio.sleep(0.02)
        assert await client.variation("static", ANN, False) is True
    assert kinds(diary)[:4] == ["ERROR", *BACK, "STALE"]
    # A server that stops may accept a last stream.
    assert "ERROR" not in kinds(diary)[1:]


@pytest.mark.slow
@pytest.mark.holds("RB-R6")
@pytest.mark.parametrize("resolver", ["in-process", "rpc"])
async def test_a_half_open_connection_is_replaced_when_its_stream_reaches_its_deadline(flagd: FakeFlagd, resolver: str) -> None:
    port = flagd.sync_port if resolver == "in-process" else flagd.port
    async with FaultProxy(f"127.0.0.1:{port}") as proxy:
        options = replace(config(resolver, flagd, stream_deadline=0.5), host=proxy.host, port=proxy.port)
        async with FlagdClient(options) as client:
            proxy.add(toxics.HalfOpen())
            await anyio.sleep(0.05)  # the connection was open, so it stays half open
            flagd.replace({"flags": {"static": flag(defaultVariant="off")}})
            proxy.clear()
            with anyio.fail_after(10):
                while await client.variation("static", ANN, True):
                    await anyio.sleep(0.02)
            assert proxy.accepted == 2


BACK = ["READY", "CONFIGURATION_CHANGED"]


def kinds(diary: Diary) -> list[str]:
    return [event.kind.value for event in diary.events]


@pytest.mark.holds("FL-31")
@pytest.mark.parametrize("resolver", ["in-process", "rpc", "ofrep"])
async def test_a_close_leaves_no_stream(flagd: FakeFlagd, resolver: str) -> None:
    async with FlagdClient(config(resolver, flagd)) as client:
        await client.variation("targeted", ANN, False)
        if resolver != "ofrep":
            await flagd.until_streaming()
    with anyio.fail_after(5):
        while sum(flagd.state.open_streams.values()):
            await anyio.sleep(0.01)


@pytest.mark.holds("FL-12", "FL-48", "FL-49")
async def test_selector_and_provider_reach_a_server_behind_a_unix_socket(line: tuple[FlagdServer, str]) -> None:
    server, path = line
    server.scripts[f"/{SYNC}/SyncFlags"] = [[flag_set(json.dumps(DOCUMENT), region="eu"), SILENCE]]
    await server.start(f"unix:{path}")
    options = FlagdConfig(
        resolver="in-process", socket_path=path, selector="flagSetId=shop", provider_id="me", tls=True, deadline=5, environment={}
    )
    async with FlagdClient(options) as client:
        assert await client.variation("static", None, False) is True
    (call,) = server.calls("SyncFlags")
    assert (call.metadata["flagd-selector"], call.request.selector, call.request.provider_id) == (
        "flagSetId=shop",
        "flagSetId=shop",
        "me",
    )


@pytest.mark.holds("FL-50")
async def test_a_flag_set_of_20_mb_loads(line: tuple[FlagdServer, str]) -> None:
    server, path = line
    large = {"flags": {"a": flag(variants={"on": True, "off": False, "large": "x" * 20_000_000})}}
    server.scripts[f"/{SYNC}/SyncFlags"] = [[flag_set(json.dumps(large), region="eu"), SILENCE]]
    await server.start(f"unix:{path}")
    async with FlagdClient(FlagdConfig(resolver="in-process", socket_path=path, deadline=20, environment={})) as client:
        assert client.status is Status.READY
        assert await client.variation("a", None, False) is True


@pytest.mark.holds("FL-71")
async def test_a_server_without_version_2_is_asked_with_version_1(line: tuple[FlagdServer, str]) -> None:
    server, path = line
    server.scripts[f"/{EVALUATION_V1}/EventStream"] = [[event("provider_ready"), SILENCE]]
    server.answers[f"/{EVALUATION_V1}/ResolveBoolean"] = v1.ResolveBooleanResponse(
        value=True, reason="TARGETING_MATCH", variant="on"
    )
    await server.start(f"unix:{path}")
    async with FlagdClient(FlagdConfig(resolver="rpc", socket_path=path, deadline=5, environment={})) as client:
        assert [await client.variation("a", ANN, False) for _ in range(3)] == [True] * 3
    assert len(server.calls(f"{EVALUATION_V1}/ResolveBoolean")) == 3
