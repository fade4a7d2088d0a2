"""Checks clauses: unknown operators, unusable values, clauses that never match, and rules that an earlier rule covers."""

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


def _is_string(value: object) -> bool:
    return isinstance(value, str)


USABLE_VALUES: Final[dict[str, tuple[Callable[[object], bool], str]]] = {
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
