"""How long a compiled pattern searches texts that repeat a piece."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from time import thread_time

__all__ = ["LIMIT", "slowest"]

LIMIT = 0.005
"""Seconds that a search may take."""


def slowest(search: Callable[[str], bool], attacks: Iterable[str], lengths: set[int], *, runs: int) -> float:
    """Seconds of the slowest search of texts of these lengths.

    The fastest of some runs counts, because other processes slow the machine down. A search that is fast enough is not run again.
    """
    worst = 0.0
    for attack, ending, length in itertools.product(attacks, ("", "!", "b"), lengths):
        subject = (attack * length)[: length - len(ending)] + ending
        times: list[float] = []
        while len(times) < runs and min(times, default=LIMIT) >= LIMIT / 2:
            began = thread_time()
            search(subject)
            times.append(thread_time() - began)
        worst = max(worst, min(times))
    return worst
