"""Faults in gRPC calls and connections of the development server."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import anyio
import grpc
import grpc.aio
import pytest

from aioflags.devserver import Endpoint, Fault, FaultKind, ServerState
from aioflags.devserver.decode import decode
from aioflags.devserver.flagd.server import RunningFlagd, serve_flagd
from tests.devserver.flagd.flagd_client import SOON, FlagdRpc, code_of, connected

pytestmark = pytest.mark.real_time

ON = {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "on"}


@pytest.fixture
def state() -> ServerState:
    return ServerState.of({"flags": {"on": ON, "long": {**ON, "variants": {"on": "x" * 300}}}})


@pytest.fixture
async def server(state: ServerState) -> AsyncGenerator[RunningFlagd, None]:
    async with serve_flagd(state) as running:
        yield running


def fault(**written: Any) -> Fault:
    return decode(Fault, written)


async def test_a_status_ends_some_calls(rpc: FlagdRpc, state: ServerState) -> None:
    state.inject(fault(kind="status", code="UNAVAILABLE", times=3))
    codes = [await code_of(rpc.resolve("Boolean", "on")) for _ in range(4)]
    assert codes == [*[grpc.StatusCode.UNAVAILABLE] * 3, grpc.StatusCode.OK]


async def test_a_status_ends_calls_for_some_time(rpc: FlagdRpc, state: ServerState) -> None:
    state.inject(fault(kind="status", code="PERMISSION_DENIED", **{"for": 0.3}))
    assert await code_of(rpc.resolve("Boolean", "on")) is grpc.StatusCode.PERMISSION_DENIED
    with anyio.fail_after(SOON):
        while await code_of(rpc.resolve("Boolean", "on")) is not grpc.StatusCode.OK:
            await anyio.sleep(0.05)


async def test_a_status_without_a_code_is_unavailable(rpc: FlagdRpc, state: ServerState) -> None:
    state.inject(fault(kind="status", status=401))
    assert await code_of(rpc.resolve("Boolean", "on")) is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("code", ["OK", "INTERNAL"])
async def test_a_status_ends_open_streams_once(sync: FlagdRpc, state: ServerState, code: str) -> None:
    streams = [sync.sync(), sync.sync()]
    for stream in streams:
        await stream.next()
    state.inject(fault(kind="status", code=code, on=["SyncFlags"], times=1))
    for stream in streams:
        assert await stream.end() is grpc.StatusCode[code]
    await sync.sync().next()


async def test_a_status_ends_a_new_stream_before_its_first_message(sync: FlagdRpc, state: ServerState) -> None:
    state.inject(fault(kind="status", code="OK", times=1))
    call = sync.sync()
    assert await call.call.read() is grpc.aio.EOF
    assert await call.call.code() is grpc.StatusCode.OK


async def test_malformed_flags_are_followed_by_good_ones(sync: FlagdRpc, state: ServerState) -> None:
    stream = sync.sync()
    good = (await stream.next()).flag_configuration
    state.inject(fault(kind="malformed", times=1))
    bad = (await stream.next()).flag_configuration
    assert bad == '{"flags": {"a": '
    state.inject(fault(kind="malformed", times=1, on=["FetchAllFlags"]))
    assert [await sync.fetch_all(), await sync.fetch_all()] == [bad, good]
    state.faults.lift_all()
    state.inject(fault(kind="malformed", on=["FetchAllFlags"]))
    state.inject(Fault(kind=FaultKind.MALFORMED, on=frozenset({Endpoint.SYNC_FLAGS})))
    second = sync.sync()
    assert [(await second.next()).flag_configuration for _ in range(2)] == [bad, good]


async def test_silence_ends_when_it_is_lifted(rpc: FlagdRpc, state: ServerState) -> None:
    stream = rpc.events()
    await stream.next()
    silence = state.inject(fault(kind="silence"))
    state.flip("on")
    answers: list[grpc.StatusCode] = []
    async with anyio.create_task_group() as tasks:

        async def call() -> None:
            answers.append(await code_of(rpc.resolve("Boolean", "on")))

        tasks.start_soon(call)
        await state.until(lambda: state.requests[Endpoint.RESOLVE] == 1)
        await anyio.sleep(0.2)
        assert answers == []
        state.faults.lift(silence.number)
    assert answers == [grpc.StatusCode.OK]
    assert (await stream.event())[0] == "configuration_change"


async def test_a_delay_makes_answers_late(rpc: FlagdRpc, state: ServerState) -> None:
    state.inject(fault(kind="delay", delay=0.3))
    began = anyio.current_time()
    assert await code_of(rpc.resolve("Boolean", "on")) is grpc.StatusCode.OK
    assert anyio.current_time() - began >= 0.3


@pytest.mark.parametrize("kind", ["reset", "close"])
async def test_a_cut_connection_ends_its_calls(rpc: FlagdRpc, sync: FlagdRpc, state: ServerState, kind: str) -> None:
    stream, other = rpc.events(), sync.sync()
    await stream.next()
    await other.next()
    state.inject(fault(kind=kind, times=1, on=["EventStream"]))
    assert await stream.end() is grpc.StatusCode.UNAVAILABLE
    state.inject(fault(kind=kind, times=1, on=["Resolve"]))
    with anyio.fail_after(SOON):
        while await code_of(rpc.resolve("Boolean", "on")) is not grpc.StatusCode.OK:
            await anyio.sleep(0.05)
    state.flip("on")
    await other.next()


@pytest.mark.slow
async def test_a_drip_slows_a_connection_down(sync: FlagdRpc, state: ServerState) -> None:
    await sync.fetch_all()
    drip = state.inject(fault(kind="drip", rate=400, on=["SyncFlags"]))
    stream = sync.sync()
    began = anyio.current_time()
    await stream.next()
    assert anyio.current_time() - began >= 0.5
    state.faults.lift(drip.number)
    await sync.fetch_all()


async def test_dropped_connections_are_counted(rpc: FlagdRpc, sync: FlagdRpc, server: RunningFlagd) -> None:
    streams = [rpc.events(), sync.sync()]
    for stream in streams:
        await stream.next()
    assert server.drop_connections() == 2
    for stream in streams:
        assert await stream.end() is grpc.StatusCode.UNAVAILABLE


async def test_a_fault_is_recorded_at_its_client(rpc: FlagdRpc, state: ServerState) -> None:
    state.inject(fault(kind="status", code="INTERNAL", times=1))
    await code_of(rpc.resolve("Boolean", "on"))
    (client,) = state.clients.all
    assert client.fault is not None
    assert (client.fault.what, client.fault.endpoint) == ("status", "Resolve")


async def test_a_server_that_returns_has_the_same_ports(state: ServerState) -> None:
    async with serve_flagd(state) as first, connected(f"127.0.0.1:{first.port}") as rpc:
        assert await code_of(rpc.resolve("Boolean", "on")) is grpc.StatusCode.OK
        await first.aclose()
        assert await code_of(rpc.resolve("Boolean", "on")) is grpc.StatusCode.UNAVAILABLE
        async with serve_flagd(state, port=first.port, sync_port=first.sync_port):
            with anyio.fail_after(SOON):
                while await code_of(rpc.resolve("Boolean", "on")) is not grpc.StatusCode.OK:
                    await anyio.sleep(0.05)


async def test_a_port_in_use_raises(state: ServerState, server: RunningFlagd) -> None:
    with pytest.raises(OSError, match="in use"):
        async with serve_flagd(state, port=server.port):
            pass
