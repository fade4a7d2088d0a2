"""FlagdClient in the child of a fork: what it serves, and a start there.

The server is scripted: gRPC itself may crash in a child if a connection was open.
"""

from __future__ import annotations

import asyncio
import gc
import os

import pytest

from aioflags import FlagdClient, Status
from aioflags.flagd.rpc import AnswerCache
from aioflags.model.detail import EvaluationDetail, Reason, ReasonKind
from aioflags.runtime.logs import logger
from aioflags.transport.flagd_struct import RpcFailed
from aioflags.transport.grpc import FlagdChannel
from aioflags.transport.grpc_process import KEEPER
from tests.support.flagd_parts import grpc_settings
from tests.support.forks import succeeds_in_a_child
from tests.support.scripted_flagd import FLAGS, ScriptedFlagd, flag, flags, value

pytestmark = [
    pytest.mark.real_time,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork"),
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
]


async def shown(client: FlagdClient) -> tuple[bool, str]:
    """The value of the flag, and its reason or error."""
    detail = await client.variation_detail("a", None, False)
    return detail.value, str(detail.reason.error_kind or detail.reason.kind)


MODES = pytest.mark.parametrize(
    ("resolver", "before_start", "without_server"),
    [
        pytest.param("in-process", (True, "STATIC"), (True, "STATIC"), id="in-process"),
        pytest.param("rpc", (False, "PROVIDER_NOT_READY"), (False, "GENERAL"), id="rpc"),
    ],
)


@pytest.mark.slow
@MODES
def test_a_start_in_a_child_that_does_not_connect_is_an_error_with_its_reason(
    resolver: str, before_start: tuple[bool, str], without_server: tuple[bool, str]
) -> None:
    flagd = ScriptedFlagd(answers={"a": value(True)})
    client = flagd.client(resolver, deadline=0.2)

    async def child() -> None:
        assert (client.status, await shown(client)) == (Status.NOT_READY, before_start)
        flagd.stop()
        report = await client.start()
        assert report.status is Status.ERROR
        assert report.error is not None
        assert (report.error.code, report.error.message.endswith(": cannot connect to flagd: connection refused")) == (
            "PROVIDER_NOT_READY",
            True,
        )
        assert await shown(client) == without_server
        flagd.start()
        await client.wait_ready(5)
        assert await shown(client) == (True, "STATIC")
        await client.aclose()

    with asyncio.Runner() as runner:
        runner.run(client.start())
        runner.run(shown(client))
        assert succeeds_in_a_child(child)
        assert client.status is Status.READY
        assert runner.run(shown(client)) == (True, "CACHED" if resolver == "rpc" else "STATIC")
        runner.run(client.aclose())


def test_a_start_in_a_child_replaces_the_flags_of_the_parent() -> None:
    flagd = ScriptedFlagd([[FLAGS], [flags(a=flag(defaultVariant="off"))]])
    client = flagd.client()

    async def child() -> None:
        assert (await client.start()).status is Status.READY
        assert await shown(client) == (False, "STATIC")
        await client.aclose()

    with asyncio.Runner() as runner:
        runner.run(client.start())
        assert succeeds_in_a_child(child)
        runner.run(client.aclose())


@pytest.mark.leaves("descriptors", reason="gRPC keeps its own for the process")
def test_the_cache_of_a_child_is_empty() -> None:
    cache = AnswerCache(10)
    cache.put("a", bool, EvaluationDetail(True, None, Reason(kind=ReasonKind.STATIC), "on"), cache.generation)

    async def child() -> None:
        assert len(cache) == 0

    assert succeeds_in_a_child(child)
    assert len(cache) == 1


@pytest.mark.parametrize(("is_open", "collections"), [(True, 0), (False, 1)])
async def test_garbage_is_looked_for_before_a_fork_only_if_no_channel_is_open(is_open: bool, collections: int) -> None:
    owner = FlagdChannel(grpc_settings("127.0.0.1:1"), logger)
    gc.collect()
    gc.disable()
    try:
        KEEPER.keep()
        if is_open:
            KEEPER.open_channels.add(owner)
        before = gc.get_stats()[2]["collections"]
        KEEPER.release()
        assert gc.get_stats()[2]["collections"] - before == collections
        KEEPER.release()
        assert gc.get_stats()[2]["collections"] - before == collections  # nothing was made since
    finally:
        gc.enable()
        KEEPER.open_channels.discard(owner)


@pytest.mark.holds("RB-R23")
@pytest.mark.leaves("descriptors", reason="gRPC keeps its own for the process")
@pytest.mark.parametrize("is_open", [True, False])
def test_a_channel_that_was_open_during_the_fork_makes_grpc_unusable_in_the_child(is_open: bool) -> None:
    channel = FlagdChannel(grpc_settings("127.0.0.1:1"), logger)
    owner = channel

    async def child() -> None:
        assert KEEPER.is_cut_off is is_open
        problem = None
        try:
            async with channel.opened():
                pass
        except RpcFailed as failed:
            problem = str(failed)
        assert (problem or "").startswith("UNAVAILABLE: gRPC cannot be used in the child of a fork") is is_open
        assert (channel.problem or "").startswith("cannot connect to flagd: gRPC cannot be used in the child") is is_open

    KEEPER.open_channels.add(owner)
    if not is_open:
        KEEPER.open_channels.discard(owner)
    assert succeeds_in_a_child(child)
    assert not KEEPER.is_cut_off
    KEEPER.open_channels.discard(owner)
