"""Changes of flag data, segment definitions among them, and the results that sources yield.

A change of flag data, and a completed transfer of such changes.

Source: ``data-system.md`` 4 and 7.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Literal, TypeAlias

import msgspec

from aioflags.model.detail import FlagEvaluation, FlagMetadata, ResolvedFlag
from aioflags.model.flag import Clause, FlagDefinition
from aioflags.model.flagd import FlagdFlag
from aioflags.model.status import ErrorInfo, SourceState
from aioflags.runtime.logs import class_name

# -- Segment definitions in LaunchDarkly's JSON format, decoded by the same rules as flags (``flag.py``).
# Source: ``evaluation.md`` 2.2.


class SegmentTarget(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """Context keys of one kind, included or excluded."""

    values: tuple[str, ...] | None = ()
    context_kind: str | None = None


class SegmentRule(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """Clauses that must all match. ``weight``: the share of matching contexts to include, in thousandths of a percent."""

    clauses: tuple[Clause, ...] | None = ()
    id: str | None = None
    weight: int | None = None
    bucket_by: str | None = None
    rollout_context_kind: str | None = None


class SegmentDefinition(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """A segment as the service defines it. An unbounded segment is a big segment: a separate store has its keys."""

    key: str = ""
    version: int = 0
    deleted: bool | None = False
    included: tuple[str, ...] | None = ()
    excluded: tuple[str, ...] | None = ()
    included_contexts: tuple[SegmentTarget, ...] | None = ()
    excluded_contexts: tuple[SegmentTarget, ...] | None = ()
    rules: tuple[SegmentRule, ...] | None = ()
    salt: str | None = ""
    unbounded: bool | None = False
    unbounded_context_kind: str | None = None
    generation: int | None = None


RuledDefinition: TypeAlias = FlagDefinition | SegmentDefinition
"""A definition in LaunchDarkly's format."""
Definition: TypeAlias = RuledDefinition | FlagEvaluation | FlagdFlag | ResolvedFlag
"""A definition in the format of any provider. A dialect knows which of them its data has."""


class ChangeKind(StrEnum):
    """What a transfer does to the data: replace all of it, change parts of it, or confirm it."""

    FULL = "xfer-full"
    CHANGES = "xfer-changes"
    NONE = "none"


class ObjectKind(StrEnum):
    """The kind of object that a change is about, as the protocol names it."""

    FLAG = "flag"
    SEGMENT = "segment"


@dataclass(frozen=True, slots=True)
class Selector:
    """The server's cursor for the data that a client has. With an empty ``state`` it is undefined."""

    state: str
    version: int

    @classmethod
    def none(cls) -> Selector:
        """The undefined selector."""
        return _NONE

    @property
    def is_defined(self) -> bool:
        """Whether a server can continue from it."""
        return bool(self.state)


_NONE = Selector("", 0)


class Change(msgspec.Struct, frozen=True, gc=False):
    """One put, or one delete. ``definition`` is ``None`` for a delete."""

    kind: ObjectKind
    key: str
    version: int
    definition: Definition | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeSet:
    """All changes of one completed transfer, applied together or not at all.

    ``versioned``: apply a change only if its version is newer than the current one (single updates of FDv1).
    ``persist``: a persistent store may keep the data. False for data of files and tests.
    ``metadata``: of the flag set; ``None``: unchanged.
    ``static_context``: attributes that flagd adds to the context of every evaluation; ``None``: unchanged.
    ``keys_known``: the change set names all flags that may have changed. False: any flag may have changed, on the server.
    """

    kind: ChangeKind
    changes: tuple[Change, ...] = ()
    selector: Selector = _NONE
    versioned: bool = False
    persist: bool = True
    metadata: FlagMetadata | None = None
    static_context: Mapping[str, Any] | None = None
    keys_known: bool = True

    @classmethod
    def unchanged(cls) -> ChangeSet:
        """The change set for "up to date": nothing changes."""
        return _UNCHANGED


_UNCHANGED = ChangeSet(kind=ChangeKind.NONE)


# -- The values that sources yield: data, failures and the server's fallback directive.
#
# ``directive`` has no default, so that a source cannot forget the directive of its connection.
#
# Source: ``data-system.md`` 4.


@dataclass(frozen=True, slots=True, kw_only=True)
class FallbackDirective:
    """The server's instruction to use FDv1 instead of FDv2.

    ``ttl``: for how many seconds, unchanged from the server; ``None`` if the server sent no number.
    """

    ttl: float | None
    origin: Literal["header", "goodbye"]


_ABSENT = type(None)
_Types: TypeAlias = Mapping[str, tuple[type, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Result:
    directive: FallbackDirective | None

    _types: ClassVar[_Types]

    def __post_init__(self) -> None:
        """Raise ``TypeError`` for a value of a wrong type, in the code of the source that made the result."""
        for name, types in {**self._types, "directive": (FallbackDirective, _ABSENT)}.items():
            value = getattr(self, name)
            if not isinstance(value, types):
                expected = " or ".join("None" if kind is _ABSENT else kind.__name__ for kind in types)
                raise TypeError(f"{type(self).__name__}.{name}: expected {expected}, got {class_name(value)}")

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

    _types: ClassVar[_Types] = {
        "change_set": (ChangeSet,),
        "environment_id": (str, _ABSENT),
        "cached": (bool,),
        "freshness_ms": (int, _ABSENT),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchFailure(_Result):
    """The failure of an initializer: why it has no data.

    ``will_retry``: the initializer tries again by itself, so another result follows.
    """

    error: ErrorInfo
    will_retry: bool = False

    _types: ClassVar[_Types] = {"error": (ErrorInfo,), "will_retry": (bool,)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Update(_Result):
    """A report of a synchronizer: its state, with or without data. ``OFF`` is its last update."""

    state: SourceState
    change_set: ChangeSet | None = None
    error: ErrorInfo | None = None
    environment_id: str | None = None

    _types: ClassVar[_Types] = {
        "state": (SourceState,),
        "change_set": (ChangeSet, _ABSENT),
        "error": (ErrorInfo, _ABSENT),
        "environment_id": (str, _ABSENT),
    }


Result: TypeAlias = Basis | FetchFailure | Update
"""All that a source may yield."""
