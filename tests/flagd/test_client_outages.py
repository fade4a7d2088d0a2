"""FlagdClient: streams that end or fall silent, outages, and what is served in them."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest

from aioflags import ConfigError, Context, Status
from aioflags.model.detail import ErrorKind
from aioflags.model.status import ErrorCode
from aioflags.transport.flagd_struct import RpcFailed, ServerEvent
from tests.support.scripted_flagd import (
    DENIED,
    END,
    FLAGS,
    INTERNAL,
    READY,
    UNUSABLE,
    Diary,
    ScriptedFlagd,
    flag,
    flags,
    value,
)
from tests.support.status_clients import settle

ENDS = [pytest.param(END, id="a normal end"), pytest.param(INTERNAL, id="an error")]
KEEP_ALIVE = ServerEvent(type="keep_alive", data={})
RESOLVERS = ["in-process", "rpc"]
BACK = {"in-process": ["READY", "CONFIGURATION_CHANGED none"], "rpc": ["READY", "CONFIGURATION_CHANGED any"]}
"""The end of an outage after which the flags are the same."""


async def shown_after(wait: float, diary: Diary) -> list[str]:
    """The events after so many seconds."""
    await asyncio.sleep(wait)
    return diary.shown


@pytest.mark.holds("FL-22", "FL-23", "FL-29")
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("resolver", RESOLVERS)
async def test_the_end_of_a_stream_is_stale_at_once_and_ready_after_the_pause(
    flagd: ScriptedFlagd, resolver: str, end: Any
) -> None:
    async with flagd.client(resolver) as client:
        diary = Diary(client)
        flagd.send(end)
        await settle()
        assert (client.status, len(flagd.opened), diary.shown) == (Status.STALE, 1, ["STALE"])
        assert (diary.events[0].message or "").startswith(f"flagd at localhost:{8015 if resolver == 'in-process' else 8013}")
        assert await shown_after(60, diary) == ["STALE", *BACK[resolver]]
        assert 4.5 <= diary.times[1] <= 5


@pytest.mark.holds("FL-23")
@pytest.mark.parametrize("resolver", RESOLVERS)
async def test_a_server_that_restarts_within_the_grace_causes_no_error(flagd: ScriptedFlagd, resolver: str) -> None:
    async with flagd.client(resolver) as client:
        diary = Diary(client)
        flagd.stop()
        await asyncio.sleep(8)
        flagd.start()
        assert await shown_after(60, diary) == ["STALE", *BACK[resolver]]
        assert diary.times[1] == pytest.approx(8, abs=0.01)


@pytest.mark.holds("FL-24", "FL-25", "FL-30")
@pytest.mark.parametrize("resolver", RESOLVERS)
async def test_an_outage_is_an_error_after_the_grace_and_ends_with_ready(flagd: ScriptedFlagd, resolver: str) -> None:
    async with flagd.client(resolver) as client:
        diary = Diary(client)
        flagd.stop()
        assert await shown_after(9.9, diary) == ["STALE"]
        assert await shown_after(20, diary) == ["STALE", "ERROR GENERAL"]
        assert diary.times[1] == pytest.approx(10, abs=0.01)
        assert (diary.events[1].message or "").startswith("no contact to the source of flag data for 10 s: ")
        if resolver == "in-process":
            detail = await client.variation_detail("a", None, False)
            assert (detail.value, detail.reason.kind) == (True, "STATIC")
        flagd.start()
        assert (await shown_after(60, diary))[2:] == BACK[resolver]
        assert diary.times[2] == pytest.approx(29.9, abs=0.01)


@pytest.mark.holds("FL-24", "FL-30")
async def test_streams_that_fail_do_not_start_the_grace_again() -> None:
    flagd = ScriptedFlagd([[FLAGS], [INTERNAL]])
    async with flagd.client(retry_backoff_max=2) as client:
        diary = Diary(client)
        flagd.send(INTERNAL)
        assert await shown_after(60, diary) == ["STALE", "ERROR GENERAL"]
        assert diary.times == [0, pytest.approx(10, abs=0.01)]
        assert len(flagd.opened) > 25


@pytest.mark.holds("FL-26")
@pytest.mark.parametrize("resolver", RESOLVERS)
async def test_without_grace_the_end_of_a_stream_is_an_error(flagd: ScriptedFlagd, resolver: str) -> None:
    async with flagd.client(resolver, retry_grace_period=0) as client:
        diary = Diary(client)
        flagd.send(END)
        await settle()
        assert (client.status, diary.shown) == (Status.ERROR, ["ERROR GENERAL"])
        assert await shown_after(60, diary) == ["ERROR GENERAL", *BACK[resolver]]


@pytest.mark.holds("FL-27")
@pytest.mark.parametrize("resolver", RESOLVERS)
async def test_short_streams_alternate_and_never_reach_an_error(flagd: ScriptedFlagd, resolver: str) -> None:
    async with flagd.client(resolver, stream_deadline=1, retry_backoff_max=0.2, retry_grace_period=0.3) as client:
        diary = Diary(client)
        await asyncio.sleep(5)
        assert diary.shown == ["STALE", *BACK[resolver]] * 4
        assert len(flagd.opened) == 5


@pytest.mark.holds("FL-28")
@pytest.mark.parametrize("end", ENDS)
async def test_streams_that_end_at_once_are_opened_only_after_the_pause(end: Any) -> None:
    flagd = ScriptedFlagd([[end]])
    async with flagd.client(retry_backoff_max=0.5, deadline=3):
        assert 6 <= len(flagd.opened) <= 7


@pytest.mark.holds("FL-19", "FL-20")
@pytest.mark.parametrize("resolver", RESOLVERS)
@pytest.mark.parametrize(
    ("scope", "events", "streams"),
    [("first-connection", ["STALE", "READY", "CONFIGURATION_CHANGED"], 2), ("always", ["ERROR"], 1)],
)
async def test_a_fatal_code_after_the_first_connection(resolver: str, scope: str, events: list[str], streams: int) -> None:
    flagd = ScriptedFlagd(answers={"a": value(True, "TARGETING_MATCH")})
    async with flagd.client(resolver, fatal_status_codes=["PERMISSION_DENIED"], fatal_codes_scope=scope) as client:
        diary = Diary(client)
        flagd.send(DENIED)
        await asyncio.sleep(60)
        assert ([each.kind.value for each in diary.events], len(flagd.opened)) == (events, streams)
        is_fatal = scope == "always"
        detail = await client.variation_detail("a", None, False)
        assert detail.reason.error_kind == (ErrorKind.PROVIDER_FATAL if is_fatal else None)
        assert client.status is (Status.FATAL if is_fatal else Status.READY)


@pytest.mark.holds("FL-37")
async def test_a_flag_set_that_cannot_be_parsed_is_stale_and_leaves_the_flags(flagd: ScriptedFlagd) -> None:
    async with flagd.client() as client:
        diary = Diary(client)
        flagd.send(UNUSABLE)
        await settle()
        assert diary.shown == ["STALE PARSE_ERROR"]
        assert (client.status, client.report.error and client.report.error.code) == (Status.STALE, ErrorCode.PARSE_ERROR)
        assert client.rejected_payloads == 1
        assert await client.variation("a", None, False) is True
        assert await shown_after(60, diary) == ["STALE PARSE_ERROR", "ERROR GENERAL"]
        flagd.send(flags(a=flag(defaultVariant="off")))
        assert (await shown_after(1, diary))[2:] == ["READY", "CONFIGURATION_CHANGED a"]
        assert (await client.variation("a", None, True), len(flagd.opened)) == (False, 1)


@pytest.mark.parametrize("report", ["Received message larger than max (9 vs. 5)", "Decompressed message larger than max"])
async def test_a_flag_set_that_is_too_large_is_rejected(flagd: ScriptedFlagd, report: str) -> None:
    async with flagd.client() as client:
        diary = Diary(client)
        flagd.send(RpcFailed("RESOURCE_EXHAUSTED", f"CLIENT: {report}"))
        await settle()
        assert diary.shown == ["STALE PARSE_ERROR"]
        assert client.rejected_payloads == 1
        assert await client.variation("a", None, False) is True


async def test_another_limit_of_flagd_is_not_a_rejected_payload(flagd: ScriptedFlagd) -> None:
    async with flagd.client() as client:
        flagd.send(RpcFailed("RESOURCE_EXHAUSTED", "too many streams"))
        await settle()
        assert (client.status, client.rejected_payloads) == (Status.STALE, 0)


@pytest.mark.holds("FL-47")
@pytest.mark.parametrize("step", [pytest.param(INTERNAL, id="the stream ended"), pytest.param(UNUSABLE, id="an unusable flag set")])
async def test_the_sync_context_applies_during_an_outage(step: Any) -> None:
    rule = {"if": [{"==": [{"var": "region"}, "eu"]}, "on", "off"]}
    flagd = ScriptedFlagd([[flags({"region": "eu"}, a=flag(targeting=rule))], []])
    async with flagd.client() as client:
        flagd.send(step)
        for status in (Status.STALE, Status.ERROR):
            await client.wait_until(status, 20)
            assert await client.variation("a", Context("ann", attributes={"region": "us"}), False) is True


# -- silence


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
async def test_a_silent_event_stream_has_a_new_connection_within_a_minute(flagd: ScriptedFlagd, begins: float) -> None:
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
    flagd = ScriptedFlagd(sends_keep_alive=False)
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


async def test_silence_is_not_a_fatal_code_of_the_server(flagd: ScriptedFlagd) -> None:
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


async def test_the_time_limit_of_another_call_is_not_the_planned_end_of_a_stream(
    flagd: ScriptedFlagd, caplog: pytest.LogCaptureFixture
) -> None:
    async with flagd.client(retry_grace_period=300):
        flagd.metadata_hangs = True
        await asyncio.sleep(700)
    assert "interrupted, will retry" in "".join(caplog.messages)


async def test_a_certificate_that_cannot_be_read_for_a_while_is_read_again(flagd: ScriptedFlagd) -> None:
    async with flagd.client() as client:
        flagd.problem = ConfigError("cert_path: the certificates cannot be used: the file is half written")
        await asyncio.sleep(607)
        assert client.status is Status.STALE
        flagd.problem = None
        await client.wait_until(Status.READY, 6)
        assert client.variation_nowait("a", Context("x"), False) is True
