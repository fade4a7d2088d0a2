"""Schedule: faults by a seed, one after another, and its log."""

from __future__ import annotations

import asyncio
from itertools import islice

import anyio
import pytest

from aioflags.testing import FaultProxy, Schedule, toxics

KINDS = (*toxics.TCP, *toxics.HTTP)


def test_a_seed_gives_the_same_faults_again() -> None:
    schedule = Schedule(7)
    faults = list(islice(schedule, 200))
    assert faults == list(islice(schedule, 200)) == list(islice(Schedule(7), 200))
    assert faults != list(islice(Schedule(8), 200))


def test_all_kinds_come() -> None:
    assert {type(fault.toxic) for fault in islice(Schedule(1), 500)} == set(KINDS)
    assert {type(fault.toxic) for fault in islice(Schedule(1, toxics.TCP), 500)} == set(toxics.TCP)


def test_times_are_within_their_limits() -> None:
    for fault in islice(Schedule(1, lasts=(1, 2), pause=(0, 0)), 100):
        assert 1 <= fault.lasts <= 2
        assert fault.pause == 0


async def test_a_run_injects_one_fault_at_a_time_and_logs_it() -> None:
    proxy, schedule = FaultProxy("127.0.0.1:1"), Schedule(3)
    seen: set[tuple[toxics.Toxic, ...]] = set()

    async def watch() -> None:
        while True:
            seen.add(proxy.toxics)
            await anyio.sleep(0.01)

    watching = asyncio.create_task(watch())
    await schedule.run(proxy, 20)
    watching.cancel()
    assert schedule.log == list(islice(schedule, 20))
    assert {len(present) for present in seen} == {0, 1}
    assert {present[0] for present in seen if present} == {fault.toxic for fault in schedule.log}
    assert proxy.toxics == ()


async def test_a_cancelled_run_leaves_no_toxic() -> None:
    proxy, schedule = FaultProxy("127.0.0.1:1"), Schedule(3, lasts=(9, 9))
    with anyio.move_on_after(1):
        await schedule.run(proxy, 20)
    assert len(schedule.log) == 1
    assert proxy.toxics == ()


@pytest.mark.parametrize(("seed", "text"), [(1, "1: "), (2, "1: ")])
def test_a_fault_reads_as_a_line(seed: int, text: str) -> None:
    (fault,) = islice(Schedule(seed), 1)
    assert str(fault).startswith(text)
    assert type(fault.toxic).__name__ in str(fault)
