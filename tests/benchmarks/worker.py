"""One measurement of one column, in a process of its own.

``python -m tests.benchmarks.worker COLUMN KIND PROTOCOL FOLDER SERVICE SECONDS`` prints the readings as JSON: a value for
each measure. ``SECONDS`` is how long a sample takes.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import subprocess
import sys
import warnings
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Final
from urllib.request import urlopen

from tests.benchmarks.columns.base import Column, FlagLocation
from tests.benchmarks.documents import read_answers
from tests.benchmarks.flagset import CASES, STRANGER, SUBJECT
from tests.benchmarks.footprint import forget_peak, peak_memory, resident_memory, thread_count, wake_ups
from tests.benchmarks.plan import COLUMNS, Job, make, make_event_column
from tests.benchmarks.timing import LoopWatch, least

Readings = Mapping[str, float]
"""By measure; in seconds, in bytes, or as a count."""


_FLUSHES: Final = 5
"""Another process may block the loop as well, so the shortest of this many blocks counts."""


class WrongAnswerError(Exception):
    """A column returns a value that the flag does not have, so its times mean nothing."""


async def evaluate(job: Job, location: FlagLocation, seconds: float) -> Readings:
    """Seconds a call, for each loop of the column; for all flags (E7): seconds a flag."""
    column = make(job.column, location)
    await column.open("thousand", job.protocol)
    try:
        flags = await check(column)
        found = await least(column.loops(), seconds=seconds)
    finally:
        await column.close()
    return {measure: value / flags if measure.startswith("E7") else value for measure, value in found.items()}


async def check(column: Column) -> int:
    """Evaluates every flag for two people with an open column. Returns the number of flags.

    Raises:
        WrongAnswerError: a value is not the right one for the flag and the person.
    """
    answers = read_answers(column.location.folder, "thousand")
    for key, wanted in answers.items():
        for person, right in zip((SUBJECT, STRANGER), wanted, strict=True):
            given = await column.answer(key, person)
            if given is not right and not (right is None and isinstance(given, bool)):
                raise WrongAnswerError(f"{key} for {person.key}: {given!r}, not {right!r}")
    values = await column.values()
    if values is not None:
        wrong = [key for key, (right, _) in answers.items() if right is not None and values.get(key) is not right]
        if wrong or len(values) != len(answers):
            raise WrongAnswerError(f"all flags: {len(values)} values, {len(wrong)} of them wrong")
    return len(answers)


async def events(job: Job, location: FlagLocation, seconds: float) -> Readings:
    """Evaluations with events: seconds for each, how many the service did not receive, and how long a flush blocks the loop."""
    found = await _with_and_without_events(job, location, seconds)
    _received(location)
    column = make_event_column(job.column, location, events=True)
    await column.open("thousand", job.protocol)
    made, began = 0, perf_counter()
    while (took := perf_counter() - began) < 400 * seconds:
        await column.crowded_calls(CASES["E2"], 50)
        made += 50
        await asyncio.sleep(0)
    each = took / made
    await column.flush()
    holds: list[float] = []
    for _ in range(_FLUSHES):
        # Without the flag with prerequisites, because its prerequisites are counted, too.
        for key in read_answers(location.folder, "thousand").keys() - {CASES["E6"]}:
            await column.answer(key, SUBJECT)
            made += 1
        async with LoopWatch() as watch:
            await column.flush()
            await asyncio.sleep(0.1)
        holds.append(watch.longest)
    await column.close()
    return {**found, "E2 events": each, "not received": made - _received(location), "flush": min(holds)}


async def _with_and_without_events(job: Job, location: FlagLocation, seconds: float) -> Readings:
    """Seconds for each call of the simplest flag, with events and without, alternating."""
    columns = {
        name: make_event_column(job.column, location, events=events)
        for name, events in (("E9", True), ("E9 without events", False))
    }
    for column in columns.values():
        await column.open("thousand", job.protocol)
    try:
        calls = {name: partial(column.calls, CASES["E1"]) for name, column in columns.items()}
        # As many samples as in a column without events, where many more loops alternate.
        return await least(calls, samples=200, seconds=seconds)
    finally:
        for column in columns.values():
            await column.close()


def _received(location: FlagLocation) -> int:
    """The number of evaluations that the service has received since the previous call."""
    with urlopen(location.address("thousand") + "/counted") as answer:
        return int(answer.read())


async def load(job: Job, location: FlagLocation, seconds: float) -> Readings:
    """From the construction of a client until it has 10,000 flags. A small load comes first and is not counted."""
    first = make(job.column, location)
    await first.open("thousand", job.protocol)
    await first.close()
    column = make(job.column, location)
    gc.collect()
    forget_peak()
    before = resident_memory()
    async with LoopWatch() as watch:
        started = perf_counter()
        await column.open("large", job.protocol)
        took = perf_counter() - started
    peak = peak_memory()
    gc.collect()
    kept = resident_memory()
    await column.close()
    found = {"ready": took, "kept": kept - before, "peak": peak - before, "block": watch.longest}
    return {f"{job.protocol} {measure}": value for measure, value in found.items()}


async def rest(job: Job, location: FlagLocation, seconds: float) -> Readings:
    """A client that has its flags and nothing to do: the whole process, with an interpreter and an event loop."""
    column = make(job.column, location)
    await column.open("thousand", job.protocol)
    await asyncio.sleep(1)
    gc.collect()
    before = wake_ups()
    await asyncio.sleep(3)
    # One wake-up ends the sleep of this coroutine. It is not the client's.
    found = {"memory": resident_memory(), "threads": thread_count(), "wake-ups": (wake_ups() - before - 1) / 3}
    await column.close()
    return found


async def import_alone(job: Job, location: FlagLocation, seconds: float) -> Readings:
    """Seconds that an import adds to a process, from its start to its end: the least of four, above a bare interpreter's least.

    A module that defers its own imports is fast to import, and its client is slow, so both are measured.
    """
    home = COLUMNS[job.column]
    programs = ["pass", f"import {home.module}", f"from {home.module} import {home.client}"]
    _process(programs[-1])
    bare, module, client = (min(times) for times in zip(*([_process(code) for code in programs] for _ in range(4)), strict=True))
    return {"import": module - bare, "client import": client - bare}


def _process(code: str) -> float:
    started = perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return perf_counter() - started


KINDS: Final[Mapping[str, Callable[[Job, FlagLocation, float], Coroutine[object, object, Readings]]]] = {
    "evaluate": evaluate,
    "load": load,
    "events": events,
    "rest": rest,
    "import": import_alone,
}


def main(column: str, kind: str, protocol: str, folder: str, service: str, seconds: str) -> None:
    """Measures, and prints the readings."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    job, location = Job(column, kind, protocol), FlagLocation(Path(folder), service)
    print(json.dumps(asyncio.run(KINDS[kind](job, location, float(seconds)))))


if __name__ == "__main__":
    main(*sys.argv[1:])
