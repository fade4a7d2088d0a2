"""Items: the definitions in a snapshot, and how a change set is applied to them; and the outcome of an evaluation.

Source: ``data-system.md`` 7.2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import msgspec

from aioflags.evaluation.answers import PrerequisiteEvaluation
from aioflags.evaluation.scope import CompiledFlag
from aioflags.model.change import Change, ChangeKind, ChangeSet, Definition, ObjectKind, SegmentDefinition
from aioflags.model.detail import EvaluationDetail
from aioflags.model.flag import FlagDefinition
from aioflags.runtime.cooperative import Cooperative, sliced

ReportProblem: TypeAlias = Callable[[str], None]
"""Reports a problem of a definition to the log. The text has no subject (\"has a pattern …\"): the log adds the definition."""


class Evaluation(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """The outcome of an evaluation: the detail for the caller, and what events and big segments need.

    Args:
        flag: the flag; ``None`` if the key is unknown or nothing could be evaluated.
        is_experiment: events and front ends need the reason.
        prerequisites: the prerequisites that were evaluated.
        missing: the context keys whose big-segment memberships are needed and not fetched yet.
    """

    detail: EvaluationDetail[Any]
    flag: CompiledFlag | None = None
    is_experiment: bool = False
    prerequisites: tuple[PrerequisiteEvaluation, ...] = ()
    missing: tuple[str, ...] = ()


Item: TypeAlias = tuple[ObjectKind, str]
"""Identifies a definition: its kind and its key."""

_CHANGES_PER_SLICE: Final = 500
"""How many changes are applied between two pauses: at most a millisecond of work. Evaluation code reads no clock, so it counts."""
_COMPARISONS_PER_SLICE: Final = 50
"""The same if each change is compared with the present definition."""


@dataclass(frozen=True, slots=True)
class Items:
    """Live definitions by key, and the versions of the deleted ones. Never changed after it is made.

    The types say LaunchDarkly's definitions, which most of the code that reads definitions is for. The definitions of
    another provider have other types, and only its dialect reads more of them than key, version and ``deleted``.

    ``overridden``: the items that an override defines or removes.
    """

    flags: Mapping[str, FlagDefinition] = field(default_factory=dict[str, FlagDefinition])
    segments: Mapping[str, SegmentDefinition] = field(default_factory=dict[str, SegmentDefinition])
    tombstones: Mapping[Item, int] = field(default_factory=dict[Item, int])
    overridden: frozenset[Item] = frozenset()

    def get(self, item: Item) -> Definition | None:
        """The live definition of that kind and key."""
        kind, key = item
        return self.flags.get(key) if kind is ObjectKind.FLAG else self.segments.get(key)

    def version(self, item: Item) -> int | None:
        """The version of a definition, also of a deleted one; ``None`` for an unknown item."""
        definition = self.get(item)
        return self.tombstones.get(item) if definition is None else definition.version


def applied(items: Items, change_set: ChangeSet, is_same: Callable[[Any, Any], bool]) -> Cooperative[Items]:
    """The items after a full or partial change set. Pauses after each slice.

    A definition that arrives again unchanged stays the same object, so that its compiled form can be kept. ``is_same`` compares the
    present definition with the new one.
    """
    is_full = change_set.kind is ChangeKind.FULL
    flags = dict[str, FlagDefinition]() if is_full else dict(items.flags)
    segments = dict[str, SegmentDefinition]() if is_full else dict(items.segments)
    tombstones = dict[Item, int]() if is_full else dict(items.tombstones)
    result = Items(flags, segments, tombstones)
    slice_length = _COMPARISONS_PER_SLICE if is_full and items.flags else _CHANGES_PER_SLICE
    for number, batch in enumerate(sliced(change_set.changes, slice_length)):
        if number:
            yield
        for change in batch:
            item = (change.kind, change.key)
            definition = completed(change)
            version = change.version if definition is None else definition.version
            stored = result.version(item)
            if change_set.versioned and not is_full and stored is not None and version <= stored:
                continue
            live: dict[str, Any] = flags if change.kind is ObjectKind.FLAG else segments
            if definition is None or definition.deleted:
                live.pop(change.key, None)
                tombstones[item] = version
            else:
                present = items.get(item) if is_full else None
                live[change.key] = present if present is not None and is_same(present, definition) else definition
                tombstones.pop(item, None)
    return result


def completed(change: Change) -> Definition | None:
    """The definition of a change, with the key and version of the change where it has none itself."""
    definition = change.definition
    if definition is None or (definition.key and (definition.version or not change.version)):
        return definition
    return msgspec.structs.replace(definition, key=definition.key or change.key, version=definition.version or change.version)
