"""StatusCell: how events of the data system change the status, and the order in which observers get it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from aioflags import ErrorInfo, SourceState, Status
from aioflags.client_core.status import StatusCell
from aioflags.evaluation.snapshot import Snapshot
from aioflags.model.change import ChangeKind, ChangeSet, Selector
from aioflags.model.status import FailureKind
from aioflags.runtime.broadcast import LatestIterator
from aioflags.supervisor.next_snapshot import SnapshotHolder
from tests.support.transitions import CheckedCell

DOWN = ErrorInfo(kind=FailureKind.NETWORK_ERROR, message="down", time=1.0)
REFUSED = ErrorInfo(kind=FailureKind.ERROR_RESPONSE, message="refused", time=2.0, status_code=401)
DATA = ChangeSet(kind=ChangeKind.FULL, selector=Selector("s", 1))

Fact = Callable[[StatusCell], None]


@pytest.fixture
def cell() -> StatusCell:
    return CheckedCell(SnapshotHolder(Snapshot.empty()))


def data(cell: StatusCell) -> None:
    cell.report(SourceState.VALID, snapshot=Snapshot.empty().apply(DATA), change_set=DATA)


def cached(cell: StatusCell) -> None:
    cell.report(None, snapshot=Snapshot.empty().apply(DATA), change_set=DATA)


def reports(state: SourceState, **more: Any) -> Fact:
    return lambda cell: cell.report(state, **more)


valid = reports(SourceState.VALID)
interrupted = reports(SourceState.INTERRUPTED, error=DOWN)
off = reports(SourceState.OFF, error=REFUSED)
refused = reports(SourceState.OFF, error=REFUSED, next_attempt=1000.0)
limit, close = StatusCell.start_timed_out, StatusCell.close


@pytest.mark.parametrize(
    ("facts", "status", "source", "error"),
    [
        pytest.param([], "NOT_READY", "INITIALIZING", None, id="nothing happened yet"),
        pytest.param([data], "READY", "VALID", None, id="data"),
        pytest.param([valid], "READY", "VALID", None, id="a valid source without data"),
        pytest.param([cached], "STALE", "INITIALIZING", None, id="data that no source has confirmed"),
        pytest.param([interrupted], "NOT_READY", "INITIALIZING", DOWN, id="DS-88 a failure before the first success"),
        pytest.param([limit], "ERROR", "INITIALIZING", None, id="the start timed out without data"),
        pytest.param([limit, data], "READY", "VALID", None, id="data after the timeout"),
        pytest.param([data, limit], "READY", "VALID", None, id="the limit does not matter after data"),
        pytest.param([data, interrupted], "STALE", "INTERRUPTED", DOWN, id="an interruption"),
        pytest.param([data, interrupted, valid], "READY", "VALID", DOWN, id="DS-91 the last error stays when it is over"),
        pytest.param([data, off], "ERROR", "OFF", REFUSED, id="no source left, but data"),
        pytest.param([off], "FATAL", "OFF", REFUSED, id="no source left, and no data"),
        pytest.param([data, off, valid, data], "ERROR", "OFF", REFUSED, id="DS-93 nothing comes after off"),
        pytest.param([data, refused, valid], "READY", "VALID", REFUSED, id="DS-153 sources that start again"),
        pytest.param([data, refused, interrupted], "STALE", "INTERRUPTED", DOWN, id="an interruption after refusals, with data"),
        pytest.param([refused, interrupted], "ERROR", "INTERRUPTED", DOWN, id="an interruption after refusals, without data"),
        pytest.param([data, refused, off, valid], "ERROR", "OFF", REFUSED, id="DS-154 refusals that end the updates"),
        pytest.param([data, close], "NOT_READY", "OFF", None, id="closed"),
        pytest.param([close, data, interrupted, limit], "NOT_READY", "OFF", None, id="nothing comes after closing"),
    ],
)
async def test_the_status_after_these_events(
    cell: StatusCell, facts: list[Fact], status: str, source: str, error: ErrorInfo | None
) -> None:
    for fact in facts:
        fact(cell)
    assert (cell.newest.status, cell.newest.source_state, cell.newest.last_error) == (status, source, error)


@pytest.mark.parametrize(
    ("facts", "steps"),
    [
        pytest.param([valid, valid], 1, id="DS-90 the same state again is not counted"),
        pytest.param([data, data], 1, id="new data in the same state are not counted"),
        pytest.param([valid, interrupted, interrupted], 3, id="DS-89 another failure is counted"),
        pytest.param([interrupted, interrupted], 2, id="DS-88 another failure before the first success is counted"),
        pytest.param([limit, limit], 1, id="the timeout is counted once"),
        pytest.param([close, close], 1, id="closing is counted once"),
    ],
)
async def test_changes_of_the_status_are_counted(cell: StatusCell, facts: list[Fact], steps: int) -> None:
    for fact in facts:
        fact(cell)
    assert cell.newest.seq == steps


@pytest.mark.holds("DS-152")
@pytest.mark.parametrize(
    ("facts", "next_attempt", "is_final"),
    [
        pytest.param([data], None, False, id="a source is valid"),
        pytest.param([data, refused], 1000.0, False, id="sources start again"),
        pytest.param([refused, limit], 1000.0, False, id="the timeout of the start does not remove the time"),
        pytest.param([refused, cached], 1000.0, False, id="data of a store do not remove the time"),
        pytest.param([refused, valid], None, False, id="sources started again, and one is valid"),
        pytest.param([refused, interrupted], None, False, id="sources started again, and one is interrupted"),
        pytest.param([off], None, True, id="no source is left for good"),
        pytest.param([refused, close], None, True, id="closed"),
    ],
)
async def test_next_attempt_is_the_time_when_sources_start_again(
    cell: StatusCell, facts: list[Fact], next_attempt: float | None, is_final: bool
) -> None:
    for fact in facts:
        fact(cell)
    assert cell.newest.next_attempt == next_attempt
    assert cell.newest.is_final is is_final


@pytest.mark.holds("DS-89")
async def test_repeated_failures_keep_the_start_of_the_interruption(cell: StatusCell) -> None:
    valid(cell)
    interrupted(cell)
    began = cell.newest
    await asyncio.sleep(60)
    cell.report(SourceState.INTERRUPTED, error=REFUSED)
    assert (cell.newest.since, cell.newest.source_since) == (began.since, began.source_since)
    assert cell.newest.last_error is REFUSED


async def test_since_is_the_loop_time_at_which_the_status_began(cell: StatusCell) -> None:
    await asyncio.sleep(5)
    valid(cell)
    assert cell.newest.since == asyncio.get_running_loop().time()


async def test_data_are_visible_before_their_status(cell: StatusCell) -> None:
    statuses = LatestIterator(cell.reports)
    await anext(statuses)
    seen: list[bool] = []

    async def follow() -> None:
        assert (await anext(statuses)).status is Status.READY
        seen.append(cell._holder.snapshot.has_data)

    task = asyncio.create_task(follow())
    await asyncio.sleep(0)
    data(cell)
    await task
    assert seen == [True]


async def test_an_observer_gets_the_current_status_then_the_newest_and_at_the_end_the_last(cell: StatusCell) -> None:
    statuses = LatestIterator(cell.reports)
    assert (await anext(statuses)).seq == 0
    data(cell)
    interrupted(cell)
    valid(cell)
    assert (await anext(statuses)).seq == 3
    close(cell)
    assert [report.source_state async for report in statuses] == ["OFF"]
    assert [report.source_state async for report in LatestIterator(cell.reports)] == ["OFF"]


@pytest.mark.holds("DS-95")
async def test_the_other_observers_continue_if_one_raises(cell: StatusCell) -> None:
    async def clumsy() -> None:
        async for _ in LatestIterator(cell.reports):
            raise RuntimeError("mine")

    async def careful() -> list[str]:
        return [report.status.value async for report in LatestIterator(cell.reports)]

    broken, other = asyncio.create_task(clumsy()), asyncio.create_task(careful())
    await asyncio.sleep(1)
    data(cell)
    await asyncio.sleep(1)
    close(cell)
    assert await other == ["NOT_READY", "READY", "NOT_READY"]
    with pytest.raises(RuntimeError, match="mine"):
        await broken


async def test_readiness_comes_after_the_status(cell: StatusCell) -> None:
    found: list[str] = []

    async def wait() -> None:
        await cell.readiness.wait()
        found.append(cell.newest.source_state)

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    data(cell)
    cell.mark_ready()
    await task
    assert found == ["VALID"]


async def test_an_internal_error_keeps_the_data_and_wakes_the_waiters(cell: StatusCell) -> None:
    data(cell)
    cell.failed(DOWN)
    assert (cell.newest.status, cell.newest.last_error) == ("ERROR", DOWN)
    assert cell.readiness.is_set()
