"""Sampling of events by ratio.

Source: ``events.md`` 9.
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["is_drawn"]


def is_drawn(ratio: int | None, chance: Callable[[], float]) -> bool:
    """Whether to keep this event: one in ``ratio`` is kept, all if ``ratio`` is ``None``, none if it is 0 or less.

    ``chance`` returns random numbers in [0, 1).
    """
    return ratio is None or ratio == 1 or (ratio > 1 and chance() * ratio < 1)
