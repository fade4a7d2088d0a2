"""Checks flags and segments: variations, rollouts, targets, clauses and rules."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from aioflags.evaluation.backtracking import MAX_SUBJECT_LENGTH
from aioflags.evaluation.clauses import SEGMENT_MATCH, clean_kind, reference
from aioflags.evaluation.operators import OPERATORS, parse_number, parse_time, parse_version
from aioflags.evaluation.patterns import MAX_PATTERN_LENGTH, max_length_without_re2
from aioflags.evaluation.value_types import has_fraction
from aioflags.model.change import SegmentDefinition, SegmentTarget
from aioflags.model.context import Context
from aioflags.model.flag import Clause, FlagDefinition, FlagRule, Rollout, Target, VariationOrRollout
from aioflags.model.values import type_name
from aioflags.protocol.problems import Path
from aioflags.runtime.suggest import did_you_mean, suggestion
from aioflags.tools.lint.findings import LintRemark, quoted

# -- Checks clauses: unknown operators, unusable values, clauses that never match, and rules that an earlier rule covers.


_OTHER_NAMES: Final = {
    "=": "in",
    "==": "in",
    "equals": "in",
    "eq": "in",
    "equal": "in",
    "is": "in",
    "oneof": "in",
    "isoneof": "in",
    "beginswith": "startsWith",
    "regex": "matches",
    "<": "lessThan",
    "lt": "lessThan",
    "<=": "lessThanOrEqual",
    "lte": "lessThanOrEqual",
    ">": "greaterThan",
    "gt": "greaterThan",
    ">=": "greaterThanOrEqual",
    "gte": "greaterThanOrEqual",
    "segment": SEGMENT_MATCH,
}
"""Names of operators in other products."""


USABLE_VALUES: Final[dict[str, tuple[Callable[[object], bool], str]]] = {
    **dict.fromkeys(
        ("startsWith", "endsWith", "contains", "matches", SEGMENT_MATCH), (lambda value: isinstance(value, str), "a string")
    ),
    **dict.fromkeys(
        ("lessThan", "lessThanOrEqual", "greaterThan", "greaterThanOrEqual"),
        (lambda value: parse_number(value) is not None, "a number"),
    ),
    **dict.fromkeys(
        ("before", "after"), (lambda value: parse_time(value) is not None, "a time: milliseconds, or like 2026-01-31T12:00:00Z")
    ),
    **dict.fromkeys(
        ("semVerEqual", "semVerLessThan", "semVerGreaterThan"),
        (lambda value: parse_version(value) is not None, "a semantic version, like 1.2.3"),
    ),
    "in": (lambda value: value is not None, "a value that an attribute can have"),
}
"""For each operator: whether a clause can use a value, and which values it can use."""


def check_clauses(clauses: Sequence[Clause] | None, path: Path) -> Iterator[LintRemark]:
    """The mistakes in the clauses of the rule at ``path``."""
    for index, clause in enumerate(clauses or ()):
        yield from _check_clause(clause, (*path, "clauses", index))
    tests = clause_tests(clauses)
    for index, test in enumerate(tests):
        if any(other.excludes(test) for other in tests):
            message = "another clause requires the values that this one excludes, so the rule never matches"
            yield LintRemark("never-matches", (*path, "clauses", index), message)


def _check_clause(clause: Clause, path: Path) -> Iterator[LintRemark]:
    if clause.op != SEGMENT_MATCH and clause.op not in OPERATORS:
        operator = _OTHER_NAMES.get(clause.op.lower().replace(" ", "").replace("_", ""))
        suggested = suggestion(operator, quoted) if operator else did_you_mean(clause.op, [*OPERATORS, SEGMENT_MATCH], quote=quoted)
        yield LintRemark("unknown-operator", (*path, "op"), f"unknown operator {quoted(clause.op)}", suggested or None)
        return
    if clause.op != SEGMENT_MATCH:
        yield from _check_reference(clause.attribute or "", clause.context_kind, (*path, "attribute"))
        yield from check_kind(clause.context_kind, (*path, "contextKind"))
    if not clause.values and not clause.negate:
        yield LintRemark("never-matches", path, "a clause without values never matches")
    is_usable, expected = USABLE_VALUES[clause.op]
    for index, value in enumerate(clause.values or ()):
        at = (*path, "values", index)
        if not is_usable(value):
            shown = quoted(value) if isinstance(value, str) else type_name(value)
            yield LintRemark("useless-value", at, f"{clause.op} expects {expected}, got {shown}")
        elif clause.op == "matches":
            yield from _check_pattern(value, at)


def _check_pattern(pattern: str, path: Path) -> Iterator[LintRemark]:
    try:
        limit = max_length_without_re2(pattern)
    except (re.error, RecursionError, OverflowError) as problem:
        yield LintRemark("bad-pattern", path, f"{quoted(pattern)} is not a valid regular expression: {problem}")
        return
    if limit is None or limit >= MAX_SUBJECT_LENGTH:
        return
    if len(pattern) > MAX_PATTERN_LENGTH:
        yield LintRemark(
            "bad-pattern", path, f"{quoted(pattern)} is longer than {MAX_PATTERN_LENGTH} characters, so it never matches"
        )
        return
    effect = f"only matches texts of up to {limit} characters" if limit else "never matches"
    message = f"{quoted(pattern)} can take very long: without RE2 it {effect}"
    yield LintRemark("risky-pattern", path, message, 'avoid a repetition inside a repetition, or install "aioflags[re2]"')


def _check_reference(text: str, kind: str | None, path: Path) -> Iterator[LintRemark]:
    attribute = reference(text, kind)
    if attribute.error is not None:
        yield LintRemark("invalid-reference", path, attribute.error)
    elif not kind and text.startswith("/"):
        yield LintRemark(
            "literal-path",
            path,
            f"without a contextKind this is the attribute {quoted(text)}, not a path",
            'add "contextKind": "user"',
        )


def check_kind(kind: str | None, path: Path) -> Iterator[LintRemark]:
    """Check a context kind, if there is one."""
    if kind and (Context("x", kind=kind).error is not None):
        yield LintRemark("invalid-kind", path, f"a context cannot have the kind {quoted(kind)}")


def check_bucketing(rollout: Rollout, path: Path) -> Iterator[LintRemark]:
    """Check the context kind and the attribute by which the rollout at ``path`` assigns buckets."""
    yield from check_kind(rollout.context_kind, (*path, "contextKind"))
    if rollout.bucket_by and rollout.kind != "experiment":
        yield from _check_reference(rollout.bucket_by, rollout.context_kind, (*path, "bucketBy"))


@dataclass(frozen=True, slots=True)
class ClauseTest:
    """A clause in a form that can be compared: its operator and attribute, its values, and whether it is negated."""

    relation: tuple[object, ...]
    values: frozenset[bytes]
    negate: bool

    def implies(self, other: ClauseTest) -> bool:
        """Whether ``other`` is true for every context for which this test is true."""
        narrow, wide = (other, self) if self.negate else (self, other)
        return narrow.values <= wide.values and self.negate is other.negate and self.relation == other.relation

    def excludes(self, other: ClauseTest) -> bool:
        """Whether ``other`` is negated, and false for every context for which this test is true."""
        return self.relation == other.relation and other.negate and not self.negate and self.values <= other.values


def clause_tests(clauses: Sequence[Clause] | None) -> tuple[ClauseTest, ...]:
    """The clauses of a rule as :class:`ClauseTest` values."""
    return tuple(map(_clause_test, clauses or ()))


def _clause_test(clause: Clause) -> ClauseTest:
    relation: tuple[object, ...] = (clause.op,)
    if clause.op != SEGMENT_MATCH:
        relation = (clause.op, clean_kind(clause.context_kind), *reference(clause.attribute or "", clause.context_kind).path)
    return ClauseTest(relation, frozenset(msgspec.json.encode(value) for value in clause.values or ()), bool(clause.negate))


def first_that_covers(rules: Sequence[tuple[ClauseTest, ...]], to: tuple[ClauseTest, ...]) -> int | None:
    """The index of the first rule that matches whenever the rule ``to`` does; ``None`` if there is no such rule."""
    for number, earlier in enumerate(rules):
        if all(any(test.implies(earlier_test) for test in to) for earlier_test in earlier):
            return number
    return None


# -- Checks one segment: its lists of keys and its rules.


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


TOTAL_WEIGHT: Final = 100_000
"""The sum of the weights of a rollout, in thousandths of a percent."""
_ROLLOUT_KINDS: Final = ("rollout", "experiment")
_KEY: Final = ("key",)
_KIND: Final = ("kind",)


def check_flag(flag: FlagDefinition, path: Path) -> Iterator[LintRemark]:
    """The mistakes in the flag at ``path`` that can be seen without other flags and segments."""
    yield from _check_types(flag, path)
    if flag.off_variation is not None:
        yield from check_variation(flag, flag.off_variation, (*path, "offVariation"))
    if flag.on or flag.fallthrough is not None:
        yield from _check_served(flag, flag.fallthrough or VariationOrRollout(), (*path, "fallthrough"), flag.rules or ())
    yield from _check_targets(flag, path)
    tests = [clause_tests(rule.clauses) for rule in flag.rules or ()]
    for index, rule in enumerate(flag.rules or ()):
        at = (*path, "rules", index)
        yield from _check_served(flag, rule, at, (flag.rules or ())[:index], rule.clauses or ())
        yield from check_clauses(rule.clauses, at)
        if (earlier := first_that_covers(tests[:index], to=tests[index])) is not None:
            yield LintRemark("unreachable-rule", at, f"rule {earlier} comes first and matches whenever this rule does")


def check_variation(flag: FlagDefinition, variation: int, path: Path) -> Iterator[LintRemark]:
    """Check a variation index at ``path``. Skip the check if the variations of the flag could not be read (``None``)."""
    if flag.variations is None:
        return
    count = len(flag.variations)
    if not 0 <= variation < count:
        has = f"its variations are 0 to {count - 1}" if count > 1 else "it has only variation 0" if count else "it has none"
        yield LintRemark("variation-out-of-range", path, f"{quoted(flag.key)} has no variation {variation}: {has}")


def _check_types(flag: FlagDefinition, path: Path) -> Iterator[LintRemark]:
    types = sorted({type_name(value) for value in flag.variations or () if value is not None})
    if len(types) > 1:
        yield LintRemark("mixed-types", (*path, "variations"), f"the variations have several types: {', '.join(types)}")
    for index, value in enumerate(flag.variations or ()):
        if has_fraction(value):
            message = f"a program with an int as default gets {int(value)} in place of {value}"
            at = path if path[0] == "flagValues" else (*path, "variations", index)
            yield LintRemark("fraction", at, message, "give a float as default, such as 0.0")
            break


def _check_served(
    flag: FlagDefinition,
    served: VariationOrRollout | FlagRule,
    path: Path,
    earlier: Sequence[FlagRule],
    clauses: Sequence[Clause] = (),
) -> Iterator[LintRemark]:
    """``earlier``: the rules before it. ``clauses``: those that lead to it."""
    if served.variation is not None:
        yield from check_variation(flag, served.variation, (*path, "variation"))
        if served.rollout is not None:
            yield LintRemark("rollout-ignored", (*path, "rollout"), "this rollout is ignored: the variation beside it is served")
    elif served.rollout is not None and served.rollout.variations:
        yield from _check_rollout(flag, served.rollout, (*path, "rollout"))
        yield from _check_guard(served.rollout, (*path, "rollout"), earlier, clauses)
    else:
        yield LintRemark("nothing-served", path, "neither a variation nor a rollout with variations")


def _check_rollout(flag: FlagDefinition, rollout: Rollout, path: Path) -> Iterator[LintRemark]:
    if rollout.kind and rollout.kind not in _ROLLOUT_KINDS:
        yield LintRemark(
            "unknown-rollout-kind",
            (*path, "kind"),
            f"unknown kind {quoted(rollout.kind)}",
            did_you_mean(rollout.kind, _ROLLOUT_KINDS, quote=quoted) or None,
        )
    yield from check_bucketing(rollout, path)
    variations = rollout.variations or ()
    for index, weighted in enumerate(variations):
        at = (*path, "variations", index)
        yield from check_variation(flag, weighted.variation, (*at, "variation"))
        if weighted.weight < 0:
            yield LintRemark("weights", (*at, "weight"), f"expected a weight of at least 0, got {weighted.weight}")
    total = sum(weighted.weight for weighted in variations)
    if total != TOTAL_WEIGHT:
        in_percent = total in {1, 100}
        suggestion = "weights are thousandths of a percent: 50 % is 50000" if in_percent else None
        rest = "the last variation gets the rest" if total < TOTAL_WEIGHT else "weights above it are never served"
        yield LintRemark(
            "weights", (*path, "variations"), f"the weights add up to {total}, not to {TOTAL_WEIGHT}: {rest}", suggestion
        )


def _check_guard(rollout: Rollout, path: Path, earlier: Sequence[FlagRule], clauses: Sequence[Clause]) -> Iterator[LintRemark]:
    """A context without the kind or attribute of a rollout is in bucket 0, with all others that lack it."""
    kind = clean_kind(rollout.context_kind)
    by = reference("key" if rollout.kind == "experiment" else rollout.bucket_by or "key", rollout.context_kind).path
    served = [weighted.variation for weighted in rollout.variations or () if weighted.weight > 0]
    if not by or len(served) < 2 or (kind == "user" and by == _KEY) or any(_requires(clause, kind, by) for clause in clauses):
        return
    if by == _KEY and any(_catches_others(rule.clauses or (), kind) for rule in earlier):
        return
    lacking = quoted(kind) if by == _KEY else f"{quoted(rollout.bucket_by)} of {quoted(kind)}"
    message = f"all contexts without {lacking} are in bucket 0 and get variation {served[0]}"
    yield LintRemark("unguarded-rollout", path, message, f"move it into a rule with a clause on {lacking}")


def _requires(clause: Clause, kind: str, by: Sequence[str]) -> bool:
    """Whether a clause holds only for contexts with what a rollout reads. A segment is taken to have only such contexts."""
    if clause.op == SEGMENT_MATCH:
        return not clause.negate
    tested = reference(clause.attribute or "", clause.context_kind).path
    if by == _KEY and tested == _KIND:
        return clause.op == "in" and not clause.negate and [*(clause.values or ())] == [kind]
    return clean_kind(clause.context_kind) == kind and by in {_KEY, tested}


def _catches_others(clauses: Sequence[Clause], kind: str) -> bool:
    """Whether a rule matches every context without that kind."""
    return all(
        clause.op == "in"
        and bool(clause.negate)
        and reference(clause.attribute or "", clause.context_kind).path == _KIND
        and all(value == kind for value in clause.values or ())
        for clause in clauses
    )


def _check_targets(flag: FlagDefinition, path: Path) -> Iterator[LintRemark]:
    """Keys of users are in ``targets``. If there are ``contextTargets``, these define the order in which targets are used."""
    users, others = flag.targets or (), flag.context_targets or ()
    for name, targets in (("targets", users), ("contextTargets", others)):
        for index, target in enumerate(targets):
            yield from check_variation(flag, target.variation, (*path, name, index, "variation"))
            yield from check_kind(target.context_kind, (*path, name, index, "contextKind"))
    user_variations = {target.variation for target in others if clean_kind(target.context_kind) == "user"}
    for index, target in enumerate(users):
        if target.context_kind not in {None, "", "user"}:
            message = f"targets has keys of users only, so {quoted(target.context_kind)} is ignored"
            yield LintRemark(
                "ignored-target", (*path, "targets", index, "contextKind"), message, "use contextTargets for other kinds"
            )
        if others and target.variation not in user_variations:
            yield LintRemark(
                "ignored-target",
                (*path, "targets", index),
                f"contextTargets has no entry for users with variation {target.variation}, so this target is ignored",
                f'add {{"contextKind": "user", "variation": {target.variation}, "values": []}} to contextTargets',
            )
    for index, target in enumerate(others):
        if clean_kind(target.context_kind) == "user" and target.values:
            message = "keys of users are ignored here; they belong in targets"
            yield LintRemark("ignored-target", (*path, "contextTargets", index, "values"), message)
    yield from _check_repeated("user", users, (*path, "targets"))
    for kind in sorted({clean_kind(target.context_kind) for target in others} - {"user"}):
        yield from _check_repeated(kind, others, (*path, "contextTargets"))


def _check_repeated(kind: str, targets: Sequence[Target], path: Path) -> Iterator[LintRemark]:
    seen: dict[str, int] = {}
    for index, target in enumerate(targets):
        if kind not in {"user", clean_kind(target.context_kind)}:
            continue
        for number, key in enumerate(target.values or ()):
            if key in seen:
                message = f"{quoted(key)} is in {path[-1]}[{seen[key]}] already; that entry is used"
                yield LintRemark("duplicate-target", (*path, index, "values", number), message)
            seen.setdefault(key, index)
