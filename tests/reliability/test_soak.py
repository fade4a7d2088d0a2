"""R13: what a client holds does not grow while connections are cut, flags change and contexts come that were never seen before."""

from __future__ import annotations

import asyncio
from pathlib import Path
from statistics import median

import pytest

from tests.reliability.kinds import KINDS
from tests.reliability.plot import plot
from tests.reliability.plugin import Figures
from tests.reliability.scoreboard import FORM, Form, amount
from tests.reliability.soak import Sample, slope, soak

PLOT = Path(__file__).parents[2] / "docs" / "explanation" / "soak.svg"
MEGABYTE = 1e6


@pytest.mark.real_time
@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.holds("RB-R13")
async def test_memory_descriptors_tasks_and_timers_do_not_grow(figures: Figures) -> None:
    seconds = amount("R13")
    soaks = dict(zip(KINDS, await asyncio.gather(*(asyncio.to_thread(soak, kind, seconds) for kind in KINDS)), strict=True))
    for kind, samples in soaks.items():
        check(kind, samples, seconds, figures)
    if FORM is Form.FULL:
        memory = {kind: [(sample.at / 60, sample.memory / MEGABYTE) for sample in samples] for kind, samples in soaks.items()}
        PLOT.write_text(plot(memory, x="minutes", y="MB of memory"), encoding="utf-8")


def check(kind: str, samples: list[Sample], seconds: int, figures: Figures) -> None:
    """Samples of the first third are the warm-up, which those of the last third are compared with."""
    warm, late = samples[: len(samples) // 3], samples[len(samples) // 3 :]
    assert late[-1].reconnects >= seconds // 60
    grown = slope([(sample.at, float(sample.memory)) for sample in late]) * 3600 / MEGABYTE
    peak = max(sample.memory for sample in samples) / warm[-1].memory
    figures.total("evaluations", late[-1].evaluations)
    figures.total("reconnects", late[-1].reconnects)
    figures.worst(f"{kind}: descriptors", max(sample.descriptors for sample in late))
    figures.worst(f"{kind}: tasks", max(sample.tasks for sample in late))
    if FORM is Form.FULL:
        figures.worst(f"{kind}: slope", grown, "MB/h")
        assert grown <= 0.2
    assert peak <= 1.3
    # A connection that ends while the next one is opened holds a descriptor, a task and two timers more.
    # What leaks stays, so that the median grows with each reconnect.
    for name, slack in (("descriptors", 2), ("tasks", 3), ("timers", 4), ("threads", 1)):
        first, last = (median(getattr(sample, name) for sample in part) for part in (warm, samples[-len(warm) :]))
        assert last <= first + slack, (kind, name, first, last)
    # A number of blocks that grows by one with each reconnect, each change or each context is a leak. The lowest number counts:
    # there are more blocks while events wait for their delivery or for a connection.
    halves = late[: len(late) // 2], late[len(late) // 2 :]
    first, last = (min(sample.blocks for sample in half) for half in halves)
    assert last - first < 0.5 * (late[-1].reconnects - late[0].reconnects) + 2_000, (kind, first, last)
