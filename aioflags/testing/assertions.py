"""What the assertions of :class:`FlagRecorder` and :class:`EventRecorder` share: comparing values, and listing calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from aioflags.model.values import same_json

__all__ = ["ANY", "listed", "matches"]

T = TypeVar("T")

ANY: Final = object()
"""An assertion accepts every value."""
_MAX_SHOWN: Final = 20


def matches(value: object, expected: object) -> bool:
    """Whether ``expected`` is :data:`ANY`, or both are the same JSON."""
    return expected is ANY or same_json(value, expected)


def listed(title: str, calls: Sequence[T], line: Callable[[T], str]) -> str:
    """The title and a line for each of the last calls, for the message of a failure."""
    lines = [title, *map(line, calls[-_MAX_SHOWN:])]
    if len(calls) > _MAX_SHOWN:
        lines.insert(1, f"… {len(calls) - _MAX_SHOWN} before")
    return "\n  ".join(lines)
