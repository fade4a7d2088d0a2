"""CompiledData: flags and segments, each compiled when it is first needed, and which ones a change affects.

Compiled flags name their prerequisites and segments by key. So the next items keep all compiled definitions, except those that a
change set changes. The caches are filled from any thread: two threads that compile the same flag make equal results, and either may
be kept.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Final, TypeAlias, TypeVar

from aioflags.evaluation.answers import Answer
from aioflags.evaluation.dialect import Dialect
from aioflags.evaluation.items import Item, Items, ReportProblem
from aioflags.evaluation.overrides import REMOVED_SEGMENT, overridden_segment
from aioflags.evaluation.scope import CompiledFlag, CompiledSegment, Evaluate
from aioflags.model.change import Change, ChangeKind, ChangeSet, Definition, ObjectKind
from aioflags.runtime.cooperative import Cooperative, sliced
from aioflags.runtime.logs import BugLog, Once, printable

# -- Which flags change with a change set: those in it, and all flags that depend on them, directly or through others.
#
# A flag depends on its prerequisites and on the segments that its rules name. A segment depends on the segments that its
# rules name. The index is made when it is first needed and updated with each change set from then on. While changes are
# followed, that happens in advance and in slices.
#
# Source: ``data-system.md`` 7.3.


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

    ``index`` is the index of ``old``, or ``None`` if it was not made. ``dependencies`` is the method of the dialect.
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


NO_ATTRIBUTES: Final[Mapping[str, Any]] = {}
_CHANGES_PER_SLICE: Final = 500

T = TypeVar("T")


class DefinitionLog:
    """Logs problems of definitions, each problem once. A definition without versions has the version 0."""

    __slots__ = ("_loaded", "_log", "_once", "bugs")

    def __init__(self, log: logging.Logger) -> None:
        self.bugs: BugLog = BugLog(log)
        self._log = log
        self._once = Once()
        self._loaded: frozenset[int] = frozenset()
        """The hashes of the problems of the last data set."""

    def note_for(self, kind: ObjectKind, definition: Definition | Change | CompiledFlag) -> ReportProblem:
        """Returns a function that logs a problem of this version of a definition."""
        key, version = definition.key, definition.version

        def note(problem: str) -> None:
            if self._once((kind, key, version, problem)):
                name = f"{kind.value} {printable(key)}, version {version}," if version else f"{kind.value} {printable(key)}"
                self._log.error("%s %s", name, printable(problem))

        return note

    def report_loaded(self, change_set: ChangeSet, problems_of: Callable[[Any], Iterable[str]]) -> Cooperative[None]:
        """Logs the problems of a whole data set in one line, unless each of them was in the data set before.

        The line names the first flag. The others are named when they are evaluated. Very many problems cost little memory.
        """
        hashes, new, first = set[int](), 0, ("", "")
        for number, batch in enumerate(sliced(change_set.changes, _CHANGES_PER_SLICE)):
            if number:
                yield
            for key, problem in ((change.key, problem) for change in batch for problem in problems_of(change.definition)):
                of_problem = hash((key, problem))
                hashes.add(of_problem)
                if of_problem not in self._loaded:
                    new += 1
                    first = first if new > 1 else (key, problem)
        if new:
            key, problem = first
            more = f", and there are {new - 1} more new problems in these data" if new > 1 else ""
            self._once((ObjectKind.FLAG, key, 0, problem))
            self._log.error("flag %s %s%s", printable(key), printable(problem), more)
        self._loaded = frozenset(hashes)

    def report_fraction(self, key: str) -> None:
        """Logs, once a flag, that its value has a fraction, which a caller that asks for an ``int`` does not get."""
        if self._once((ObjectKind.FLAG, key, "fraction")):
            self._log.warning(
                "%s: its value has a fraction, which is cut off for an int; use a float as default, such as 0.0", printable(key)
            )


class BulkUse:
    """Whether the program evaluates all flags at once, so that new data is compiled before it is published."""

    __slots__ = ("has_begun",)

    def __init__(self) -> None:
        self.has_begun: bool = False


class CompiledData:
    """The data that evaluations read.

    ``flags`` and ``segments`` are those compiled so far. ``constant_answers``, ``direct_flags`` and ``static_context`` are
    described in :class:`~aioflags.evaluation.snapshot.Snapshot`. All data of one client share ``bulk_use``.
    """

    __slots__ = (
        "bulk_use",
        "constant_answers",
        "dialect",
        "direct_flags",
        "flags",
        "items",
        "log",
        "segments",
        "static_context",
    )

    def __init__(
        self,
        items: Items,
        dialect: Dialect,
        log: DefinitionLog,
        static_context: Mapping[str, Any] = NO_ATTRIBUTES,
        bulk_use: BulkUse | None = None,
    ) -> None:
        self.items: Items = items
        self.bulk_use: BulkUse = bulk_use or BulkUse()
        self.static_context: Mapping[str, Any] = static_context
        self.dialect: Dialect = dialect
        self.log: DefinitionLog = log
        self.constant_answers: dict[str, Answer] = {}
        self.direct_flags: dict[str, Evaluate] = {}
        self.flags: dict[str, CompiledFlag] = {}
        self.segments: dict[str, CompiledSegment] = {}

    def updated(
        self, items: Items, changed: Iterable[Item] | None = None, *, static_context: Mapping[str, Any] | None = None
    ) -> CompiledData:
        """The compiled data of ``items``. It keeps what was compiled before, except for the items in ``changed``.

        Without ``changed``, an item has changed if its definition is another object in ``items``, or is in one of the two only.
        ``static_context``: ``None`` keeps the present one.
        """
        static_context = self.static_context if static_context is None else static_context
        data, segments = CompiledData(items, self.dialect, self.log, static_context, self.bulk_use), set[str]()
        # Other threads may compile at the same time. `flags` is copied last, so that each flag of the other two is in its copy.
        # Below, only the copies are read.
        if changed is None and len(items.flags) < len(self.flags):
            # Few new flags, perhaps one read from a store, and thousands compiled: the cost depends on the number of new ones.
            data.constant_answers = _reuse(self.constant_answers, self.items.flags, items.flags)
            data.direct_flags = _reuse(self.direct_flags, self.items.flags, items.flags)
            data.flags = _reuse(self.flags, self.items.flags, items.flags)
            data.segments = _reuse(self.segments, self.items.segments, items.segments)
            named = {key for flag in data.flags.values() for key in flag.segments}
            segments = {key for key in named if items.segments.get(key) is not self.items.segments.get(key)}
        else:
            data.constant_answers = dict(self.constant_answers)
            data.direct_flags, data.flags, data.segments = dict(self.direct_flags), dict(self.flags), dict(self.segments)
            for kind, key in data._outdated(self.items) if changed is None else changed:
                if kind is ObjectKind.FLAG:
                    data.flags.pop(key, None)
                    data.direct_flags.pop(key, None)
                    data.constant_answers.pop(key, None)
                else:
                    data.segments.pop(key, None)
                    segments.add(key)
        # Check flags with prerequisites or changed segments again: a change there can make them direct, or no longer direct, and
        # give them another answer.
        measured: dict[str, Any] = {}
        for key, flag in data.flags.items():
            if flag.prerequisites or not segments.isdisjoint(flag.segments):
                data.direct_flags.pop(key, None)
                data.constant_answers.pop(key, None)
                if self.dialect.is_direct(items.flags[key], items, measured):
                    data.direct_flags[key] = flag.shared_evaluate or flag.evaluate
        return data

    def _outdated(self, before: Items) -> list[Item]:
        flags, segments = self.items.flags, self.items.segments
        items: list[Item] = [(ObjectKind.FLAG, key) for key in self.flags if flags.get(key) is not before.flags.get(key)]
        keys = segments.keys() | before.segments.keys()
        items += [(ObjectKind.SEGMENT, key) for key in keys if segments.get(key) is not before.segments.get(key)]
        return items

    def flag(self, key: str) -> CompiledFlag | None:
        """The flag with that key, compiled if necessary; ``None`` for an unknown key."""
        flag = self.flags.get(key)
        if flag is None:
            definition = self.items.flags.get(key)
            if definition is None:
                return None
            is_overridden = (ObjectKind.FLAG, key) in self.items.overridden
            compiled = self.dialect.overridden_flag if is_overridden else self.dialect.flag
            flag = compiled(definition, self.log.note_for(ObjectKind.FLAG, definition))
            # Another thread may compile it, too. Both dictionaries keep the same result: the answers of two results are not equal.
            flag = self.flags.setdefault(key, flag)
            if self.dialect.is_direct(definition, self.items, {}):
                self.direct_flags[key] = flag.shared_evaluate or flag.evaluate
        return flag

    def segment(self, key: str) -> CompiledSegment | None:
        """The segment with that key, compiled if necessary; ``None`` for an unknown key."""
        segment = self.segments.get(key)
        if segment is None:
            definition = self.items.segments.get(key)
            is_overridden = (ObjectKind.SEGMENT, key) in self.items.overridden
            if definition is None:
                return REMOVED_SEGMENT if is_overridden else None
            segment = self.dialect.segment(definition, self.log.note_for(ObjectKind.SEGMENT, definition))
            if is_overridden:
                segment = overridden_segment(segment)
            self.segments[key] = segment
        return segment

    def is_removed(self, key: str) -> bool:
        """Whether an override removes the flag with that key."""
        return (ObjectKind.FLAG, key) in self.items.overridden and key not in self.items.flags


def _reuse(compiled: dict[str, T], before: Mapping[str, Definition], now: Mapping[str, Definition]) -> dict[str, T]:
    """The entries of ``compiled`` whose definitions are the same objects before and now."""
    same = (key for key, definition in now.items() if definition is before.get(key))
    return {key: entry for key in same if (entry := compiled.get(key)) is not None}
