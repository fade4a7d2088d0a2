"""A LaunchDarkly flag becomes one function: off, prerequisites, targets, rules, fallthrough, in this order.

Each step is a closure around the next, made only if the flag has that step; a flag without targeting is a constant.

Source: ``evaluation.md`` 3.1 to 3.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from aioflags.evaluation.answers import Answer, PrerequisiteEvaluation, Tracking, malformed
from aioflags.evaluation.attributes import clean_kind
from aioflags.evaluation.clauses import named_segments
from aioflags.evaluation.compiled import CompiledFlag, Note
from aioflags.evaluation.rollouts import choose
from aioflags.evaluation.rules import Always, RuleOutcome, RuleSpec, compile_rules, served_by
from aioflags.evaluation.scope import Evaluate, Scope
from aioflags.model.detail import Reason, ReasonKind
from aioflags.model.flag import FlagDefinition, Rollout, VariationOrRollout

if TYPE_CHECKING:
    from aioflags.model.context import Context

__all__ = ["answer_of", "compile_flag", "off_answer", "targets_in_order", "tracking_of"]

_Gate: TypeAlias = tuple[str, int, Answer]
"""A prerequisite: its key, the variation that is needed, and the answer if it serves another."""

_NOTHING: Final = VariationOrRollout()
_MAX_ANSWERS: Final = 256
"""How many ways to its answers a flag with prerequisites remembers."""
_ABSENT: Final = malformed("there is no such flag")
"""Stands in a way for a prerequisite that there is not. The end of such a way is remembered, too: answers are told apart by
what they are and not by what they say, and whoever counts them remembers them."""


def compile_flag(flag: FlagDefinition, note: Note) -> CompiledFlag:
    """The flag, ready to answer."""
    tracking = tracking_of(flag)
    if not flag.on:
        off = served_by(Always(off_answer(flag, Reason(kind=ReasonKind.OFF))))
        return CompiledFlag(flag.key, flag.version, off, tracking=tracking)
    segments = named_segments(flag.rules)
    prerequisites = tuple(wanted.key for wanted in flag.prerequisites or ())
    evaluate = _with_prerequisites(flag, _with_targets(flag, _with_rules(flag, note)))
    return CompiledFlag(flag.key, flag.version, evaluate, prerequisites=prerequisites, segments=segments, tracking=tracking)


def tracking_of(flag: FlagDefinition) -> Tracking:
    """What the flag wants analytics to be told."""
    return Tracking(
        is_counted=not flag.exclude_from_summaries,
        is_tracked=bool(flag.track_events),
        debug_until_ms=flag.debug_events_until_date,
        sampling_ratio=flag.sampling_ratio,
    )


# -- answers


def answer_of(flag: FlagDefinition, variation: int, reason: Reason, *, is_tracked: bool | None = False) -> Answer:
    """The answer that one of the flag's variations is, or that it has no such variation."""
    variations = flag.variations or ()
    if not 0 <= variation < len(variations):
        return malformed(f"serves variation {variation}, but has {len(variations)}")
    return Answer(variations[variation], variation, reason, is_experiment=bool(is_tracked))


def off_answer(flag: FlagDefinition, reason: Reason) -> Answer:
    """The answer of the flag where it is off, for whatever ``reason``."""
    if flag.off_variation is None:
        return Answer(None, None, reason)
    return answer_of(flag, flag.off_variation, reason)


def _serve(
    flag: FlagDefinition,
    variation: int | None,
    rollout: Rollout | None,
    kind: ReasonKind,
    *,
    rule_index: int | None = None,
    rule_id: str | None = None,
    is_tracked: bool | None,
) -> RuleOutcome[Answer]:
    """One variation, or one of several; ``is_tracked``: its evaluations count as an experiment's in any case."""

    def answer(variation: int, *, in_experiment: bool = False) -> Answer:
        reason = Reason(kind=kind, rule_index=rule_index, rule_id=rule_id, in_experiment=in_experiment)
        return answer_of(flag, variation, reason, is_tracked=is_tracked)

    if variation is not None:
        return Always(answer(variation))
    if rollout is not None and rollout.variations:
        return choose(rollout, key=flag.key, salt=flag.salt or "", answer=answer)
    where = "its fallthrough" if rule_index is None else f"rule {rule_index}"
    return Always(malformed(f"has neither variation nor rollout in {where}"))


# -- steps, innermost first


def _with_rules(flag: FlagDefinition, note: Note) -> RuleOutcome[Answer]:
    served = flag.fallthrough or _NOTHING
    fallthrough = _serve(
        flag,
        served.variation,
        served.rollout,
        ReasonKind.FALLTHROUGH,
        is_tracked=flag.track_events_fallthrough,
    )
    specs = [
        RuleSpec(
            rule.clauses or (),
            _serve(
                flag,
                rule.variation,
                rule.rollout,
                ReasonKind.RULE_MATCH,
                rule_index=index,
                rule_id=rule.id or None,
                is_tracked=rule.track_events,
            ),
        )
        for index, rule in enumerate(flag.rules or ())
    ]
    return compile_rules(specs, fallthrough, note)


def _with_targets(flag: FlagDefinition, otherwise: RuleOutcome[Answer]) -> RuleOutcome[Answer]:
    """Targets become answers by key. Neighbours of one kind share a dictionary, in which the first of them wins."""
    reason = Reason(kind=ReasonKind.TARGET_MATCH)
    steps: list[tuple[str, dict[str, Answer]]] = []
    for kind, variation, keys in targets_in_order(flag):
        if not steps or steps[-1][0] != kind:
            steps.append((kind, {}))
        answer, answers = answer_of(flag, variation, reason), steps[-1][1]
        for key in keys:
            answers.setdefault(key, answer)
    if not any(answers for _, answers in steps):
        return otherwise

    pass_on = served_by(otherwise)

    def with_targets(context: Context, scope: Scope) -> Answer:
        for kind, answers in steps:
            single = context if context.kind == kind else context.member(kind)
            if single is not None and (answer := answers.get(single.key)) is not None:
                return answer
        return pass_on(context, scope)

    return with_targets


def targets_in_order(flag: FlagDefinition) -> list[tuple[str, int, tuple[str, ...]]]:
    """Kind, variation and keys, in the order in which they are asked.

    Where there are targets by kind, those for users only say when it is their turn: their keys stand in the older list.
    """
    users = [("user", target.variation, target.values or ()) for target in flag.targets or ()]
    if not flag.context_targets:
        return users
    by_variation = {target[1]: target for target in reversed(users)}
    found: list[tuple[str, int, tuple[str, ...]]] = []
    for target in flag.context_targets:
        kind = clean_kind(target.context_kind)
        if kind != "user":
            found.append((kind, target.variation, target.values or ()))
        elif target.variation in by_variation:
            found.append(by_variation[target.variation])
    return found


def _with_prerequisites(flag: FlagDefinition, outcome: RuleOutcome[Answer]) -> Evaluate:
    decide = served_by(outcome)
    if not flag.prerequisites:
        return decide
    # Where prerequisites are all that there is to decide, they lead to the end by themselves.
    is_decided = isinstance(outcome, Always)
    key = flag.key
    gates = tuple(
        (wanted.key, wanted.variation, off_answer(flag, Reason(kind=ReasonKind.PREREQUISITE_FAILED, prerequisite_key=wanted.key)))
        for wanted in flag.prerequisites
    )
    needs = tuple((needed, variation) for needed, variation, _ in gates)
    ways = PrerequisiteAnswers()
    start, each_once = ways.start, _each_once(key, gates, decide)

    def with_prerequisites(context: Context, scope: Scope) -> Answer:
        if not scope.is_shared:
            return each_once(context, scope)
        direct_flags = scope.data.direct_flags
        way: Any = start
        try:
            for needed, variation in needs:
                answer = direct_flags[needed](context, scope)
                way = way[answer]
                if answer.satisfies != variation:
                    break
            else:
                if not is_decided:
                    way = way[decide(context, scope)]
        except KeyError:  # these answers have not come together before
            return step_by_step(context, scope)
        found: Answer = way
        return found

    def step_by_step(context: Context, scope: Scope) -> Answer:
        """In the shared scope: makes the answer that names its prerequisites, and keeps it for the next time."""
        notes: list[PrerequisiteEvaluation] = []
        for needed, variation, failed in gates:
            prerequisite = scope.data.flag(needed)
            if prerequisite is None:
                return ways.add([*(note.answer for note in notes), _ABSENT], failed.after(notes))
            answer = prerequisite.evaluate(context, scope)
            notes.append(PrerequisiteEvaluation(prerequisite.key, prerequisite.version, prerequisite.tracking, answer, key))
            if answer.satisfies != variation:
                return ways.add([note.answer for note in notes], failed.after(notes))
        answer = decide(context, scope)
        return ways.add([note.answer for note in notes] + [answer] * (not is_decided), answer.after(notes))

    return with_prerequisites


def _each_once(key: str, gates: Sequence[_Gate], decide: Evaluate) -> Evaluate:
    """How a flag is evaluated in a scope that takes notes: prerequisites that were evaluated before keep their answers."""

    def each_once(context: Context, scope: Scope) -> Answer:
        flags, notes = scope.flags, scope.notes
        for needed, variation, failed in gates:
            prerequisite = scope.data.flag(needed)
            if prerequisite is None:
                return failed
            answer = flags.recall(needed, scope)
            if answer is None:
                flags.enter(needed, scope, is_leaf=not prerequisite.prerequisites)
                answer = flags.leave(prerequisite.evaluate(context, scope), scope)
            notes.append(PrerequisiteEvaluation(prerequisite.key, prerequisite.version, prerequisite.tracking, answer, key))
            if answer.satisfies != variation:
                return failed
        return decide(context, scope)

    return each_once


class PrerequisiteAnswers:
    """The ways from a flag's prerequisites to its answers, each made when somebody goes it.

    ``start[answer of the first prerequisite][of the second][the flag's own]`` is the flag's answer that names these
    prerequisites; a prerequisite that is not met ends the way, and so does the last one of a flag that has but one answer.
    """

    __slots__ = ("_count", "start")

    def __init__(self) -> None:
        self.start: dict[Answer, Any] = {}
        self._count = 0

    def add(self, steps: list[Answer], end: Answer) -> Answer:
        """The end, from now on to be found behind these steps."""
        step: Any = self.start
        for answer in steps[:-1]:
            step = step.setdefault(answer, {})
        found: Answer = step.setdefault(steps[-1], end)
        if found is end:
            self._count += 1
            if self._count > _MAX_ANSWERS:
                self.start.clear()  # prerequisites that changed have left theirs behind
                self._count = 0
                return self.add(steps, end)
        return found
