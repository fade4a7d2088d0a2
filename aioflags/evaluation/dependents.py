"""Which flags change with a change set: those in it, and all flags that depend on them, directly or through others.

A flag depends on its prerequisites and on the segments that its rules name. A segment depends on the segments that its rules name.
The index is made when it is first needed and updated with each change set from then on. While changes are followed, that happens
in advance and in slices.

Source: ``data-system.md`` 7.3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Final, TypeAlias

from aioflags.evaluation.items import Item, Items
from aioflags.model.change import ChangeKind, ChangeSet, Definition, ObjectKind
from aioflags.runtime.cooperative import Cooperative, sliced

_DEFINITIONS_PER_SLICE: Final = 100
"""How many definitions are read between two pauses: at most a millisecond of work."""

Dependents: TypeAlias = Mapping[Item, AbstractSet[Item]]
"""The direct dependents of each item, of items that do not exist, too. Never changed after it is made."""
_Dependencies: TypeAlias = Callable[[Any], AbstractSet[Item]]
"""The items that a definition depends on directly; none for ``None``."""


def changed_flags(index: Dependents | None, old: Items, new: Items, change_set: ChangeSet) -> frozenset[str]:
    """Keys of the flags that changed, live or deleted, when ``change_set`` made ``new`` out of ``old``.

    ``index`` is what :func:`updated_index` returns for ``new``.
    """
    flags, segments = _changed_keys(old, new, change_set)
    return flags if index is None else flags | _affected(index, _items(flags, segments))


def updated_index(
    index: Dependents | None, old: Items, new: Items, change_set: ChangeSet, dependencies: _Dependencies
) -> Cooperative[Dependents | None]:
    """The index of ``new``; ``None`` if :func:`changed_flags` does not need it for ``change_set``.

    ``index`` is that of ``old``, or ``None`` if it was not made. ``dependencies`` is the method of the dialect.
    """
    flags, segments = _changed_keys(old, new, change_set)
    if not flags and not segments:
        return index
    if flags >= new.flags.keys():
        return None
    if index is None:
        return (yield from _built(new, dependencies))
    return (yield from _updated(index, old, new, _items(flags, segments), dependencies))


def _items(flags: Iterable[str], segments: Iterable[str]) -> Iterator[Item]:
    yield from ((ObjectKind.FLAG, key) for key in flags)
    yield from ((ObjectKind.SEGMENT, key) for key in segments)


def _changed_keys(old: Items, new: Items, change_set: ChangeSet) -> tuple[frozenset[str], frozenset[str]]:
    """Keys of flags and of segments. A full set changes what differs; a partial one all its items, except outdated ones."""
    if change_set.kind is ChangeKind.NONE:
        return frozenset(), frozenset()
    if change_set.kind is ChangeKind.FULL:
        return _differing(old.flags, new.flags), _differing(old.segments, new.segments)
    changed = {ObjectKind.FLAG: set[str](), ObjectKind.SEGMENT: set[str]()}
    for change in change_set.changes:
        item = (change.kind, change.key)
        if item in new.overridden and item in old.overridden and old.get(item) is new.get(item):
            continue  # the service changed a definition that an override hides
        if not change_set.versioned or old.version(item) != new.version(item):
            changed[change.kind].add(change.key)
    return frozenset(changed[ObjectKind.FLAG]), frozenset(changed[ObjectKind.SEGMENT])


def _differing(before: Mapping[str, Definition], after: Mapping[str, Definition]) -> frozenset[str]:
    if not before:
        return frozenset(after)
    removed = before.keys() - after.keys()
    # A definition that did not change is still the same object.
    return frozenset(removed) | {key for key, definition in after.items() if before.get(key) is not definition}


def _affected(dependents: Dependents, changed: Iterable[Item]) -> frozenset[str]:
    seen = set(changed)
    unvisited = list(seen)
    while unvisited:
        new = dependents.get(unvisited.pop(), frozenset()) - seen
        seen |= new
        unvisited += new
    return frozenset(key for kind, key in seen if kind is ObjectKind.FLAG)


# -- the index


def _built(items: Items, dependencies: _Dependencies) -> Cooperative[Dependents]:
    index: dict[Item, set[Item]] = {}
    for number, batch in enumerate(sliced(_items(items.flags, items.segments), _DEFINITIONS_PER_SLICE)):
        if number:
            yield
        for item in batch:
            for dependency in dependencies(items.get(item)):
                index.setdefault(dependency, set()).add(item)
    return index


def _updated(
    dependents: Dependents, old: Items, new: Items, changed: Iterable[Item], dependencies: _Dependencies
) -> Cooperative[Dependents]:
    index = dict(dependents)
    for number, batch in enumerate(sliced(changed, _DEFINITIONS_PER_SLICE)):
        if number:
            yield
        for item in batch:
            before, after = dependencies(old.get(item)), dependencies(new.get(item))
            for dependency in before - after:
                index[dependency] -= {item}
            for dependency in after - before:
                index[dependency] = index.get(dependency, frozenset()) | {item}
    return index
