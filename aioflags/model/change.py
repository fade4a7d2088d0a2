"""A change of flag data, and a completed transfer of such changes.

Source: ``data-system.md`` 4 and 7.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import msgspec

from aioflags.model.flag import FlagDefinition
from aioflags.model.segment import SegmentDefinition

__all__ = ["Change", "ChangeKind", "ChangeSet", "Definition", "ObjectKind", "Selector"]

Definition = FlagDefinition | SegmentDefinition


class ChangeKind(StrEnum):
    """What a transfer does to the data: replaces it, changes parts of it, or confirms it."""

    FULL = "xfer-full"
    CHANGES = "xfer-changes"
    NONE = "none"


class ObjectKind(StrEnum):
    """What a change is about, in the words of the protocol."""

    FLAG = "flag"
    SEGMENT = "segment"


@dataclass(frozen=True, slots=True)
class Selector:
    """The server's cursor naming the data we have. With an empty ``state`` it names none."""

    state: str
    version: int

    @classmethod
    def none(cls) -> Selector:
        """The undefined selector."""
        return _NONE

    @property
    def is_defined(self) -> bool:
        """Whether it names data that a server could continue from."""
        return bool(self.state)


_NONE = Selector("", 0)


class Change(msgspec.Struct, frozen=True, gc=False):
    """One put, or one delete: then ``definition`` is ``None``."""

    kind: ObjectKind
    key: str
    version: int
    definition: Definition | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeSet:
    """All changes of one completed transfer, applied together or not at all.

    ``versioned``: a change counts only if it is newer than what is there (FDv1's single updates).
    ``persist``: a persistent store may keep it (not so for file and test data).
    """

    kind: ChangeKind
    changes: tuple[Change, ...] = ()
    selector: Selector = _NONE
    versioned: bool = False
    persist: bool = True

    @classmethod
    def unchanged(cls) -> ChangeSet:
        """What a server means by saying that we are up to date."""
        return _UNCHANGED


_UNCHANGED = ChangeSet(kind=ChangeKind.NONE)
