"""A clause becomes a predicate, or, in its most usual form, a question that many rules can share.

Source: ``evaluation.md`` 3.4.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aioflags.evaluation.attributes import clean_kind, finder, reference
from aioflags.evaluation.compiled import Note
from aioflags.evaluation.operators import NO_SCALAR, OPERATORS, Test, never, scalar
from aioflags.evaluation.scope import Predicate, Scope
from aioflags.evaluation.visits import MalformedError
from aioflags.model.flag import Clause, FlagRule
from aioflags.model.segment import SegmentRule
from aioflags.model.values import is_array

if TYPE_CHECKING:
    from aioflags.model.context import Context

__all__ = ["SEGMENT_MATCH", "InClause", "as_in_clause", "compile_clause", "named_segments"]

SEGMENT_MATCH = "segmentMatch"


@dataclass(frozen=True, slots=True)
class InClause:
    """What a clause asks that wants one plain attribute to be among scalars: the form that rules answer by table."""

    kind: str
    name: str
    scalars: frozenset[object]
    negate: bool


def as_in_clause(clause: Clause) -> InClause | None:
    """The clause as a question of membership, if it is that simple; such a clause cannot fail."""
    if clause.op != "in":
        return None
    wanted = reference(clause.attribute or "", clause.context_kind)
    scalars = frozenset(map(scalar, clause.values or ()))
    if len(wanted.path) != 1 or wanted.path == ("kind",) or NO_SCALAR in scalars:
        return None
    return InClause(clean_kind(clause.context_kind), wanted.path[0], scalars, bool(clause.negate))


def named_segments(rules: Iterable[FlagRule | SegmentRule] | None) -> frozenset[str]:
    """Keys of the segments that rules look into."""
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


def compile_clause(clause: Clause, note: Note) -> Predicate:
    """The predicate of any clause. One with an invalid reference fails when it is reached, and not before."""
    wanted = not clause.negate
    if clause.op == SEGMENT_MATCH:
        return _in_segments(tuple(value for value in clause.values or () if isinstance(value, str)), wanted=wanted)
    named = reference(clause.attribute or "", clause.context_kind)
    if named.error is not None:
        return _fails(f"has a clause with an invalid attribute reference: {named.error}")
    factory = OPERATORS.get(clause.op)
    test = never if factory is None else factory(clause.values or (), note)
    if named.path == ("kind",):
        return _of_kinds(test, wanted=wanted)
    kind, find = clean_kind(clause.context_kind), finder(named)

    def matches(context: Context, scope: Scope) -> bool:
        single = context if context.kind == kind else context.member(kind)
        if single is None:
            return False
        found = find(single)
        if found is None:
            return False
        return (any(map(test, found)) if is_array(found) else test(found)) is wanted

    return matches


def _of_kinds(test: Test, *, wanted: bool) -> Predicate:
    """The kind alone is asked of every context at once."""
    return lambda context, scope: any(test(single.kind) for single in context) is wanted


def _in_segments(keys: tuple[str, ...], *, wanted: bool) -> Predicate:
    if len(keys) == 1:
        return _in_segment(keys[0], wanted=wanted)
    predicates = tuple(_in_segment(key, wanted=True) for key in keys)

    def is_in_one(context: Context, scope: Scope) -> bool:
        for is_in in predicates:
            if is_in(context, scope):
                return wanted
        return not wanted

    return is_in_one


def _in_segment(key: str, *, wanted: bool) -> Predicate:
    def is_in(context: Context, scope: Scope) -> bool:
        segment = scope.data.segments.get(key) or scope.data.segment(key)
        if segment is None:
            return not wanted
        user = context if context.kind == "user" else context.member("user")
        if user is not None and user.key in segment.users:
            return wanted
        return segment.holds_also(context, scope) is wanted

    return is_in


def _fails(problem: str) -> Predicate:
    def fails(context: Context, scope: Scope) -> bool:
        raise MalformedError(problem)

    return fails
