"""Which flags change with a change: those in it, and all that depend on them, however indirectly.

A flag depends on its prerequisites and on the segments its rules name, a segment on the segments its own rules name. The
index is made when it is first needed and follows the changes from then on.

Source: ``data-system.md`` 7.3.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, TypeAlias

from aioflags.evaluation.clauses import named_segments
from aioflags.evaluation.items import Item, Items
from aioflags.model.change import ChangeKind, ChangeSet, Definition, ObjectKind
from aioflags.model.flag import FlagDefinition

if TYPE_CHECKING:
    from aioflags.evaluation.snapshot import Snapshot

__all__ = ["changed_flags", "needs"]

Dependents: TypeAlias = Mapping[Item, frozenset[Item]]
"""Who depends on an item directly. Items that are not there yet can have dependents, too."""


def changed_flags(old: Snapshot, new: Snapshot, change_set: ChangeSet) -> frozenset[str]:
    """Keys of the flags that changed, live or deleted, when ``change_set`` made ``new`` out of ``old``."""
    if change_set.kind is ChangeKind.NONE:
        return frozenset()
    flags, segments = _changed_keys(old.items, new.items, change_set)
    if flags >= new.items.flags.keys():
        return flags
    items = {(ObjectKind.FLAG, key) for key in flags} | {(ObjectKind.SEGMENT, key) for key in segments}
    new.dependents = _indexed(new.items) if old.dependents is None else _updated(old.dependents, old.items, new.items, items)
    return flags | _affected(new.dependents, items)


def _changed_keys(old: Items, new: Items, change_set: ChangeSet) -> tuple[frozenset[str], frozenset[str]]:
    """Flags and segments. A full set changes what differs; a partial one all it holds, unless it was out of date."""
    if change_set.kind is ChangeKind.FULL:
        return _differing(old.flags, new.flags), _differing(old.segments, new.segments)
    changed = {ObjectKind.FLAG: set[str](), ObjectKind.SEGMENT: set[str]()}
    for change in change_set.changes:
        item = (change.kind, change.key)
        if not change_set.versioned or old.version(item) != new.version(item):
            changed[change.kind].add(change.key)
    return frozenset(changed[ObjectKind.FLAG]), frozenset(changed[ObjectKind.SEGMENT])


def _differing(before: Mapping[str, Definition], after: Mapping[str, Definition]) -> frozenset[str]:
    if not before:
        return frozenset(after)
    gone = before.keys() - after.keys()
    # Not by version alone: one transfer may bring another definition that claims the version of the one before.
    return frozenset(gone) | {key for key, found in after.items() if key not in before or before[key] != found}


def _affected(dependents: Dependents, changed: Iterable[Item]) -> frozenset[str]:
    seen = set(changed)
    open_ends = list(seen)
    while open_ends:
        news = dependents.get(open_ends.pop(), frozenset()) - seen
        seen |= news
        open_ends += news
    return frozenset(key for kind, key in seen if kind is ObjectKind.FLAG)


# -- the index


def needs(definition: Definition | None) -> set[Item]:
    """What a definition depends on directly."""
    if definition is None:
        return set()
    found: set[Item] = {(ObjectKind.SEGMENT, key) for key in named_segments(definition.rules)}
    if isinstance(definition, FlagDefinition):
        found.update((ObjectKind.FLAG, wanted.key) for wanted in definition.prerequisites or ())
    return found


def _indexed(items: Items) -> Dependents:
    found: dict[Item, set[Item]] = {}
    for kind, definitions in ((ObjectKind.FLAG, items.flags), (ObjectKind.SEGMENT, items.segments)):
        for key, definition in definitions.items():
            for needed in needs(definition):
                found.setdefault(needed, set()).add((kind, key))
    return {needed: frozenset(by) for needed, by in found.items()}


def _updated(dependents: Dependents, old: Items, new: Items, changed: Collection[Item]) -> Dependents:
    found = dict(dependents)
    for item in changed:
        before, after = needs(old.get(item)), needs(new.get(item))
        for needed in before - after:
            found[needed] -= {item}
        for needed in after - before:
            found[needed] = found.get(needed, frozenset()) | {item}
    return found
