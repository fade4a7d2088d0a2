"""Races between writers of a store: how often a lost one is repeated, and after which pauses."""

from __future__ import annotations

from typing import Final

__all__ = ["MAX_ATTEMPTS", "pause"]

MAX_ATTEMPTS: Final = 32
"""Attempts of an upsert while other processes write at the same time. Other SDKs make ten, without pauses."""
_FIRST_PAUSE: Final = 0.01
_MAX_PAUSE: Final = 0.5
"""Upper limits, in seconds, of the first pause between two attempts, and of every pause."""


def pause(failures: int, chance: float) -> float:
    """Seconds to wait after ``failures`` lost races: 0 after none, then a random part of a limit that doubles.

    ``chance`` in [0, 1) is that part. The whole pause is random, because processes that start at one moment would meet again.
    120 processes need at most 27 attempts each, with a round trip of 20 ms to Redis.
    """
    return chance * min(_FIRST_PAUSE * 2.0 ** (failures - 1), _MAX_PAUSE) if failures else 0.0
