"""Rules become one function that finds the first that matches. Flags and segments share it.

Most clauses ask whether a plain attribute is among some scalars. These are not asked one after the other: for each
attribute a table says which rules a value leaves standing, as the bits of an integer, so that ten rules over two
attributes cost two lookups. What a table cannot know (other operators, segments, paths) is asked afterwards, of the
rules that still stand, in order. Since clauses may fail, only those in front of the first such clause go into a table.

The usual shapes (one attribute, one rule, nothing but constants to serve) have functions of their own, for their speed.

Source: ``evaluation.md`` 3.4.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar, final

from aioflags.evaluation.clauses import InClause, as_in_clause, compile_clause
from aioflags.evaluation.compiled import Note
from aioflags.evaluation.rule_tables import KindTables, tables_of
from aioflags.evaluation.scope import Predicate, Scope
from aioflags.model.flag import Clause

if TYPE_CHECKING:
    from aioflags.model.context import Context

__all__ = ["Always", "RuleOutcome", "RuleSpec", "compile_rules", "served_by"]

T = TypeVar("T")
Rest: TypeAlias = tuple[Predicate, ...]
Served: TypeAlias = "Callable[[Context, Scope], T]"


@final
@dataclass(frozen=True, slots=True)
class Always(Generic[T]):
    """An outcome that is known beforehand."""

    value: T


RuleOutcome: TypeAlias = "Always[T] | Callable[[Context, Scope], T]"


def served_by(outcome: RuleOutcome[T]) -> Served[T]:
    """The outcome as a function."""
    if not isinstance(outcome, Always):
        return outcome
    value = outcome.value
    return lambda context, scope: value


@dataclass(frozen=True, slots=True)
class RuleSpec(Generic[T]):
    """A rule to compile: clauses that all have to match, perhaps a last condition, and what follows."""

    clauses: Sequence[Clause]
    then: RuleOutcome[T]
    last: Predicate | None = None


def compile_rules(specs: Sequence[RuleSpec[T]], otherwise: RuleOutcome[T], note: Note) -> RuleOutcome[T]:
    """The function that does what the first matching rule says, or else ``otherwise``."""
    asked: list[tuple[int, InClause]] = []
    rules: list[tuple[Rest, RuleOutcome[T]]] = []
    for number, spec in enumerate(specs):
        simple = _leading_memberships(spec.clauses)
        asked += [(1 << number, question) for question in simple]
        rest = [compile_clause(clause, note) for clause in spec.clauses[len(simple) :]]
        rules.append(((*rest, *([spec.last] if spec.last else ())), spec.then))
    if not asked:
        return _in_order(rules, otherwise)
    kinds = tables_of(asked, (1 << len(specs)) - 1)
    tables = [table for asked_kind in kinds for table in asked_kind.tables]
    if len(tables) == 1 and not tables[0].is_property and not any(rest for rest, _ in rules):
        return _by_one_attribute(kinds[0], [*(then for _, then in rules), otherwise])
    return _by_tables(kinds, rules, otherwise)


def _leading_memberships(clauses: Sequence[Clause]) -> list[InClause]:
    found: list[InClause] = []
    for clause in clauses:
        question = as_in_clause(clause)
        if question is None:
            break
        found.append(question)
    return found


# -- without tables


def _in_order(rules: Sequence[tuple[Rest, RuleOutcome[T]]], otherwise: RuleOutcome[T]) -> RuleOutcome[T]:
    if not rules:
        return otherwise
    if len(rules) == 1 and len(rules[0][0]) == 1:
        return _if(*rules[0][0], rules[0][1], otherwise)
    steps = tuple((rest, served_by(then)) for rest, then in rules)
    finally_served = served_by(otherwise)

    def first(context: Context, scope: Scope) -> T:
        for rest, then in steps:
            for matches in rest:
                if not matches(context, scope):
                    break
            else:
                return then(context, scope)
        return finally_served(context, scope)

    return first


def _if(matches: Predicate, then: RuleOutcome[T], otherwise: RuleOutcome[T]) -> RuleOutcome[T]:
    if isinstance(then, Always) and isinstance(otherwise, Always):
        yes, no = then.value, otherwise.value
        return lambda context, scope: yes if matches(context, scope) else no
    serve, pass_on = served_by(then), served_by(otherwise)
    return lambda context, scope: serve(context, scope) if matches(context, scope) else pass_on(context, scope)


# -- with tables


def _by_one_attribute(asked: KindTables, outcomes: Sequence[RuleOutcome[T]]) -> RuleOutcome[T]:
    """Nothing but one attribute is asked for: behind its value there is the outcome. The last outcome is for no rule."""
    values = [outcome.value for outcome in outcomes if isinstance(outcome, Always)]
    if len(values) == len(outcomes):
        return _value_behind(asked, values)
    choose = _value_behind(asked, [served_by(outcome) for outcome in outcomes])
    return lambda context, scope: choose(context, scope)(context, scope)


def _value_behind(asked: KindTables, values: Sequence[T]) -> Served[T]:
    kind, table = asked.kind, asked.tables[0]
    name, standing_with = table.name, table.matching_bits
    by_value = {value: values[_first_bit(matching_bits)] for value, matching_bits in table.by_value.items()}
    default_bits, absent = values[_first_bit(table.default_bits)], values[_first_bit(asked.absent)]

    def value_behind(context: Context, scope: Scope) -> T:
        single = context if context.kind == kind else context.member(kind)
        if single is None:
            return absent
        value = single.attributes.get(name)
        if value.__class__ is str:
            return by_value.get(value, default_bits)
        return values[_first_bit(standing_with(value))]

    return value_behind


def _first_bit(matching_bits: int) -> int:
    """The number of the first rule that stands; -1, and so the last of a list, if there is none."""
    return (matching_bits & -matching_bits).bit_length() - 1


def _by_tables(
    kinds: Sequence[KindTables], rules: Sequence[tuple[Rest, RuleOutcome[T]]], otherwise: RuleOutcome[T]
) -> RuleOutcome[T]:
    by_bit = {1 << number: (rest, served_by(then)) for number, (rest, then) in enumerate(rules)}
    by_bit[0] = ((), served_by(otherwise))
    # Spelled out, since the loop below is where a long list of rules spends its time.
    groups = tuple(
        (
            asked.kind,
            asked.absent,
            tuple((t.name, t.is_property, t.by_value, t.default_bits, t.matching_bits) for t in asked.tables),
        )
        for asked in kinds
    )

    def first(context: Context, scope: Scope) -> T:
        matching_bits = -1  # every rule, and bits that no table knows
        for kind, absent, tables in groups:
            single = context if context.kind == kind else context.member(kind)
            if single is None:
                matching_bits &= absent
            else:
                attributes = single.attributes
                for name, is_property, by_value, default_bits, standing_with in tables:
                    value = getattr(single, name) if is_property else attributes.get(name)
                    if value.__class__ is str:
                        matching_bits &= by_value.get(value, default_bits)
                    else:
                        matching_bits &= standing_with(value)
        while True:
            bit = matching_bits & -matching_bits
            rest, then = by_bit[bit]
            for matches in rest:
                if not matches(context, scope):
                    break
            else:
                return then(context, scope)
            matching_bits ^= bit

    return first
