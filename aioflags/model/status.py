"""The public status of a client, in OpenFeature's words, with LaunchDarkly's source state.

Source: ``openfeature.md`` 4.12; ``data-system.md`` 5.8.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, final

from aioflags.model.source_state import ErrorCode, ErrorInfo, SourceState
from aioflags.runtime.reprs import as_loop_time, as_utc, repr_of_set_fields

__all__ = ["OverridesStatus", "Status", "StatusError", "StatusReport", "StoreStatus"]


class Status(StrEnum):
    """How reliable evaluations are."""

    NOT_READY = "NOT_READY"
    """No data yet, or closed."""
    READY = "READY"
    """The data is current."""
    STALE = "STALE"
    """Older data is served while the sources try to get newer data."""
    ERROR = "ERROR"
    """No data arrived within ``start_wait``; or no source is left, and the last data is served."""
    FATAL = "FATAL"
    """A fatal code ended the client; or no source is left, and no data ever arrived. In the second case sources may start again:
    ``StatusReport.next_attempt``."""
    RECONCILING = "RECONCILING"
    """The flags of another context are on their way. Only clients that hold the flags of one context have this status."""


@dataclass(frozen=True, slots=True)
class StatusError:
    """Why a status is ``ERROR`` or ``FATAL``, or ``STALE`` because of unusable data: OpenFeature's code and a message."""

    code: ErrorCode
    message: str

    def __repr__(self) -> str:
        return repr_of_set_fields(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusReport:
    """The status of a client after one change.

    ``seq`` counts the reports. ``since`` is when the status began, on the event loop's clock; ``source_since`` is when the source
    state began, in Unix seconds. ``error`` is why this status is an error; after a start that timed out it has the first failure as
    soon as there is one. ``last_error`` is the newest failure of a source since the start, if any. ``next_attempt`` is when the
    sources start again after the service refused all of them, in Unix seconds; it stays set while that attempt runs. Otherwise it
    is ``None``. ``OFF`` without ``next_attempt`` is final.
    """

    seq: int
    status: Status
    source_state: SourceState
    since: float
    source_since: float
    last_error: ErrorInfo | None = None
    next_attempt: float | None = None
    error: StatusError | None = None

    @property
    def is_final(self) -> bool:
        """Whether all sources ended and will not start again by themselves.

        Only a new client gets newer flag data; a ``MobileClient`` also after ``identify`` and in another connection mode.
        """
        return self.source_state is SourceState.OFF and self.next_attempt is None

    def __repr__(self) -> str:
        return repr_of_set_fields(self, since=as_loop_time, source_since=as_utc, next_attempt=as_utc)


@final  # as ErrorInfo: for type checkers, `status and status.available` is a bool or None
@dataclass(frozen=True, slots=True)
class StoreStatus:
    """The status of a store.

    ``available``: the store answers. ``stale``: its data is older than it should be.
    """

    available: bool
    stale: bool


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class OverridesStatus:
    """The overrides of a client.

    ``flags`` and ``segments``: the keys that are overridden now, each with the path of its file. ``since``: when they last
    changed, in Unix seconds; ``None`` if nothing was overridden yet. ``problem``: why the files cannot be used now; until they can,
    the overrides from before stay in effect.
    """

    flags: Mapping[str, str] = field(default_factory=dict[str, str])
    segments: Mapping[str, str] = field(default_factory=dict[str, str])
    since: float | None = None
    problem: ErrorInfo | None = None

    def __repr__(self) -> str:
        return repr_of_set_fields(self, since=as_utc)


AVAILABLE: Final = StoreStatus(available=True, stale=False)
UNAVAILABLE: Final = StoreStatus(available=False, stale=False)
"""The status of a store that fails, and of a client without one."""
