"""The values that sources yield: data, errors and the server's fallback directive.

``directive`` has no default, so that a source cannot forget the directive of its connection.

Source: ``data-system.md`` 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, TypeAlias, final
from urllib.parse import urlsplit

from aioflags.model.change import ChangeSet
from aioflags.runtime.logs import printable
from aioflags.runtime.reprs import repr_of_set_fields

__all__ = ["Basis", "ErrorInfo", "FailureKind", "FallbackDirective", "FetchFailure", "Result", "SourceState", "Update"]


class SourceState(StrEnum):
    """The state of a client's data sources. An update of one source has one of the last three."""

    INITIALIZING = "INITIALIZING"
    VALID = "VALID"
    INTERRUPTED = "INTERRUPTED"
    OFF = "OFF"


class FailureKind(StrEnum):
    """The kind of a source's failure."""

    UNKNOWN = "UNKNOWN"
    NETWORK_ERROR = "NETWORK_ERROR"
    ERROR_RESPONSE = "ERROR_RESPONSE"
    INVALID_DATA = "INVALID_DATA"
    STORE_ERROR = "STORE_ERROR"


# Final: type checkers then know that an ErrorInfo is never false, and that `error and error.message` is a string or None.
@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorInfo:
    """One failure of a source. ``str`` gives the message with the address in one line, for a log.

    ``status_code`` is 0 without an HTTP response. ``time`` is in Unix seconds. ``address`` is the origin and path of the request,
    without query and password; ``None`` for a source that sends no requests.
    """

    kind: FailureKind
    message: str
    time: float
    status_code: int = 0
    address: str | None = None

    def __str__(self) -> str:
        if self.address is None:
            return printable(self.message)
        # Messages of network failures end with host and port. The address repeats them.
        host = urlsplit(self.address).netloc
        return f"{printable(self.message.removesuffix(f' ({host})'))} ({printable(self.address)})"

    def __repr__(self) -> str:
        return repr_of_set_fields(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class FallbackDirective:
    """The server's instruction to use FDv1 instead of FDv2.

    ``ttl``: for how many seconds, unchanged from the server; ``None`` if the server sent no number.
    """

    ttl: float | None
    origin: Literal["header", "goodbye"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """The success of an initializer: the first data."""

    change_set: ChangeSet
    directive: FallbackDirective | None
    environment_id: str | None = None

    def __post_init__(self) -> None:
        _check(self, change_set=(ChangeSet,), directive=_DIRECTIVE, environment_id=(str, type(None)))


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchFailure:
    """The failure of an initializer: why it has no data."""

    error: ErrorInfo
    directive: FallbackDirective | None

    def __post_init__(self) -> None:
        _check(self, error=(ErrorInfo,), directive=_DIRECTIVE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """A report of a synchronizer: its state, with or without data. ``OFF`` is its last update."""

    state: SourceState
    directive: FallbackDirective | None
    change_set: ChangeSet | None = None
    error: ErrorInfo | None = None
    environment_id: str | None = None

    def __post_init__(self) -> None:
        _check(
            self,
            state=(SourceState,),
            directive=_DIRECTIVE,
            change_set=(ChangeSet, type(None)),
            error=(ErrorInfo, type(None)),
            environment_id=(str, type(None)),
        )


Result: TypeAlias = Basis | FetchFailure | Update
"""All that a source may yield."""

_DIRECTIVE = (FallbackDirective, type(None))


def _check(result: object, **fields: tuple[type, ...]) -> None:
    """Raise ``TypeError`` for a value of a wrong type, in the code of the source that made it."""
    for name, types in fields.items():
        value = getattr(result, name)
        if not isinstance(value, types):
            expected = " or ".join("None" if kind is type(None) else kind.__name__ for kind in types)
            raise TypeError(f"{type(result).__name__}.{name}: expected {expected}, got {type(value).__name__}")
