"""ConnectionInfo: how a client for a mobile key is connected, and what its sources reported last.

Source: ``client-side.md`` 6.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, Literal

from aioflags.model.status import ErrorInfo, FailureKind
from aioflags.runtime import clock
from aioflags.runtime.value_classes import repr_of_set_fields


class FailureType(StrEnum):
    """The kind of the last failure, in the words of LaunchDarkly's SDK for Android."""

    NETWORK_FAILURE = "NETWORK_FAILURE"
    UNEXPECTED_RESPONSE_CODE = "UNEXPECTED_RESPONSE_CODE"
    INVALID_RESPONSE_BODY = "INVALID_RESPONSE_BODY"
    UNKNOWN_ERROR = "UNKNOWN_ERROR"


_TYPES: Final[Mapping[FailureKind, FailureType]] = {
    FailureKind.NETWORK_ERROR: FailureType.NETWORK_FAILURE,
    FailureKind.ERROR_RESPONSE: FailureType.UNEXPECTED_RESPONSE_CODE,
    FailureKind.INVALID_DATA: FailureType.INVALID_RESPONSE_BODY,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceInfo:
    """What one source reported last. ``last_success`` and ``last_failure`` are in Unix seconds; ``None``: never."""

    last_success: float | None = None
    last_failure: float | None = None
    last_error: ErrorInfo | None = None

    def __repr__(self) -> str:
        return repr_of_set_fields(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class FallbackInfo:
    """Whether the service directed the client off FDv2.

    Args:
        engaged: it did, so that the client uses FDv1.
        since: when, in Unix seconds.
        origin: where the directive stood.
        ttl: for how many seconds it holds, as the service sent it.
    """

    engaged: bool
    since: float | None = None
    origin: Literal["header", "goodbye"] | None = None
    ttl: float | None = None

    def __repr__(self) -> str:
        return repr_of_set_fields(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionInfo:
    """How a client is connected at one moment. Times are in Unix seconds.

    Args:
        mode: the connection mode in the words of LaunchDarkly's SDK for Android, such as ``STREAMING``.
        last_success: when a source last sent or confirmed flags; ``None``: never.
        last_failure: when a source last failed; ``None``: never.
        last_failure_type: how it failed.
        active_protocol: ``None`` if no source runs that makes requests: offline, or once the mode ``one-shot`` has its flags.
        fallback: whether the service directed the client off FDv2.
        sources: what each source reported last, by its name.
    """

    mode: str
    last_success: float | None
    last_failure: float | None
    last_failure_type: FailureType | None
    active_protocol: Literal["fdv1", "fdv2"] | None
    fallback: FallbackInfo
    sources: Mapping[str, SourceInfo]

    def __repr__(self) -> str:
        return repr_of_set_fields(self)


class ConnectionLog:
    """What the sources of one environment reported last. Written on the event loop, read from any thread."""

    def __init__(self) -> None:
        self.overall: SourceInfo = SourceInfo()
        """What all sources together reported last."""
        self._sources: dict[str, SourceInfo] = {}

    @property
    def sources(self) -> Mapping[str, SourceInfo]:
        """What each source reported last, by its name."""
        return self._sources.copy()

    @property
    def last_failure_type(self) -> FailureType | None:
        """How a source failed last."""
        error = self.overall.last_error
        return None if error is None else _TYPES.get(error.kind, FailureType.UNKNOWN_ERROR)

    def succeeded(self, name: str) -> None:
        """The source sent or confirmed flags."""
        time = clock.now()
        self.overall = replace(self.overall, last_success=time)
        self._sources[name] = replace(self._sources.get(name, SourceInfo()), last_success=time)

    def failed(self, name: str, error: ErrorInfo) -> None:
        """The source failed."""
        self.overall = replace(self.overall, last_failure=error.time, last_error=error)
        self._sources[name] = replace(self._sources.get(name, SourceInfo()), last_failure=error.time, last_error=error)
