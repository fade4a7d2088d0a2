"""The recipes of queues.md: real workers on a real Redis. They price users for a program that sends jobs."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from aioflags.devserver import Endpoint
from aioflags.testing import FlagsService
from tests.recipes.recipe import PATIENCE, PAUSE, Program, Recipe, page, until_tracked

pytestmark = [
    pytest.mark.real_time,
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork"),
]

ARQ = os.environ.get("AIOFLAGS_ARQ_PYTHON")
"""A Python with aioflags and arq, which needs an older redis-py than taskiq-redis and Celery: nox -s arq."""
WORKERS = [
    pytest.param("taskiq worker taskiq_jobs:broker --workers 2", "taskiq_sender.py", 2, sys.executable, id="taskiq"),
    pytest.param("celery -A celery_jobs worker --concurrency 2", "celery_sender.py", 2, sys.executable, id="Celery, prefork"),
    pytest.param("celery -A celery_jobs worker --pool solo", "celery_sender.py", 1, sys.executable, id="Celery, solo"),
    pytest.param(
        "celery -A celery_jobs_in_threads worker --pool threads --concurrency 2",
        *("celery_sender.py", 1, sys.executable),
        id="Celery, threads",
    ),
    pytest.param(
        "arq arq_jobs.WorkerSettings",
        *("arq_sender.py", 1, ARQ or ""),
        id="arq",
        marks=pytest.mark.skipif(ARQ is None, reason="arq needs redis<6, taskiq-redis and Celery a newer one: run nox -s arq"),
    ),
]


async def until_all_are(sender: Program, price: str, processes: int) -> set[str]:
    """The processes, as soon as so many of them answer with this price."""
    seen: set[str] = set()
    async with asyncio.timeout(PATIENCE):
        while len(seen) < processes:
            answers = [answer.split(":") for answer in await sender.answer("anna anna anna anna")]
            seen |= {process for process, shown in answers if shown == price}
            await asyncio.sleep(PAUSE)
    return seen


@pytest.mark.parametrize(("command", "sending", "processes", "python"), WORKERS)
async def test_each_process_of_a_worker_has_a_client_that_follows_flags_and_sends_its_events(
    command: str, sending: str, processes: int, python: str, flags_service: FlagsService, redis_url: str, tmp_path: Path
) -> None:
    assert f"`{command}`" in page("queues.md")
    flags_service.set("discount", 10)
    recipe = Recipe(tmp_path, flags_service, "queues.md", "synchronous-programs.md")
    addresses = {"REDIS_URL": redis_url, "CELERY_BROKER_URL": redis_url, "CELERY_RESULT_BACKEND": redis_url}
    async with (
        recipe.running("-m", *command.split(), python=python, **addresses) as worker,
        recipe.running(sending, python=python, **addresses) as sender,
    ):
        before = await until_all_are(sender, "90", processes)
        await flags_service.until_streaming(processes, timeout=PATIENCE)
        flags_service.set("discount", 20)
        assert await until_all_are(sender, "80", processes) == before
        assert flags_service.state.open_streams[Endpoint.STREAM] == processes  # none for the sender, none for a parent
        users = [f"user-{number}" for number in range(8)]
        await sender.answer(" ".join(users))
        await sender.end(None)
        await worker.end()
    await until_tracked(flags_service, users)
    assert flags_service.state.open_streams[Endpoint.STREAM] == 0


async def test_jobs_of_taskiq_run_in_a_test_without_a_worker(flags_service: FlagsService, tmp_path: Path) -> None:
    flags_service.set("discount", 10)
    recipe = Recipe(tmp_path, flags_service, "queues.md")
    async with recipe.running("taskiq_sender.py") as sender:
        (answer,) = await sender.answer("anna")
        assert answer == f"{sender.process.pid}:90"
        await sender.end(None)
    await until_tracked(flags_service, ["anna"])
