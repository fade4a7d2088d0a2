"""The recipes of synchronous-programs.md and multiprocessing.md: programs that read users and print their prices."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from aioflags.devserver import Endpoint
from aioflags.testing import FlagsService
from tests.recipes.recipe import PATIENCE, PAUSE, Program, Recipe, until_tracked

pytestmark = [pytest.mark.real_time, pytest.mark.slow]

METHODS = [
    "spawn",
    *(
        pytest.param(method, marks=pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork"))
        for method in ("fork", "forkserver")
    ),
]


async def until_all_are(program: Program, price: str, people: int = 4) -> Iterable[str]:
    """Who answered, as soon as all of them have this price."""
    async with asyncio.timeout(PATIENCE):
        while True:
            answers = [answer.split(":") for answer in await program.answer(" ".join(["anna"] * people))]
            if {shown for _, shown in answers} == {price}:
                return [who for who, _ in answers]
            await asyncio.sleep(PAUSE)


async def test_a_program_of_threads_follows_flags_and_sends_its_events(flags_service: FlagsService, tmp_path: Path) -> None:
    flags_service.set("discount", 10)
    recipe = Recipe(tmp_path, flags_service, "synchronous-programs.md")
    async with recipe.running("-W", "error", "report.py") as program:
        await until_all_are(program, "90")
        await flags_service.until_streaming(1, timeout=PATIENCE)
        flags_service.set("discount", 20)
        await until_all_are(program, "80")
        await program.answer("ben cleo")
        await until_tracked(flags_service, ["ben", "cleo"])  # the program has called flush_and_wait
        await program.end(None)
    assert flags_service.state.open_streams[Endpoint.STREAM] == 0


async def test_a_program_that_forgets_to_stop_ends_and_sends_its_events(flags_service: FlagsService, tmp_path: Path) -> None:
    recipe = Recipe(tmp_path, flags_service, "synchronous-programs.md")
    program_text = "import flags\nfrom aioflags import Context\n\nflags.start()\nflags.client.track('priced', Context('anna'))\n"
    (tmp_path / "forgetful.py").write_text(program_text, encoding="utf-8")
    async with recipe.running("-W", "error", "forgetful.py") as program:
        await program.end(None)
    await until_tracked(flags_service, ["anna"])


@pytest.mark.parametrize("method", METHODS)
async def test_the_processes_of_a_pool_follow_flags_and_send_their_events(
    method: str, flags_service: FlagsService, tmp_path: Path
) -> None:
    flags_service.set("discount", 10)
    recipe = Recipe(tmp_path, flags_service, "multiprocessing.md")
    async with recipe.running("prices.py", method) as program:
        processes = set(await until_all_are(program, "90"))
        async with asyncio.timeout(PATIENCE):
            while len(processes) < 2:
                await asyncio.sleep(PAUSE)
                processes |= set(await until_all_are(program, "90"))
        await flags_service.until_streaming(2, timeout=PATIENCE)
        flags_service.set("discount", 20)
        assert set(await until_all_are(program, "80")) <= processes
        assert str(program.process.pid) not in processes
        users = [f"user-{number}" for number in range(8)]
        await program.answer(" ".join(users))
        await program.end(None)
    await until_tracked(flags_service, users)
    assert flags_service.state.open_streams[Endpoint.STREAM] == 0


@pytest.mark.parametrize("method", METHODS)
async def test_a_process_with_one_job_sends_its_events(method: str, flags_service: FlagsService, tmp_path: Path) -> None:
    flags_service.set("discount", 10)
    recipe = Recipe(tmp_path, flags_service, "multiprocessing.md")
    async with recipe.running("-W", "error", "one_job.py", method, "anna", "ben") as program:
        answers = [(await program.printed())[0].split(":") for _ in range(2)]
        assert [price for _, price in answers] == ["90", "90"]
        assert len({process for process, _ in answers} | {str(program.process.pid)}) == 3
        await program.end(None)
    await until_tracked(flags_service, ["anna", "ben"])
