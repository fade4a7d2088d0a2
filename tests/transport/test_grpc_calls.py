"""FlagdCalls: what it finds out about a connection that fails, in virtual time. The channel is the test's.

Source: ``flagd.md`` 3.3 and 7.1.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import grpc
import grpc.aio
import pytest

from aioflags.transport.flagd_pb import evaluation_v1_pb2 as v1
from aioflags.transport.flagd_struct import RpcFailed
from aioflags.transport.grpc_calls import FlagdCalls
from tests.support.flagd_parts import grpc_settings, rpc_evaluation
from tests.support.flagd_server import struct
from tests.support.pauses import pauses_until
from tests.support.scripted_clients import seconds

IDLE, READY, FAILING = (
    grpc.ChannelConnectivity.IDLE,
    grpc.ChannelConnectivity.READY,
    grpc.ChannelConnectivity.TRANSIENT_FAILURE,
)


def failed(code: str, details: str) -> grpc.aio.AioRpcError:
    """What gRPC raises."""
    return grpc.aio.AioRpcError(grpc.StatusCode[code], grpc.aio.Metadata(), grpc.aio.Metadata(), details)


@dataclass
class Channel:
    """A channel whose state the test sets. Calls are answered while it is ``READY``; otherwise they wait for their deadline.

    ``reason`` is what a probe learns; ``None``: the probe hangs.
    """

    state: grpc.ChannelConnectivity = READY
    reason: str | None = "refused"
    probe_code: str = "UNAVAILABLE"
    is_silent: bool = False
    """The server does not answer."""
    answer: bytes | None = b""
    """``None``: the call ends with success and without a message."""
    probes: list[float] = field(default_factory=list)
    """When each probe began."""

    def get_state(self, *, try_to_connect: bool) -> grpc.ChannelConnectivity:
        assert try_to_connect
        return self.state

    def unary_unary(self, method: str) -> Any:
        return self._probe if method.startswith("/aioflags.") else self._call

    async def _probe(self, data: bytes, *, timeout: float) -> bytes:
        self.probes.append(seconds())
        if self.reason is None:
            await asyncio.sleep(timeout * 100)
        if self.probe_code != "UNAVAILABLE":
            raise failed(self.probe_code, "unknown method")
        raise failed("UNAVAILABLE", f"failed to connect to all addresses; last error: {self.reason}")

    async def _call(self, data: bytes, *, timeout: float, metadata: object, wait_for_ready: bool) -> bytes | None:
        assert wait_for_ready
        if self.state is not READY or self.is_silent:
            await asyncio.sleep(timeout)
            raise failed("DEADLINE_EXCEEDED", "late")
        return self.answer


@pytest.mark.parametrize(
    ("reason", "shown"),
    [
        ("UNKNOWN: ipv6:%5B::1%5D:8015: Connection refused", "UNKNOWN: ipv6:[::1]:8015: Connection refused"),
        ("UNKNOWN: ipv6:%5Bfe80::1%25eth0%5D:8015: No route", "UNKNOWN: ipv6:[fe80::1%eth0]:8015: No route"),
        ("UNKNOWN: unix:/a%5Bb: No such file", "UNKNOWN: unix:/a%5Bb: No such file"),
        pytest.param("Too many open files\n\0\0\t\0\xff\x7f\0\0\x01", "Too many open files", id="the bytes of an address of IPv6"),
        pytest.param("Too many open files\x02\0\x1fO\x7f\0\0\x01", "Too many open files", id="of IPv4"),
        pytest.param("a proxy says:\nno\tway", "a proxy says:\nno\tway", id="several lines"),
    ],
)
async def test_a_reason_has_addresses_as_people_write_them(channel: Channel, calls: FlagdCalls, reason: str, shown: str) -> None:
    channel.state, channel.reason = FAILING, reason
    assert await calls.connect(()) == shown


@pytest.fixture
def channel() -> Channel:
    """A connected channel."""
    return Channel()


@pytest.fixture
def calls(channel: Channel) -> FlagdCalls:
    """Calls with a deadline of two seconds."""
    return FlagdCalls(channel, grpc_settings("x:1", deadline=2))  # type: ignore[arg-type] # as much as it uses


async def call(calls: FlagdCalls) -> tuple[str, float]:
    """How a call ends, and after how many seconds."""
    began = seconds()
    try:
        await calls.get_metadata()
    except RpcFailed as error:
        return str(error), round(seconds() - began, 3)
    return "answered", round(seconds() - began, 3)


async def test_a_large_answer_for_all_flags_is_processed_in_slices(channel: Channel, calls: FlagdCalls) -> None:
    flag = v1.AnyFlag(reason="STATIC", variant="on", object_value=struct(a=1, b=[1, 2]), metadata=struct(team="web"))
    channel.answer = v1.ResolveAllResponse(flags={f"flag-{number}": flag for number in range(4000)}).SerializeToString()
    evaluation = rpc_evaluation(cast("Any", SimpleNamespace(calls=calls, problem=None, target="x:1")))
    snapshot, turns = await pauses_until(evaluation.resolve_all(None))
    assert (len(snapshot.flags), snapshot.evaluate("flag-7", None, {}).detail.value) == (4000, {"a": 1, "b": [1, 2]})
    assert turns > 5


async def test_a_call_that_ends_without_a_message_has_failed(channel: Channel, calls: FlagdCalls) -> None:
    channel.answer = None
    assert await call(calls) == ("INTERNAL: the server sent no GetMetadataResponse", 0)


REFUSED = "UNAVAILABLE: cannot connect: refused"


async def test_a_call_waits_for_its_deadline_until_the_outage_is_as_long(channel: Channel, calls: FlagdCalls) -> None:
    assert await call(calls) == ("answered", 0)
    channel.state = FAILING
    assert await call(calls) == (REFUSED, 2)
    assert await call(calls) == (REFUSED, 0)


async def test_a_call_in_the_middle_of_the_first_seconds_of_an_outage_waits_too(channel: Channel, calls: FlagdCalls) -> None:
    channel.state = FAILING
    first = asyncio.create_task(call(calls))
    await asyncio.sleep(1.9)
    second = asyncio.create_task(call(calls))
    await asyncio.sleep(0.2)
    assert await call(calls) == (REFUSED, 0)
    assert (await first, await second) == ((REFUSED, 2), (REFUSED, 2))


async def test_a_call_during_which_the_connection_is_lost_ends_with_the_reason(channel: Channel, calls: FlagdCalls) -> None:
    channel.is_silent = True
    assert await call(calls) == ("DEADLINE_EXCEEDED: late", 2)
    pending = asyncio.create_task(call(calls))
    await asyncio.sleep(1)
    channel.state = FAILING
    assert await pending == (REFUSED, 2)


async def test_a_new_outage_begins_after_a_connection(channel: Channel, calls: FlagdCalls) -> None:
    channel.state = FAILING
    assert [await call(calls), await call(calls)] == [(REFUSED, 2), (REFUSED, 0)]
    channel.state = READY
    assert await call(calls) == ("answered", 0)
    await asyncio.sleep(60)
    channel.state, channel.reason = FAILING, "no route"
    assert [await call(calls), await call(calls)] == [("UNAVAILABLE: cannot connect: no route", took) for took in (2, 0)]


async def test_the_reason_is_asked_for_once_in_an_outage(channel: Channel, calls: FlagdCalls) -> None:
    channel.state = FAILING
    for _ in range(10):
        await call(calls)
    assert len(channel.probes) == 1


@pytest.mark.parametrize("state", [IDLE, grpc.ChannelConnectivity.CONNECTING])
async def test_a_channel_that_still_connects_has_no_reason(
    state: grpc.ChannelConnectivity, channel: Channel, calls: FlagdCalls
) -> None:
    channel.state = state
    assert [await call(calls) for _ in range(2)] == [("DEADLINE_EXCEEDED: late", 2)] * 2
    assert channel.probes == []


async def test_a_probe_without_an_answer_is_abandoned(channel: Channel, calls: FlagdCalls) -> None:
    channel.state, channel.reason = FAILING, None
    assert await call(calls) == ("DEADLINE_EXCEEDED: late", 2.5)


async def test_a_probe_that_reaches_the_server_has_no_reason(channel: Channel, calls: FlagdCalls) -> None:
    channel.state, channel.probe_code = FAILING, "UNIMPLEMENTED"
    assert await call(calls) == ("DEADLINE_EXCEEDED: late", 2)
    assert len(channel.probes) == 1


async def connected(calls: FlagdCalls, reported: Collection[str], limit: float) -> str | None:
    """What ``connect`` returns within so many seconds."""
    try:
        return await asyncio.wait_for(calls.connect(reported), limit)
    except TimeoutError:
        return "still connecting"


@pytest.mark.parametrize(
    ("state", "reported", "result", "probes"),
    [
        pytest.param(READY, (), None, [], id="connected"),
        pytest.param(FAILING, (), "refused", [0], id="an attempt failed"),
        pytest.param(FAILING, {"other"}, "refused", [0], id="for another reason than before"),
        pytest.param(FAILING, {"refused"}, "still connecting", [0, 1, 2, 3], id="for the same reason: it is asked for each second"),
        pytest.param(IDLE, (), "still connecting", [], id="no attempt has failed"),
    ],
)
async def test_what_connecting_reports(
    channel: Channel,
    calls: FlagdCalls,
    state: grpc.ChannelConnectivity,
    reported: Collection[str],
    result: str | None,
    probes: list[float],
) -> None:
    channel.state = state
    began = seconds()
    assert await connected(calls, reported, 3.5) == result
    assert [probe - began for probe in channel.probes] == pytest.approx(probes, abs=0.15)


async def test_connecting_finds_another_reason_and_the_connection(channel: Channel, calls: FlagdCalls) -> None:
    channel.state = FAILING
    pending = asyncio.create_task(calls.connect({"refused"}))
    await asyncio.sleep(10)
    channel.reason = "no route"
    began = seconds()
    assert await pending == "no route"
    assert seconds() - began <= 1.1
    pending = asyncio.create_task(calls.connect({"refused", "no route"}))
    await asyncio.sleep(10)
    channel.state = READY
    began = seconds()
    assert await pending is None
    assert seconds() - began <= 0.1


async def test_a_call_knows_the_reason_that_connecting_has_found(channel: Channel, calls: FlagdCalls) -> None:
    channel.state = FAILING
    assert await calls.connect(()) == "refused"
    assert [await call(calls), await call(calls)] == [(REFUSED, 2), (REFUSED, 0)]
    assert len(channel.probes) == 1


class _NoCall:
    """What gRPC makes of a stream for which an interceptor returned ``None``."""

    async def read(self) -> bytes:
        raise TypeError("'async for' requires an object with __aiter__ method, got NoneType")

    def cancel(self) -> bool:
        raise AttributeError("'NoneType' object has no attribute 'cancel'")


class _InterceptedChannel(Channel):
    """Its stream is not a call, and so it cannot cancel its streams."""

    def unary_stream(self, method: str) -> Any:
        return self._no_call

    def _no_call(self, data: bytes, *, timeout: float | None, metadata: object, wait_for_ready: bool) -> _NoCall:
        return _NoCall()

    async def close(self) -> None:
        _NoCall().cancel()


async def test_a_stream_for_which_an_interceptor_returns_no_call_fails_and_the_channel_is_closed() -> None:
    class _NoStreams(grpc.aio.UnaryStreamClientInterceptor):
        async def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any: ...

    calls = FlagdCalls(_InterceptedChannel(), grpc_settings("x:1", interceptors=[_NoStreams()]))  # type: ignore[arg-type] # as above
    with pytest.raises(RpcFailed, match=r"^UNKNOWN: an interceptor failed: TypeError: 'async for' "):
        await anext(calls.sync_flags(provider_id=None, timeout=None))
    await calls.aclose()


async def test_a_channel_without_interceptors_that_cannot_be_closed_is_a_bug() -> None:
    calls = FlagdCalls(_InterceptedChannel(), grpc_settings("x:1"))  # type: ignore[arg-type] # as above
    with pytest.raises(AttributeError):
        await calls.aclose()
