"""R24: threads that evaluate while flags change see whole change sets in order; tasks see their own overrides alone."""

from __future__ import annotations

import asyncio
import threading
from typing import Final

import pytest

from aioflags import Context
from aioflags.testing import MemoryClient, MemoryMobileClient, overrides
from tests.reliability.kinds import KINDS, AnyClient, address_of, make_client, make_server, serve, value_now, values_now
from tests.reliability.plugin import Figures
from tests.reliability.scoreboard import amount
from tests.support.scripted_clients import all_tasks

THREADS: Final = 64
PAUSE: Final = 0.005
"""Between two rounds of a thread. Without it, the event loop would wait for 64 threads at each of its steps."""
TASKS: Final = 5_000
FLAGS: Final = 20
KEYS: Final = [f"flag-{number}" for number in range(FLAGS)]
ANNA: Final = Context("anna")


class Reader(threading.Thread):
    """Evaluates until it is told to stop. ``wrong`` has what must not happen."""

    def __init__(self, client: AnyClient, stopped: threading.Event) -> None:
        super().__init__(name="reader")
        self._client, self._stopped = client, stopped
        self.reads = 0
        self.wrong: list[object] = []

    def run(self) -> None:
        """One evaluation of all flags, and one of each, again and again."""
        newest = 0
        try:
            while not self._stopped.wait(PAUSE) and not self.wrong:
                values = set(values_now(self._client, KEYS, ANNA).values())
                if len(values) != 1:
                    self.wrong.append(f"torn: {values}")
                for key in KEYS:
                    value = value_now(self._client, key, ANNA, -1)
                    if value < newest:
                        self.wrong.append(f"older: {value} after {newest}")
                    newest = value
                self.reads += 1 + len(KEYS)
        except BaseException as error:  # noqa: BLE001 -- whatever an evaluation raises
            self.wrong.append(error)


@pytest.mark.holds("RB-R24")
@pytest.mark.real_time
@pytest.mark.parametrize("kind", KINDS)
async def test_threads_read_whole_change_sets_in_order(kind: str, figures: Figures) -> None:
    async with make_server(kind, FLAGS) as server, make_client(kind, address_of(server), ANNA) as client:
        stopped = threading.Event()
        readers = [Reader(client, stopped) for _ in range(THREADS)]
        for reader in readers:
            reader.start()
        end = asyncio.get_running_loop().time() + amount("R24")
        version = 0
        try:
            while asyncio.get_running_loop().time() < end:
                version += 1
                serve(server, dict.fromkeys(KEYS, version))
                await asyncio.sleep(0.02)
            async with asyncio.timeout(60):
                while set(values_now(client, KEYS, ANNA).values()) != {version}:
                    await asyncio.sleep(0.02)
        finally:
            stopped.set()
            for reader in readers:
                await asyncio.to_thread(reader.join)
    assert [reader.wrong for reader in readers if reader.wrong] == []
    assert all(reader.reads for reader in readers)
    figures.total("evaluations in threads", sum(reader.reads for reader in readers))
    figures.total("change sets", version)


@pytest.mark.holds("RB-R24")
async def test_tasks_see_their_own_overrides_alone(figures: Figures) -> None:
    async with MemoryClient({"flagValues": {"f": -1}}) as client, MemoryMobileClient({"flagValues": {"f": -1}}) as mobile:

        async def read(number: int) -> None:
            mine = -1 if number % 10 == 0 else number
            with overrides({} if mine == -1 else {"f": number}):
                for _ in range(3):
                    assert client.variation_nowait("f", ANNA, -2) == mine
                    assert mobile.variation("f", -2) == mine
                    await asyncio.sleep(number % 7)
                    assert await client.variation("f", ANNA, -2) == mine
                    assert client.flags_nowait(ANNA).variation("f", -2) == mine

        async with asyncio.TaskGroup() as tasks:
            for number in range(TASKS):
                tasks.create_task(read(number))
        assert client.variation_nowait("f", ANNA, -2) == -1
    assert all_tasks() == set()
    figures.total("tasks with overrides", TASKS)
