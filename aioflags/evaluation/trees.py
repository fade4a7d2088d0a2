"""Trees: how much there is to evaluate below a flag, if each use of a prerequisite is evaluated anew.

A flag with a small tree notes nothing while it is evaluated, so that one scope serves all threads. Any other flag gets a scope
that keeps the path and the results.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from aioflags.evaluation.clauses import named_segments
from aioflags.evaluation.items import Items
from aioflags.evaluation.segments import takes_notes
from aioflags.model.flag import FlagDefinition

__all__ = ["Tree", "tree_of"]

_MAX_HEIGHT: Final = 10
"""How many flags with prerequisites a small tree has in a row."""
_MAX_USES: Final = 64
"""How many uses of prerequisites a small tree has. Two paths at each level double them, but real flags share few prerequisites."""


class Tree(NamedTuple):
    """``height``: how many flags with prerequisites stand in a row. ``uses``: how often a prerequisite is evaluated."""

    height: int
    uses: int


_LEAF: Final = Tree(0, 0)


def tree_of(flag: FlagDefinition, items: Items, known: dict[str, Tree] | None = None) -> Tree | None:
    """The tree below a flag; ``None`` if it is not small, or if evaluating it takes notes for another reason.

    ``known`` has the trees of ``items`` that were measured before, by key; it is added to.
    """
    return _measured(flag, items, {} if known is None else known, [])


def _measured(flag: FlagDefinition, items: Items, known: dict[str, Tree], path: list[str]) -> Tree | None:
    if not flag.on:
        return _LEAF
    segments = items.segments
    if any(key in segments and takes_notes(segments[key]) for key in named_segments(flag.rules)):
        return None
    if not flag.prerequisites:
        return _LEAF
    # A chain is followed down to the height of a small tree only, so that a circle ends as well.
    if flag.key in path or len(path) >= _MAX_HEIGHT:
        return None
    path.append(flag.key)
    height = uses = 0
    for wanted in flag.prerequisites:
        uses += 1
        prerequisite = items.flags.get(wanted.key)
        if prerequisite is not None:
            tree = known.get(wanted.key) or _measured(prerequisite, items, known, path)
            if tree is None:
                return None
            height, uses = max(height, tree.height), uses + tree.uses
        if uses > _MAX_USES:
            return None
    path.pop()
    if height >= _MAX_HEIGHT:
        return None
    known[flag.key] = Tree(height + 1, uses)
    return known[flag.key]
