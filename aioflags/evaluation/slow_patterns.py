"""Finds definitions with patterns that take long to compile.

Definitions are compiled at their first evaluation. A long pattern would block the event loop there, so the supervisor compiles such
a flag or segment in a thread, before it publishes the data.
"""

from __future__ import annotations

from typing import Final

from aioflags.evaluation.items import Item
from aioflags.model.change import ChangeSet, Definition, RuledDefinition
from aioflags.runtime.cooperative import Cooperative, sliced

__all__ = ["SLOW_PATTERN_LENGTH", "slow_items"]

SLOW_PATTERN_LENGTH: Final = 500
"""In characters, all patterns of a definition together. Shorter patterns compile in 1 to 3 ms."""
_CHANGES_PER_SLICE: Final = 500


def slow_items(change_set: ChangeSet) -> Cooperative[list[Item]]:
    """The changed definitions with long patterns. Pauses about every millisecond."""
    slow: list[Item] = []
    for number, batch in enumerate(sliced(change_set.changes, _CHANGES_PER_SLICE)):
        if number:
            yield
        slow += [(change.kind, change.key) for change in batch if _pattern_length(change.definition) > SLOW_PATTERN_LENGTH]
    return slow


def _pattern_length(definition: Definition | None) -> int:
    length = 0
    for rule in (definition.rules if isinstance(definition, RuledDefinition) else None) or ():
        for clause in rule.clauses or ():
            if clause.op == "matches":
                length += sum(len(value) for value in clause.values or () if isinstance(value, str))
    return length
