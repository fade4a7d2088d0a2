"""Tables: the rules that the value of an attribute matches, found by lookup instead of testing each clause.

Source: ``evaluation.md`` 3.4.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aioflags.evaluation.clauses import InClause
from aioflags.evaluation.operators import scalar_key
from aioflags.model.context import BUILT_IN
from aioflags.model.values import is_array


@dataclass(frozen=True, slots=True)
class Table:
    """The rules that a value of one attribute matches: one bit for each rule.

    ``by_value``: for values that a clause names. ``default_bits``: for other values. ``absent``: for a missing attribute. A rule
    without a clause in the table has its bit set in all of them.
    """

    name: str
    by_value: dict[object, int]
    default_bits: int
    absent: int

    @property
    def is_property(self) -> bool:
        """Whether the name is a property of contexts (``key``, ``name``, …) and not an attribute."""
        return self.name in BUILT_IN

    def matching_bits(self, value: Any) -> int:
        """The bits for any value. A clause names an array if it names one of its elements."""
        if value is None:
            return self.absent
        if not is_array(value):
            return self.by_value.get(scalar_key(value), self.default_bits)
        differing = 0
        for element in value:
            differing |= self.by_value.get(scalar_key(element), self.default_bits) ^ self.default_bits
        return self.default_bits ^ differing


@dataclass(frozen=True, slots=True)
class KindTables:
    """The tables for contexts of one kind. ``absent``: the rules that match without a context of that kind."""

    kind: str
    absent: int
    tables: tuple[Table, ...]


def tables_of(in_clauses: Sequence[tuple[int, InClause]], every: int) -> tuple[KindTables, ...]:
    """The tables of some clauses, each given with the bit of its rule. ``every`` has the bits of all rules.

    A rule with two clauses about an attribute needs two tables for it, since both clauses must match.
    """
    layers: dict[tuple[str, str], list[list[tuple[int, InClause]]]] = {}
    uses: Counter[tuple[int, str, str]] = Counter()  # by the number of the rule: the bits of many rules have equal hashes
    for bit, clause in in_clauses:
        layer = layers.setdefault((clause.kind, clause.name), [])
        # The rule's first clause about the attribute goes to the first table, its second one to the second table, and so on.
        use = (bit.bit_length(), clause.kind, clause.name)
        number = uses[use]
        uses[use] += 1
        if number == len(layer):
            layer.append([])
        layer[number].append((bit, clause))
    by_kind: dict[str, list[Table]] = {}
    for (kind, name), layer in layers.items():
        by_kind.setdefault(kind, []).extend(_table(name, clauses, every) for clauses in layer)
    return tuple(KindTables(kind, _all_absent(tables), tuple(tables)) for kind, tables in by_kind.items())


def _all_absent(tables: Sequence[Table]) -> int:
    bits = -1
    for table in tables:
        bits &= table.absent
    return bits


def _table(name: str, clauses: Sequence[tuple[int, InClause]], every: int) -> Table:
    absent = default_bits = every
    for bit, clause in clauses:
        absent &= ~bit
        if not clause.negate:
            default_bits &= ~bit
    by_value: dict[object, int] = {}
    for bit, clause in clauses:
        for value in clause.scalars:
            # A value that the clause names inverts its bit: it sets the bit, or clears it if the clause is negated.
            by_value[value] = by_value.get(value, default_bits) ^ bit
    return Table(name, by_value, default_bits, absent)
