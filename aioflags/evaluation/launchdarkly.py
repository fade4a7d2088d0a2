"""LAUNCHDARKLY: the dialect of LaunchDarkly's flags and segments, and how its segments are compiled.

Source: ``evaluation.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

import msgspec

from aioflags.evaluation.answers import Answer, malformed
from aioflags.evaluation.clauses import clean_kind, named_segments
from aioflags.evaluation.dialect import Comparison, Dialect, ErrorKinds
from aioflags.evaluation.flags import compile_flag, tracking_of
from aioflags.evaluation.items import Item, Items, ReportProblem
from aioflags.evaluation.operators import prerequisite_keys
from aioflags.evaluation.overrides import overridden_flag
from aioflags.evaluation.rollouts import within_weight
from aioflags.evaluation.rules import Always, RuleSpec, compile_rules, served_by
from aioflags.evaluation.scope import CompiledFlag, CompiledSegment, MalformedError, Predicate, Scope, constant, worsen
from aioflags.evaluation.value_types import Decoder, fit, mismatch
from aioflags.model.change import ObjectKind, RuledDefinition, SegmentDefinition, SegmentTarget
from aioflags.model.context import Context
from aioflags.model.detail import BigSegmentsStatus, ErrorKind
from aioflags.model.flag import FlagDefinition, FlagRule

# -- Trees: how many evaluations a flag costs if each use of a prerequisite is evaluated again.
#
# A flag with a small tree takes no notes when it is evaluated, so all threads share one scope. Any other flag is evaluated in
# a scope that keeps the path and the results.


_MAX_HEIGHT: Final = 10
"""The maximal height of a small tree."""
_MAX_USES: Final = 64
"""The maximal number of uses in a small tree. Two paths at each level double it, but real flags share few prerequisites."""


class Tree(NamedTuple):
    """``height``: how many flags with prerequisites form a chain. ``uses``: how often a prerequisite is evaluated."""

    height: int
    uses: int


_LEAF: Final = Tree(0, 0)


def _measure(flag: FlagDefinition, items: Items, measured: dict[str, Tree], path: list[str]) -> Tree | None:
    """The tree below a flag; ``None`` if it is not small, or if evaluating the flag takes notes for another reason.

    ``measured``: the trees of ``items`` that were measured before, by key. New ones are added.
    """
    if not flag.on:
        return _LEAF
    segments = items.segments
    named = named_segments(flag.rules)
    for segment in (segments[key] for key in named if key in segments):
        if segment.unbounded or named_segments(segment.rules):
            return None  # its evaluation notes the status of big segments, or the path into further segments
    if items.overridden and any((ObjectKind.SEGMENT, key) in items.overridden for key in named):
        return None  # its evaluation notes that it read an override
    if not flag.prerequisites:
        return _LEAF
    # Stop at the height of a small tree. This also ends circles.
    if flag.key in path or len(path) >= _MAX_HEIGHT:
        return None
    path.append(flag.key)
    height = uses = 0
    for prerequisite in flag.prerequisites:
        uses += 1
        definition = items.flags.get(prerequisite.key)
        if definition is not None:
            tree = measured.get(prerequisite.key) or _measure(definition, items, measured, path)
            if tree is None:
                return None
            height, uses = max(height, tree.height), uses + tree.uses
        if uses > _MAX_USES:
            return None
    path.pop()
    if height >= _MAX_HEIGHT:
        return None
    measured[flag.key] = Tree(height + 1, uses)
    return measured[flag.key]


# -- Compiles a segment to a set of user keys and a predicate: listed keys first, then rules. A big segment reads memberships
# instead.
# Source: ``evaluation.md`` 3.8 and 3.9.


_YES: Final = Always(value=True)
_NO: Final = Always(value=False)


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


SLOW_PATTERN_LENGTH: Final = 500
"""The characters of all patterns of a definition together. Fewer compile in 1 to 3 ms."""
SLOW_PARTS: Final = 5000
"""Values of clauses, shares of rollouts and prerequisites. A rule is ten parts; ten listed keys are one. They take some ms."""
_PARTS_PER_RULE: Final = 10
_KEYS_PER_PART: Final = 10

_encode: Final = msgspec.json.Encoder().encode


class LaunchDarklyDialect(Dialect):
    """The compilers of flags and segments, and LaunchDarkly's rules for everything else."""

    name = "launchdarkly"
    errors: ErrorKinds = ErrorKinds(
        not_ready=ErrorKind.CLIENT_NOT_READY,
        not_found=ErrorKind.FLAG_NOT_FOUND,
        unusable_context=ErrorKind.USER_NOT_SPECIFIED,
        wrong_type=ErrorKind.WRONG_TYPE,
        bug=ErrorKind.EXCEPTION,
    )
    explains_errors = False

    def __init__(
        self,
        compile_flag: Callable[[FlagDefinition, ReportProblem], CompiledFlag] = compile_flag,
        compile_segment: Callable[[SegmentDefinition, ReportProblem], CompiledSegment] = compile_segment,
    ) -> None:
        self._compile_flag = compile_flag
        self._compile_segment = compile_segment

    def flag(self, definition: FlagDefinition, note: ReportProblem) -> CompiledFlag:
        return _compiled(definition, note, self._compile_flag)

    def overridden_flag(self, definition: FlagDefinition, note: ReportProblem) -> CompiledFlag:
        compile_one = partial(compile_flag, is_override=True)
        return overridden_flag(_compiled(definition, note, compile_one, is_override=True))

    def segment(self, definition: SegmentDefinition, note: ReportProblem) -> CompiledSegment:
        try:
            return self._compile_segment(definition, note)
        except RecursionError:
            raise
        except Exception as problem:  # noqa: BLE001  # any error concerns this segment only
            message = f"needs segment {definition.key!r}, which does not compile: {problem!r}"

            def fails(context: Context, scope: Scope) -> bool:
                raise MalformedError(message)

            return CompiledSegment(frozenset(), fails)

    def malformed(self, problem: str) -> Answer:
        return malformed(problem)

    def fit(self, value: Any, expected: type | Decoder) -> Any:
        return fit(value, expected)

    def mismatch(self, value: object, expected: type | Decoder) -> str:
        return mismatch(value, expected)

    def subject(self, context: object) -> Context | None:
        return context if isinstance(context, Context) and context.error is None else None

    def comparison(self) -> Comparison:
        return same_definition

    def prerequisites(self, definition: FlagDefinition) -> Sequence[str]:
        return prerequisite_keys(definition)

    def dependencies(self, definition: Any) -> set[Item]:
        if definition is None:
            return set()
        items: set[Item] = {(ObjectKind.SEGMENT, key) for key in named_segments(definition.rules)}
        if isinstance(definition, FlagDefinition):
            items.update((ObjectKind.FLAG, prerequisite.key) for prerequisite in definition.prerequisites or ())
        return items

    def is_direct(self, definition: FlagDefinition, items: Items, measured: dict[str, Tree]) -> bool:
        return _measure(definition, items, measured, []) is not None

    def is_slow(self, definition: Any) -> bool:
        """Whether it has long patterns or very many parts. Python's ``re`` takes a millisecond for some hundred characters."""
        return definition is not None and _is_slow(definition)


def _compiled(
    definition: FlagDefinition,
    note: ReportProblem,
    compile_one: Callable[[FlagDefinition, ReportProblem], CompiledFlag],
    *,
    is_override: bool = False,
) -> CompiledFlag:
    try:
        return compile_one(definition, note)
    except RecursionError:
        raise
    except Exception as problem:  # noqa: BLE001  # any error concerns this flag only
        answer = malformed(f"does not compile: {problem!r}", is_override=is_override)
        return CompiledFlag(definition.key, definition.version, constant(answer), tracking=tracking_of(definition))


def same_definition(present: RuledDefinition, new: RuledDefinition) -> bool:
    """Whether two definitions have the same version and the same JSON."""
    # Compared as JSON, since 1 == True in Python. The version does not suffice: a transfer can bring another definition with the
    # same version.
    return present.version == new.version and _encode(present) == _encode(new)


def _is_slow(definition: RuledDefinition) -> bool:
    # All definitions of a payload come here, so each clause is read once.
    length = parts = 0
    for rule in definition.rules or ():
        parts += _PARTS_PER_RULE
        for clause in rule.clauses or ():
            if values := clause.values:
                parts += len(values)
                if clause.op == "matches":
                    length += sum(len(value) for value in values if isinstance(value, str))
        if isinstance(rule, FlagRule) and rule.rollout is not None:
            parts += len(rule.rollout.variations or ())
    if length > SLOW_PATTERN_LENGTH or parts > SLOW_PARTS:
        return True
    keys = 0
    if isinstance(definition, SegmentDefinition):
        keys = len(definition.included or ()) + len(definition.excluded or ())
    else:
        for targets in (definition.targets, definition.context_targets):
            for target in targets or ():
                keys += len(target.values or ())
        parts += len(definition.prerequisites or ())
        if definition.fallthrough is not None and definition.fallthrough.rollout is not None:
            parts += len(definition.fallthrough.rollout.variations or ())
    return parts + keys // _KEYS_PER_PART > SLOW_PARTS


LAUNCHDARKLY: Final = LaunchDarklyDialect()
