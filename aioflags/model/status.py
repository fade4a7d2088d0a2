"""The public status of a client, in OpenFeature's words, with LaunchDarkly's source state.

Source: ``openfeature.md`` 4.12; ``data-system.md`` 5.8.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, final
from urllib.parse import urlsplit

from aioflags.model.detail import NO_METADATA, FlagMetadata
from aioflags.runtime.logs import printable
from aioflags.runtime.value_classes import as_loop_time, as_utc, repr_of_set_fields

# -- SourceState: the state of a source of flag data. ErrorInfo: one of its failures. ErrorCode: OpenFeature's word for it.
# Source: ``data-system.md`` 4; ``openfeature.md`` 1.


class SourceState(StrEnum):
    """The state of a client's data sources. An update of one source is ``VALID``, ``INTERRUPTED`` or ``OFF``."""

    INITIALIZING = "INITIALIZING"
    VALID = "VALID"
    INTERRUPTED = "INTERRUPTED"
    OFF = "OFF"
    SET_OFFLINE = "SET_OFFLINE"
    """``VALID`` without a source: the program set its mobile client offline."""
    NETWORK_UNAVAILABLE = "NETWORK_UNAVAILABLE"
    """``VALID`` without a source: the program reported that the network is unavailable."""
    BACKGROUND_DISABLED = "BACKGROUND_DISABLED"
    """``VALID`` without a source: the program is in the background, where its mobile client gets no updates."""

    @property
    def is_valid(self) -> bool:
        """Whether the data are as new as they can be: ``VALID``, or no source is to run."""
        return self in _VALID


_VALID = frozenset({SourceState.VALID, SourceState.SET_OFFLINE, SourceState.NETWORK_UNAVAILABLE, SourceState.BACKGROUND_DISABLED})


class FailureKind(StrEnum):
    """The kind of a source's failure."""

    UNKNOWN = "UNKNOWN"
    NETWORK_ERROR = "NETWORK_ERROR"
    ERROR_RESPONSE = "ERROR_RESPONSE"
    INVALID_DATA = "INVALID_DATA"
    STORE_ERROR = "STORE_ERROR"


class ErrorCode(StrEnum):
    """OpenFeature's code of an error of a client."""

    PROVIDER_NOT_READY = "PROVIDER_NOT_READY"
    """No flag data yet."""
    PROVIDER_FATAL = "PROVIDER_FATAL"
    """No attempt with this configuration can succeed."""
    PARSE_ERROR = "PARSE_ERROR"
    """Flag data arrived and cannot be used."""
    GENERAL = "GENERAL"
    """Any other error."""


# Final: type checkers then know that an ErrorInfo is never false, and that `error and error.message` is a string or None.
@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorInfo:
    """One failure of a source. ``str`` gives the message with the address in one line, for a log.

    ``status_code`` is 0 without an HTTP response. ``time`` is in Unix seconds. ``address`` is the origin and path of the request,
    without query and password; ``None`` for a source that sends no requests. ``code`` is OpenFeature's code, if the source knows a
    better one than the status has by itself. ``is_fatal``: no attempt with this configuration can succeed. ``is_minor``: not
    worth a warning, because it was planned, or belongs to an outage that was reported before.
    """

    kind: FailureKind
    message: str
    time: float
    status_code: int = 0
    address: str | None = None
    code: ErrorCode | None = None
    is_fatal: bool = False
    is_minor: bool = False

    def __str__(self) -> str:
        if self.address is None:
            return printable(self.message)
        # Messages of network failures end with host and port. The address repeats them.
        host = urlsplit(self.address).netloc
        return f"{printable(self.message.removesuffix(f' ({host})'))} ({printable(self.address)})"

    def __repr__(self) -> str:
        return repr_of_set_fields(self, time=as_utc)


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


# -- Event: one thing that happened to a client, in OpenFeature's words.
# Source: ``openfeature.md`` 4.2; ``flagd.md`` 3.8.


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

    ``seq`` is the number of the report: events of one step share it. ``flags_changed`` has the keys of a ``CONFIGURATION_CHANGED``;
    ``None`` there: any flag may have changed. ``metadata`` comes from the flag set. ``missed`` counts the events that this observer
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


# -- The result of a call that gives a client-side client its context.
# Source: ``client-side.md`` 5.1 and 5.2.


DEFAULT_ENVIRONMENT: Final = "default"
"""The name of the environment of a mobile client itself, beside the names of its secondary keys."""


class IdentifyStatus(StrEnum):
    """How a call of ``start`` or ``identify`` ended."""

    COMPLETED = "completed"
    """The client has the flags of the context."""
    ERROR = "error"
    """It cannot get them, or the context cannot be used."""
    TIMEOUT = "timeout"
    """The time of the call is over. The client keeps trying to get them."""
    SHED = "shed"
    """A newer call came while this one was waiting for its turn, so it was dropped."""


@dataclass(frozen=True, slots=True)
class IdentifyResult:
    """How a call of ``start`` or ``identify`` ended. ``error``: why, in words, if it did not complete.

    For a further environment of a client it begins with the name of the environment.
    """

    status: IdentifyStatus
    error: str | None = None

    def __repr__(self) -> str:
        return repr_of_set_fields(self)
