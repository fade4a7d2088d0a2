"""Rules: compiled to one function that finds the first matching rule, by lookup in tables where that is possible.

Flags and segments use it.

Most clauses test whether a top-level attribute is one of some scalars. These clauses are not tested one after the other: for each
attribute, a table gives the rules that a value matches, as the bits of an integer, so that ten rules over two attributes cost two
lookups. Other clauses (other operators, segments, paths) are tested afterwards, in order, for the rules that the tables leave. They
can raise an error, so a rule's clauses go into tables only up to its first other clause.

Frequent shapes (one attribute, one rule, constant outcomes) have their own faster functions.

Source: ``evaluation.md`` 3.4.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, TypeAlias, TypeVar, final

from aioflags.evaluation.clauses import ClauseCompiler, InClause, as_in_clause
from aioflags.evaluation.items import ReportProblem
from aioflags.evaluation.operators import scalar_key
from aioflags.evaluation.scope import Predicate, Scope
from aioflags.model.context_json import BUILT_IN
from aioflags.model.flag import Clause
from aioflags.model.values import is_array

if TYPE_CHECKING:
    from aioflags.model.context import Context


# -- Tables: the rules that the value of an attribute matches, found by lookup instead of testing each clause.
# Source: ``evaluation.md`` 3.4.


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
        # An element that no clause names has the default bits, so it must not decide: only the bits in which an element differs
        # from them count. A plain "or" would let it satisfy a negated clause that another element fails.
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


MAX_TABLE_RULES: Final = 4096
"""How many rules share tables. A table has a bit of each rule for each value, so its size grows with the square of the rules."""
_MAX_TABLES: Final = 4
"""How many tables an attribute has at most: each looks up every element of an array."""

T = TypeVar("T")
Rest: TypeAlias = tuple[Predicate, ...]
Served: TypeAlias = "Callable[[Context, Scope], T]"


@final
@dataclass(frozen=True, slots=True)
class Always(Generic[T]):
    """An outcome that does not depend on the context."""

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
    """A rule to compile: clauses that all must match, an optional last condition, and the outcome."""

    clauses: Sequence[Clause]
    then: RuleOutcome[T]
    last: Predicate | None = None


def compile_rules(specs: Sequence[RuleSpec[T]], otherwise: RuleOutcome[T], note: ReportProblem) -> RuleOutcome[T]:
    """The function that returns the outcome of the first matching rule, or of ``otherwise``."""
    compile_clause = ClauseCompiler(note, sum(len(spec.clauses) for spec in specs))
    # From the last rules to the first: if none of the first matches, the function of the others decides.
    for start in reversed(range(0, len(specs), MAX_TABLE_RULES)):
        group = specs[start : start + MAX_TABLE_RULES]
        otherwise = _compile_group(group, otherwise, compile_clause)
    return otherwise


def compile_clause(clause: Clause, note: ReportProblem, *, in_table: bool, clauses: int) -> Predicate:
    """The predicate of one clause of a rule, with the work that it has there.

    ``in_table``: the clause is one of :func:`leading_in_clauses`. ``clauses``: how many the flag or segment has.
    """
    if in_table:
        return served_by(compile_rules([RuleSpec((clause,), Always(value=True))], Always(value=False), note))
    return ClauseCompiler(note, clauses)(clause)


def _compile_group(specs: Sequence[RuleSpec[T]], otherwise: RuleOutcome[T], compile_clause: ClauseCompiler) -> RuleOutcome[T]:
    in_clauses: list[tuple[int, InClause]] = []
    rules: list[tuple[Rest, RuleOutcome[T]]] = []
    for number, spec in enumerate(specs):
        leading = leading_in_clauses(spec.clauses)
        in_clauses += [(1 << number, clause) for clause in leading]
        rest = map(compile_clause, spec.clauses[len(leading) :])
        rules.append(((*rest, *([spec.last] if spec.last else ())), spec.then))
    if not in_clauses:
        return _in_order(rules, otherwise)
    kinds = tables_of(in_clauses, (1 << len(specs)) - 1)
    tables = [table for by_kind in kinds for table in by_kind.tables]
    if len(tables) == 1 and not tables[0].is_property and not any(rest for rest, _ in rules):
        return _by_one_attribute(kinds[0], [*(then for _, then in rules), otherwise])
    return _by_tables(kinds, rules, otherwise)


def leading_in_clauses(clauses: Sequence[Clause]) -> list[InClause]:
    """The clauses of a rule that tables evaluate: the first ones, up to one that they cannot."""
    leading: list[InClause] = []
    uses: Counter[tuple[str, str]] = Counter()
    for clause in clauses:
        in_clause = as_in_clause(clause)
        if in_clause is None:
            break
        uses[in_clause.kind, in_clause.name] += 1
        if uses[in_clause.kind, in_clause.name] > _MAX_TABLES:
            break
        leading.append(in_clause)
    return leading


# -- without tables


def _in_order(rules: Sequence[tuple[Rest, RuleOutcome[T]]], otherwise: RuleOutcome[T]) -> RuleOutcome[T]:
    if not rules:
        return otherwise
    if len(rules) == 1 and len(rules[0][0]) == 1:
        return _if(*rules[0][0], rules[0][1], otherwise)
    steps, default = tuple(rules), served_by(otherwise)

    def first(context: Context, scope: Scope) -> T:
        for rest, then in steps:
            for matches in rest:
                if not matches(context, scope):
                    break
            else:
                return then.value if isinstance(then, Always) else then(context, scope)
        return default(context, scope)

    return first


def _if(matches: Predicate, then: RuleOutcome[T], otherwise: RuleOutcome[T]) -> RuleOutcome[T]:
    if isinstance(then, Always) and isinstance(otherwise, Always):
        yes, no = then.value, otherwise.value
        return lambda context, scope: yes if matches(context, scope) else no
    serve, default = served_by(then), served_by(otherwise)
    return lambda context, scope: serve(context, scope) if matches(context, scope) else default(context, scope)


# -- with tables


def _by_one_attribute(kind_tables: KindTables, outcomes: Sequence[RuleOutcome[T]]) -> RuleOutcome[T]:
    """All rules test one attribute: its value gives the outcome. The last outcome applies if no rule matches."""
    values = [outcome.value for outcome in outcomes if isinstance(outcome, Always)]
    if len(values) == len(outcomes):
        return _value_of_rule(kind_tables, values)
    choose = _value_of_rule(kind_tables, [served_by(outcome) for outcome in outcomes])
    return lambda context, scope: choose(context, scope)(context, scope)


def _value_of_rule(kind_tables: KindTables, values: Sequence[T]) -> Served[T]:
    kind, table = kind_tables.kind, kind_tables.tables[0]
    name, bits_for = table.name, table.matching_bits
    by_value = {value: values[_first_bit(bits)] for value, bits in table.by_value.items()}
    default, absent = values[_first_bit(table.default_bits)], values[_first_bit(kind_tables.absent)]

    def value_of_rule(context: Context, scope: Scope) -> T:
        single = context if context.kind == kind else context.member(kind)
        if single is None:
            return absent
        value = single.attributes.get(name)
        if value.__class__ is str:
            return by_value.get(value, default)
        return values[_first_bit(bits_for(value))]

    return value_of_rule


def _first_bit(matching_bits: int) -> int:
    """The number of the first rule that matches; -1, and so the last item of a list, if none does."""
    return (matching_bits & -matching_bits).bit_length() - 1


def _by_tables(
    kinds: Sequence[KindTables], rules: Sequence[tuple[Rest, RuleOutcome[T]]], otherwise: RuleOutcome[T]
) -> RuleOutcome[T]:
    by_bit = {1 << number: rule for number, rule in enumerate(rules)}
    by_bit[0] = ((), otherwise)
    # Tuples instead of objects: evaluating a long list of rules spends most of its time in the loop below.
    groups = tuple(
        (
            by_kind.kind,
            by_kind.absent,
            tuple((t.name, t.is_property, t.by_value, t.default_bits, t.matching_bits) for t in by_kind.tables),
        )
        for by_kind in kinds
    )

    def first(context: Context, scope: Scope) -> T:
        matching_bits = -1  # all rules, and higher bits that no table has
        for kind, absent, tables in groups:
            single = context if context.kind == kind else context.member(kind)
            if single is None:
                matching_bits &= absent
            else:
                attributes = single.attributes
                for name, is_property, by_value, default_bits, bits_for in tables:
                    value = getattr(single, name) if is_property else attributes.get(name)
                    if value.__class__ is str:
                        matching_bits &= by_value.get(value, default_bits)
                    else:
                        matching_bits &= bits_for(value)
        while True:
            bit = matching_bits & -matching_bits
            rest, then = by_bit[bit]
            for matches in rest:
                if not matches(context, scope):
                    break
            else:
                return then.value if isinstance(then, Always) else then(context, scope)
            # The rest did not match, so go on with the next rule. Without a rule left, `by_bit[0]` has no rest and ends the loop.
            matching_bits ^= bit

    return first
