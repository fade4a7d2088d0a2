"""Compiles a segment to a set of user keys and a predicate: listed keys first, then rules. A big segment reads memberships instead.

Source: ``evaluation.md`` 3.8 and 3.9.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from aioflags.evaluation.attributes import clean_kind
from aioflags.evaluation.clauses import named_segments
from aioflags.evaluation.compiled import CompiledSegment, ReportProblem
from aioflags.evaluation.rollouts import within_weight
from aioflags.evaluation.rules import Always, RuleSpec, compile_rules, served_by
from aioflags.evaluation.scope import Predicate, Scope
from aioflags.evaluation.visits import worsen
from aioflags.model.detail import BigSegmentsStatus
from aioflags.model.segment import SegmentDefinition, SegmentTarget

if TYPE_CHECKING:
    from aioflags.model.context import Context


_YES: Final = Always(value=True)
_NO: Final = Always(value=False)


def takes_notes(segment: SegmentDefinition) -> bool:
    """Whether evaluating the segment writes to the scope: the path into further segments, or the status of big segments."""
    return bool(segment.unbounded or named_segments(segment.rules))


def compile_segment(segment: SegmentDefinition, note: ReportProblem) -> CompiledSegment:
    """Compiles a segment. ``note`` receives problems that its patterns cause."""
    rules = _rules(segment, note)
    if segment.unbounded:
        return CompiledSegment(frozenset(), _big(segment, rules))
    included = _keys(segment.included, segment.included_contexts)
    excluded = _keys(segment.excluded, segment.excluded_contexts)
    users = included.pop("user", frozenset[str]())

    def holds_also(context: Context, scope: Scope) -> bool:
        if _is_listed(context, included):
            return True
        return not _is_listed(context, excluded) and rules(context, scope)

    return CompiledSegment(users, holds_also if included or excluded else rules)


def _keys(users: Sequence[str] | None, targets: Iterable[SegmentTarget] | None) -> dict[str, frozenset[str]]:
    """Listed keys by kind."""
    keys = {"user": frozenset(users)} if users else {}
    for target in targets or ():
        kind = clean_kind(target.context_kind)
        keys[kind] = keys.get(kind, frozenset()) | frozenset(target.values or ())
    return keys


def _is_listed(context: Context, keys: dict[str, frozenset[str]]) -> bool:
    for kind, listed in keys.items():
        single = context if context.kind == kind else context.member(kind)
        if single is not None and single.key in listed:
            return True
    return False


def _rules(segment: SegmentDefinition, note: ReportProblem) -> Predicate:
    specs: list[RuleSpec[bool]] = []
    for rule in segment.rules or ():
        last = None
        if rule.weight is not None:
            last = within_weight(
                rule.weight,
                key=segment.key,
                salt=segment.salt or "",
                bucket_by=rule.bucket_by,
                context_kind=rule.rollout_context_kind,
            )
        specs.append(RuleSpec(rule.clauses or (), _YES, last))
    rules = served_by(compile_rules(specs, _NO, note))
    if not named_segments(segment.rules):
        return rules
    key = segment.key

    def names_segments(context: Context, scope: Scope) -> bool:
        segments = scope.segments
        holds = segments.recall(key, scope)
        if holds is None:
            segments.enter(key, scope)
            holds = segments.leave(rules(context, scope), scope)
        return holds

    return names_segments


def _big(segment: SegmentDefinition, rules: Predicate) -> Predicate:
    kind, generation = clean_kind(segment.unbounded_context_kind), segment.generation
    name = f"{segment.key}.g{generation}"

    def holds(context: Context, scope: Scope) -> bool:
        if generation is None:
            worsen(scope, BigSegmentsStatus.NOT_CONFIGURED)
            return False
        single = context.member(kind)
        if single is None:
            return False
        if scope.memberships is None:
            worsen(scope, BigSegmentsStatus.NOT_CONFIGURED)
            return rules(context, scope)
        membership = scope.memberships(single.key)
        if membership is None:
            if single.key not in scope.missing:
                scope.missing.append(single.key)
            return rules(context, scope)
        worsen(scope, membership.status)
        listed = membership.segments.get(name)
        return rules(context, scope) if listed is None else listed

    return holds
