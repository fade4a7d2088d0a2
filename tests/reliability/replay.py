"""replayable: the same random numbers for the same seed, and the command that tries a seed again."""

from __future__ import annotations

import random
from collections.abc import Generator
from contextlib import contextmanager

__all__ = ["replayable"]


@contextmanager
def replayable(seed: int, test: str, *, count: int = 1) -> Generator[None, None, None]:
    """In a loop over seeds, around the work for one. ``test``: the path of its file. ``count``: seeds of one run.

    Clients take their jitter from the shared generator of :mod:`random`.
    """
    random.seed(seed)
    try:
        yield
    except Exception as error:
        error.add_note(f"seed {seed}; replay: AIOFLAGS_SEED={seed} AIOFLAGS_SEEDS={count} pytest {test}")
        raise
