"""Tables: which rules the values of a context leave standing, looked up instead of asked for.

Source: ``evaluation.md`` 3.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aioflags.evaluation.clauses import InClause
from aioflags.evaluation.operators import scalar
from aioflags.model.context import BUILT_IN
from aioflags.model.values import is_array

__all__ = ["KindTables", "Table", "tables_of"]


@dataclass(frozen=True, slots=True)
class Table:
    """Which rules the value of one attribute leaves standing: one bit a rule.

    ``default_bits`` for values that no clause names, ``absent`` if there is none. Rules without a clause here always stand.
    """

    name: str
    by_value: dict[object, int]
    default_bits: int
    absent: int

    @property
    def is_property(self) -> bool:
        """Whether the name is that of a context's property, not of an attribute."""
        return self.name in BUILT_IN

    def matching_bits(self, value: Any) -> int:
        """The answer for any value, arrays included: of these, any element may be named."""
        if value is None:
            return self.absent
        if not is_array(value):
            return self.by_value.get(scalar(value), self.default_bits)
        differing = 0
        for element in value:
            differing |= self.by_value.get(scalar(element), self.default_bits) ^ self.default_bits
        return self.default_bits ^ differing


@dataclass(frozen=True, slots=True)
class KindTables:
    """The tables about contexts of one kind; ``absent`` says which rules stand without such a context."""

    kind: str
    absent: int
    tables: tuple[Table, ...]


def tables_of(asked: Sequence[tuple[int, InClause]], every: int) -> tuple[KindTables, ...]:
    """Tables for questions, each with the bit of its rule; ``every`` has all bits.

    A rule that asks about an attribute twice needs two tables for it, since both have to leave it standing.
    """
    layers: dict[tuple[str, str], list[list[tuple[int, InClause]]]] = {}
    for bit, question in asked:
        layer = layers.setdefault((question.kind, question.name), [])
        for questions in layer:
            if questions[-1][0] != bit:
                questions.append((bit, question))
                break
        else:
            layer.append([(bit, question)])
    by_kind: dict[str, list[Table]] = {}
    for (kind, name), layer in layers.items():
        by_kind.setdefault(kind, []).extend(_table(name, questions, every) for questions in layer)
    return tuple(KindTables(kind, _all_absent(tables), tuple(tables)) for kind, tables in by_kind.items())


def _all_absent(tables: Sequence[Table]) -> int:
    found = -1
    for table in tables:
        found &= table.absent
    return found


def _table(name: str, questions: Sequence[tuple[int, InClause]], every: int) -> Table:
    absent = default_bits = every
    for bit, question in questions:
        absent &= ~bit
        if not question.negate:
            default_bits &= ~bit
    by_value: dict[object, int] = {}
    for bit, question in questions:
        for value in question.scalars:
            # Being named turns the clause's answer around, whichever it is.
            by_value[value] = by_value.get(value, default_bits) ^ bit
    return Table(name, by_value, default_bits, absent)
