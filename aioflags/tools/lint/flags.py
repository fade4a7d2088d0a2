"""What a flag says about itself: the variations it names, its rollouts, targets and rules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from aioflags.evaluation.attributes import clean_kind
from aioflags.model.flag import FlagDefinition, FlagRule, Rollout, Target, VariationOrRollout
from aioflags.model.values import type_name
from aioflags.protocol.documents.places import Path
from aioflags.runtime.suggest import did_you_mean
from aioflags.tools.lint.clauses import check_bucketing, check_clauses, check_kind, first_that_leaves_nobody, questions
from aioflags.tools.lint.findings import LintRemark, quoted

__all__ = ["EVERYBODY", "check_flag", "check_variation"]

EVERYBODY: Final = 100_000
"""The weights of everybody, in thousandths of a percent."""
_ROLLOUT_KINDS: Final = ("rollout", "experiment")


def check_flag(flag: FlagDefinition, path: Path) -> Iterator[LintRemark]:
    """Everything about the flag at ``path`` that shows without any other."""
    yield from _check_types(flag, path)
    if flag.off_variation is not None:
        yield from check_variation(flag, flag.off_variation, (*path, "offVariation"))
    if flag.on or flag.fallthrough is not None:
        yield from _check_served(flag, flag.fallthrough or VariationOrRollout(), (*path, "fallthrough"))
    yield from _check_targets(flag, path)
    asked = [questions(rule.clauses) for rule in flag.rules or ()]
    for index, rule in enumerate(flag.rules or ()):
        at = (*path, "rules", index)
        yield from _check_served(flag, rule, at)
        yield from check_clauses(rule.clauses, at)
        if (earlier := first_that_leaves_nobody(asked[:index], to=asked[index])) is not None:
            yield LintRemark("unreachable-rule", at, f"rule {earlier} matches whenever this one does, and comes first")


def check_variation(flag: FlagDefinition, variation: int, path: Path) -> Iterator[LintRemark]:
    """An index of one of the flag's variations, which stands at ``path``. ``None`` stands for variations that could not be read."""
    if flag.variations is None:
        return
    count = len(flag.variations)
    if not 0 <= variation < count:
        has = f"its variations are 0 to {count - 1}" if count > 1 else "it has variation 0 alone" if count else "it has none"
        yield LintRemark("variation-out-of-range", path, f"{quoted(flag.key)} has no variation {variation}: {has}")


def _check_types(flag: FlagDefinition, path: Path) -> Iterator[LintRemark]:
    types = sorted({type_name(value) for value in flag.variations or () if value is not None})
    if len(types) > 1:
        yield LintRemark("mixed-types", (*path, "variations"), f"the variations are of several types: {', '.join(types)}")


def _check_served(flag: FlagDefinition, served: VariationOrRollout | FlagRule, path: Path) -> Iterator[LintRemark]:
    if served.variation is not None:
        yield from check_variation(flag, served.variation, (*path, "variation"))
        if served.rollout is not None:
            yield LintRemark("rollout-ignored", (*path, "rollout"), "the variation beside it is served, and this rollout is not")
    elif served.rollout is not None and served.rollout.variations:
        yield from _check_rollout(flag, served.rollout, (*path, "rollout"))
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
            yield LintRemark("weights", (*at, "weight"), f"a weight below zero: {weighted.weight}")
    total = sum(weighted.weight for weighted in variations)
    if total != EVERYBODY:
        in_percent = total in {1, 100}
        suggestion = "weights are thousandths of a percent: 50 % is 50000" if in_percent else None
        rest = "the last variation gets the rest" if total < EVERYBODY else "nobody is left for what exceeds it"
        yield LintRemark("weights", (*path, "variations"), f"the weights add up to {total}, not to {EVERYBODY}: {rest}", suggestion)


def _check_targets(flag: FlagDefinition, path: Path) -> Iterator[LintRemark]:
    """Keys of users stand in ``targets``; where there are ``contextTargets``, these say when it is the turn of which."""
    users, others = flag.targets or (), flag.context_targets or ()
    for name, targets in (("targets", users), ("contextTargets", others)):
        for index, target in enumerate(targets):
            yield from check_variation(flag, target.variation, (*path, name, index, "variation"))
            yield from check_kind(target.context_kind, (*path, name, index, "contextKind"))
    turns = {target.variation for target in others if clean_kind(target.context_kind) == "user"}
    for index, target in enumerate(users):
        if target.context_kind not in {None, "", "user"}:
            message = f"keys in targets are of users, so {quoted(target.context_kind)} does not count"
            yield LintRemark(
                "ignored-target", (*path, "targets", index, "contextKind"), message, "contextTargets are for other kinds"
            )
        if others and target.variation not in turns:
            yield LintRemark(
                "ignored-target",
                (*path, "targets", index),
                f"contextTargets do not say when it is the turn of users with variation {target.variation}, so these never get it",
                f'add {{"contextKind": "user", "variation": {target.variation}, "values": []}} to contextTargets',
            )
    for index, target in enumerate(others):
        if clean_kind(target.context_kind) == "user" and target.values:
            message = "keys of users stand in targets, and do not count here"
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
                message = f"{quoted(key)} is in {path[-1]}[{seen[key]}] already, which counts"
                yield LintRemark("duplicate-target", (*path, index, "values", number), message)
            seen.setdefault(key, index)
