"""Trees: how many evaluations a flag costs if each use of a prerequisite is evaluated again.

A flag with a small tree takes no notes when it is evaluated, so all threads share one scope. Any other flag is evaluated in a scope
that keeps the path and the results.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from aioflags.evaluation.clauses import named_segments
from aioflags.evaluation.items import Items
from aioflags.evaluation.segments import takes_notes
from aioflags.model.change import ObjectKind
from aioflags.model.flag import FlagDefinition

_MAX_HEIGHT: Final = 10
"""The maximal height of a small tree."""
_MAX_USES: Final = 64
"""The maximal number of uses in a small tree. Two paths at each level double it, but real flags share few prerequisites."""


class Tree(NamedTuple):
    """``height``: how many flags with prerequisites form a chain. ``uses``: how often a prerequisite is evaluated."""

    height: int
    uses: int


_LEAF: Final = Tree(0, 0)


def tree_of(flag: FlagDefinition, items: Items, measured: dict[str, Tree] | None = None) -> Tree | None:
    """The tree below a flag; ``None`` if it is not small, or if evaluating the flag takes notes for another reason.

    ``measured``: the trees of ``items`` that were measured before, by key. New ones are added.
    """
    return _measure(flag, items, {} if measured is None else measured, [])


def _measure(flag: FlagDefinition, items: Items, measured: dict[str, Tree], path: list[str]) -> Tree | None:
    if not flag.on:
        return _LEAF
    segments = items.segments
    named = named_segments(flag.rules)
    if any(key in segments and takes_notes(segments[key]) for key in named):
        return None
    if items.overridden and any((ObjectKind.SEGMENT, key) in items.overridden for key in named):
        return None  # its evaluation notes that it read an override
    if not flag.prerequisites:
        return _LEAF
    # Stop at the height of a small tree. This also ends circles.
    if flag.key in path or len(path) >= _MAX_HEIGHT:
        return None
    path.append(flag.key)
    height = uses = 0
    for prerequisite in flag.prerequisites:
        uses += 1
        definition = items.flags.get(prerequisite.key)
        if definition is not None:
            tree = measured.get(prerequisite.key) or _measure(definition, items, measured, path)
            if tree is None:
                return None
            height, uses = max(height, tree.height), uses + tree.uses
        if uses > _MAX_USES:
            return None
    path.pop()
    if height >= _MAX_HEIGHT:
        return None
    measured[flag.key] = Tree(height + 1, uses)
    return measured[flag.key]
