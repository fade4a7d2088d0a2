"""A change of flag data, and a completed transfer of such changes.

Source: ``data-system.md`` 4 and 7.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

import msgspec

from aioflags.model.flag import FlagDefinition
from aioflags.model.flag_evaluation import FlagEvaluation
from aioflags.model.flagd import FlagdFlag
from aioflags.model.metadata import FlagMetadata
from aioflags.model.resolved import ResolvedFlag
from aioflags.model.segment import SegmentDefinition

__all__ = ["Change", "ChangeKind", "ChangeSet", "Definition", "ObjectKind", "RuledDefinition", "Selector"]

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
    ``metadata``: that of the flag set; ``None``: unchanged.
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
