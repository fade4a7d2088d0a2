"""FlagdClient: streams that end, outages, and what is served meanwhile.

Source: ``flagd.md`` 3.2, 3.3 and 3.6.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from aioflags import Context, Status
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
MODES = [("in-process", FLAGS), ("rpc", READY)]
BACK = {"in-process": ["READY", "CONFIGURATION_CHANGED none"], "rpc": ["READY", "CONFIGURATION_CHANGED any"]}
"""The end of an outage after which the flags are the same."""


async def shown_after(wait: float, diary: Diary) -> list[str]:
    """The events after so many seconds."""
    await asyncio.sleep(wait)
    return diary.shown


@pytest.mark.holds("FL-22", "FL-23", "FL-29")
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize(("resolver", "first"), MODES)
async def test_the_end_of_a_stream_is_stale_at_once_and_ready_after_the_pause(resolver: str, first: Any, end: Any) -> None:
    flagd = ScriptedFlagd([[first]])
    async with flagd.client(resolver) as client:
        diary = Diary(client)
        flagd.send(end)
        await settle()
        assert (client.status, len(flagd.opened), diary.shown) == (Status.STALE, 1, ["STALE"])
        assert (diary.events[0].message or "").startswith(f"flagd at localhost:{8015 if first is FLAGS else 8013}")
        assert await shown_after(60, diary) == ["STALE", *BACK[resolver]]
        assert 4.5 <= diary.times[1] <= 5


@pytest.mark.holds("FL-23")
@pytest.mark.parametrize(("resolver", "first"), MODES)
async def test_a_server_that_restarts_within_the_grace_causes_no_error(resolver: str, first: Any) -> None:
    flagd = ScriptedFlagd([[first]])
    async with flagd.client(resolver) as client:
        diary = Diary(client)
        flagd.stop()
        await asyncio.sleep(8)
        flagd.start()
        assert await shown_after(60, diary) == ["STALE", *BACK[resolver]]
        assert diary.times[1] == pytest.approx(8, abs=0.01)


@pytest.mark.holds("FL-24", "FL-25", "FL-30")
@pytest.mark.parametrize(("resolver", "first"), MODES)
async def test_an_outage_is_an_error_after_the_grace_and_ends_with_ready(resolver: str, first: Any) -> None:
    flagd = ScriptedFlagd([[first]])
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
@pytest.mark.parametrize(("resolver", "first"), MODES)
async def test_without_grace_the_end_of_a_stream_is_an_error(resolver: str, first: Any) -> None:
    flagd = ScriptedFlagd([[first]])
    async with flagd.client(resolver, retry_grace_period=0) as client:
        diary = Diary(client)
        flagd.send(END)
        await settle()
        assert (client.status, diary.shown) == (Status.ERROR, ["ERROR GENERAL"])
        assert await shown_after(60, diary) == ["ERROR GENERAL", *BACK[resolver]]


@pytest.mark.holds("FL-27")
@pytest.mark.parametrize(("resolver", "first"), MODES)
async def test_short_streams_alternate_and_never_reach_an_error(resolver: str, first: Any) -> None:
    flagd = ScriptedFlagd([[first]])
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
@pytest.mark.parametrize(("resolver", "first"), MODES)
@pytest.mark.parametrize(
    ("scope", "events", "streams"),
    [("first-connection", ["STALE", "READY", "CONFIGURATION_CHANGED"], 2), ("always", ["ERROR"], 1)],
)
async def test_a_fatal_code_after_the_first_connection(
    resolver: str, first: Any, scope: str, events: list[str], streams: int
) -> None:
    flagd = ScriptedFlagd([[first]], answers={"a": value(True, "TARGETING_MATCH")})
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
async def test_a_flag_set_that_cannot_be_parsed_is_stale_and_leaves_the_flags() -> None:
    flagd = ScriptedFlagd([[FLAGS]])
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
async def test_a_flag_set_that_is_too_large_is_rejected(report: str) -> None:
    flagd = ScriptedFlagd([[FLAGS]])
    async with flagd.client() as client:
        diary = Diary(client)
        flagd.send(RpcFailed("RESOURCE_EXHAUSTED", f"CLIENT: {report}"))
        await settle()
        assert diary.shown == ["STALE PARSE_ERROR"]
        assert client.rejected_payloads == 1
        assert await client.variation("a", None, False) is True


async def test_another_limit_of_flagd_is_not_a_rejected_payload() -> None:
    flagd = ScriptedFlagd([[FLAGS]])
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
