"""publish_overrides: new overrides and new data of a source do not lose each other's work."""

from __future__ import annotations

import random

import anyio
import pytest

from aioflags.evaluation.overrides import NO_OVERRIDES, overlaid
from aioflags.evaluation.snapshot import Snapshot
from aioflags.model.change import ChangeKind, ChangeSet, Update
from aioflags.model.status import SourceState
from aioflags.supervisor.next_snapshot import next_published, publish_overrides
from tests.support.feed import change, changes, full
from tests.support.overridden_clients import overrides_in
from tests.support.scripted_sources import World

MANY = 3000
"""Flags that take several slices to apply."""


def transfer(version: int) -> ChangeSet:
    return full(*(change(f"f{number}", version, version) for number in range(MANY)))


def served(snapshot: Snapshot, key: str) -> object:
    flag = snapshot.flags.get(key)
    return None if flag is None or not flag.variations else flag.variations[0]


async def test_overrides_are_on_top_of_the_data_and_are_removed_again(world: World) -> None:
    world.holder.publish(Snapshot.empty().apply(full(a=1, b=1)))
    assert await publish_overrides(world, overrides_in({"flagValues": {"a": 2, "c": 2}}))
    assert [served(world.snapshot, key) for key in "abc"] == [2, 1, 2]
    assert not await publish_overrides(world, overrides_in({"flagValues": {"a": 2, "c": 2}}))
    assert await publish_overrides(world, NO_OVERRIDES)
    assert [served(world.snapshot, key) for key in "abc"] == [1, 1, None]
    told = [entry.detail for entry in world.journal if entry.what == "overrides"]
    assert [sorted(one.key for one in step.changes) for step in told] == [["a", "c"], ["a", "c"]]


@pytest.mark.holds("DS-157")
@pytest.mark.parametrize("seed", range(8))
async def test_a_source_and_overrides_publish_at_the_same_time_and_lose_nothing(world: World, seed: int) -> None:
    chance = random.Random(seed)
    seen: list[Snapshot] = []

    async def send() -> None:
        for version in range(1, 6):
            change_set = transfer(version) if chance.random() < 0.5 else changes(change("f0", version, version))
            world.holder.publish(await next_published(world, change_set))
            seen.append(world.snapshot)
            await pause()

    async def override() -> None:
        for number in range(1, 31):
            await publish_overrides(world, overrides_in({"flagValues": {"f1": -number, f"new{number}": number}}))
            seen.append(world.snapshot)
            await pause()

    async def pause() -> None:
        for _ in range(chance.randint(0, 3)):
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as group:
        group.start_soon(send)
        group.start_soon(override)
    for snapshot in seen:
        assert snapshot.items == overlaid(snapshot.base, snapshot.overrides)
    versions = [snapshot.base.flags["f0"].version for snapshot in seen if "f0" in snapshot.base.flags]
    numbers = [served(snapshot, "f1") for snapshot in seen if snapshot.overrides.flags]
    assert versions == sorted(versions)
    assert numbers == sorted(numbers, key=lambda number: -int(str(number)))
    assert (versions[-1], numbers[-1], served(world.snapshot, "new30"), served(world.snapshot, "new29")) == (5, -30, 30, None)


@pytest.mark.holds("DS-157")
async def test_overrides_that_never_stop_changing_do_not_delay_a_transfer_for_long(world: World) -> None:
    changed = 0

    async def override() -> None:
        nonlocal changed
        while True:
            changed += 1
            await publish_overrides(world, overrides_in({"flagValues": {"f1": -changed}}))
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as group:
        group.start_soon(override)
        await anyio.lowlevel.checkpoint()
        world.holder.publish(await next_published(world, transfer(1)))
        group.cancel_scope.cancel()
    assert changed <= 2
    assert len(world.snapshot.base.flags) == MANY


async def test_a_publication_that_is_cancelled_changes_nothing_and_frees_the_lock(world: World) -> None:
    before = world.snapshot
    many = overrides_in({"flagValues": {f"f{number}": number for number in range(500)}})
    async with anyio.create_task_group() as group:
        group.start_soon(publish_overrides, world, many)
        await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()
    assert world.snapshot is before
    assert await publish_overrides(world, many)


async def test_overrides_are_applied_again_if_data_were_published_without_the_lock(world: World) -> None:
    many = overrides_in({"flagValues": {f"f{number}": number for number in range(500)}})
    async with anyio.create_task_group() as group:
        group.start_soon(publish_overrides, world, many)
        await anyio.lowlevel.checkpoint()
        world.holder.publish(Snapshot.empty().apply(full(a=1)))
    assert (served(world.snapshot, "a"), served(world.snapshot, "f7")) == (1, 7)


async def test_a_long_pattern_of_an_override_is_compiled_before_it_is_published(world: World) -> None:
    clause = {"attribute": "name", "op": "matches", "values": ["(alice|bob)" * 100]}
    flag = {
        "on": True,
        "variations": [True],
        "fallthrough": {"variation": 0},
        "rules": [{"id": "r", "variation": 0, "clauses": [clause]}],
    }
    assert await publish_overrides(world, overrides_in({"flags": {"f": flag}}))
    assert list(world.snapshot.direct_flags) == ["f"]


async def test_overrides_stay_when_a_source_delivers(world: World) -> None:
    await publish_overrides(world, overrides_in({"flagValues": {"a": "override"}}))
    assert not world.snapshot.has_data
    steps = [
        Update(state=SourceState.VALID, change_set=full(a=1, b=1), directive=None),
        Update(state=SourceState.VALID, change_set=changes(change("a", 2, 2), change("b", 2, 2)), directive=None),
        Update(state=SourceState.VALID, change_set=ChangeSet(kind=ChangeKind.FULL), directive=None),
    ]
    values: list[object] = []

    def note() -> int:
        values.append((served(world.snapshot, "a"), served(world.snapshot, "b")))
        return 0

    async with world.running(synchronizers=[world.source("S1", [steps[0], note, steps[1], note, steps[2], note, 3600])]):
        await anyio.sleep(1)
    assert values == [("override", 1), ("override", 2), ("override", None)]
