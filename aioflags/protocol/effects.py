"""What a reader made of what it was fed. An effect is a value; what to do about it, sources decide.

Source: ``data-system.md`` 2.2 and 2.3; ``architecture.md`` 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from aioflags.model.change import ChangeSet
from aioflags.model.result import FallbackDirective

__all__ = ["NOTHING", "Completed", "Effect", "Goodbye", "Malformed", "Nothing", "ServerError"]


@dataclass(frozen=True, slots=True)
class Nothing:
    """It was noted, or it was none of our business."""


@dataclass(frozen=True, slots=True)
class Completed:
    """A transfer is complete, or the server says that we are up to date: then the change set is of kind ``NONE``."""

    change_set: ChangeSet


@dataclass(frozen=True, slots=True)
class Goodbye:
    """The server is about to leave; what was buffered is forgotten. ``reason`` may be empty."""

    reason: str
    directive: FallbackDirective | None


@dataclass(frozen=True, slots=True)
class ServerError:
    """The server gave up on the transfer; what was buffered is forgotten. ``reason`` may be empty."""

    reason: str


@dataclass(frozen=True, slots=True)
class Malformed:
    """It cannot be used, and nor can what came before it in its transfer. ``message`` says where and why."""

    message: str


Effect: TypeAlias = Nothing | Completed | Goodbye | ServerError | Malformed

NOTHING: Final = Nothing()
