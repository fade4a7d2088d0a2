"""Effects: the results of a protocol reader for the events that it read. Sources decide what to do about them.

Source: ``data-system.md`` 2.2 and 2.3; ``architecture.md`` 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from aioflags.model.change import ChangeSet
from aioflags.model.result import FallbackDirective

__all__ = ["NOTHING", "PING", "Completed", "Effect", "Goodbye", "Malformed", "Nothing", "Ping", "ServerError"]


@dataclass(frozen=True, slots=True)
class Nothing:
    """The event was stored until the transfer completes, or was ignored."""


@dataclass(frozen=True, slots=True)
class Completed:
    """A transfer is complete, or the server confirmed that the data is up to date (a change set of kind ``NONE``)."""

    change_set: ChangeSet


@dataclass(frozen=True, slots=True)
class Goodbye:
    """The server is about to close the connection. Buffered changes are discarded. ``reason`` may be empty."""

    reason: str
    directive: FallbackDirective | None


@dataclass(frozen=True, slots=True)
class ServerError:
    """The server aborted the transfer. Buffered changes are discarded. ``reason`` may be empty."""

    reason: str


@dataclass(frozen=True, slots=True)
class Malformed:
    """The event is invalid, and so is its transfer. ``message`` has the place and the problem."""

    message: str


@dataclass(frozen=True, slots=True)
class Ping:
    """The service has newer flags of the context, and sends them in answer to a poll. For client-side SDKs alone."""


Effect: TypeAlias = Nothing | Completed | Goodbye | ServerError | Malformed | Ping

NOTHING: Final = Nothing()
PING: Final = Ping()
