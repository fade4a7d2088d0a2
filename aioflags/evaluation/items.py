"""Items: the definitions a snapshot holds, and what a change set makes of them.

Source: ``data-system.md`` 7.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import msgspec

from aioflags.model.change import Change, ChangeKind, ChangeSet, Definition, ObjectKind
from aioflags.model.flag import FlagDefinition
from aioflags.model.segment import SegmentDefinition
from aioflags.runtime.cooperative import Cooperative

__all__ = ["Item", "Items", "applied", "completed"]

_encode: Final = msgspec.json.Encoder().encode

Item: TypeAlias = tuple[ObjectKind, str]
"""What names a definition: its kind and its key."""

_CHANGES_A_SLICE: Final = 500
"""How many changes are taken in before others get a turn: a millisecond's work or less. Counted, since there is no clock here."""
_COMPARED_A_SLICE: Final = 50
"""The same where each has to be compared with what is there."""


@dataclass(frozen=True, slots=True)
class Items:
    """Live definitions by key, and the versions of the deleted ones. Never changed after it was made."""

    flags: Mapping[str, FlagDefinition] = field(default_factory=dict[str, FlagDefinition])
    segments: Mapping[str, SegmentDefinition] = field(default_factory=dict[str, SegmentDefinition])
    tombstones: Mapping[Item, int] = field(default_factory=dict[Item, int])

    def get(self, item: Item) -> Definition | None:
        """The live definition of that name."""
        kind, key = item
        return self.flags.get(key) if kind is ObjectKind.FLAG else self.segments.get(key)

    def version(self, item: Item) -> int | None:
        """The version of a definition, also of a deleted one; ``None`` if there never was one."""
        found = self.get(item)
        return self.tombstones.get(item) if found is None else found.version


def applied(items: Items, change_set: ChangeSet) -> Cooperative[Items]:
    """The items after a full or partial change set; pauses now and then on its way there.

    A definition that comes again stays the object it was, so that what is known of it stays known.
    """
    is_full = change_set.kind is ChangeKind.FULL
    flags = dict[str, FlagDefinition]() if is_full else dict(items.flags)
    segments = dict[str, SegmentDefinition]() if is_full else dict(items.segments)
    tombstones = dict[Item, int]() if is_full else dict(items.tombstones)
    growing = Items(flags, segments, tombstones)
    slice_length = _COMPARED_A_SLICE if is_full and items.flags else _CHANGES_A_SLICE
    for count, change in enumerate(change_set.changes, 1):
        if count % slice_length == 0:
            yield
        item = (change.kind, change.key)
        definition = completed(change)
        version = change.version if definition is None else definition.version
        if change_set.versioned and not is_full and not _is_news(version, growing.version(item)):
            continue
        live: dict[str, Any] = flags if change.kind is ObjectKind.FLAG else segments
        if definition is None or definition.deleted:
            live.pop(change.key, None)
            tombstones[item] = version
        else:
            known = items.get(item) if is_full else None
            live[change.key] = known if known is not None and _is_same(known, definition) else definition
            tombstones.pop(item, None)
    return growing


def _is_same(known: Definition, definition: Definition) -> bool:
    # As JSON, since to Python 1 and True are equal. Not by version alone: a transfer may bring another definition that claims
    # the version of the one before.
    return known.version == definition.version and _encode(known) == _encode(definition)


def _is_news(version: int, stored: int | None) -> bool:
    return stored is None or version > stored


def completed(change: Change) -> Definition | None:
    """The definition with a key and a version: its own, else those of the change."""
    definition = change.definition
    if definition is None or (definition.key and (definition.version or not change.version)):
        return definition
    return msgspec.structs.replace(definition, key=definition.key or change.key, version=definition.version or change.version)
