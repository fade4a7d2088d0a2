"""Policy: the limits that the supervisor is given. Durations are in seconds.

Source: ``data-system.md`` 5.5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from aioflags.model.defaults import MAX_PATIENCE, PATIENCE
from aioflags.transport.backoff import delay

__all__ = ["SERVER", "Policy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How long the supervisor waits, and for what.

    ``startup``: from the start of its tenure to its first ``VALID``. ``interruption``: since it stopped being ``VALID``.
    ``recovery``: for how long one that is not the first has to be ``VALID`` before the first gets another chance.
    ``after_rejection``: how long to wait for the next tenure after data that could not be applied, alone or not.
    ``after_round``: the first pause after each source has run once and none was ``VALID``; it doubles with each such round, up
    to ``longest_after_round``. ``after_refusal``: the first pause after the last source was refused; it doubles each time that
    happens again, up to ``longest_after_refusal``. The first three limits do not hold for a source that is alone.
    """

    startup: float
    interruption: float
    recovery: float
    after_rejection: float
    after_round: float
    longest_after_round: float
    after_refusal: float
    longest_after_refusal: float

    def pause_after_round(self, rounds: int, *, chance: float) -> float:
        """Seconds after so many rounds in a row without a ``VALID``; ``chance`` in [0, 1) takes off up to half."""
        return delay(self.after_round, rounds, chance=chance, ceiling=self.longest_after_round)

    def pause_after_refusal(self, refusals: int, *, chance: float) -> float:
        """Seconds after no source was left so many times in a row; ``chance`` as above."""
        return delay(self.after_refusal, refusals, chance=chance, ceiling=self.longest_after_refusal)


SERVER: Final = Policy(
    startup=10.0,
    interruption=60.0,
    recovery=300.0,
    after_rejection=30.0,
    after_round=1.0,
    longest_after_round=30.0,
    after_refusal=PATIENCE,
    longest_after_refusal=MAX_PATIENCE,
)
