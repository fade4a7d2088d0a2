"""Clauses: compiled to predicates or table entries; and how definitions name attributes.

Compiles a clause to a predicate, or in the most frequent case to an entry of the tables that all rules share.

Source: ``evaluation.md`` 3.4.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from aioflags.evaluation.items import ReportProblem
from aioflags.evaluation.operators import NOT_SCALAR, OPERATORS, Test, never, scalar_key
from aioflags.evaluation.scope import Cost, MalformedError, Predicate, Scope, cost_of, free_steps
from aioflags.model.attributes import AttributeReference
from aioflags.model.change import SegmentRule
from aioflags.model.context_json import BUILT_IN
from aioflags.model.flag import Clause, FlagRule
from aioflags.model.values import is_array

if TYPE_CHECKING:
    from aioflags.model.context import Context


# -- Context kinds and attributes as definitions name them, and the functions that read the attributes.
# Source: ``evaluation.md`` 1.7 and 3.4.


Find: TypeAlias = "Callable[[Context], Any]"
"""Reads one attribute of a single-kind context; ``None`` if it is missing."""


def clean_kind(kind: str | None) -> str:
    """The kind that a definition means, safe to compare with ``context.kind``.

    ``None`` and the empty string mean ``user``. A multi-kind context has the kind ``multi``. A definition can name that
    kind, but no single-kind context has it. It is replaced by ``kind``, which is not a valid kind of context.
    """
    return "kind" if kind == "multi" else kind or "user"


def reference(text: str, kind: str | None) -> AttributeReference:
    """The attribute that a definition means by ``text``. Without a context kind it is a literal name: old data has no paths."""
    return AttributeReference.parse(text) if kind else AttributeReference.literal(text)


def finder(attribute: AttributeReference) -> Find:
    """The function that reads the attribute."""
    if len(attribute.path) != 1:
        return lambda single: single.resolve(attribute)
    name = attribute.path[0]
    if name in BUILT_IN:
        return operator.attrgetter(name)
    return lambda single: single.attributes.get(name)


SEGMENT_MATCH = "segmentMatch"


@dataclass(frozen=True, slots=True)
class InClause:
    """A clause that tests whether a top-level attribute is one of some scalars. Rules evaluate it by table."""

    kind: str
    name: str
    scalars: frozenset[object]
    negate: bool


def as_in_clause(clause: Clause) -> InClause | None:
    """The clause as an :class:`InClause`, which cannot fail; ``None`` if it is another kind of clause."""
    if clause.op != "in":
        return None
    attribute = reference(clause.attribute or "", clause.context_kind)
    scalars = frozenset(map(scalar_key, clause.values or ()))
    if len(attribute.path) != 1 or attribute.path == ("kind",) or NOT_SCALAR in scalars:
        return None
    return InClause(clean_kind(clause.context_kind), attribute.path[0], scalars, bool(clause.negate))


def named_segments(rules: Iterable[FlagRule | SegmentRule] | None) -> frozenset[str]:
    """Keys of the segments that rules name."""
    return frozenset(
        [
            value
            for rule in rules or ()
            for clause in rule.clauses or ()
            if clause.op == SEGMENT_MATCH
            for value in clause.values or ()
            if isinstance(value, str)
        ]
    )


class ClauseCompiler:
    """Compiles the clauses of one flag or segment to predicates.

    Clauses that differ only in their values share what does not depend on these: every pass of the garbage collector over the
    objects of 10,000 rules holds the event loop, so a rule has few of them.
    """

    def __init__(self, note: ReportProblem, clauses: int = 1) -> None:
        """``clauses``: how many clauses the flag or segment has. Together they do some work without charging it to the scope."""
        self._note = note
        self._free_steps = free_steps(clauses)
        self._testing: dict[object, Callable[[Test], Predicate]] = {}

    def __call__(self, clause: Clause) -> Predicate:
        """The predicate of any clause. A clause with an invalid attribute reference raises when it is evaluated."""
        expected, values = not clause.negate, clause.values or ()
        if clause.op == SEGMENT_MATCH:
            return _in_segments(tuple(value for value in values if isinstance(value, str)), expected=expected)
        attribute = reference(clause.attribute or "", clause.context_kind)
        if attribute.error is not None:
            return _fails(f"has a clause with an invalid attribute reference: {attribute.error}")
        factory = OPERATORS.get(clause.op)
        test = never if factory is None else factory(values, self._note)
        if attribute.path == ("kind",):
            return _of_kinds(test, expected=expected)
        kind, cost = clean_kind(clause.context_kind), cost_of(clause.op, values)
        shared = (kind, attribute, cost, expected)
        testing = self._testing.get(shared)
        if testing is None:
            testing = self._testing[shared] = _testing(kind, finder(attribute), cost, self._free_steps, expected=expected)
        return testing(test)


def _testing(kind: str, find: Find, cost: Cost, free: int, *, expected: bool) -> Callable[[Test], Predicate]:
    """Makes predicates that test the same attribute."""
    max_length = cost.max_length(free)

    def predicate(test: Test) -> Predicate:
        def matches(context: Context, scope: Scope) -> bool:
            single = context if context.kind == kind else context.member(kind)
            if single is None:
                return False
            value = find(single)
            if value is None:
                return False
            if value.__class__ is str:
                if len(value) > max_length:
                    scope.charge(cost.of(value))
                return test(value) is expected
            if is_array(value):
                if (steps := cost.of_all(value)) > free:
                    scope.charge(steps)
                return any(map(test, value)) is expected
            if cost.other > free:
                scope.charge(cost.of(value))
            return test(value) is expected

        return matches

    return predicate


def _of_kinds(test: Test, *, expected: bool) -> Predicate:
    """A clause about the kind tests the kinds of all contexts, whatever its own kind is."""
    return lambda context, scope: any(test(single.kind) for single in context) is expected


def _in_segments(keys: tuple[str, ...], *, expected: bool) -> Predicate:
    if len(keys) == 1:
        return _in_segment(keys[0], expected=expected)
    predicates = tuple(_in_segment(key, expected=True) for key in keys)

    def is_in_one(context: Context, scope: Scope) -> bool:
        for is_in in predicates:
            if is_in(context, scope):
                return expected
        return not expected

    return is_in_one


def _in_segment(key: str, *, expected: bool) -> Predicate:
    def is_in(context: Context, scope: Scope) -> bool:
        segment = scope.data.segments.get(key) or scope.data.segment(key)
        if segment is None:
            return not expected
        user = context if context.kind == "user" else context.member("user")
        if user is not None and user.key in segment.users:
            return expected
        return segment.holds_also(context, scope) is expected

    return is_in


def _fails(problem: str) -> Predicate:
    def fails(context: Context, scope: Scope) -> bool:
        raise MalformedError(problem)

    return fails
