"""Slow definitions: those that would hold the event loop for milliseconds at their first evaluation.

The supervisor compiles them in a thread before it publishes the data.
"""

from __future__ import annotations

from typing import Final

from aioflags.evaluation.dialect import Dialect
from aioflags.evaluation.items import Item
from aioflags.model.change import ChangeSet
from aioflags.runtime.cooperative import Cooperative, sliced

_CHANGES_PER_SLICE: Final = 500


def slow_items(change_set: ChangeSet, dialect: Dialect) -> Cooperative[list[Item]]:
    """The changed definitions that are slow to compile. Pauses about every millisecond."""
    slow: list[Item] = []
    for number, batch in enumerate(sliced(change_set.changes, _CHANGES_PER_SLICE)):
        if number:
            yield
        slow += [(change.kind, change.key) for change in batch if dialect.is_slow(change.definition)]
    return slow
