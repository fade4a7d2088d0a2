"""Checks one flag: its variations, rollouts, targets and rules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from aioflags.evaluation.attributes import clean_kind, reference
from aioflags.evaluation.clauses import SEGMENT_MATCH
from aioflags.evaluation.value_types import has_fraction
from aioflags.model.flag import Clause, FlagDefinition, FlagRule, Rollout, Target, VariationOrRollout
from aioflags.model.values import type_name
from aioflags.protocol.documents.places import Path
from aioflags.runtime.suggest import did_you_mean
from aioflags.tools.lint.clauses import check_bucketing, check_clauses, check_kind, clause_tests, first_that_covers
from aioflags.tools.lint.findings import LintRemark, quoted

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
