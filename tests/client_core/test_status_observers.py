"""Handlers and iterators of the status, and waiting for a status."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from aioflags import ConfigError, NotReadyError, Status, StatusReport
from aioflags.model.status import ErrorCode, EventKind
from tests.support.status_clients import DOWN, FATAL, StatusClient, settle

CHANGED = EventKind.CONFIGURATION_CHANGED


# -- observers of the status


@pytest.mark.holds("OF-23")
async def test_a_handler_runs_at_its_registration_and_at_each_later_entry(client: StatusClient) -> None:
    seen: list[int] = []
    client.data(f=1)
    client.on_status(Status.READY, lambda report: seen.append(report.seq), inline=True)
    await settle()
    assert seen == [1]
    client.data(f=2)
    await settle()
    assert seen == [1]
    client.interrupted()
    await settle()
    client.data(f=3)
    await settle()
    assert seen == [1, 3]


async def test_entries_during_a_run_make_one_further_run(client: StatusClient) -> None:
    seen: list[int] = []

    async def slow(report: StatusReport) -> None:
        seen.append(report.seq)
        await asyncio.sleep(1)

    client.on_status(Status.READY, slow)
    client.data(f=1)
    await settle()
    for value in range(3):
        client.interrupted()
        client.data(f=value)
        await settle()
    await asyncio.sleep(5)
    assert seen == [1, client.report.seq]


async def test_an_entry_that_was_left_before_the_handler_could_start_is_dropped(client: StatusClient) -> None:
    seen: list[StatusReport] = []
    client.on_status(Status.READY, seen.append, inline=True)
    client.data(f=1)
    client.interrupted()
    await settle()
    assert seen == []


@pytest.mark.holds("OF-24", "OF-R13", "OF-R8")
async def test_a_late_handler_gets_the_original_code_and_message(client: StatusClient) -> None:
    client.off(FATAL)
    await settle()
    seen: list[StatusReport] = []
    client.on_status(Status.FATAL, seen.append, inline=True)
    await settle()
    assert [(report.error.code, report.error.message) for report in seen if report.error] == [
        (ErrorCode.PROVIDER_FATAL, "UNAUTHENTICATED")
    ]


@pytest.mark.holds("OF-31")
async def test_a_handler_that_is_registered_during_a_reconciling_runs_when_that_ends(client: StatusClient) -> None:
    client.data(f=1)
    number, seen = client.cell.reconcile(), list[StatusReport]()
    client.on_status(Status.READY, seen.append, inline=True)
    waiting = asyncio.create_task(client.wait_ready(10))
    await settle()
    assert seen == []
    client.cell.reconciled(number)
    await settle()
    assert len(seen) == 1
    await waiting


@pytest.mark.holds("OF-R9")
async def test_a_slow_reader_of_reports_sees_the_first_and_the_last(client: StatusClient) -> None:
    seen: list[int] = []

    async def read() -> None:
        async for report in client.reports():
            seen.append(report.seq)
            await asyncio.sleep(0.1)

    reading = asyncio.create_task(read())
    await settle()
    for step in range(1000):
        if step % 2:
            client.interrupted()
        else:
            client.data(f=1)
        if step % 10 == 0:
            await asyncio.sleep(0.01)
    await client.aclose()
    await reading
    assert (seen[0], seen[-1]) == (0, client.report.seq)
    assert seen == sorted(set(seen))
    assert len(seen) < 100


async def test_changes_of_flags_alone_do_not_wake_readers_of_reports(client: StatusClient) -> None:
    client.data(f=1)
    reports = client.reports()
    assert (await anext(reports)).status is Status.READY
    waiting = asyncio.ensure_future(anext(reports))
    with client.events():
        client.data(f=2)
    await settle()
    assert client.report.seq == 2
    assert not waiting.done()
    waiting.cancel()


# -- waiting


def from_not_ready(client: StatusClient) -> None:
    """Nothing happens first."""


def from_stale(client: StatusClient) -> None:
    client.data(f=1)
    client.interrupted()


def from_error(client: StatusClient) -> None:
    client.cell.start_timed_out()


def from_reconciling(client: StatusClient) -> None:
    client.data(f=1)
    client.cell.reconcile()


@pytest.mark.holds("OF-R11", "OF-A10")
@pytest.mark.parametrize("origin", [from_not_ready, from_stale, from_error, from_reconciling])
async def test_wait_ready_returns_on_every_way_into_ready(client: StatusClient, origin: Callable[[StatusClient], None]) -> None:
    origin(client)
    waiting = asyncio.create_task(client.wait_ready(60))
    await asyncio.sleep(1)
    assert not waiting.done()
    if origin is from_reconciling:
        client.cell.reconciled(1)
    else:
        client.data(f=1)
    await waiting


@pytest.mark.holds("OF-29", "OF-R11")
@pytest.mark.parametrize("end", ["fatal", "close"])
async def test_wait_ready_raises_when_the_client_goes_fatal_or_is_closed(client: StatusClient, end: str) -> None:
    waiting = asyncio.create_task(client.wait_ready())
    await settle()
    if end == "fatal":
        client.off(FATAL)
    else:
        await client.aclose()
    with pytest.raises(NotReadyError):
        await waiting


@pytest.mark.holds("OF-29", "OF-R11")
@pytest.mark.parametrize("is_early", [True, False])
async def test_wait_ready_raises_for_a_fatal_code_also_if_sources_could_start_again(is_early: bool) -> None:
    async with asyncio.timeout(100), StatusClient(revives=True, start_wait=0.1) as client:
        if is_early:
            client.off(FATAL)
        waiting = asyncio.create_task(client.wait_ready())
        await settle()
        client.off(FATAL)
        with pytest.raises(NotReadyError, match="no source of flag data is left"):
            await waiting


async def test_wait_until_returns_the_report_that_fits(client: StatusClient) -> None:
    asyncio.get_running_loop().call_later(3, lambda: client.data(f=1))
    asyncio.get_running_loop().call_later(5, client.interrupted)
    assert (await client.wait_until(Status.NOT_READY)).seq == 0
    assert (await client.wait_until(lambda report: report.last_error is DOWN)).status is Status.STALE
    with pytest.raises(NotReadyError, match="after 2 s"):
        await client.wait_until(Status.READY, 2)
    waiting = asyncio.create_task(client.wait_until(Status.ERROR))
    await settle()
    await client.aclose()
    with pytest.raises(NotReadyError, match="closed"):
        await waiting


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        pytest.param("on_status", ("READY", print), id="a text as status"),
        pytest.param("on_event", ("READY", print), id="a text as kind"),
        pytest.param("on_event", (EventKind.READY, None), id="no handler"),
        pytest.param("on_status", (Status.READY, 1), id="a number as handler"),
    ],
)
def test_wrong_arguments_are_refused(method: str, arguments: tuple[object, object]) -> None:
    with pytest.raises(ConfigError):
        getattr(StatusClient(), method)(*arguments)
