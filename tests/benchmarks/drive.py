"""Runs the workers: a process for each column and round. The order within a round is random."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from tests.benchmarks.columns.base import FlagLocation
from tests.benchmarks.plan import Job
from tests.benchmarks.readings import Reading, Record

_TIMEOUT: Final = 180.0
"""Seconds that a worker may take: many times what the slowest needs."""


def measured(
    jobs: Mapping[str, Sequence[Job]], location: FlagLocation, *, rounds: int, seconds: float, log: Callable[[str], None]
) -> Record:
    """Runs all jobs, kind by kind. Loading and starting take long and vary little, so they get half the rounds.

    ``seconds``: the length of a sample. ``log``: called with a line of text for each round and each failure.
    """
    readings: list[Reading] = []
    failures: list[str] = []
    for kind, all_of_kind in jobs.items():
        turns = rounds if kind in ("evaluate", "events") else (rounds + 1) // 2
        for number in range(turns):
            log(f"{kind}: round {number + 1} of {turns}")
            for job in random.sample(all_of_kind, len(all_of_kind)):
                try:
                    found = _worker(job, location, seconds)
                except (subprocess.SubprocessError, ValueError) as error:
                    failures.append(f"{job.column}, {kind} {job.protocol}, round {number + 1}: {_last_words(error)}")
                    log(failures[-1])
                else:
                    readings += [Reading(number, job.column, measure, value) for measure, value in found.items()]
    return Record(readings, failures)


def _worker(job: Job, location: FlagLocation, seconds: float) -> dict[str, float]:
    # One seed for hashes, so that sets and dictionaries are laid out alike in every process.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")} | {"PYTHONHASHSEED": "0"}
    command = ["-m", "tests.benchmarks.worker", job.column, job.kind, job.protocol]
    done = subprocess.run(
        [sys.executable, *command, str(location.folder), location.service, str(seconds)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT,
        check=True,
    )
    found: dict[str, float] = json.loads(done.stdout.strip().rpartition("\n")[2])
    return found


def _last_words(error: Exception) -> str:
    written = error.stderr if isinstance(error, subprocess.CalledProcessError) else None
    lines = str(written or "").strip().splitlines()
    return lines[-1] if lines else str(error)
