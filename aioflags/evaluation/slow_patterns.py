"""Which definitions have patterns that take long to compile.

Definitions are compiled at their first evaluation. A long pattern would hold the event loop there, so the supervisor compiles
its flag or segment beforehand, in a thread.
"""

from __future__ import annotations

from typing import Final

from aioflags.evaluation.items import Item
from aioflags.model.change import ChangeSet, Definition
from aioflags.runtime.cooperative import Cooperative

__all__ = ["SLOW_PATTERN_LENGTH", "slow_items"]

SLOW_PATTERN_LENGTH: Final = 500
"""In characters, all patterns of a definition together. Up to here they take 1 to 3 ms to compile."""
_CHANGES_A_SLICE: Final = 500


def slow_items(change_set: ChangeSet) -> Cooperative[list[Item]]:
    """The changed definitions with long patterns. Pauses every millisecond or so."""
    slow: list[Item] = []
    for count, change in enumerate(change_set.changes, 1):
        if count % _CHANGES_A_SLICE == 0:
            yield
        if change.definition is not None and _pattern_length(change.definition) > SLOW_PATTERN_LENGTH:
            slow.append((change.kind, change.key))
    return slow


def _pattern_length(definition: Definition) -> int:
    length = 0
    for rule in definition.rules or ():
        for clause in rule.clauses or ():
            if clause.op == "matches":
                length += sum(len(value) for value in clause.values or () if isinstance(value, str))
    return length
