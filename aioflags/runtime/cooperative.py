"""Work that pauses: a generator that does a slice at a time, so that whoever runs it may let others have a turn."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeAlias, TypeVar

__all__ = ["Cooperative", "run_at_once"]

T = TypeVar("T")

Cooperative: TypeAlias = Generator[None, None, T]
"""Yields after every slice, and returns what came of it all."""


def run_at_once(work: Cooperative[T]) -> T:
    """What comes of it, without a pause."""
    while True:
        try:
            next(work)
        except StopIteration as done:
            result: T = done.value
            return result
