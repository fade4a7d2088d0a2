"""FlagdClient: connections that fall silent without an end, and what is mistaken for silence.

Source: ``flagd.md`` 3.9.
"""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from aioflags import ConfigError, Context, Status
from tests.support.scripted_flagd import FLAGS, READY, Diary, ScriptedFlagd


@pytest.mark.holds("RB-R6")
@pytest.mark.parametrize(
    "begins",
    [
        pytest.param(5, id="before the first keep_alive"),
        pytest.param(100, id="in the middle of a stream"),
        pytest.param(590, id="ten seconds before its planned end"),
        pytest.param(570, id="thirty seconds before its planned end"),
        pytest.param(606, id="soon after the next stream was opened"),
        pytest.param(1190, id="before the planned end of the next stream"),
    ],
)
async def test_a_silent_event_stream_has_a_new_connection_within_a_minute(begins: float) -> None:
    flagd = ScriptedFlagd([[READY]])
    async with flagd.client("rpc") as client:
        await asyncio.sleep(begins)
        for pause in (10, 100, 0):  # the silence begins again soon after the last one, and later
            flagd.silence()
            async with asyncio.timeout(56):
                await client.wait_until(Status.STALE, 50)
                await client.wait_until(Status.READY)
            await asyncio.sleep(pause)


@pytest.mark.holds("RB-R6")
async def test_a_first_message_of_events_is_awaited_for_fifty_seconds_on_each_connection() -> None:
    flagd = ScriptedFlagd([[], [], [], [READY]], sends_keep_alive=False)
    async with flagd.client("rpc") as client:
        await client.wait_until(Status.READY, 3 * (50 + 5))
        assert [round(later - earlier) in range(50, 56) for earlier, later in pairwise(flagd.opened)] == [True] * 3


async def test_a_server_that_sends_no_keep_alive_loses_its_first_two_streams() -> None:
    flagd = ScriptedFlagd([[READY]], sends_keep_alive=False)
    async with flagd.client("rpc") as client:
        await asyncio.sleep(1 + 2 * (50 + 5))
        (calls,) = flagd.connected
        diary = Diary(client)
        await asyncio.sleep(3 * 600)
        assert set(diary.shown) == {"STALE", "READY", "CONFIGURATION_CHANGED any"}  # the planned ends
        assert (len(flagd.opened), flagd.connected) == (3 + 2, [calls])


@pytest.mark.parametrize("pause", [5, 60, 120])
async def test_a_pause_before_a_stream_is_not_silence(pause: float, caplog: pytest.LogCaptureFixture) -> None:
    flagd = ScriptedFlagd([[0.1, READY]])
    async with flagd.client("rpc", retry_backoff_max=pause, stream_deadline=610):
        (calls,) = flagd.connected
        await asyncio.sleep(4 * 700)
        assert flagd.connected == [calls]
        assert not [line for line in caplog.messages if "silent" in line]


async def test_silence_is_not_a_fatal_code_of_the_server() -> None:
    flagd = ScriptedFlagd([[READY]])
    async with flagd.client("rpc", fatal_status_codes=["UNAVAILABLE"], fatal_codes_scope="always") as client:
        await asyncio.sleep(100)
        flagd.silence()
        await client.wait_until(Status.STALE, 50)
        await client.wait_until(Status.READY, 6)


@pytest.mark.holds("RB-R6")
@pytest.mark.parametrize("last", [1, 590])
async def test_the_stream_of_flags_has_a_new_connection_after_its_planned_end(last: float) -> None:
    flagd = ScriptedFlagd([[FLAGS, last, FLAGS]])
    async with flagd.client():
        (calls,) = flagd.connected
        await asyncio.sleep(606)
        assert calls not in flagd.connected
        assert flagd.channels == 1


async def test_the_time_limit_of_another_call_is_not_the_planned_end_of_a_stream(caplog: pytest.LogCaptureFixture) -> None:
    flagd = ScriptedFlagd([[FLAGS]])
    async with flagd.client(retry_grace_period=300):
        flagd.metadata_hangs = True
        await asyncio.sleep(700)
    assert "interrupted, will retry" in "".join(caplog.messages)


async def test_a_certificate_that_cannot_be_read_for_a_while_is_read_again() -> None:
    flagd = ScriptedFlagd([[FLAGS]])
    async with flagd.client() as client:
        flagd.problem = ConfigError("cert_path: the certificates cannot be used: the file is half written")
        await asyncio.sleep(607)
        assert client.status is Status.STALE
        flagd.problem = None
        await client.wait_until(Status.READY, 6)
        assert client.variation_nowait("a", Context("x"), False) is True
