"""What a clause asks, and whether anybody could ever answer it; and which rules leave nobody to the rules behind them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from aioflags.evaluation.attributes import clean_kind, reference
from aioflags.evaluation.clauses import SEGMENT_MATCH
from aioflags.evaluation.operators import OPERATORS
from aioflags.evaluation.parsing import parse_number, parse_time, parse_version
from aioflags.evaluation.patterns import MAX_PATTERN_LENGTH, MAX_SUBJECT_LENGTH, max_length_without_re2
from aioflags.model.context import Context
from aioflags.model.flag import Clause, Rollout
from aioflags.model.values import type_name
from aioflags.protocol.documents.places import Path
from aioflags.runtime.suggest import did_you_mean, suggestion
from aioflags.tools.lint.findings import LintRemark, quoted

__all__ = ["ClauseTest", "check_bucketing", "check_clauses", "check_kind", "first_that_leaves_nobody", "questions"]

_OTHER_NAMES: Final = {
    "=": "in",
    "==": "in",
    "equals": "in",
    "eq": "in",
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
"""What operators are called elsewhere."""


def _is_string(value: object) -> bool:
    return isinstance(value, str)


_USABLE: Final[dict[str, tuple[Callable[[object], bool], str]]] = {
    **dict.fromkeys(("startsWith", "endsWith", "contains", "matches", SEGMENT_MATCH), (_is_string, "a string")),
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


def check_clauses(clauses: Sequence[Clause] | None, path: Path) -> Iterator[LintRemark]:
    """The clauses of one rule, which stands at ``path``."""
    for index, clause in enumerate(clauses or ()):
        yield from _check_clause(clause, (*path, "clauses", index))
    asked = questions(clauses)
    for index, question in enumerate(asked):
        if any(other.excludes(question) for other in asked):
            message = "another clause asks for just what this one excludes, so the rule never matches"
            yield LintRemark("never-matches", (*path, "clauses", index), message)


def _check_clause(clause: Clause, path: Path) -> Iterator[LintRemark]:
    if clause.op != SEGMENT_MATCH and clause.op not in OPERATORS:
        other = _OTHER_NAMES.get(clause.op.lower().replace(" ", "").replace("_", ""))
        suggested = suggestion(other, quoted) if other else did_you_mean(clause.op, [*OPERATORS, SEGMENT_MATCH], quote=quoted)
        yield LintRemark("unknown-operator", (*path, "op"), f"unknown operator {quoted(clause.op)}", suggested or None)
        return
    if clause.op != SEGMENT_MATCH:
        yield from _check_reference(clause.attribute or "", clause.context_kind, (*path, "attribute"))
        yield from check_kind(clause.context_kind, (*path, "contextKind"))
    if not clause.values and not clause.negate:
        yield LintRemark("never-matches", path, "a clause without values never matches")
    is_usable, wanted = _USABLE[clause.op]
    for index, value in enumerate(clause.values or ()):
        at = (*path, "values", index)
        if not is_usable(value):
            shown = quoted(value) if isinstance(value, str) else type_name(value)
            yield LintRemark("useless-value", at, f"{clause.op} expects {wanted}, got {shown}")
        elif clause.op == "matches":
            yield from _check_pattern(value, at)


def _check_pattern(pattern: str, path: Path) -> Iterator[LintRemark]:
    try:
        longest = max_length_without_re2(pattern)
    except (re.error, RecursionError, OverflowError) as problem:
        yield LintRemark("bad-pattern", path, f"{quoted(pattern)} is not a valid regular expression: {problem}")
        return
    if longest is None or longest >= MAX_SUBJECT_LENGTH:
        return
    if len(pattern) > MAX_PATTERN_LENGTH:
        yield LintRemark(
            "bad-pattern", path, f"{quoted(pattern)} is longer than {MAX_PATTERN_LENGTH} characters, so it never matches"
        )
        return
    limit = f"only matches texts of up to {longest} characters" if longest else "never matches"
    message = f"{quoted(pattern)} can take very long: without RE2 it {limit}"
    yield LintRemark("risky-pattern", path, message, 'repeat nothing that repeats itself, or install "aioflags[re2]"')


def _check_reference(text: str, kind: str | None, path: Path) -> Iterator[LintRemark]:
    found = reference(text, kind)
    if found.error is not None:
        yield LintRemark("invalid-reference", path, found.error)
    elif not kind and text.startswith("/"):
        yield LintRemark(
            "literal-path", path, f"this is the attribute called {quoted(text)}, and no path", 'add "contextKind": "user"'
        )


def check_kind(kind: str | None, path: Path) -> Iterator[LintRemark]:
    """A kind of context, if one is named."""
    if kind and (Context("x", kind=kind).error is not None):
        yield LintRemark("invalid-kind", path, f"no context can be of the kind {quoted(kind)}")


def check_bucketing(rollout: Rollout, path: Path) -> Iterator[LintRemark]:
    """What a rollout that stands at ``path`` goes by."""
    yield from check_kind(rollout.context_kind, (*path, "contextKind"))
    if rollout.bucket_by and rollout.kind != "experiment":
        yield from _check_reference(rollout.bucket_by, rollout.context_kind, (*path, "bucketBy"))


@dataclass(frozen=True, slots=True)
class ClauseTest:
    """What a clause asks, in a form that compares: whether one of these values stands in that relation to something."""

    relation: tuple[object, ...]
    values: frozenset[bytes]
    negate: bool

    def implies(self, other: ClauseTest) -> bool:
        """Whether the other one is answered with yes wherever this one is."""
        less, more = (other, self) if self.negate else (self, other)
        return less.values <= more.values and self.negate is other.negate and self.relation == other.relation

    def excludes(self, other: ClauseTest) -> bool:
        """Whether the other one, which is negated, is answered with no wherever this one is answered with yes."""
        return self.relation == other.relation and other.negate and not self.negate and self.values <= other.values


def questions(clauses: Sequence[Clause] | None) -> tuple[ClauseTest, ...]:
    """The clauses of a rule as questions."""
    return tuple(map(_question, clauses or ()))


def _question(clause: Clause) -> ClauseTest:
    relation: tuple[object, ...] = (clause.op,)
    if clause.op != SEGMENT_MATCH:
        relation = (clause.op, clean_kind(clause.context_kind), *reference(clause.attribute or "", clause.context_kind).path)
    return ClauseTest(relation, frozenset(msgspec.json.encode(value) for value in clause.values or ()), bool(clause.negate))


def first_that_leaves_nobody(rules: Sequence[tuple[ClauseTest, ...]], to: tuple[ClauseTest, ...]) -> int | None:
    """The first of the rules that matches whenever the rule ``to`` does: ``None`` if there is none."""
    for number, earlier in enumerate(rules):
        if all(any(question.implies(wanted) for question in to) for wanted in earlier):
            return number
    return None
