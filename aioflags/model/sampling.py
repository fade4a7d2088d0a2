"""Sampling: one in so many. Source: ``events.md`` 9."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["is_drawn"]


def is_drawn(ratio: int | None, chance: Callable[[], float]) -> bool:
    """Whether this one is among those that count: one in ``ratio``, all of them without one, none where it is 0 or less.

    ``chance`` gives numbers in [0, 1).
    """
    return ratio is None or ratio == 1 or (ratio > 1 and chance() * ratio < 1)
