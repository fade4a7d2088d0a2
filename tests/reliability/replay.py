"""replayable: the same random numbers for the same seed, and the command that tries a seed again."""

from __future__ import annotations

import logging
import random
from collections.abc import Generator
from contextlib import contextmanager

from tests.reliability.scoreboard import FORM, Form

__all__ = ["replayable"]


@contextmanager
def replayable(seed: int, test: str, *, count: int = 1) -> Generator[None, None, None]:
    """In a loop over seeds, around the work for one. ``test``: the path of its file. ``count``: seeds of one run.

    Clients take their jitter from the shared generator of :mod:`random`. The full form logs nothing, because pytest keeps all log
    records of a test: gigabytes after a thousand seeds. A replay logs.
    """
    random.seed(seed)
    if FORM is Form.FULL:
        logging.disable()
    try:
        yield
    except Exception as error:
        error.add_note(f"seed {seed}; replay: AIOFLAGS_SEED={seed} AIOFLAGS_SEEDS={count} pytest {test}")
        raise
    finally:
        logging.disable(logging.NOTSET)
