"""Overrides: local definitions that hide the service's, and the marks that their evaluations leave."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from aioflags.evaluation.answers import Answer
from aioflags.evaluation.items import Item, Items, completed
from aioflags.evaluation.scope import CompiledFlag, CompiledSegment, Scope
from aioflags.model.change import Change, ChangeKind, ChangeSet, ObjectKind, RuledDefinition, SegmentDefinition
from aioflags.model.flag import FlagDefinition
from aioflags.runtime.cooperative import Cooperative, sliced

if TYPE_CHECKING:
    from aioflags.model.context import Context


# -- Marks: the compiled forms of overridden flags and segments, whose evaluations say that they read an override.
#
# The answers of an overridden flag are made with marks. An overridden segment has no answer to mark, so it leaves a note in
# the scope, and the answer of the flag that reads it is marked for that note. Flags and segments of the service do nothing
# for this.
#
# An override can also remove a definition. Then a segment is empty, and a flag is unknown, which the scope notes
# (:meth:`Scope.note_unknown_flag`).


def overridden_flag(flag: CompiledFlag) -> CompiledFlag:
    """The flag, compiled with ``is_override``. It notes in the scope that it is read, for an evaluation that raises."""
    evaluate = flag.evaluate

    def noted(context: Context, scope: Scope) -> Answer:
        if not scope.is_shared:
            scope.reads_override = True
        return evaluate(context, scope)

    return replace(flag, evaluate=noted, shared_evaluate=evaluate)


def overridden_segment(segment: CompiledSegment) -> CompiledSegment:
    """The segment, which notes in the scope that it is read. In the shared scope it raises: no note is possible there."""
    users, holds_also = segment.users, segment.holds_also

    def noted(context: Context, scope: Scope) -> bool:
        scope.note_override()
        user = context if context.kind == "user" else context.member("user")
        return (user is not None and user.key in users) or holds_also(context, scope)

    return CompiledSegment(frozenset(), noted)


REMOVED_SEGMENT: Final = overridden_segment(CompiledSegment(frozenset(), lambda context, scope: False))
"""A segment that an override removes: it contains no context, like a segment that does not exist."""


_COMPARISONS_PER_SLICE: Final = 50
"""How many definitions are compared between two pauses: at most a millisecond of work."""
_TYPES: Final = {ObjectKind.FLAG: FlagDefinition, ObjectKind.SEGMENT: SegmentDefinition}
_D = TypeVar("_D", bound=RuledDefinition)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Overrides:
    """Definitions by key. A definition here counts instead of the service's one, also where the service has none.

    One with ``deleted`` hides the service's one without a replacement. Never changed after it is made.
    """

    flags: Mapping[str, FlagDefinition] = field(default_factory=dict[str, FlagDefinition])
    segments: Mapping[str, SegmentDefinition] = field(default_factory=dict[str, SegmentDefinition])

    @classmethod
    def of(cls, changes: Iterable[Change]) -> Self:
        """The definitions in these changes. A change without a definition, a deletion, hides the service's one."""
        kinds: dict[ObjectKind, dict[str, Any]] = {ObjectKind.FLAG: {}, ObjectKind.SEGMENT: {}}
        for change in changes:
            kinds[change.kind][change.key] = change.definition or _TYPES[change.kind](
                key=change.key, version=change.version, deleted=True
            )
        return cls(flags=kinds[ObjectKind.FLAG], segments=kinds[ObjectKind.SEGMENT])

    @property
    def is_empty(self) -> bool:
        """Whether nothing is overridden."""
        return not self.flags and not self.segments

    def items(self) -> Iterator[tuple[Item, RuledDefinition]]:
        """All definitions, by kind and key."""
        yield from (((ObjectKind.FLAG, key), definition) for key, definition in self.flags.items())
        yield from (((ObjectKind.SEGMENT, key), definition) for key, definition in self.segments.items())

    def get(self, item: Item) -> RuledDefinition | None:
        """The definition of that kind and key."""
        kind, key = item
        return self.flags.get(key) if kind is ObjectKind.FLAG else self.segments.get(key)


NO_OVERRIDES: Final = Overrides()
"""Nothing is overridden."""


def overlaid(base: Items, overrides: Overrides, overridden: frozenset[Item] | None = None) -> Items:
    """The items of the service with the overrides on top; without overrides, ``base`` itself.

    ``overridden``: the items of ``overrides``, if they are known from an earlier call.
    """
    if overrides.is_empty:
        return base
    if overridden is None:
        overridden = frozenset(item for item, _ in overrides.items())
    flags, segments = _merged(base.flags, overrides.flags), _merged(base.segments, overrides.segments)
    return Items(flags, segments, base.tombstones, overridden)


def _merged(base: Mapping[str, _D], overrides: Mapping[str, _D]) -> Mapping[str, _D]:
    if not overrides:
        return base
    merged = dict(base)  # a copy of the table, several times faster than {**base, **overrides}
    merged.update(overrides)
    for key, definition in overrides.items():
        if definition.deleted:
            del merged[key]
    return merged


def override_changes(
    base: Items, old: Overrides, new: Overrides, is_same: Callable[[Any, Any], bool]
) -> Cooperative[tuple[Overrides, ChangeSet]]:
    """What changes if ``new`` replaces ``old`` on top of ``base``. Pauses after each slice.

    The first result is ``new`` with the definitions of ``old`` where both are the same, so that their compiled forms can be kept.
    The second one has the definitions that count from then on, of what differs alone.
    """
    kept: dict[ObjectKind, dict[str, Any]] = {ObjectKind.FLAG: {}, ObjectKind.SEGMENT: {}}
    changes: list[Change] = []
    for number, batch in enumerate(sliced(new.items(), _COMPARISONS_PER_SLICE)):
        if number:
            yield
        for (kind, key), given in batch:
            definition = completed(Change(kind, key, given.version, given))
            present = old.get((kind, key))
            if present is not None and is_same(present, definition):
                kept[kind][key] = present
            else:
                kept[kind][key] = definition
                changes.append(Change(kind, key, given.version, None if given.deleted else definition))
    for kind, key in (item for item, _ in old.items() if new.get(item) is None):
        changes.append(Change(kind, key, base.version((kind, key)) or 0, base.get((kind, key))))
    result = Overrides(flags=kept[ObjectKind.FLAG], segments=kept[ObjectKind.SEGMENT])
    transfer = ChangeKind.CHANGES if changes else ChangeKind.NONE
    return result, ChangeSet(kind=transfer, changes=tuple(changes), persist=False)
