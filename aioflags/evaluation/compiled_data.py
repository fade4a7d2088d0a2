"""CompiledData: the compiled flags and segments of some items, each made when it is first asked for.

Flags name their prerequisites and segments by key, so the forms of what did not change serve the next items, too. The
caches fill from any thread: two that compile the same flag at once make equal forms, and it does not matter whose stays.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import TypeVar

from aioflags.evaluation.compiled import CompiledFlag, CompiledSegment, Note
from aioflags.evaluation.dialect import Dialect
from aioflags.evaluation.items import Item, Items
from aioflags.evaluation.scope import Evaluate
from aioflags.evaluation.trees import Tree, tree_of
from aioflags.model.change import Definition, ObjectKind
from aioflags.runtime.logs import Once, printable

__all__ = ["CompiledData", "DefinitionLog"]

T = TypeVar("T")


class DefinitionLog:
    """Tells a log what is wrong with definitions: everything once."""

    __slots__ = ("_log", "_once")

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._once = Once()

    def note_for(self, kind: ObjectKind, definition: Definition | CompiledFlag) -> Note:
        """Takes what there is to say about one version of a definition."""
        key, version = definition.key, definition.version

        def note(problem: str) -> None:
            if self._once((kind, key, version, problem)):
                self._log.error("%s %s, version %d, %s", kind.value, printable(key), version, printable(problem))

        return note

    def report_bug(self, key: object, bug: Exception) -> None:
        """Reports an exception that nobody expected: a line once, its traceback for those who look for it."""
        if self._once((str(key), type(bug))):
            self._log.error("evaluating flag %s failed: %r", printable(key), bug)
        self._log.debug("evaluating flag %s failed", printable(key), exc_info=bug)


class CompiledData:
    """What evaluations run on.

    ``flags`` and ``segments`` are those compiled so far, ``direct_flags`` is what :class:`~aioflags.evaluation.snapshot.Snapshot`
    says.
    """

    __slots__ = ("dialect", "direct_flags", "flags", "items", "log", "segments")

    def __init__(self, items: Items, dialect: Dialect, log: DefinitionLog) -> None:
        self.items: Items = items
        self.dialect: Dialect = dialect
        self.log: DefinitionLog = log
        self.direct_flags: dict[str, Evaluate] = {}
        self.flags: dict[str, CompiledFlag] = {}
        self.segments: dict[str, CompiledSegment] = {}

    def updated(self, items: Items, changed: Iterable[Item] | None = None) -> CompiledData:
        """The forms of ``items`` as far as they are known: they differ from the present items in what ``changed`` names.

        Without it, they differ in what is another object there, or in one of the two alone.
        """
        forms, segments = CompiledData(items, self.dialect, self.log), set[str]()
        # Other threads may compile meanwhile: in this order nothing is plain without being a flag, and only copies are asked below.
        if changed is None and len(items.flags) < len(self.flags):
            # One flag that a store was asked for, say, beside ten thousand: what is picked costs by what there is now.
            forms.direct_flags = _reuse(self.direct_flags, self.items.flags, items.flags)
            forms.flags = _reuse(self.flags, self.items.flags, items.flags)
            forms.segments = _reuse(self.segments, self.items.segments, items.segments)
            named = {key for flag in forms.flags.values() for key in flag.segments}
            segments = {key for key in named if items.segments.get(key) is not self.items.segments.get(key)}
        else:
            forms.direct_flags, forms.flags, forms.segments = dict(self.direct_flags), dict(self.flags), dict(self.segments)
            for kind, key in forms._outdated(self.items) if changed is None else changed:
                if kind is ObjectKind.FLAG:
                    forms.flags.pop(key, None)
                    forms.direct_flags.pop(key, None)
                else:
                    forms.segments.pop(key, None)
                    segments.add(key)
        # Check flags with prerequisites or changed segments again: a change there can make them plain, or not plain.
        trees: dict[str, Tree] = {}
        for key, flag in forms.flags.items():
            if flag.prerequisites or not segments.isdisjoint(flag.segments):
                forms.direct_flags.pop(key, None)
                if tree_of(items.flags[key], items, trees) is not None:
                    forms.direct_flags[key] = flag.evaluate
        return forms

    def _outdated(self, before: Items) -> list[Item]:
        flags, segments = self.items.flags, self.items.segments
        found: list[Item] = [(ObjectKind.FLAG, key) for key in self.flags if flags.get(key) is not before.flags.get(key)]
        keys = segments.keys() | before.segments.keys()
        found += [(ObjectKind.SEGMENT, key) for key in keys if segments.get(key) is not before.segments.get(key)]
        return found

    def flag(self, key: str) -> CompiledFlag | None:
        """The flag of that key; ``None`` if there is none."""
        flag = self.flags.get(key)
        if flag is None:
            definition = self.items.flags.get(key)
            if definition is None:
                return None
            flag = self.dialect.flag(definition, self.log.note_for(ObjectKind.FLAG, definition))
            # Other threads may compile it as well. One form stays, in both places, since answers of two are not the same.
            flag = self.flags.setdefault(key, flag)
            if tree_of(definition, self.items) is not None:
                self.direct_flags[key] = flag.evaluate
        return flag

    def segment(self, key: str) -> CompiledSegment | None:
        """The segment of that key; ``None`` if there is none."""
        segment = self.segments.get(key)
        if segment is None:
            definition = self.items.segments.get(key)
            if definition is None:
                return None
            segment = self.dialect.segment(definition, self.log.note_for(ObjectKind.SEGMENT, definition))
            self.segments[key] = segment
        return segment


def _reuse(compiled: dict[str, T], before: Mapping[str, Definition], now: Mapping[str, Definition]) -> dict[str, T]:
    """What was compiled of those definitions that are the same objects now."""
    same = (key for key, definition in now.items() if definition is before.get(key))
    return {key: form for key in same if (form := compiled.get(key)) is not None}
