"""Compiles a LaunchDarkly flag to one function: off, prerequisites, targets, rules, fallthrough, in this order.

Each step is a closure around the next, and exists only if the flag has that step. A flag without targeting is a constant.

Source: ``evaluation.md`` 3.1 to 3.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from aioflags.evaluation.answers import Answer, PrerequisiteEvaluation, Tracking, malformed
from aioflags.evaluation.clauses import clean_kind, named_segments
from aioflags.evaluation.items import ReportProblem
from aioflags.evaluation.rollouts import choose
from aioflags.evaluation.rules import Always, RuleOutcome, RuleSpec, compile_rules, served_by
from aioflags.evaluation.scope import CompiledFlag, Evaluate, Scope
from aioflags.model.detail import Reason, ReasonKind
from aioflags.model.flag import FlagDefinition, FlagRule, Rollout, VariationOrRollout

if TYPE_CHECKING:
    from aioflags.model.context import Context


_Condition: TypeAlias = tuple[str, int, Answer]
"""A prerequisite: its key, the required variation, and the flag's answer if the prerequisite serves another one."""

_NOTHING: Final = VariationOrRollout()
_FAILED: Final = ReasonKind.PREREQUISITE_FAILED
_MAX_ANSWERS: Final = 256
"""How many answers :class:`PrerequisiteAnswers` keeps."""
_ABSENT: Final = malformed("unknown flag")
"""The answer of a prerequisite that does not exist, as a key in :class:`PrerequisiteAnswers`. The flag's answer is kept there, too:
events count answers by identity, so the same outcome must be the same object each time."""


def compile_flag(flag: FlagDefinition, note: ReportProblem, *, is_override: bool = False) -> CompiledFlag:
    """Compiles a flag. ``note`` receives problems that its patterns cause. ``is_override`` marks all its answers."""
    return _FlagCompiler(flag, note, is_override).compiled()


def tracking_of(flag: FlagDefinition) -> Tracking:
    """Which analytics events the flag's evaluations send."""
    return Tracking(
        is_counted=not flag.exclude_from_summaries,
        is_tracked=bool(flag.track_events),
        debug_until_ms=flag.debug_events_until_date,
        sampling_ratio=flag.sampling_ratio,
    )


# -- answers


def answer_of(flag: FlagDefinition, variation: int, reason: Reason, *, is_tracked: bool | None = False) -> Answer:
    """The answer for one of the flag's variations; a malformed one if the flag has no variation with that index."""
    variations = flag.variations or ()
    if not 0 <= variation < len(variations):
        return malformed(f"serves variation {variation}, but has {len(variations)}", is_override=reason.is_override)
    return Answer(variations[variation], variation, reason, is_experiment=bool(is_tracked))


def off_answer(flag: FlagDefinition, reason: Reason) -> Answer:
    """The answer with the off variation of the flag, for this ``reason``."""
    if flag.off_variation is None:
        return Answer(None, None, reason)
    return answer_of(flag, flag.off_variation, reason)


@dataclass(frozen=True, slots=True)
class _FlagCompiler:
    """Compiles one flag, step by step, the innermost first. ``is_override`` marks the reasons of all its answers."""

    flag: FlagDefinition
    note: ReportProblem
    is_override: bool

    def compiled(self) -> CompiledFlag:
        flag, tracking = self.flag, tracking_of(self.flag)
        if not flag.on:
            off = served_by(Always(off_answer(flag, self._reason(ReasonKind.OFF))))
            return CompiledFlag(flag.key, flag.version, off, tracking=tracking)
        evaluate = self._with_prerequisites(self._with_targets(self._rules()))
        prerequisites = tuple(prerequisite.key for prerequisite in flag.prerequisites or ())
        segments = named_segments(flag.rules)
        return CompiledFlag(flag.key, flag.version, evaluate, prerequisites=prerequisites, segments=segments, tracking=tracking)

    def _reason(self, kind: ReasonKind, **fields: Any) -> Reason:
        return Reason(kind=kind, is_override=self.is_override, override_affected=self.is_override, **fields)

    def _rules(self) -> RuleOutcome[Answer]:
        served = self.flag.fallthrough or _NOTHING
        fallthrough = self._serve(
            served.variation, served.rollout, ReasonKind.FALLTHROUGH, is_tracked=self.flag.track_events_fallthrough
        )
        specs = [RuleSpec(rule.clauses or (), self._serve_rule(index, rule)) for index, rule in enumerate(self.flag.rules or ())]
        return compile_rules(specs, fallthrough, self.note)

    def _serve_rule(self, index: int, rule: FlagRule) -> RuleOutcome[Answer]:
        fields = {"rule_index": index, "rule_id": rule.id or None}
        return self._serve(rule.variation, rule.rollout, ReasonKind.RULE_MATCH, is_tracked=rule.track_events, **fields)

    def _serve(
        self, variation: int | None, rollout: Rollout | None, kind: ReasonKind, *, is_tracked: bool | None, **fields: Any
    ) -> RuleOutcome[Answer]:
        """A fixed variation, or a rollout. ``is_tracked``: events need the reason. ``fields`` are further fields of the reason."""
        flag = self.flag

        def answer(variation: int, in_experiment: bool = False) -> Answer:  # noqa: FBT001, FBT002 -- for choose
            return answer_of(flag, variation, self._reason(kind, in_experiment=in_experiment, **fields), is_tracked=is_tracked)

        if variation is not None:
            return Always(answer(variation))
        if rollout is not None and rollout.variations:
            return choose(rollout, key=flag.key, salt=flag.salt or "", answer=answer)
        where = f"rule {fields['rule_index']}" if fields else "its fallthrough"
        return Always(malformed(f"has neither variation nor rollout in {where}", is_override=self.is_override))

    def _with_targets(self, otherwise: RuleOutcome[Answer]) -> RuleOutcome[Answer]:
        """Targets become dictionaries of answers by key, one for consecutive targets of a kind. The first target of a key wins."""
        reason = self._reason(ReasonKind.TARGET_MATCH)
        steps: list[tuple[str, dict[str, Answer]]] = []
        for kind, variation, keys in targets_in_order(self.flag):
            if not steps or steps[-1][0] != kind:
                steps.append((kind, {}))
            answer, answers = answer_of(self.flag, variation, reason), steps[-1][1]
            for key in keys:
                answers.setdefault(key, answer)
        return _targeted(steps, otherwise) if any(answers for _, answers in steps) else otherwise

    def _with_prerequisites(self, outcome: RuleOutcome[Answer]) -> Evaluate:
        conditions = tuple(
            (needed.key, needed.variation, off_answer(self.flag, self._reason(_FAILED, prerequisite_key=needed.key)))
            for needed in self.flag.prerequisites or ()
        )
        return _conditional(self.flag.key, conditions, outcome) if conditions else served_by(outcome)


def _targeted(steps: Sequence[tuple[str, dict[str, Answer]]], otherwise: RuleOutcome[Answer]) -> Evaluate:
    next_step = served_by(otherwise)

    def with_targets(context: Context, scope: Scope) -> Answer:
        for kind, answers in steps:
            single = context if context.kind == kind else context.member(kind)
            if single is not None and (answer := answers.get(single.key)) is not None:
                return answer
        return next_step(context, scope)

    return with_targets


def targets_in_order(flag: FlagDefinition) -> list[tuple[str, int, tuple[str, ...]]]:
    """Kind, variation and keys of each target, in the order of evaluation.

    If a flag has targets by kind, those for users only give the position: their keys are in the older list of user targets.
    """
    users = [("user", target.variation, target.values or ()) for target in flag.targets or ()]
    if not flag.context_targets:
        return users
    by_variation = {target[1]: target for target in reversed(users)}
    ordered: list[tuple[str, int, tuple[str, ...]]] = []
    for target in flag.context_targets:
        kind = clean_kind(target.context_kind)
        if kind != "user":
            ordered.append((kind, target.variation, target.values or ()))
        elif target.variation in by_variation:
            ordered.append(by_variation[target.variation])
    return ordered


def _conditional(key: str, conditions: Sequence[_Condition], outcome: RuleOutcome[Answer]) -> Evaluate:
    decide = served_by(outcome)
    # The flag has one answer if its prerequisites are met: the answers of the prerequisites decide alone.
    is_decided = isinstance(outcome, Always)
    required = tuple((needed, variation) for needed, variation, _ in conditions)
    kept_answers = PrerequisiteAnswers()
    root, with_notes = kept_answers.root, _with_notes(key, conditions, decide)

    def with_prerequisites(context: Context, scope: Scope) -> Answer:
        if not scope.is_shared:
            return with_notes(context, scope)
        direct_flags = scope.data.direct_flags
        node: Any = root
        try:
            for needed, variation in required:
                answer = direct_flags[needed](context, scope)
                node = node[answer]
                if answer.satisfies != variation:
                    break
            else:
                if not is_decided:
                    node = node[decide(context, scope)]
        except KeyError:  # the first evaluation with this combination of answers
            return step_by_step(context, scope)
        result: Answer = node
        return result

    def step_by_step(context: Context, scope: Scope) -> Answer:
        """Evaluates in the shared scope, makes the answer that lists its prerequisites, and keeps it for the next evaluation."""
        notes: list[PrerequisiteEvaluation] = []
        for needed, variation, failed in conditions:
            prerequisite = scope.data.flag(needed)
            if prerequisite is None:
                scope.note_unknown_flag(needed)
                return kept_answers.add([*(note.answer for note in notes), _ABSENT], failed.with_prerequisites(notes))
            answer = prerequisite.evaluate(context, scope)
            notes.append(PrerequisiteEvaluation(prerequisite.key, prerequisite.version, prerequisite.tracking, answer, key))
            if answer.satisfies != variation:
                return kept_answers.add([note.answer for note in notes], failed.with_prerequisites(notes))
        answer = decide(context, scope)
        return kept_answers.add([note.answer for note in notes] + [answer] * (not is_decided), answer.with_prerequisites(notes))

    return with_prerequisites


def _with_notes(key: str, conditions: Sequence[_Condition], decide: Evaluate) -> Evaluate:
    """Evaluates in a scope that takes notes, where each prerequisite is evaluated once."""

    def with_notes(context: Context, scope: Scope) -> Answer:
        flags, notes = scope.flags, scope.notes
        for needed, variation, failed in conditions:
            prerequisite = scope.data.flag(needed)
            if prerequisite is None:
                scope.note_unknown_flag(needed)
                return failed
            answer = flags.recall(needed, scope)
            if answer is None:
                flags.enter(needed, scope, is_leaf=not prerequisite.prerequisites)
                answer = prerequisite.evaluate(context, scope)
                answer = flags.leave(answer.affected() if scope.reads_override else answer, scope)
            notes.append(PrerequisiteEvaluation(prerequisite.key, prerequisite.version, prerequisite.tracking, answer, key))
            if answer.satisfies != variation:
                return failed
        return decide(context, scope)

    return with_notes


class PrerequisiteAnswers:
    """The answers of a flag with prerequisites, by the answers of the prerequisites. Each is added when it first occurs.

    ``root[answer of the first prerequisite][of the second][of the flag without prerequisites]`` is the answer that lists these
    prerequisites. The path ends earlier at a prerequisite that is not met, and at the last prerequisite if the flag has one answer.
    """

    __slots__ = ("_count", "root")

    def __init__(self) -> None:
        self.root: dict[Answer, Any] = {}
        self._count = 0

    def add(self, path: list[Answer], result: Answer) -> Answer:
        """Keeps ``result`` at the end of ``path``, and returns it; or returns the answer that is already there."""
        node: Any = self.root
        for answer in path[:-1]:
            node = node.setdefault(answer, {})
        kept: Answer = node.setdefault(path[-1], result)
        if kept is result:
            self._count += 1
            if self._count > _MAX_ANSWERS:
                self.root.clear()  # it is full of answers of prerequisites that have changed since
                self._count = 0
                return self.add(path, result)
        return kept
