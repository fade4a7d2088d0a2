"""Which flags change with a change: those in it, and all that depend on them, however indirectly.

A flag depends on its prerequisites and on the segments its rules name, a segment on the segments its own rules name. The
index is made when it is first needed and follows the changes from then on: ahead and in slices where somebody follows them.

Source: ``data-system.md`` 7.3.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Final, TypeAlias

from aioflags.evaluation.clauses import named_segments
from aioflags.evaluation.items import Item, Items
from aioflags.model.change import ChangeKind, ChangeSet, Definition, ObjectKind
from aioflags.model.flag import FlagDefinition
from aioflags.runtime.cooperative import Cooperative

__all__ = ["Dependents", "changed_flags", "needs", "updated_index"]

_DEFINITIONS_A_SLICE: Final = 100
"""How many definitions are looked into before others get a turn: a millisecond's work or less."""

Dependents: TypeAlias = Mapping[Item, AbstractSet[Item]]
"""Who depends on an item directly. Items that are not there yet can have dependents, too. Never changed after it was made."""


def changed_flags(index: Dependents | None, old: Items, new: Items, change_set: ChangeSet) -> frozenset[str]:
    """Keys of the flags that changed, live or deleted, when ``change_set`` made ``new`` out of ``old``.

    ``index`` is what :func:`updated_index` returns for ``new``.
    """
    flags, segments = _changed_keys(old, new, change_set)
    return flags if index is None else flags | _affected(index, _named(flags, segments))


def updated_index(index: Dependents | None, old: Items, new: Items, change_set: ChangeSet) -> Cooperative[Dependents | None]:
    """The index of ``new``; ``None`` if it is not needed to find what ``change_set`` changes.

    ``index`` is that of ``old``, as far as there is one.
    """
    flags, segments = _changed_keys(old, new, change_set)
    if not flags and not segments:
        return index
    if flags >= new.flags.keys():
        return None
    if index is None:
        return (yield from _indexed(new))
    return (yield from _updated(index, old, new, _named(flags, segments)))


def _named(flags: Iterable[str], segments: Iterable[str]) -> Iterator[Item]:
    yield from ((ObjectKind.FLAG, key) for key in flags)
    yield from ((ObjectKind.SEGMENT, key) for key in segments)


def _changed_keys(old: Items, new: Items, change_set: ChangeSet) -> tuple[frozenset[str], frozenset[str]]:
    """Flags and segments. A full set changes what differs; a partial one all it holds, unless it was out of date."""
    if change_set.kind is ChangeKind.NONE:
        return frozenset(), frozenset()
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
    # What did not change is the same object still.
    return frozenset(gone) | {key for key, found in after.items() if before.get(key) is not found}


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


def _indexed(items: Items) -> Cooperative[Dependents]:
    found: dict[Item, set[Item]] = {}
    for count, item in enumerate(_named(items.flags, items.segments), 1):
        if count % _DEFINITIONS_A_SLICE == 0:
            yield
        for needed in needs(items.get(item)):
            found.setdefault(needed, set()).add(item)
    return found


def _updated(dependents: Dependents, old: Items, new: Items, changed: Iterable[Item]) -> Cooperative[Dependents]:
    found = dict(dependents)
    for count, item in enumerate(changed, 1):
        if count % _DEFINITIONS_A_SLICE == 0:
            yield
        before, after = needs(old.get(item)), needs(new.get(item))
        for needed in before - after:
            found[needed] -= {item}
        for needed in after - before:
            found[needed] = found.get(needed, frozenset()) | {item}
    return found
