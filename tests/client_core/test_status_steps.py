"""Steps of the status beside those of sources: restart, start limit, reconciling, posted facts, and readers in between."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from aioflags import Status
from aioflags.client_core.condition import Fact, FactKind
from aioflags.model.status import ErrorCode, Event, StatusError
from tests.support.status_clients import DOWN, FATAL, UNUSABLE, Idle, StatusClient, settle, shown

# -- restart


@pytest.mark.holds("OF-R30")
async def test_a_client_that_may_restart_starts_empty_and_counts_on() -> None:
    client = StatusClient(restartable=True)
    await client.start(0)
    client.data(f=1)
    before = client.report.seq
    await client.aclose()
    assert client.value("f") == 1
    starting = asyncio.create_task(client.start())
    await asyncio.sleep(1)
    assert (client.status, client.report.source_state, client.report.last_error) == ("NOT_READY", "INITIALIZING", None)
    assert client.value("f") is None
    client.data(f=2)
    assert (await starting).status is Status.READY
    assert client.report.seq > before + 1
    assert client.workload.runs == 2
    await client.aclose()


@pytest.mark.holds("OF-R30")
async def test_iterators_end_when_the_client_closes_and_handlers_follow_the_next_start_too() -> None:
    client, old, new = StatusClient(restartable=True), list[Event](), list[Event]()
    await client.start(0)
    client.on_event(None, old.append, inline=True)
    iterator = client.events()
    await client.aclose()
    await client.start(0)
    client.on_event(None, new.append, inline=True)
    client.data(f=1)
    await settle()
    assert (shown(old), shown(new)) == (["READY"], ["READY"])
    assert [event async for event in iterator] == []
    assert (await anext(client.reports())).status is Status.READY
    await client.aclose()


async def test_a_start_while_the_client_closes_waits_for_the_end() -> None:
    client = StatusClient(restartable=True)
    await client.start(0)
    closing = asyncio.create_task(client.aclose())
    await asyncio.sleep(0)
    await client.start(0)
    assert closing.done() or client.workload.runs == 2
    client.data(f=1)
    assert client.status is Status.READY
    await closing
    await client.aclose()


async def test_a_fatal_code_survives_a_restart() -> None:
    client, events = StatusClient(restartable=True), list[Event]()
    await client.start(0)
    client.off(FATAL)
    await client.aclose()
    report = await client.start(60)
    client.on_event(None, events.append, inline=True)
    assert report.status is Status.FATAL
    assert report.error is not None
    assert (report.error.code, report.error.message) == (ErrorCode.PROVIDER_FATAL, "UNAUTHENTICATED")
    assert client.workload.runs == 1
    await client.aclose()


# -- start


async def test_a_start_limit_includes_the_preparation() -> None:
    client, loop = StatusClient(workload=Idle(prepares_for=20)), asyncio.get_running_loop()
    began = loop.time()
    report = await client.start(3)
    assert loop.time() - began == pytest.approx(3)
    assert report.status is Status.ERROR
    await client.aclose()


@pytest.mark.holds("OF-R7")
async def test_the_first_failure_after_a_start_that_timed_out_is_the_reason_of_the_error() -> None:
    client, events = StatusClient(start_wait=1), list[Event]()
    client.on_event(None, events.append, inline=True)
    began = await client.start()
    late = "no flag data within the time that a start may take"
    assert began.error == StatusError(ErrorCode.PROVIDER_NOT_READY, late)
    client.interrupted()
    known = client.report
    assert known.error == StatusError(ErrorCode.PROVIDER_NOT_READY, f"{late}: down")
    assert (known.status, known.since, known.seq) == (Status.ERROR, began.since, began.seq + 1)
    client.interrupted(UNUSABLE)
    assert client.report.error == known.error  # why the status began
    await client.aclose()
    assert shown(events) == ["ERROR PROVIDER_NOT_READY"]  # the status stayed the same


async def test_a_start_with_a_wait_of_0_does_not_wait_for_a_preparation() -> None:
    client, loop = StatusClient(workload=Idle(prepares_for=20)), asyncio.get_running_loop()
    began = loop.time()
    await client.start(0)
    assert loop.time() == began
    await client.aclose()


# -- reconciling


@pytest.mark.holds("OF-30", "OF-R33")
@pytest.mark.parametrize(
    ("ends", "status", "event"),
    [
        pytest.param([(1, None), (2, None), (3, None)], Status.READY, "CONTEXT_CHANGED", id="in order"),
        pytest.param([(3, None), (2, None), (1, None)], Status.READY, "CONTEXT_CHANGED", id="in reverse order"),
        pytest.param([(3, None), (1, DOWN), (2, DOWN)], Status.READY, "CONTEXT_CHANGED", id="earlier calls fail"),
        pytest.param([(3, DOWN), (1, None), (2, None)], Status.ERROR, "ERROR GENERAL", id="the last call fails"),
    ],
)
async def test_overlapping_reconcilings_end_once_with_the_outcome_of_the_last_call(
    ends: list[tuple[int, object]], status: Status, event: str
) -> None:
    async with StatusClient(revives=True, start_wait=0.1) as client:
        client.data(f=1)
        seen, ready = list[Event](), list[object]()
        client.on_event(None, seen.append, inline=True)
        assert [client.cell.reconcile() for _ in range(3)] == [1, 2, 3]
        client.on_status(Status.READY, ready.append, inline=True)
        for number, error in ends:
            await settle()
            assert client.status is Status.RECONCILING
            assert ready == []
            client.cell.reconciled(number, DOWN if error else None)
        await settle()
        assert client.status is status
        assert shown(seen) == ["RECONCILING", event]
        assert len(ready) == (status is Status.READY)


@pytest.mark.holds("OF-R33")
async def test_what_happens_during_a_reconciling_counts_at_its_end() -> None:
    async with StatusClient(revives=True, start_wait=0.1, grace=5) as client:
        client.data(f=1)
        number = client.cell.reconcile()
        client.interrupted()
        assert client.status == "RECONCILING"
        client.cell.reconciled(number)
        assert client.status == "STALE"
        await client.wait_until(Status.ERROR, 6)


async def test_the_end_of_a_call_of_before_a_restart_is_ignored() -> None:
    client = StatusClient(restartable=True)
    await client.start(0)
    client.data(f=1)
    old = client.cell.reconcile()
    await client.aclose()
    await client.start(0)
    client.data(f=1)
    client.cell.reconcile()
    client.cell.reconciled(old)
    assert client.status is Status.RECONCILING
    await client.aclose()


# -- facts from anywhere


async def test_facts_that_are_posted_before_the_start_count_at_the_start() -> None:
    client = StatusClient()
    client.cell.post(Fact(kind=FactKind.FATAL, error=FATAL))
    assert client.status is Status.NOT_READY
    assert (await client.start()).status is Status.FATAL
    await client.aclose()


@pytest.mark.holds("OF-32")
def test_facts_for_a_loop_that_is_closed_are_dropped() -> None:
    client = StatusClient()
    with asyncio.Runner() as runner:
        runner.run(client.start(0))
        runner.run(client.aclose())
    client.cell.post(Fact(kind=FactKind.FATAL, error=replace(FATAL)))
    assert client.status is Status.NOT_READY


# -- readers


@pytest.mark.holds("OF-R2")
async def test_a_reader_between_two_steps_finds_a_pair_that_a_step_produced() -> None:
    async with StatusClient(start_wait=0.1) as client:
        pairs, seen = set[tuple[int, Status, object]](), set[tuple[int, Status, object]]()

        def pair() -> tuple[int, Status, object]:
            return client.report.seq, client.status, client.value("f")

        async def read() -> None:
            while True:
                seen.add(pair())
                await asyncio.sleep(0)

        reading = asyncio.create_task(read())
        for number in range(100):
            pairs.add(pair())
            await asyncio.sleep(0)
            if number % 3:
                client.data(f=number)
            else:
                client.interrupted()
            pairs.add(pair())
        reading.cancel()
        assert seen <= pairs
