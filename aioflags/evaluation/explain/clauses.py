"""Explains clauses, segments and buckets, step by step.

Clauses are evaluated by the predicates that evaluations use. The steps through a segment are implemented again here, so the tests
compare every explanation with an evaluation.

Source: ``evaluation.md`` 3.4, 3.8 and 3.9.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from aioflags.evaluation.clauses import SEGMENT_MATCH, clean_kind, finder, named_segments, reference
from aioflags.evaluation.items import Items
from aioflags.evaluation.operators import OPERATORS
from aioflags.evaluation.rollouts import bucket, bucket_digest, bucket_prefix, bucket_text
from aioflags.evaluation.rules import compile_clause, leading_in_clauses
from aioflags.evaluation.scope import MalformedError, Predicate, Scope, worsen
from aioflags.model.change import ObjectKind, SegmentDefinition, SegmentRule, SegmentTarget
from aioflags.model.detail import BigSegmentsStatus
from aioflags.model.explanation import ExplanationStep, StepKind, as_json, shown
from aioflags.model.flag import Clause, FlagRule
from aioflags.runtime.logs import printable

if TYPE_CHECKING:
    from aioflags.model.context import Context


UNDECIDED: Final = "cannot be decided"
_STATUS_REMARKS: Final = {BigSegmentsStatus.STALE: ", and they are stale", BigSegmentsStatus.STORE_ERROR: ", and their store fails"}
_NO_FACTS: Final[Mapping[str, Any]] = {}
_MAX_VALUES: Final = 5
"""How many values of a clause a text lists."""


class OpenStep:
    """A step that has not ended. If an exception ends it, it keeps the text that it has then."""

    def __init__(self, text: str) -> None:
        self.text: str = text
        self.holds: bool | None = None


class Steps:
    """Records the steps of an explanation. ``recorded``: the steps of the part that is evaluated at this moment."""

    def __init__(self) -> None:
        self.recorded: list[ExplanationStep] = []

    def add(
        self, kind: StepKind, text: str, path: str = "", *, holds: bool | None = None, facts: Mapping[str, Any] = _NO_FACTS
    ) -> None:
        """Add a step without steps of its own."""
        self.recorded.append(ExplanationStep(kind=kind, path=path, text=text, holds=holds, facts=facts))

    @contextmanager
    def within(self, kind: StepKind, path: str, text: str, facts: Mapping[str, Any] = _NO_FACTS) -> Generator[OpenStep, None, None]:
        """A step that has the steps which are added before its end."""
        step, outer, inner = OpenStep(text), self.recorded, list[ExplanationStep]()
        self.recorded = inner
        try:
            yield step
        finally:
            self.recorded = outer
            outer.append(ExplanationStep(kind=kind, path=path, text=step.text, holds=step.holds, facts=facts, steps=tuple(inner)))


class BucketPlacement:
    """Where a context falls in a rollout: its ``bucket`` in [0, 1], and a ``text``. ``is_hashed``: there is a value to hash."""

    __slots__ = ("bucket", "by", "is_hashed", "kind", "text")

    def __init__(self, context: Context, *, kind: str | None, by: str | None, key: str, salt: str, seed: int | None = None) -> None:
        self.kind: str = clean_kind(kind)
        self.by: str = by or "key"
        attribute = reference(self.by, kind)
        if by and attribute.error is not None:
            raise MalformedError(f"buckets by an invalid attribute reference: {attribute.error}")
        single = context.member(self.kind)
        hashed = None if single is None else bucket_text(finder(attribute)(single) if by else single.key)
        self.is_hashed: bool = hashed is not None
        self.bucket: float = 0.0 if hashed is None else bucket(bucket_digest(bucket_prefix(key, salt, seed), hashed))
        if single is None:
            self.text: str = f"the context has no {printable(self.kind)}, so its bucket is 0"
        elif hashed is None:
            self.text = f"{printable(self.kind)} has no {printable(self.by)} to bucket by, so its bucket is 0"
        else:
            self.text = f"by {printable(self.kind)} {printable(self.by)} {shown(hashed)} the bucket is {self.bucket:.6f}"

    @property
    def facts(self) -> dict[str, Any]:
        """The content of the text, for programs."""
        return {"kind": self.kind, "bucketBy": self.by, "bucket": self.bucket}


class ClauseExplainer:
    """Evaluates clauses and segments for one context, and adds an explanation of each to ``steps``."""

    def __init__(self, context: Context, scope: Scope, items: Items, steps: Steps) -> None:
        self._context = context
        self._scope = scope
        self._steps = steps
        self._segments = items.segments
        self._overridden = items.overridden
        self._results: dict[str, tuple[bool, int]] = {}  # by the key of a segment: the answer, and the steps charged for it

    def all_match(self, clauses: Sequence[Clause], path: str, total: int) -> bool:
        """Whether every clause matches. Clauses after the first that does not match are not evaluated.

        ``total``: how many clauses the flag or segment has.
        """
        in_tables = len(leading_in_clauses(clauses))
        # A loop, with few calls from here to the clauses of a segment: an explanation must reach the end of a chain of a hundred
        # segments, as an evaluation does, within the interpreter's recursion limit.
        for index, clause in enumerate(clauses):
            clause_path = f"{path}.clauses[{index}]"
            if clause.op == SEGMENT_MATCH:
                holds = self._is_in_segments(clause, clause_path)
            else:
                notes: list[str] = []
                predicate = compile_clause(clause, notes.append, in_table=index < in_tables, clauses=total)
                holds = self._matches(clause, predicate, notes, clause_path)
            if not holds:
                return False
        return True

    def _matches(self, clause: Clause, predicate: Predicate, notes: Sequence[str], path: str) -> bool:
        subject, value = self._subject(clause)
        question = f"{subject}; {_question(clause)}"
        facts: dict[str, Any] = {
            "contextKind": clean_kind(clause.context_kind),
            "attribute": clause.attribute or "",
            "op": clause.op,
            "values": list(clause.values or ()),
            "negate": bool(clause.negate),
            "found": as_json(value),
        }
        with self._steps.within(StepKind.CLAUSE, path, f"{question} {UNDECIDED}", facts) as step:
            holds = step.holds = predicate(self._context, self._scope)
            remarks = [*notes, *([] if clause.op in OPERATORS else ["unknown operator"])]
            step.text = f"{question} {_yes(holds)}{''.join(f' ({printable(remark)})' for remark in remarks)}"
        return holds

    def _subject(self, clause: Clause) -> tuple[str, Any]:
        """The text and the value of the attribute that a clause tests."""
        attribute, kind = reference(clause.attribute or "", clause.context_kind), clean_kind(clause.context_kind)
        name = printable(clause.attribute)
        if attribute.error is not None:
            return f"the attribute reference {shown(clause.attribute)} is invalid: {printable(attribute.error)}", None
        if attribute.path == ("kind",):
            kinds = [single.kind for single in self._context]
            return f"the context is of kind {' and '.join(map(printable, kinds))}", kinds
        single = self._context.member(kind)
        if single is None:
            return f"the context has no {printable(kind)}", None
        value = finder(attribute)(single)
        return f"{printable(kind)} {name} is {shown(value)}" if value is not None else f"{printable(kind)} has no {name}", value

    # -- segments

    def _is_in_segments(self, clause: Clause, path: str) -> bool:
        keys = [value for value in clause.values or () if isinstance(value, str)]
        question = f"is it {'in none' if clause.negate else 'in one'} of the segments {_enumerated(keys)}?"
        facts = {"op": clause.op, "values": keys, "negate": bool(clause.negate)}
        with self._steps.within(StepKind.CLAUSE, path, f"{question} {UNDECIDED}", facts) as step:
            is_in_one = False
            for key in keys:
                is_in_one = is_in_one or self._is_in(key)
            holds = step.holds = is_in_one is not bool(clause.negate)
            step.text = f"{question} {_yes(holds)}"
        return holds

    def _is_in(self, key: str) -> bool:
        """Whether a segment contains the context. Its steps are listed at its first use."""
        segment, scope = self._segments.get(key), self._scope
        is_overridden = (ObjectKind.SEGMENT, key) in self._overridden
        if is_overridden:
            scope.note_override()
        if segment is None:
            text = f"a local override removes segment {shown(key)}" if is_overridden else f"there is no segment {shown(key)}"
            self._steps.add(StepKind.SEGMENT, text, holds=False, facts={"segment": key})
            return False
        name, facts, again = f"segment {shown(key)}, version {segment.version},", {"segment": key, "version": segment.version}, ""
        with self._steps.within(StepKind.SEGMENT, "", f"{name} {UNDECIDED}", facts) as step:
            if key not in self._results:
                allowance = scope.steps_left
                if is_overridden:
                    text = "a local override defines the segment, whatever the service defines"
                    self._steps.add(StepKind.OVERRIDE, text, facts={"segment": key})
                listed = self._membership(segment) if segment.unbounded else self._listing(segment)
                holds = self._rules(segment) if listed is None else listed
                self._results[key] = holds, allowance - scope.steps_left
            else:
                holds, steps_taken = self._results[key]
                again, step.text = ", as shown above", f"{name} {UNDECIDED}, as shown above"
                scope.segments.recall(key, scope)  # raises if the path through it is too long from here
                if not named_segments(segment.rules):
                    scope.charge(steps_taken)  # an evaluation evaluates it again
            step.holds, step.text = holds, f"{name} {'contains' if holds else 'does not contain'} the context{again}"
        return holds

    def _listing(self, segment: SegmentDefinition) -> bool | None:
        """Whether the lists of keys include or exclude the context; ``None`` if they do not name it."""
        for name, users, targets in (
            ("included", segment.included, segment.included_contexts),
            ("excluded", segment.excluded, segment.excluded_contexts),
        ):
            single = self._listed(users, targets)
            if single is not None:
                text = f"{printable(single.kind)} {shown(single.key)} is {name} by its key"
                facts = {"contextKind": single.kind, "key": single.key}
                self._steps.add(StepKind.LISTS, text, name, holds=name == "included", facts=facts)
                return name == "included"
        return None

    def _listed(self, users: Sequence[str] | None, targets: Iterable[SegmentTarget] | None) -> Context | None:
        """The part of the context whose key is listed."""
        for kind, keys in (("user", users), *((clean_kind(target.context_kind), target.values) for target in targets or ())):
            single = self._context.member(kind)
            if single is not None and single.key in (keys or ()):
                return single
        return None

    def _rules(self, segment: SegmentDefinition) -> bool:
        visits, rules = self._scope.segments, segment.rules or ()
        visits.enter(segment.key, self._scope, is_leaf=not named_segments(rules))
        holds, total = False, clause_count(rules)
        for index, rule in enumerate(rules):
            path, name = f"rules[{index}]", f"rule {index} of the segment"
            with self._steps.within(StepKind.RULE, path, f"{name} {UNDECIDED}", {"index": index}) as step:
                holds = step.holds = self.all_match(rule.clauses or (), path, total) and self._is_within(segment, rule, path)
                step.text = f"{name} {'matches' if holds else 'does not match'}"
            if holds:
                break
        return visits.leave(holds, self._scope)

    def _is_within(self, segment: SegmentDefinition, rule: SegmentRule, path: str) -> bool:
        if rule.weight is None:
            return True
        kind, share = rule.rollout_context_kind, rule.weight / 100000.0
        place = BucketPlacement(self._context, kind=kind, by=rule.bucket_by or "key", key=segment.key, salt=segment.salt or "")
        holds = place.bucket < share and self._context.member(place.kind) is not None
        text = f"{place.text}; the rule takes buckets below {share:g}: {_yes(holds)}"
        self._steps.add(StepKind.BUCKET, text, f"{path}.weight", holds=holds, facts={**place.facts, "below": share})
        return holds

    # -- big segments

    def _membership(self, segment: SegmentDefinition) -> bool | None:
        """Whether the memberships of a big segment include or exclude the context; ``None`` if its rules decide."""
        scope, kind = self._scope, clean_kind(segment.unbounded_context_kind)
        single = self._context.member(kind)
        is_member: bool | None = None
        if segment.generation is None:
            worsen(scope, BigSegmentsStatus.NOT_CONFIGURED)
            is_member, text = False, "the big segment has no generation to look up"
        elif single is None:
            is_member, text = False, f"the context has no {printable(kind)} to look up in the big segment"
        elif scope.memberships is None:
            worsen(scope, BigSegmentsStatus.NOT_CONFIGURED)
            text = "no store of big segments is configured"
        elif (membership := scope.memberships(single.key)) is None:
            text = f"the memberships of {shown(single.key)} are unknown"
        else:
            worsen(scope, membership.status)
            is_member = membership.segments.get(f"{segment.key}.g{segment.generation}")
            verb = {True: "include", False: "exclude", None: "do not name"}[is_member]
            text = f"the memberships of {shown(single.key)} {verb} it{_STATUS_REMARKS.get(membership.status, '')}"
        self._steps.add(StepKind.LISTS, text, "unbounded", holds=is_member)
        return is_member


def clause_count(rules: Iterable[FlagRule | SegmentRule] | None) -> int:
    """How many clauses the rules have."""
    return sum(len(rule.clauses or ()) for rule in rules or ())


def _question(clause: Clause) -> str:
    return f"is that {'not ' if clause.negate else ''}{printable(clause.op)} {_enumerated(clause.values or ())}?"


def _yes(holds: object) -> str:
    return "yes" if holds else "no"


def _enumerated(values: Sequence[object]) -> str:
    """The first values, and the number of the others."""
    if not values:
        return "(none)"
    more = f" or {len(values) - _MAX_VALUES} more" if len(values) > _MAX_VALUES else ""
    return f"{', '.join(map(shown, values[:_MAX_VALUES]))}{more}"
