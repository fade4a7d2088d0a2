"""Explains why a flag has its value, step by step.

Evaluations do not use this module. It evaluates the definition itself instead of its compiled form, to record each step. The
tests compare explanations with evaluations.

Source: ``evaluation.md`` 3.1 to 3.4 and 3.10.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from aioflags.evaluation.answers import Answer, malformed
from aioflags.evaluation.explain.clauses import UNDECIDED, BucketPlacement, ClauseExplainer, Steps, clause_count
from aioflags.evaluation.flags import answer_of, off_answer, targets_in_order
from aioflags.evaluation.openfeature import OpenFeatureDialect
from aioflags.evaluation.scope import FindMembership, MalformedError, Scope
from aioflags.evaluation.value_types import MISMATCH, has_fraction
from aioflags.model.change import ObjectKind
from aioflags.model.detail import EvaluationDetail, Reason, ReasonKind
from aioflags.model.explanation import Explanation, ExplanationStep, StepKind, shown
from aioflags.model.flag import FlagDefinition, FlagRule, Prerequisite, VariationOrRollout
from aioflags.model.values import fresh
from aioflags.runtime.logs import class_name, printable
from aioflags.runtime.suggest import did_you_mean

if TYPE_CHECKING:
    from aioflags.evaluation.snapshot import Snapshot
    from aioflags.model.context import Context


_NOTHING: Final = VariationOrRollout()
_REMOVED: Final = "a local override removes the flag"


def explain(
    snapshot: Snapshot,
    key: str,
    context: Context | None,
    *,
    memberships: FindMembership | None = None,
) -> Explanation:
    """Why the flag has its value for the context. Raises nothing, whatever the data and the context contain.

    ``memberships`` looks up big-segment memberships.
    """
    try:
        return _explained(snapshot, key, context, memberships)
    except Exception as bug:  # noqa: BLE001  # the caller gets the result whatever fails
        detail = snapshot.evaluate(key, context, None, wanted=object, memberships=memberships).detail
        step = ExplanationStep(kind=StepKind.PROBLEM, text=f"the explanation failed with {class_name(bug)}")
        return Explanation(key=key, detail=detail, steps=(step,))


def _explained(snapshot: Snapshot, key: str, context: Context | None, memberships: FindMembership | None) -> Explanation:
    if isinstance(snapshot.dialect, OpenFeatureDialect):
        return _explained_by_dialect(snapshot, key, context)
    flag = snapshot.flags.get(key)
    if context is None or context.error is not None or flag is None:
        detail = snapshot.evaluate(key, context, None, wanted=object).detail
        return Explanation(key=key, detail=detail, steps=(_not_evaluated(snapshot, key, context),))
    scope = snapshot.new_scope(memberships)
    steps = Steps()
    try:
        scope.flags.enter(flag.key, scope, is_leaf=_is_leaf(flag))
        answer = scope.flags.leave(_Walk(snapshot, context, scope, steps).flag(flag), scope)
    except MalformedError as problem:
        answer = malformed(str(problem))
        scope.abandon()
    except RecursionError:
        answer = malformed("depends on too many flags or segments in a row")
        scope.abandon()
    if answer.problem is not None:
        steps.add(StepKind.PROBLEM, f"the flag is malformed: it {printable(answer.problem)}")
    reason = answer.detail.reason
    if scope.big_segments_status is not None:
        reason = dataclasses.replace(reason, big_segments_status=scope.big_segments_status)
    if scope.reads_override:
        reason = reason.marked(is_override=(ObjectKind.FLAG, key) in snapshot.items.overridden)
    detail = EvaluationDetail(fresh(answer.value), answer.index, reason)
    all_steps = (*steps.recorded, *_value_steps(snapshot, detail.value))
    return Explanation(key=key, detail=detail, steps=all_steps, version=flag.version)


def _explained_by_dialect(snapshot: Snapshot, key: str, context: Context | None) -> Explanation:
    """The explanation of a flag of flagd, or of one that a server evaluated."""
    detail = snapshot.evaluate(key, context, None, wanted=object).detail
    flag = snapshot.flags.get(key) if snapshot.refusal is None else None
    steps = [] if flag is None else [*snapshot.dialect.steps(flag, context, snapshot.static_context)]
    if detail.reason.error_kind is not None:
        steps.append(ExplanationStep(kind=StepKind.PROBLEM, text=printable(detail.error_message or detail.reason.error_kind)))
    steps += _value_steps(snapshot, detail.value)
    return Explanation(key=key, detail=detail, steps=tuple(steps))


def _value_steps(snapshot: Snapshot, value: Any) -> Iterator[ExplanationStep]:
    """What a program loses of the value that asks for an ``int``."""
    if has_fraction(value) and (cut := snapshot.dialect.fit(value, int)) is not MISMATCH:
        text = f"the value has a fraction: a program with an int as default gets {cut}, one with a float gets {shown(value)}"
        yield ExplanationStep(kind=StepKind.VALUE, text=text, facts={"value": value, "asInt": cut})


def _not_evaluated(snapshot: Snapshot, key: str, context: Context | None) -> ExplanationStep:
    """Why no flag is evaluated."""
    if context is None:
        text = "there is no context"
    elif context.error is not None:
        text = f"the context cannot be used: {printable(context.error)}"
    elif (ObjectKind.FLAG, key) in snapshot.items.overridden:
        return ExplanationStep(kind=StepKind.OVERRIDE, text=_REMOVED, facts={"flag": key})
    elif not snapshot.has_data:
        text = "there is no flag data yet"
    else:
        also = did_you_mean(key, snapshot.flags, before="; ", quote=shown)
        text = f"there is no flag {shown(key)} among {len(snapshot.flags)}{also}"
    return ExplanationStep(kind=StepKind.PROBLEM, text=text)


class _Walk:
    """Evaluates flags for one context, and adds each step to ``steps``. Raises :class:`MalformedError`."""

    def __init__(self, snapshot: Snapshot, context: Context, scope: Scope, steps: Steps) -> None:
        self._flags = snapshot.flags
        self._overridden = snapshot.items.overridden
        self._base = snapshot.base.flags if snapshot.has_data else None
        self._context = context
        self._scope = scope
        self._steps = steps
        self._clauses = ClauseExplainer(context, scope, snapshot.items, steps)

    def flag(self, flag: FlagDefinition) -> Answer:
        """The answer of the first step that has one: off, prerequisites, targets, rules, fallthrough."""
        if (ObjectKind.FLAG, flag.key) in self._overridden:
            self._scope.note_override()
            text = f"a local override defines the flag{self._instead_of(flag.key)}"
            self._steps.add(StepKind.OVERRIDE, text, facts={"flag": flag.key})
        self._steps.add(StepKind.SWITCH, "the flag is on" if flag.on else "the flag is off", "on", holds=bool(flag.on))
        if not flag.on:
            return off_answer(flag, Reason(kind=ReasonKind.OFF))
        return self._unmet(flag) or self._targeted(flag) or self._ruled(flag)

    def _instead_of(self, key: str) -> str:
        """What the flag data have under the key of an override: a key that they lack may be a typing mistake."""
        if self._base is None:
            return "; there is no flag data to compare it with"
        if key in self._base:
            return ", whatever the service defines"
        return f"; the flag data have no flag {shown(key)}{did_you_mean(key, self._base, before='; ', quote=shown)}"

    # -- prerequisites

    def _unmet(self, flag: FlagDefinition) -> Answer | None:
        """The answer if a prerequisite is not met."""
        for index, needed in enumerate(flag.prerequisites or ()):
            if not self._is_met(needed, f"prerequisites[{index}]"):
                return off_answer(flag, Reason(kind=ReasonKind.PREREQUISITE_FAILED, prerequisite_key=needed.key))
        return None

    def _is_met(self, needed: Prerequisite, path: str) -> bool:
        """Whether a prerequisite is met. Its steps are listed at its first use."""
        visits, scope, prerequisite = self._scope.flags, self._scope, self._flags.get(needed.key)
        name, facts = f"prerequisite {shown(needed.key)}", {"flag": needed.key, "variation": needed.variation}
        with self._steps.within(StepKind.PREREQUISITE, path, f"{name} {UNDECIDED}", facts) as step:
            if prerequisite is None:
                scope.note_unknown_flag(needed.key)
                is_removed = (ObjectKind.FLAG, needed.key) in self._overridden
                holds, why = False, _REMOVED if is_removed else "there is no such flag"
            else:
                answer, again = visits.recall(needed.key, scope), ", as shown above"
                if answer is None:
                    visits.enter(needed.key, scope, is_leaf=_is_leaf(prerequisite))
                    answer, again = visits.leave(self.flag(prerequisite), scope), ""
                is_off = answer.detail.reason.kind is ReasonKind.OFF
                # A prerequisite that is off is not met, even if it serves the required variation.
                holds = answer.index == needed.variation and not is_off
                serves = "is off" if is_off else f"serves {_variation(answer.index)}"
                why = f"it {serves}{again}, and variation {needed.variation} is needed"
            step.holds, step.text = holds, f"{name} {'is' if holds else 'is not'} met: {why}"
        return holds

    # -- targets

    def _targeted(self, flag: FlagDefinition) -> Answer | None:
        """The answer if a target names the context."""
        targets = targets_in_order(flag)
        for kind, variation, keys in targets:
            single = self._context.member(kind)
            if single is not None and single.key in keys:
                text = f"{printable(kind)} {shown(single.key)} is a target of variation {variation}"
                facts = {"contextKind": kind, "key": single.key, "variation": variation}
                self._steps.add(StepKind.TARGETS, text, "targets", holds=True, facts=facts)
                return answer_of(flag, variation, Reason(kind=ReasonKind.TARGET_MATCH))
        if count := sum(len(keys) for _, _, keys in targets):
            text = f"none of {count} target{'s' if count > 1 else ''} is the context"
            self._steps.add(StepKind.TARGETS, text, "targets", holds=False)
        return None

    # -- rules

    def _ruled(self, flag: FlagDefinition) -> Answer:
        """The answer of the first rule that matches, or of the fallthrough."""
        total = clause_count(flag.rules)
        for index, rule in enumerate(flag.rules or ()):
            path, name = f"rules[{index}]", f"rule {index}{f' ({printable(rule.id)})' if rule.id else ''}"
            facts = {"index": index, **({"id": rule.id} if rule.id else {})}
            with self._steps.within(StepKind.RULE, path, f"{name} {UNDECIDED}", facts) as step:
                step.holds = self._clauses.all_match(rule.clauses or (), path, total)
                step.text = f"{name} {'matches' if step.holds else 'does not match'}"
                if step.holds:
                    reason = Reason(kind=ReasonKind.RULE_MATCH, rule_index=index, rule_id=rule.id or None)
                    answer = self._served(flag, rule, reason, path)
                    step.text += f" and serves {_variation(answer.index)}"
                    return answer
        name = f"{'no rule matches, so ' if flag.rules else ''}the fallthrough"
        with self._steps.within(StepKind.FALLTHROUGH, "fallthrough", f"{name} serves nothing") as step:
            answer = self._served(flag, flag.fallthrough or _NOTHING, Reason(kind=ReasonKind.FALLTHROUGH), "fallthrough")
            step.text = f"{name} serves {_variation(answer.index)}"
        return answer

    # -- what is served

    def _served(self, flag: FlagDefinition, served: VariationOrRollout | FlagRule, reason: Reason, path: str) -> Answer:
        """The answer of the rule or fallthrough that applies."""
        if served.variation is not None:
            return answer_of(flag, served.variation, reason)
        rollout = served.rollout
        if rollout is None or not rollout.variations:
            return malformed(f"has neither variation nor rollout in {path}")
        is_experiment = rollout.kind == "experiment"
        place = BucketPlacement(
            self._context,
            kind=rollout.context_kind,
            by=None if is_experiment else rollout.bucket_by,  # an experiment buckets by key and ignores bucket_by
            key=flag.key,
            salt=flag.salt or "",
            seed=rollout.seed,
        )
        above, below, chosen = 0.0, 0.0, rollout.variations[-1]
        for weighted in rollout.variations:
            above, below = below, below + weighted.weight / 100000.0
            if place.bucket < below:
                chosen = weighted
                break
        else:
            below = 1.0  # the weights add up to less than 100%: the last variation gets the rest
        in_experiment = is_experiment and not chosen.untracked and place.is_hashed
        name = "experiment" if is_experiment else "rollout"
        text = f"{name}: {place.text}; variation {chosen.variation} has buckets from {above:g} to {below:g}"
        facts = {**place.facts, "above": above, "below": below, "variation": chosen.variation, "inExperiment": in_experiment}
        self._steps.add(StepKind.BUCKET, text, f"{path}.rollout", facts=facts)
        return answer_of(flag, chosen.variation, dataclasses.replace(reason, in_experiment=in_experiment))


def _is_leaf(flag: FlagDefinition) -> bool:
    """Whether evaluating the flag evaluates no other flag."""
    return not (flag.on and flag.prerequisites)


def _variation(index: int | None) -> str:
    return "no variation" if index is None else f"variation {index}"
