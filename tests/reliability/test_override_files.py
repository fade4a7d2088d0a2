"""An override file is rewritten beside change sets of the service. All reads are whole and in order; the last is the newest.

It is replaced, written in two halves, broken, or removed. A full run rewrites it a thousand times.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Final

import anyio
import pytest

from aioflags import DataSystem, FileOverrides
from aioflags.runtime.files import replace_file
from tests.reliability.history import History, Reads, Value
from tests.reliability.kinds import value_now, values_now
from tests.reliability.scoreboard import FORM, Form, replayable
from tests.reliability.worlds import ANN, KEYS, Fdv2

REWRITES: Final = {Form.SMOKE: 40, Form.QUICK: 200, Form.FULL: 1_000}
OVERRIDES: Final = ("o1", "o2", "o3", "o4")
"""Flags of the file alone."""
BOTH: Final = "both"
"""A flag of the file and of the service, which always serves 0."""
READERS: Final = 4


class World(Fdv2):
    """A client with an override file, and a history of what the file contained."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file: Path = file
        self.contents: History = History()
        self.overridden: Reads = Reads(self.contents, "overrides")

    def _system(self) -> DataSystem:
        return DataSystem.default().with_overrides(FileOverrides(self.file, watch=False, poll_interval=1))

    def commit(self, changes: Mapping[str, Value]) -> None:
        self.history.commit(changes)
        self._serve({**changes, BOTH: 0})

    def read_now(self) -> None:
        begun, begun_overridden = self.reads.begin(), self.overridden.begin()
        found = values_now(self.client, (*KEYS, *OVERRIDES, BOTH), ANN)
        self.reads.see({key: found[key] for key in KEYS}, begun)
        self.overridden.see({key: found[key] for key in (*OVERRIDES, BOTH)}, begun_overridden)
        begun_overridden = self.overridden.begin()
        self.overridden.see({BOTH: value_now(self.client, BOTH, ANN, None)}, begun_overridden)

    def describe(self, values: Mapping[str, Value]) -> str:
        """Note the next contents of the file before it is written. Returns them."""
        self.contents.commit({**dict.fromkeys(OVERRIDES), BOTH: 0, **values})
        return json.dumps({"flagValues": values})


@pytest.mark.holds("DS-165")
@pytest.mark.timeout(0)
async def test_an_override_file_that_is_rewritten_beside_change_sets_is_served_whole(tmp_path: Path) -> None:
    world = World(tmp_path / "overrides.json")
    world.describe({})
    world.commit(dict.fromkeys(KEYS, 0))
    with replayable(1) as chance:
        async with world.running():
            await world.until_converged(world.slowest)
            async with anyio.create_task_group() as reading:
                for _ in range(READERS):
                    reading.start_soon(read_on, world, Random(chance.random()))
                for number in range(1, REWRITES[FORM] + 1):
                    world.commit(dict.fromkeys(chance.sample(KEYS, chance.randint(1, len(KEYS))), number))
                    await rewrite(world, chance, number)
                    await anyio.sleep(chance.choice([0, 0.001, 0.3, 2]))
                await rewrite_whole(world, dict.fromkeys((*OVERRIDES, BOTH), -1))
                await world.until_converged(world.slowest)
                await anyio.sleep(5)
                assert world.overridden.converged(values_now(world.client, (*OVERRIDES, BOTH), ANN))
                reading.cancel_scope.cancel()
    world.check()
    world.contents.check()
    assert world.contents.reads > REWRITES[FORM] * (100 if FORM is Form.FULL else 1)


async def rewrite(world: World, chance: Random, number: int) -> None:
    """The next contents, in one of the ways in which people and programs write files."""
    values: dict[str, Value] = dict.fromkeys((*OVERRIDES, BOTH), number)
    match chance.randrange(8):
        case 0 | 1:
            await rewrite_whole(world, values)
        case 2:
            world.describe({})
            await asyncio.to_thread(world.file.unlink, missing_ok=True)
        case 3:
            await asyncio.to_thread(world.file.write_text, "{")
        case 4:
            await rewrite_whole(world, {BOTH: number})
        case _:
            await rewrite_in_halves(world, values, chance)


async def rewrite_whole(world: World, values: Mapping[str, Value]) -> None:
    await asyncio.to_thread(replace_file, world.file, world.describe(values).encode())


async def rewrite_in_halves(world: World, values: Mapping[str, Value], chance: Random) -> None:
    text = world.describe(values)
    half = chance.randrange(len(text))
    await asyncio.to_thread(world.file.write_text, text[:half])
    await anyio.sleep(chance.choice([0, 0.05, 2]))
    await asyncio.to_thread(world.file.write_text, text)


async def read_on(world: World, chance: Random) -> None:
    """Read until cancelled. In a full run all readers together read a thousand times a second."""
    while True:
        world.read_now()
        await anyio.sleep(READERS / 1_000 if FORM is Form.FULL else chance.choice([0.001, 0.001, 0.01, 1]))
