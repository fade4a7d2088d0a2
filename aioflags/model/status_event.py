"""Event: one thing that happened to a client, in OpenFeature's words.

Source: ``openfeature.md`` 4.2; ``flagd.md`` 3.8.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from aioflags.model.metadata import NO_METADATA, FlagMetadata
from aioflags.model.source_state import ErrorCode
from aioflags.model.status import StatusReport
from aioflags.runtime.reprs import repr_of_set_fields

__all__ = ["Event", "EventKind"]


class EventKind(StrEnum):
    """What happened."""

    READY = "READY"
    """The status became ``READY``."""
    STALE = "STALE"
    """The status became ``STALE``."""
    ERROR = "ERROR"
    """The status became ``ERROR`` or ``FATAL``."""
    CONFIGURATION_CHANGED = "CONFIGURATION_CHANGED"
    """Flags changed."""
    RECONCILING = "RECONCILING"
    """The flags of another context are on their way."""
    CONTEXT_CHANGED = "CONTEXT_CHANGED"
    """The flags of another context have arrived."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event. The status and the data are at least as new as ``report`` when a handler receives it.

    ``seq`` is that of the report: events of one step share it. ``flags_changed`` has the keys of a ``CONFIGURATION_CHANGED``;
    ``None`` there: any flag may have changed. ``metadata`` is that of the flag set. ``missed`` counts the events that this observer
    lost before this one, because it was too slow.
    """

    seq: int
    kind: EventKind
    report: StatusReport
    flags_changed: tuple[str, ...] | None = None
    message: str | None = None
    error_code: ErrorCode | None = None
    metadata: FlagMetadata = NO_METADATA
    missed: int = 0

    def __repr__(self) -> str:
        return repr_of_set_fields(self)
