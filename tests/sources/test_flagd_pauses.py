"""The pauses between the streams of flagd, in virtual time.

Source: ``flagd.md`` 3.3.
"""

from __future__ import annotations

from collections.abc import Collection

import pytest

from aioflags.sources.flagd_stream import FlagdSyncSource
from aioflags.transport.flagd_struct import RpcFailed
from aioflags.transport.grpc import FlagdChannel
from tests.sources.flagd_streams import CONTEXT, shape, take
from tests.support.flagd_parts import grpc_settings, stream_options, sync_builder
from tests.support.scripted_flagd import ScriptedCalls, ScriptedFlagd


async def pauses(streams: int, chance: float) -> list[float]:
    """The pauses before each stream after the first, with an option of five seconds."""
    flagd = ScriptedFlagd(scripts=[[RpcFailed("INTERNAL", "broken")]])
    channel = FlagdChannel(grpc_settings("x:1"), CONTEXT.logger, prepare=lambda given: lambda: ScriptedCalls(flagd, given))
    builder = sync_builder(stream_options(channel, pause=5.0))
    await take(FlagdSyncSource(CONTEXT, builder, random=lambda: chance), streams)
    return [later - earlier for earlier, later in zip(flagd.opened, flagd.opened[1:], strict=False)]


@pytest.mark.holds("FL-28")
async def test_each_stream_waits_for_the_flat_pause() -> None:
    assert await pauses(4, chance=0.0) == pytest.approx([5.0] * 3)


class _BrokenCalls(ScriptedCalls):
    """Has a bug."""

    async def connect(self, reported: Collection[str]) -> str | None:
        raise LookupError("a bug")


async def test_a_bug_is_logged_once_with_its_traceback_and_the_stream_is_opened_again(caplog: pytest.LogCaptureFixture) -> None:
    channel = FlagdChannel(grpc_settings("x:1"), CONTEXT.logger, prepare=lambda given: lambda: _BrokenCalls(ScriptedFlagd(), given))
    taken = await take(FlagdSyncSource(CONTEXT, sync_builder(stream_options(channel))), 3)
    assert shape(taken) == ["INTERRUPTED UNKNOWN"] * 3
    assert [record.message for record in caplog.records if record.exc_info] == ["flagd-sync: a stream failed (please report)"]


@pytest.mark.parametrize(("chance", "pause"), [(0.0, 5.0), (0.5, 4.75), (1.0, 4.5)])
async def test_chance_shortens_a_pause_by_a_tenth_at_most(chance: float, pause: float) -> None:
    assert await pauses(2, chance) == pytest.approx([pause])
