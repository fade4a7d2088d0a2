"""Retries: how often a store repeats an attempt, and after which pauses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["LOST_RACE", "Retries"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """At most ``attempts`` attempts, with random pauses between them, whose limit doubles.

    ``first_pause`` and ``max_pause``: upper limits, in seconds, of the first pause and of every pause.
    """

    attempts: int
    first_pause: float
    max_pause: float

    def pause(self, failures: int, chance: float) -> float:
        """Seconds to wait after ``failures`` failed attempts: 0 after none, then a random part of the limit.

        ``chance`` in [0, 1) is that part. The whole pause is random, because processes that start at one moment would meet again.
        """
        return chance * min(self.first_pause * 2.0 ** (failures - 1), self.max_pause) if failures else 0.0


LOST_RACE: Final = Retries(attempts=32, first_pause=0.01, max_pause=0.5)
"""For an upsert while other processes write at the same time. Other SDKs make ten attempts, without pauses.

120 processes need at most 27 attempts each, with a round trip of 20 ms to Redis.
"""
