"""The values that sources yield: data, failures and the server's fallback directive.

``directive`` has no default, so that a source cannot forget the directive of its connection.

Source: ``data-system.md`` 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from aioflags.model.change import ChangeSet
from aioflags.model.source_state import ErrorInfo, SourceState
from aioflags.runtime.logs import class_name

__all__ = ["Basis", "FallbackDirective", "FetchFailure", "Result", "Update"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FallbackDirective:
    """The server's instruction to use FDv1 instead of FDv2.

    ``ttl``: for how many seconds, unchanged from the server; ``None`` if the server sent no number.
    """

    ttl: float | None
    origin: Literal["header", "goodbye"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Result:
    directive: FallbackDirective | None

    @property
    def fallback_to_fdv1(self) -> bool:
        """Whether the server directed the client to FDv1: there is a ``directive``."""
        return self.directive is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis(_Result):
    """The success of an initializer: the first data.

    ``cached``: the data are what a device kept of an earlier run. ``freshness_ms``: when the service sent or confirmed them for a
    context that is equal in every attribute, in Unix milliseconds; ``None`` if that is unknown.
    """

    change_set: ChangeSet
    environment_id: str | None = None
    cached: bool = False
    freshness_ms: int | None = None

    def __post_init__(self) -> None:
        _check(
            self,
            change_set=(ChangeSet,),
            directive=_DIRECTIVE,
            environment_id=(str, type(None)),
            cached=(bool,),
            freshness_ms=(int, type(None)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchFailure(_Result):
    """The failure of an initializer: why it has no data.

    ``will_retry``: the initializer tries again by itself, so another result follows.
    """

    error: ErrorInfo
    will_retry: bool = False

    def __post_init__(self) -> None:
        _check(self, error=(ErrorInfo,), directive=_DIRECTIVE, will_retry=(bool,))


@dataclass(frozen=True, slots=True, kw_only=True)
class Update(_Result):
    """A report of a synchronizer: its state, with or without data. ``OFF`` is its last update."""

    state: SourceState
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
            raise TypeError(f"{type(result).__name__}.{name}: expected {expected}, got {class_name(value)}")
