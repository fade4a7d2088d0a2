"""The statuses and events of a client whose sources come and go: the transitions T1 to T19 of ``flagd.md`` 3.2."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from aioflags import NotReadyError, Status
from aioflags.model.change import ChangeKind, ChangeSet
from aioflags.model.detail import FlagMetadata
from aioflags.model.status import ErrorCode, Event, EventKind, SourceState
from tests.support.status_clients import FATAL, UNUSABLE, StatusClient, flag_set, settle, shown

Step = Callable[[StatusClient], object]


def does(method: str, *arguments: Any, **named: Any) -> Step:
    return lambda client: getattr(client, method)(*arguments, **named)


def passes(seconds: float) -> Step:
    return lambda _: asyncio.ensure_future(asyncio.sleep(seconds))


def empty(client: StatusClient) -> None:
    client.cell.report(SourceState.VALID)
    client.cell.mark_ready()


def limit(client: StatusClient) -> None:
    client.cell.start_timed_out()


def cached(client: StatusClient) -> None:
    change_set = ChangeSet(kind=ChangeKind.FULL)
    client.cell.report(None, snapshot=client.cell.snapshot.apply(change_set), change_set=change_set)


def close(client: StatusClient) -> asyncio.Future[None]:
    return asyncio.ensure_future(client.aclose())


good, better = does("data", f=1), does("data", f=2)
ended, unusable = does("interrupted"), does("interrupted", UNUSABLE)
off, fatal = does("off"), does("off", FATAL)
soon, later = passes(4), passes(10.5)
NOT_READY_ERROR, PARSE, GENERAL, GONE = "ERROR PROVIDER_NOT_READY", "STALE PARSE_ERROR", "ERROR GENERAL", "ERROR PROVIDER_FATAL"


@pytest.mark.parametrize(
    ("grace", "steps", "status", "events"),
    [
        pytest.param(10, [], Status.NOT_READY, [], id="T1 a start"),
        pytest.param(10, [good], Status.READY, ["READY"], id="T2 data in time"),
        pytest.param(10, [ended, limit], Status.ERROR, [NOT_READY_ERROR], id="T3 no data in time"),
        pytest.param(10, [unusable, limit], Status.ERROR, ["ERROR PARSE_ERROR"], id="T3 an unusable payload alone"),
        pytest.param(10, [fatal], Status.FATAL, [GONE], id="T4 a fatal code before any data"),
        pytest.param(10, [limit, fatal], Status.FATAL, [NOT_READY_ERROR, GONE], id="T4 a fatal code after the limit"),
        pytest.param(10, [ended, ended], Status.NOT_READY, [], id="T5 attempts that fail"),
        pytest.param(
            10, [limit, good], Status.READY, [NOT_READY_ERROR, "READY", "CONFIGURATION_CHANGED f"], id="T6 data after the limit"
        ),
        pytest.param(10, [good, ended], Status.STALE, ["READY", "STALE"], id="T7 an outage"),
        pytest.param(0, [good, ended], Status.ERROR, ["READY", GENERAL], id="T7 an outage without grace"),
        pytest.param(
            10,
            [good, ended, soon, better, later],
            Status.READY,
            ["READY", "STALE", "READY", "CONFIGURATION_CHANGED f"],
            id="T8 data within the grace",
        ),
        pytest.param(
            10,
            [good, ended, good],
            Status.READY,
            ["READY", "STALE", "READY", "CONFIGURATION_CHANGED none"],
            id="T8 the same data after an outage",
        ),
        pytest.param(10, [good, ended, later], Status.ERROR, ["READY", "STALE", GENERAL], id="T9 the grace ends"),
        pytest.param(None, [good, ended, later], Status.STALE, ["READY", "STALE"], id="a grace without end"),
        pytest.param(
            10,
            [good, ended, later, better],
            Status.READY,
            ["READY", "STALE", GENERAL, "READY", "CONFIGURATION_CHANGED f"],
            id="T10 data after the grace",
        ),
        pytest.param(10, [good, better], Status.READY, ["READY", "CONFIGURATION_CHANGED f"], id="T11 a change"),
        pytest.param(10, [good, good], Status.READY, ["READY"], id="T11 the same data again"),
        pytest.param(10, [good, unusable], Status.STALE, ["READY", PARSE], id="T12 an unusable payload"),
        pytest.param(
            10, [good, unusable, later], Status.ERROR, ["READY", PARSE, GENERAL], id="T12 an unusable payload, past the grace"
        ),
        pytest.param(10, [good, ended, ended, unusable], Status.STALE, ["READY", "STALE"], id="T13 attempts during an outage"),
        pytest.param(
            10,
            [good, ended, soon, ended, soon, ended, soon],
            Status.ERROR,
            ["READY", "STALE", GENERAL],
            id="T13 the first start counts",
        ),
        pytest.param(
            10,
            [good, ended, soon, good, ended, soon, good, ended, soon],
            Status.STALE,
            ["READY", *["STALE", "READY", "CONFIGURATION_CHANGED none"] * 2, "STALE"],
            id="a new outage has a new grace",
        ),
        pytest.param(10, [good, close], Status.NOT_READY, ["READY"], id="T14 a close"),
        pytest.param(10, [good, ended, close, later], Status.NOT_READY, ["READY", "STALE"], id="T14 a close during an outage"),
        pytest.param(10, [fatal, good, ended, limit, off], Status.FATAL, [GONE], id="T15 OF-35 facts after a fatal code"),
        pytest.param(10, [good, fatal, good], Status.FATAL, ["READY", GONE], id="a fatal code with data"),
        pytest.param(10, [fatal, close], Status.NOT_READY, [GONE], id="T16 a close after a fatal code"),
        pytest.param(10, [empty, ended, later], Status.NOT_READY, ["READY"], id="an outage without data"),
        pytest.param(
            10, [empty, ended, later, cached], Status.ERROR, ["READY", GENERAL], id="cached data after the grace of such an outage"
        ),
        pytest.param(10, [cached], Status.STALE, ["STALE"], id="cached data"),
        pytest.param(10, [cached, good], Status.READY, ["STALE", "READY", "CONFIGURATION_CHANGED f"], id="data after cached data"),
        pytest.param(10, [good, off], Status.ERROR, ["READY", GENERAL], id="no source left, with data"),
        pytest.param(10, [close, good, fatal], Status.NOT_READY, [], id="OF-A12 facts after the close"),
    ],
)
async def test_the_status_and_the_events_after_these_steps(
    grace: float | None, steps: Sequence[Step], status: Status, events: list[str]
) -> None:
    client = StatusClient(grace=grace, start_wait=1000)
    await client.start(0)
    seen: list[Event] = []
    client.on_event(None, seen.append, inline=True)
    for step in steps:
        if isinstance(waiting := step(client), asyncio.Future):
            await waiting
        await settle()
    assert client.status is status
    assert shown(seen) == events
    assert all(event.report.seq == event.seq for event in seen)
    await client.aclose()


async def test_the_error_after_the_grace_names_the_seconds_without_contact() -> None:
    async with StatusClient(grace=30) as client:
        client.data(f=1)
        client.interrupted()
        report = await client.wait_until(Status.ERROR, 60)
        assert report.error is not None
        assert report.error.message == "no contact to the source of flag data for 30 s: down"
        assert client.value("f") == 1


@pytest.mark.holds("OF-R24")
async def test_a_fatal_code_of_the_source_ends_a_waiting_start() -> None:
    client = StatusClient()
    asyncio.get_running_loop().call_later(1, client.cell.report, SourceState.OFF)
    asyncio.get_running_loop().call_later(2, lambda: client.cell.report(SourceState.OFF, error=FATAL))
    starting = asyncio.create_task(client.start(4))
    assert (await starting).error == client.report.error
    assert client.report.error is not None
    assert client.report.error.code is ErrorCode.PROVIDER_FATAL
    with pytest.raises(NotReadyError):
        await client.wait_ready()
    await client.aclose()


async def test_changes_whose_keys_are_unknown_may_concern_every_flag() -> None:
    steps: list[tuple[list[str], ChangeSet | None]] = []
    client = StatusClient(on_step=lambda events, change_set: steps.append((shown(events), change_set)))
    unknown = ChangeSet(kind=ChangeKind.FULL, keys_known=False)
    for _ in range(2):
        client.cell.report(SourceState.VALID, snapshot=client.cell.snapshot.apply(unknown), change_set=unknown)
    client.interrupted()
    assert steps == [(["READY"], unknown), (["CONFIGURATION_CHANGED any"], unknown), (["STALE"], None)]


async def test_parts_of_the_client_see_the_data_and_not_yet_the_status(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[tuple[object, Status]] = []

    def on_step(events: Sequence[Event], change_set: ChangeSet | None) -> None:
        seen.append((client.value("f"), client.status))
        raise ZeroDivisionError

    client = StatusClient(on_step=on_step)
    client.data(f=1)
    assert seen == [(1, Status.NOT_READY)]
    assert client.status is Status.READY
    assert "a part of the client failed" in caplog.text


async def test_a_fact_that_is_reported_during_a_step_waits_for_its_end() -> None:
    seen: list[tuple[int, EventKind]] = []

    def on_step(events: Sequence[Event], change_set: ChangeSet | None) -> None:
        if events[0].kind is EventKind.READY:
            client.interrupted()
        seen.extend((event.seq, event.kind) for event in events)

    client = StatusClient(on_step=on_step)
    client.data(f=1)
    assert seen == [(1, EventKind.READY), (2, EventKind.STALE)]


@pytest.mark.holds("OF-11")
async def test_events_of_data_have_the_metadata_of_the_flag_set_and_events_of_trouble_have_none() -> None:
    async with StatusClient(grace=5, start_wait=0) as client:
        seen: list[Event] = []
        client.on_event(None, seen.append, inline=True)
        for version in (1, 2):
            change_set = replace(flag_set({"f": 1}), metadata=FlagMetadata({"flagSetId": "web", "version": version}))
            client.cell.report(SourceState.VALID, snapshot=client.cell.snapshot.apply(change_set), change_set=change_set)
        client.interrupted()
        await asyncio.sleep(6)
        client.data(f=2)
        await settle()
    assert [(event.kind.value, dict(event.metadata).get("version")) for event in seen] == [
        ("READY", 1),
        ("CONFIGURATION_CHANGED", 2),
        ("STALE", None),
        ("ERROR", None),
        ("READY", 2),
        ("CONFIGURATION_CHANGED", 2),
    ]
    assert seen[0].metadata["flagSetId"] == "web"
