"""Effects: the results of a protocol reader for the events that it read. Sources decide what to do about them.

Source: ``data-system.md`` 2.2 and 2.3; ``architecture.md`` 4.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import msgspec

from aioflags.model.change import ChangeSet
from aioflags.model.result import FallbackDirective

__all__ = ["NOTHING", "Completed", "Effect", "Goodbye", "Malformed", "Nothing", "ServerError"]


class Nothing(msgspec.Struct, frozen=True):
    """The event was stored until the transfer completes, or was ignored."""


class Completed(msgspec.Struct, frozen=True):
    """A transfer is complete, or the server confirmed that the data is up to date (a change set of kind ``NONE``)."""

    change_set: ChangeSet


class Goodbye(msgspec.Struct, frozen=True):
    """The server is about to close the connection. Buffered changes are discarded. ``reason`` may be empty."""

    reason: str
    directive: FallbackDirective | None


class ServerError(msgspec.Struct, frozen=True):
    """The server aborted the transfer. Buffered changes are discarded. ``reason`` may be empty."""

    reason: str


class Malformed(msgspec.Struct, frozen=True):
    """The event is invalid, and so is its transfer. ``message`` has the place and the problem."""

    message: str


Effect: TypeAlias = Nothing | Completed | Goodbye | ServerError | Malformed

NOTHING: Final = Nothing()
