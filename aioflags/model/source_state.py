"""SourceState: the state of a source of flag data. ErrorInfo: one of its failures. ErrorCode: OpenFeature's word for it.

Source: ``data-system.md`` 4; ``openfeature.md`` 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import final
from urllib.parse import urlsplit

from aioflags.runtime.logs import printable
from aioflags.runtime.reprs import as_utc, repr_of_set_fields

__all__ = ["ErrorCode", "ErrorInfo", "FailureKind", "SourceState"]


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
