"""replayable: adds to an error the command that tries the same seed again."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

__all__ = ["replayable"]


@contextmanager
def replayable(seed: int, test: str) -> Generator[None, None, None]:
    """In a loop over seeds, around the work for one. ``test``: its path, and ``::name`` or more of its id."""
    try:
        yield
    except Exception as error:
        error.add_note(f"seed {seed}; replay: AIOFLAGS_SEED={seed} AIOFLAGS_SEEDS=1 pytest {test}")
        raise
