"""Statuses: the one that OpenFeature knows, the source state that LaunchDarkly knows, and how one follows from the other.

The status is derived from facts and stored nowhere else. Source: ``openfeature.md`` 4.12; ``data-system.md`` 5.8.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import final

from aioflags.model.result import ErrorInfo, SourceState
from aioflags.runtime.reprs import repr_of_set_fields

__all__ = ["Status", "StatusReport", "StoreStatus", "derive"]


class Status(StrEnum):
    """What evaluations can be trusted to serve."""

    NOT_READY = "NOT_READY"
    READY = "READY"
    STALE = "STALE"
    ERROR = "ERROR"
    FATAL = "FATAL"


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusReport:
    """The status of a client at one step of its life.

    ``seq`` counts the steps. ``since`` is when the status began, on the event loop's clock; ``source_since`` when the
    source state began, in Unix seconds. ``last_error`` is the newest failure of a source since the start, if any.
    ``next_attempt``: when the sources start again, in Unix seconds, while none is left since the service refused them; it
    stays while that attempt runs. ``None`` in any other state, and if they do not start again: ``OFF`` is the last state then.
    """

    seq: int
    status: Status
    source_state: SourceState
    since: float
    source_since: float
    last_error: ErrorInfo | None = None
    next_attempt: float | None = None

    @property
    def is_final(self) -> bool:
        """Whether no source is left and none will start again: only a new client gets newer flag data."""
        return self.source_state is SourceState.OFF and self.next_attempt is None

    def __repr__(self) -> str:
        return repr_of_set_fields(self)


@final  # as ErrorInfo is: a value that may be None is tested by `status and status.available`
@dataclass(frozen=True, slots=True)
class StoreStatus:
    """How a store is doing.

    ``available``: it answers. ``stale``: what it has is older than it should be.
    """

    available: bool
    stale: bool


def derive(source_state: SourceState, *, has_data: bool, start_limit_passed: bool = False) -> Status:
    """Which status a source state means. Grace never ends for LaunchDarkly: interrupted data stay ``STALE``."""
    match source_state, has_data:
        case SourceState.VALID, _:
            return Status.READY
        case SourceState.OFF, _:
            return Status.ERROR if has_data else Status.FATAL
        case _, True:
            return Status.STALE
        case _:
            return Status.ERROR if start_limit_passed else Status.NOT_READY
