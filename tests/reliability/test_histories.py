"""R3: eight readers beside 200 change sets. What they read is the server's data, whole, in order, and in the end the newest.

Half of the readers are threads, if the client has the flags. The network is slow at times, resets connections and refuses them.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from random import Random

import anyio
import pytest

from tests.reliability.plugin import Figures
from tests.reliability.scoreboard import batches, replayable
from tests.reliability.worlds import KEYS, WORLDS, HttpWorld, World

CHANGE_SETS = 200
TASKS = THREADS = 4
READS_A_TURN = 20


@pytest.mark.holds("RB-R3")
@pytest.mark.timeout(0)
@pytest.mark.parametrize("seeds", batches("R3"), ids=str)
async def test_readers_see_the_servers_data_whole_and_in_order(seeds: range, figures: Figures) -> None:
    for seed in seeds:
        world = WORLDS[seed % len(WORLDS)]()
        with replayable(seed) as chance:
            await read_beside_changes(world, chance)
        figures.total("reads", world.history.reads)
    figures.total("runs", len(seeds))


async def read_beside_changes(world: World, chance: Random) -> None:
    world.commit(dict.fromkeys(KEYS, 0))
    async with world.running():
        await world.until_converged(world.slowest)
        threads = ReadingThreads(world)
        with threads.running() if world.evaluates_itself else nullcontext():
            async with anyio.create_task_group() as reading:
                for _ in range(TASKS):
                    reading.start_soon(read_on, world, Random(chance.random()))
                for number in range(1, CHANGE_SETS + 1):
                    world.change(chance, number)
                    threads.wake()
                    disturb(world, chance)
                    await anyio.sleep(chance.choice([0, 0, 0, 0.001, 0.01, 0.3, 2, 35]))
                world.start()
                if isinstance(world, HttpWorld):
                    world.network.delay = lambda: 0
                await world.until_converged(world.slowest)
                reading.cancel_scope.cancel()
        await anyio.sleep(1)
    world.check()


def disturb(world: World, chance: Random) -> None:
    """Sometimes something happens to the network."""
    match chance.randrange(20):
        case 0:
            world.reset()
        case 1:
            world.stop()
        case 2 | 3:
            world.start()
        case 4 if isinstance(world, HttpWorld):
            longest = chance.choice([0, 0, 0.1, 5])
            world.network.delay = lambda: chance.random() * longest
        case _:
            pass


async def read_on(world: World, chance: Random) -> None:
    """Read until cancelled."""
    while True:
        await world.read()
        await anyio.sleep(chance.choice([0, 0.001, 0.1, 10]))


class ReadingThreads:
    """Threads that read some times after each change set. They and the event loop take turns much more often than usual."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._turn = threading.Condition()
        self._turns = 0
        self._is_ended = False
        self._errors: list[BaseException] = []

    @contextmanager
    def running(self) -> Generator[None, None, None]:
        """Run until the block ends."""
        threads = [threading.Thread(target=self._read) for _ in range(THREADS)]
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._is_ended = True
            self.wake()
            for thread in threads:
                thread.join()
            sys.setswitchinterval(interval)
        assert self._errors == []

    def wake(self) -> None:
        """Read again."""
        with self._turn:
            self._turns += 1
            self._turn.notify_all()

    def _read(self) -> None:
        turns = 0
        try:
            while not self._is_ended:
                for _ in range(READS_A_TURN):
                    self._world.read_now()
                with self._turn:
                    self._turn.wait_for(lambda seen=turns: self._turns != seen)  # type: ignore[misc]
                    turns = self._turns
        except BaseException as error:  # noqa: BLE001 -- whatever it is, the test reports it
            self._errors.append(error)
