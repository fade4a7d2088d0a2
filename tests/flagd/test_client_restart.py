"""FlagdClient: starts and closes that overlap, calls that are under way at a close, and starts on other event loops.

Source: ``flagd.md`` 3.4 and 3.7.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from aioflags import FlagdClient, FlagdConfig, Status
from aioflags.transport.flagd_pb import evaluation_v2_pb2 as v2
from aioflags.transport.flagd_struct import ServerValue
from aioflags.transport.grpc_settings import EVALUATION_V2, SYNC
from tests.support.flagd_server import SILENCE, FlagdServer, event, flag_set
from tests.support.scripted_clients import all_tasks, seconds
from tests.support.scripted_flagd import FIRST, ScriptedFlagd, flag, value
from tests.support.status_clients import settle

TEXT = json.dumps({"flags": {"a": flag()}})


@pytest.mark.parametrize("resolver", ["in-process", "rpc"])
async def test_a_close_ends_a_start_that_waits(resolver: str) -> None:
    flagd = ScriptedFlagd([[]])
    client = flagd.client(resolver, deadline=60)
    starting, began = asyncio.create_task(client.start()), seconds()
    await asyncio.sleep(1)
    await client.aclose()
    assert (await starting).status is Status.NOT_READY
    await settle()
    assert (flagd.channels, all_tasks(), seconds() - began < 1.1) == (0, set(), True)


@pytest.mark.parametrize("resolver", ["in-process", "rpc"])
async def test_a_start_during_a_close_waits_for_its_end(flagd: ScriptedFlagd, resolver: str) -> None:
    client = flagd.client(resolver)
    await client.start()
    for _ in range(20):
        closing = asyncio.create_task(client.aclose())
        await asyncio.sleep(0)
        one, two = await asyncio.gather(client.start(), client.start())
        await closing
        assert (one.status, two.status, flagd.channels, len(flagd.open_streams)) == (Status.READY, Status.READY, 1, 1)
    await client.aclose()
    await settle()
    assert (flagd.channels, all_tasks()) == (0, set())


@pytest.mark.parametrize("resolver", ["in-process", "rpc"])
async def test_without_a_deadline_a_start_waits_for_the_server(flagd: ScriptedFlagd, resolver: str) -> None:
    flagd.stop()
    client = flagd.client(resolver, deadline=0)
    starting = asyncio.create_task(client.start())
    await asyncio.sleep(3600)
    assert (starting.done(), client.status) == (False, Status.NOT_READY)
    flagd.start()
    assert (await starting).status is Status.READY
    await client.aclose()


@pytest.mark.parametrize("resolver", ["in-process", "rpc"])
async def test_a_start_need_not_wait(resolver: str) -> None:
    flagd = ScriptedFlagd([[2.0, FIRST]])
    client, began = flagd.client(resolver), seconds()
    assert (await client.start(0)).status is Status.NOT_READY
    await client.wait_ready(5)
    assert seconds() - began == pytest.approx(2, abs=0.01)
    await client.aclose()


async def test_an_answer_from_before_a_restart_is_not_stored() -> None:
    answer: asyncio.Future[ServerValue] = asyncio.get_running_loop().create_future()
    flagd = ScriptedFlagd(answers={"a": answer})
    client = flagd.client("rpc", deadline=60)
    await client.start()
    asking = asyncio.create_task(client.variation("a", None, False))
    await settle()
    await client.aclose()
    await client.start()
    answer.set_result(value(True))
    assert await asking is True
    assert client.variation_nowait("a", None, False) is False
    await client.aclose()


async def served(server: FlagdServer, path: Path) -> None:
    server.scripts[f"/{SYNC}/SyncFlags"] = [[flag_set(TEXT, region="eu"), SILENCE]]
    server.scripts[f"/{EVALUATION_V2}/EventStream"] = [[event("provider_ready"), SILENCE]]
    server.answers[f"/{EVALUATION_V2}/ResolveBoolean"] = v2.ResolveBooleanResponse(value=True, reason="STATIC", variant="on")
    await server.start(f"unix:{path}")


@pytest.mark.real_time
@pytest.mark.holds("FL-33")
@pytest.mark.parametrize("resolver", ["in-process", "rpc"])
def test_a_closed_client_starts_on_another_event_loop(resolver: Any, tmp_path: Path) -> None:
    path = tmp_path / "flagd.sock"
    client = FlagdClient(FlagdConfig(resolver=resolver, socket_path=str(path), deadline=5, environment={}))

    async def run() -> object:
        server = FlagdServer()
        await served(server, path)
        try:
            async with client:
                return client.status, await client.variation("a", None, False)
        finally:
            await server.stop()

    assert [asyncio.run(run()) for _ in range(3)] == [(Status.READY, True)] * 3


@pytest.mark.real_time
async def test_a_close_ends_the_calls_that_are_under_way(tmp_path: Path) -> None:
    path, server = tmp_path / "flagd.sock", FlagdServer()
    await served(server, path)
    client = FlagdClient(FlagdConfig(resolver="rpc", socket_path=str(path), deadline=5, cache="disabled", environment={}))
    await client.start()
    await server.stop()
    asking = [asyncio.create_task(client.variation_detail("a", None, False)) for _ in range(10)]
    await asyncio.sleep(0.05)
    began = seconds()
    await client.aclose()
    details = await asyncio.gather(*asking)
    assert seconds() - began < 2
    assert {(each.value, str(each.reason.error_kind)) for each in details} == {(False, "GENERAL")}
