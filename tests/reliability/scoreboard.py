"""The scoreboard of reliability: its lines, their bars, and how much of each line a run does.

A test belongs to line R3 if it holds the rule RB-R3 of ``docs/reference/guarantees/reliability.md``.

A run has a form: ``smoke`` for CI, ``quick``, or ``full``. A full run is a slice: it continues with the seeds after those that
``totals.json`` lists, so that the totals grow from run to run. ``nox -s reliability`` starts all forms. These environment
variables choose:

- ``AIOFLAGS_RELIABILITY``: the form; ``smoke`` if unset.
- ``AIOFLAGS_RELIABILITY_LINES``: the numbers of lines, with commas in between; all if unset.
- ``AIOFLAGS_SEED`` and ``AIOFLAGS_SEEDS``: the first seed, and how many. A failing test prints them for its seed.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from random import Random, seed
from typing import Final

import msgspec


class Form(StrEnum):
    """How much a run does."""

    SMOKE = "smoke"
    QUICK = "quick"
    FULL = "full"


class Line(msgspec.Struct, frozen=True):
    """One line: what is tried, what must hold, and the amount in each form, in ``unit``."""

    what: str
    bar: str
    unit: str = "cases"
    smoke: int = 1
    quick: int = 1
    full: int = 1


class Total(msgspec.Struct, frozen=True):
    """What the full runs of one line did so far. ``next_seed``: where the next one continues."""

    passed: int = 0
    next_seed: int = 0


LINES: Final[dict[str, Line]] = {
    "R2": Line("Fault campaign", "no exception, no wrong value, no client that stays behind", "faults", 40, 1_000, 2_000),
    "R3": Line("History of reads beside changes", "no torn, older or lost state", "runs", 14, 70, 1_000),
    "R4": Line("Recovery", "1.5 s after a reset, 2.5 after a restart, 31 after half an hour or a day", "seeds", 4, 100, 10_000),
    "R5": Line("Reconnects", "at most 245 attempts an hour, 8 in the first extended hour; no herd", "hours", 1, 6, 24),
    "R6": Line("Silent peers", "noticed within 2.5 heartbeats, at most 5 minutes; flagd 10", "connections", 4, 100, 2_000),
    "R7": Line("Loop held by 5,000 flags", "15 ms by FDv2, 40 ms by one document of FDv1 or flagd; 50 ms a megabyte for one value"),
    "R8": Line("Steady lag", "2 ms more at the 99.9th percentile", "seconds", 2, 60, 3_600),
    "R10": Line("Start", "within its limit and 50 ms; a refusal within 100 ms of the answer"),
    "R11": Line("Close", "within its limit and 50 ms, with nothing left", "cases", 60, 200, 2_000),
    "R12": Line("Cancellation at each await", "usable or closed, never between", "awaits", 10, 50, 1_000),
    "R13": Line("Memory in a soak", "at most 0.2 MB an hour; descriptors, tasks and timers flat", "seconds", 10, 180, 3_600),
    "R14": Line("Footprint", "30 MB for 5,000 flags; import 1.2 times that of httpx", "flags", 5_000, 5_000, 50_000),
    "R15": Line("Hostile bytes", "no exception, 50 ms a megabyte, no half of a change", "inputs of each kind", 50, 1_000, 20_000),
    "R16": Line(
        "Bombs",
        "memory grows by the limit and 16 MB at most; rejected in 1 s for each 16 MB; old data serve",
        "MB of limit",
        4,
        16,
        64,
    ),
    "R17": Line("Slow patterns", "5 ms for a subject of 4 kB; RE2's answers", "patterns", 200, 200, 20_000),
    "R18": Line("Cycles and depth", "10 ms, an answer with MALFORMED_FLAG", "graphs", 30, 100, 10_000),
    "R20": Line("Events are conserved", "sent, dropped and pending are what was recorded", "seeds", 100, 200, 2_000),
    "R21": Line("Stores that fail", "memory serves; the store is filled again within 5 s", "operations", 100, 300, 10_000),
    "R22": Line("Disk store", "never a torn file or one of another environment", "kills", 100, 300, 2_000),
    "R23": Line("Forks and workers", "a child has its own client, or a clear error", "forks", 2, 32, 500),
    "R24": Line("Threads", "no torn read, no override of another task", "seconds a client", 1, 15, 300),
    "R25": Line("Keys stay secret", "the key stands in one header alone"),
    "R26": Line("Transport security", "all refused, the key never sent"),
    "R27": Line("Development server under attack", "no write without a token, stays up", "requests", 3_000, 10_000, 100_000),
    "R30": Line("A fleet", "99 of 100 changes within 250 ms; all equal 5 s after a fault, flagd 5.5 s", "seconds", 5, 120, 600),
}
"""The lines by their number."""

FORM: Final = Form(os.environ.get("AIOFLAGS_RELIABILITY", Form.SMOKE))
TOTALS: Final = Path(__file__).with_name("totals.json")


def read_totals(path: Path = TOTALS) -> dict[str, Total]:
    """What the full runs did so far."""
    return msgspec.json.decode(path.read_bytes(), type=dict[str, Total]) if path.exists() else {}


def amount(line: str) -> int:
    """How much this run does of a line."""
    of_form: int = getattr(LINES[line], FORM)
    return int(os.environ.get("AIOFLAGS_SEEDS", of_form))


def seeds(line: str) -> range:
    """The seeds of this run: in full form those after the last full run."""
    after = read_totals().get(line, Total()).next_seed if FORM is Form.FULL else 0
    first = int(os.environ.get("AIOFLAGS_SEED", after))
    return range(first, first + amount(line))


def batches(line: str, count: int = 8) -> Iterable[range]:
    """The seeds in at most ``count`` parts: one test each, so that processes share them."""
    every = seeds(line)
    size = -(-len(every) // count)
    return [every[start : start + size] for start in range(0, len(every), size)]


@contextmanager
def replayable(number: int, *, count: int = 1) -> Generator[Random, None, None]:
    """The random numbers of a seed. A failure of the block notes the command that tries the seed again, in a run of ``count``.

    Clients take their jitter from the shared generator of :mod:`random`. The full form logs nothing, because pytest keeps all log
    records of a test: gigabytes after a thousand seeds. A replay logs.
    """
    seed(number)
    if FORM is Form.FULL:
        logging.disable()
    try:
        yield Random(number)
    except BaseException as error:
        test = os.environ.get("PYTEST_CURRENT_TEST", "").partition("::")[0]
        error.add_note(f"seed {number}; replay: AIOFLAGS_SEED={number} AIOFLAGS_SEEDS={count} pytest {test}")
        raise
    finally:
        logging.disable(logging.NOTSET)
