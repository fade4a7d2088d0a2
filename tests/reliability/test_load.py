"""R7, R8 and R14: how long a client holds the event loop while flags arrive and afterwards, and how much memory it takes.

Each load runs in a process of its own, as in the benchmarks.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import PIPE
from time import perf_counter

import msgspec
import pytest

from aioflags import Client, Context, Status
from tests.benchmarks.documents import write
from tests.benchmarks.flagset import large, thousand
from tests.benchmarks.server import running
from tests.benchmarks.timing import LoopWatch
from tests.reliability.kinds import KINDS, make_client, running_server, value_now
from tests.reliability.plugin import Figures
from tests.reliability.scoreboard import FORM, Form, amount
from tests.support.slowness import slowness

pytestmark = [pytest.mark.real_time, pytest.mark.speed, pytest.mark.slow, pytest.mark.timeout(0)]

ROOT = Path(__file__).parents[2]
FLAGS = amount("R14")
ROUNDS = 20
IMPORTS = 5 if FORM is Form.SMOKE else ROUNDS
LAGS = 10 if FORM is Form.SMOKE else ROUNDS
MEGABYTE = 1e6
PEOPLE = [Context(f"person-{number}") for number in range(20)]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """The folder with the flag sets, and the address of a service that serves them."""
    folder = tmp_path_factory.mktemp("flags")
    write(folder, "thousand", thousand())
    write(folder, "large", large(FLAGS, FLAGS // 20))
    with running(folder) as address:
        yield folder, address


def loaded(protocol: str, folder: Path, address: str) -> dict[str, float]:
    """What one load of the flags measured, in a new process."""
    command = [sys.executable, "-m", "tests.benchmarks.worker", "aioflags", "load", protocol, str(folder), address, "0"]
    ran = subprocess.run(command, stdout=PIPE, cwd=ROOT, check=True)
    readings: dict[str, float] = msgspec.json.decode(ran.stdout)
    return {name.removeprefix(f"{protocol} "): value for name, value in readings.items()}


@pytest.mark.holds("RB-R7", "RB-R14")
@pytest.mark.parametrize(
    ("protocol", "longest"),
    [
        pytest.param("fdv2-stream", 0.015, id="FDv2's stream"),
        pytest.param("fdv2-poll", 0.015, id="FDv2's poll"),
        pytest.param("fdv1-poll", 0.25 if FORM is Form.FULL else 0.04, id="one document of FDv1"),
    ],
)
async def test_flags_that_arrive_hold_the_loop_for_milliseconds(
    protocol: str, longest: float, served: tuple[Path, str], figures: Figures
) -> None:
    name = f"loop held, {protocol}"

    async def load() -> dict[str, float]:
        found = await asyncio.to_thread(loaded, protocol, *served)
        figures.worst(f"memory, {protocol}", found["kept"] / MEGABYTE, "MB")
        assert found["kept"] <= 30 * MEGABYTE * FLAGS / 5_000
        return {name: found["block"]}

    await figures.least({name: longest * slowness()}, load, rounds=ROUNDS)


@pytest.mark.holds("RB-R7")
@pytest.mark.parametrize(
    ("kind", "longest"),
    [
        pytest.param("mobile", 0.015, id="evaluated flags by FDv2"),
        pytest.param("flagd", 0.25 if FORM is Form.FULL else 0.04, id="one document of flagd"),
    ],
)
async def test_flags_of_other_clients_hold_the_loop_as_short(kind: str, longest: float, figures: Figures) -> None:
    name = f"loop held, {kind}"
    with running_server(kind, FLAGS) as address:

        async def load() -> dict[str, float]:
            async with LoopWatch() as watch, make_client(kind, address, PEOPLE[0], flush_interval=0) as client:
                assert value_now(client, f"flag-{FLAGS - 1}", PEOPLE[0], -1) == 0
            return {name: watch.longest}

        await figures.least({name: longest * slowness()}, load, rounds=ROUNDS)


@pytest.mark.holds("RB-R14")
def test_flags_that_have_all_been_evaluated_take_twice_the_memory(figures: Figures) -> None:
    clause = {"attribute": "country", "op": "in", "values": ["de", "at", "ch"]}
    rules = [{"id": f"rule-{number}", "variation": 0, "clauses": [clause, clause]} for number in range(3)]
    flag = {"on": True, "variations": [True, False], "offVariation": 1, "fallthrough": {"variation": 0}, "rules": rules}
    document = {"flags": {f"flag-{number}": {**flag, "salt": f"{number}"} for number in range(FLAGS)}}
    Client.local({"flags": {"f": flag}}).variation_nowait("f", PEOPLE[0], False)  # imports what an evaluation needs
    tracemalloc.start()
    try:
        client = Client.local(document)
        loaded = tracemalloc.get_traced_memory()[0]
        for key in document["flags"]:
            assert client.variation_nowait(key, PEOPLE[0], False) is True
        gc.collect()
        used = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    figures.worst("memory, loaded", loaded / MEGABYTE, "MB")
    figures.worst("memory, evaluated", used / MEGABYTE, "MB")
    assert loaded <= 30 * MEGABYTE * FLAGS / 5_000
    assert used <= 60 * MEGABYTE * FLAGS / 5_000


@pytest.mark.holds("RB-R14")
def test_the_import_takes_little_longer_than_that_of_httpx(figures: Figures) -> None:
    def took(module: str) -> float:
        began = perf_counter()
        subprocess.run([sys.executable, "-c", f"import {module}"], check=True)
        return perf_counter() - began

    bare, theirs, ours = (
        min(times) for times in zip(*(map(took, ("sys", "httpx", "aioflags")) for _ in range(IMPORTS)), strict=True)
    )
    figures.worst("import", (ours - bare) / (theirs - bare), "times that of httpx")
    assert ours - bare <= 1.2 * (theirs - bare)


async def lag(seconds: float, work: Callable[[], object]) -> float:
    """How many seconds late a task is at the 99.9th percentile, a thousand times a second; ``work`` runs 100 times a second."""
    found: list[float] = []
    end = perf_counter() + seconds
    while (before := perf_counter()) < end:
        await asyncio.sleep(0.001)
        found.append(perf_counter() - before - 0.001)
        if len(found) % 10 == 0:
            work()
    return statistics.quantiles(found, n=1000)[-1]


@pytest.mark.holds("RB-R8")
@pytest.mark.parametrize("kind", KINDS)
async def test_a_client_with_changes_and_evaluations_hardly_delays_other_tasks(kind: str, figures: Figures) -> None:
    seconds, name = amount("R8"), f"lag added at the 99.9th percentile, {kind}"
    with running_server(kind, flags=100, changes_a_second=20) as address:

        async def added() -> dict[str, float]:
            idle = await lag(seconds, lambda: None)
            async with make_client(kind, address, PEOPLE[0], flush_interval=1) as client:
                busy = await lag(
                    seconds, lambda: [value_now(client, f"flag-{number}", person, -1) for number, person in enumerate(PEOPLE)]
                )
                await client.wait_until(Status.READY, 10)
                assert value_now(client, "flag-0", PEOPLE[0], -1) >= 0
            return {name: busy - idle}

        await figures.least({name: 0.002 * slowness()}, added, rounds=LAGS)
