"""FlagdClient: its start, its close, and starts that fail.

Source: ``flagd.md`` 3.2, 3.4, 3.5 and 3.7.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from aioflags import FlagdClient, NotReadyError, Status
from aioflags.model.detail import ErrorKind
from aioflags.model.status import ErrorCode
from tests.support.scripted_clients import all_tasks, seconds
from tests.support.scripted_flagd import DENIED, END, FIRST, FLAGS, INTERNAL, UNUSABLE, Diary, ScriptedFlagd, value
from tests.support.status_clients import settle

FATAL_CODES = ("PERMISSION_DENIED",)


def error_code(client: FlagdClient) -> ErrorCode | None:
    """Why the status is an error."""
    return None if client.report.error is None else client.report.error.code


@pytest.mark.holds("FL-14")
@pytest.mark.parametrize("resolver", ["in-process", "rpc"])
async def test_a_start_returns_with_flags_and_reports_ready_once(resolver: str) -> None:
    flagd = ScriptedFlagd(answers={"a": value(True)})
    client = flagd.client(resolver)
    diary = Diary(client)
    assert (await client.start()).status is Status.READY
    assert await client.variation("a", None, False) is True
    await asyncio.sleep(60)
    assert diary.shown == ["READY"]
    await client.aclose()


@pytest.mark.holds("FL-15", "FL-16")
@pytest.mark.parametrize(("resolver", "change"), [("in-process", "CONFIGURATION_CHANGED a"), ("rpc", "CONFIGURATION_CHANGED any")])
async def test_a_start_without_a_server_fails_at_its_limit_and_ends_well_when_it_appears(
    flagd: ScriptedFlagd, resolver: str, change: str
) -> None:
    flagd.stop()
    client = flagd.client(resolver, deadline=0.5)
    diary, began = Diary(client), seconds()
    assert (await client.start()).status is Status.ERROR
    assert seconds() - began == pytest.approx(0.5, abs=0.01)
    with pytest.raises(NotReadyError):
        await client.wait_ready(60)
    assert diary.shown == ["ERROR PROVIDER_NOT_READY"]
    assert "connection refused" in (diary.events[0].message or "")
    flagd.start()
    await client.wait_ready(1)
    await settle()
    assert diary.shown[1:] == ["READY", change]
    assert len(flagd.opened) == 1
    await client.aclose()


@pytest.mark.holds("FL-17")
@pytest.mark.parametrize("resolver", ["in-process", "rpc"])
async def test_a_fatal_code_ends_the_start_at_once(resolver: str) -> None:
    flagd = ScriptedFlagd([[DENIED], [FLAGS]], answers={"a": value(True)})
    client = flagd.client(resolver, fatal_status_codes=FATAL_CODES)
    diary, began = Diary(client), seconds()
    report = await client.start()
    assert (report.status, error_code(client), seconds() - began) == (Status.FATAL, ErrorCode.PROVIDER_FATAL, 0.0)
    with pytest.raises(NotReadyError):
        await client.wait_ready(1)
    detail = await client.variation_detail("a", None, False)
    assert (detail.value, detail.reason.error_kind) == (False, ErrorKind.PROVIDER_FATAL)
    await asyncio.sleep(60)
    assert (diary.shown, len(flagd.opened), flagd.asked) == (["ERROR PROVIDER_FATAL"], 1, [])
    assert flagd.channels == 0
    await client.aclose()


@pytest.mark.holds("FL-18")
async def test_a_code_that_is_not_fatal_is_retried_after_each_pause() -> None:
    flagd = ScriptedFlagd([[DENIED]])
    client = flagd.client(deadline=3, retry_backoff_max=1)
    began = seconds()
    assert (await client.start()).status is Status.ERROR
    assert seconds() - began == pytest.approx(3)
    await asyncio.sleep(7)
    pauses = [later - earlier for earlier, later in zip(flagd.opened, flagd.opened[1:], strict=False)]
    assert len(pauses) >= 9
    assert all(0.9 <= pause <= 1 for pause in pauses)
    await client.aclose()


@pytest.mark.holds("FL-21")
async def test_a_fatal_code_after_the_limit_of_the_start_is_fatal() -> None:
    flagd = ScriptedFlagd([[INTERNAL], [2.0, DENIED]])
    client = flagd.client(fatal_status_codes=FATAL_CODES, retry_backoff_max=1)
    diary = Diary(client)
    assert (await client.start()).status is Status.ERROR
    await client.wait_until(Status.FATAL, 10)
    await settle()
    assert diary.shown == ["ERROR PROVIDER_NOT_READY", "ERROR PROVIDER_FATAL"]
    await client.aclose()


@pytest.mark.holds("FL-38")
async def test_a_start_fails_with_the_error_of_the_first_flag_set() -> None:
    flagd = ScriptedFlagd([[UNUSABLE]])
    client = flagd.client()
    diary = Diary(client)
    assert (await client.start()).status is Status.ERROR
    await settle()
    assert (diary.shown, error_code(client)) == (["ERROR PARSE_ERROR"], ErrorCode.PARSE_ERROR)
    flagd.send(FLAGS)
    await client.wait_ready(1)
    await settle()
    assert diary.shown[1:] == ["READY", "CONFIGURATION_CHANGED a"]
    await client.aclose()


@pytest.mark.holds("FL-31")
@pytest.mark.parametrize(
    ("scripts", "status"),
    [
        pytest.param([[FIRST]], Status.READY, id="ready"),
        pytest.param([[FIRST, END]], Status.READY, id="in the pause"),
        pytest.param([[INTERNAL]], Status.ERROR, id="without data"),
        pytest.param([[]], Status.ERROR, id="with a silent stream"),
        pytest.param([[DENIED]], Status.FATAL, id="fatal"),
    ],
)
@pytest.mark.parametrize("resolver", ["in-process", "rpc"])
async def test_closing_twice_leaves_nothing(scripts: list[list[object]], status: Status, resolver: str) -> None:
    flagd = ScriptedFlagd(scripts)
    client = flagd.client(resolver, fatal_status_codes=FATAL_CODES)
    diary = Diary(client)
    assert (await client.start()).status is status
    await settle()
    before, began = diary.shown, seconds()
    await asyncio.gather(client.aclose(), client.aclose())
    await client.aclose()
    await settle()
    assert (client.status, flagd.channels, len(flagd.open_streams)) == (Status.NOT_READY, 0, 0)
    assert (all_tasks(), diary.shown) == (set(), before)
    assert seconds() - began < 0.1


@pytest.mark.holds("FL-32")
async def test_closing_does_not_wait_for_the_pause() -> None:
    flagd = ScriptedFlagd([[FLAGS, END]])
    client = flagd.client(retry_backoff_max=60)
    await client.start()
    await asyncio.sleep(30)
    assert client.status is Status.ERROR
    began = seconds()
    await client.aclose()
    assert seconds() - began < 0.1
    assert len(flagd.opened) == 1


@pytest.mark.holds("FL-33")
@pytest.mark.parametrize("resolver", ["in-process", "rpc"])
async def test_a_closed_client_starts_anew_without_data(resolver: str) -> None:
    flagd = ScriptedFlagd([[FIRST], [1.0, FIRST]], answers={"a": value(True)})
    client = flagd.client(resolver, deadline=5)
    early, late = Diary(client), None
    for number in (1, 2):
        starting = asyncio.create_task(client.start())
        await settle()
        if len(flagd.opened) == 2:
            detail = await client.variation_detail("a", None, False)
            assert (detail.value, detail.reason.error_kind) == (False, ErrorKind.PROVIDER_NOT_READY)
        assert (await starting).status is Status.READY
        diary = Diary(client)
        detail = await client.variation_detail("a", None, False)
        assert (detail.value, detail.reason.kind) == (True, "STATIC")
        await client.aclose()
        assert (flagd.channels, diary.shown) == (0, [])
        assert early.shown == ["READY"] * number
        # Registered while the client is closed: for the starts that follow.
        late = late or Diary(client)
    assert late is not None
    assert late.shown == ["READY"]
    assert len(flagd.opened) == 2


@pytest.mark.holds("FL-34")
async def test_a_fatal_client_stays_fatal() -> None:
    flagd = ScriptedFlagd([[DENIED], [FLAGS]])
    client = flagd.client(fatal_status_codes=FATAL_CODES)
    diary = Diary(client)
    await client.start()
    await client.aclose()
    assert client.status is Status.NOT_READY
    assert diary.shown == ["ERROR PROVIDER_FATAL"]
    began = seconds()
    report = await client.start()
    assert (report.status, error_code(client), seconds() - began) == (Status.FATAL, ErrorCode.PROVIDER_FATAL, 0.0)
    with pytest.raises(NotReadyError):
        await client.wait_ready(1)
    await client.aclose()
    assert diary.shown == ["ERROR PROVIDER_FATAL"] * 2
    assert (len(flagd.opened), flagd.channels) == (1, 0)


@pytest.mark.holds("FL-35")
@pytest.mark.parametrize("resolver", ["in-process", "rpc"])
async def test_a_start_that_is_cancelled_leaves_nothing(resolver: str) -> None:
    flagd = ScriptedFlagd([[]])
    client = flagd.client(resolver, deadline=60)
    starting = asyncio.create_task(client.start())
    await asyncio.sleep(10)
    assert (flagd.channels, len(flagd.open_streams)) == (1, 1)
    starting.cancel()
    await asyncio.wait({starting})
    assert starting.cancelled()
    await settle()
    assert (client.status, flagd.channels, flagd.open_streams, all_tasks()) == (Status.NOT_READY, 0, [], set())


@pytest.mark.holds("FL-36")
@pytest.mark.parametrize(("scripts", "status"), [([[0.1, FLAGS]], Status.READY), ([[]], Status.ERROR)])
async def test_two_starts_open_one_stream(scripts: list[list[object]], status: Status) -> None:
    flagd = ScriptedFlagd(scripts)
    client = flagd.client()
    one, two = await asyncio.gather(client.start(), client.start())
    assert (one.status, two.status, len(flagd.opened), flagd.channels) == (status, status, 1, 1)
    await client.aclose()


@pytest.mark.parametrize(
    ("resolver", "options", "logged"),
    [
        pytest.param("in-process", {}, ["rules are evaluated here, with version 3 of fractional"], id="the default"),
        pytest.param(
            "in-process", {"fractional_version": 2}, ["rules are evaluated here, with version 2 of fractional"], id="version 2"
        ),
        pytest.param("rpc", {}, [], id="the server evaluates"),
    ],
)
async def test_a_start_logs_how_fractional_hashes(
    flagd: ScriptedFlagd, resolver: str, options: dict[str, Any], logged: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        async with flagd.client(resolver, **options):
            pass
    assert [record.message for record in caplog.records if "fractional" in record.message] == logged
