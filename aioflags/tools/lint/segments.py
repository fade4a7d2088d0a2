"""Checks one segment: its lists of keys and its rules."""

from __future__ import annotations

from collections.abc import Iterator

from aioflags.evaluation.attributes import clean_kind
from aioflags.model.flag import Rollout
from aioflags.model.segment import SegmentDefinition, SegmentTarget
from aioflags.protocol.documents.places import Path
from aioflags.tools.lint.clauses import ClauseTest, check_bucketing, check_clauses, check_kind, clause_tests, first_that_covers
from aioflags.tools.lint.findings import LintRemark, quoted
from aioflags.tools.lint.flags import TOTAL_WEIGHT


def check_segment(segment: SegmentDefinition, path: Path) -> Iterator[LintRemark]:
    """The mistakes in the segment at ``path`` that can be seen without other flags and segments."""
    if segment.unbounded:
        yield from check_kind(segment.unbounded_context_kind, (*path, "unboundedContextKind"))
        if segment.generation is None:
            yield LintRemark("big-segment", path, "a big segment without a generation has no members")
    yield from _check_keys(segment, path)
    earlier_rules: dict[int, tuple[ClauseTest, ...]] = {}
    for index, rule in enumerate(segment.rules or ()):
        at = (*path, "rules", index)
        yield from check_clauses(rule.clauses, at)
        if rule.weight is not None:
            if not 0 <= rule.weight <= TOTAL_WEIGHT:
                yield LintRemark("weights", (*at, "weight"), f"expected a weight between 0 and {TOTAL_WEIGHT}, got {rule.weight}")
            bucketing = Rollout(bucket_by=rule.bucket_by, context_kind=rule.rollout_context_kind)
            for remark in check_bucketing(bucketing, at):
                renamed = tuple("rolloutContextKind" if part == "contextKind" else part for part in remark.path)
                yield LintRemark(remark.rule, renamed, remark.message, remark.suggestion)
        tests = clause_tests(rule.clauses)
        if (earlier := first_that_covers(list(earlier_rules.values()), to=tests)) is not None:
            message = f"rule {list(earlier_rules)[earlier]} comes first and matches whenever this rule does"
            yield LintRemark("unreachable-rule", at, message)
        if rule.weight is None or rule.weight >= TOTAL_WEIGHT:
            earlier_rules[index] = tests


def _check_keys(segment: SegmentDefinition, path: Path) -> Iterator[LintRemark]:
    """Check for keys that are listed twice: the first entry is used, and included comes before excluded."""
    seen: dict[tuple[str, str], str] = {}
    lists: list[tuple[str, Path, tuple[SegmentTarget, ...]]] = [
        ("included", (*path, "included"), (SegmentTarget(values=segment.included),)),
        ("included", (*path, "includedContexts"), segment.included_contexts or ()),
        ("excluded", (*path, "excluded"), (SegmentTarget(values=segment.excluded),)),
        ("excluded", (*path, "excludedContexts"), segment.excluded_contexts or ()),
    ]
    for what, at, targets in lists:
        has_plain_keys = at[-1] in {"included", "excluded"}  # the others have an object with keys for each context kind
        for index, target in enumerate(targets):
            yield from check_kind(target.context_kind, (*at, index, "contextKind"))
            for number, key in enumerate(target.values or ()):
                name = (clean_kind(target.context_kind), key)
                if name in seen:
                    inside: Path = (number,) if has_plain_keys else (index, "values", number)
                    yield LintRemark("duplicate-target", (*at, *inside), f"{quoted(key)} is {seen[name]} already")
                seen.setdefault(name, what)
