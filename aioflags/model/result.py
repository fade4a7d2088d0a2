"""What sources yield: plain values that carry data, errors and the server's directive together.

``directive`` has no default anywhere: whoever builds a result has to say whether its connection brought one.

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
    """How the data sources of a client are doing; of one source's updates, the last three."""

    INITIALIZING = "INITIALIZING"
    VALID = "VALID"
    INTERRUPTED = "INTERRUPTED"
    OFF = "OFF"


class FailureKind(StrEnum):
    """What sort of trouble a source had."""

    UNKNOWN = "UNKNOWN"
    NETWORK_ERROR = "NETWORK_ERROR"
    ERROR_RESPONSE = "ERROR_RESPONSE"
    INVALID_DATA = "INVALID_DATA"
    STORE_ERROR = "STORE_ERROR"


# Final: without a subclass that could be false, `error and error.message` is a text or None for type checkers, too.
@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorInfo:
    """One failure of a source. As text it is the message with the address, fit for a line of a log.

    ``status_code`` is 0 if there was none; ``time`` is in Unix seconds. ``address`` is where the source sent its request, origin
    and path, without a query or a password; ``None`` for a source without one.
    """

    kind: FailureKind
    message: str
    time: float
    status_code: int = 0
    address: str | None = None

    def __str__(self) -> str:
        if self.address is None:
            return printable(self.message)
        # Messages of network failures end with the host and the port, which the address has, too.
        host = urlsplit(self.address).netloc
        return f"{printable(self.message.removesuffix(f' ({host})'))} ({printable(self.address)})"

    def __repr__(self) -> str:
        return repr_of_set_fields(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class FallbackDirective:
    """The server's word that FDv2 is to be left for FDv1.

    ``ttl``: for how many seconds, as the server gave it; ``None`` if it gave none that is a number.
    """

    ttl: float | None
    origin: Literal["header", "goodbye"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """An initializer's success: data to stand on."""

    change_set: ChangeSet
    directive: FallbackDirective | None
    environment_id: str | None = None

    def __post_init__(self) -> None:
        _check(self, change_set=(ChangeSet,), directive=_DIRECTIVE, environment_id=(str, type(None)))


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchFailure:
    """An initializer's failure: why there is no data."""

    error: ErrorInfo
    directive: FallbackDirective | None

    def __post_init__(self) -> None:
        _check(self, error=(ErrorInfo,), directive=_DIRECTIVE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """A synchronizer's news: its state, with or without data. ``OFF`` is its last word."""

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
"""Whatever a source yields."""

_DIRECTIVE = (FallbackDirective, type(None))


def _check(result: object, **fields: tuple[type, ...]) -> None:
    """A wrong value is found where it is made, in the source's own code, and costs nobody else anything."""
    for name, types in fields.items():
        value = getattr(result, name)
        if not isinstance(value, types):
            wanted = " or ".join("None" if kind is type(None) else kind.__name__ for kind in types)
            raise TypeError(f"{type(result).__name__}.{name}: expected {wanted}, got {type(value).__name__}")
