"""Scope: the data that one evaluation reads, the notes it takes, and the limits on its work.

It also has the types of compiled flags and segments.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeAlias, TypeVar, final

import msgspec

from aioflags.evaluation.answers import Answer, PrerequisiteEvaluation, Tracking
from aioflags.model.detail import BigSegmentsStatus, Membership
from aioflags.model.values import SCALARS

if TYPE_CHECKING:
    from aioflags.model.context import Context


# -- Work: at most how many steps a clause takes to test a value, and how many steps one evaluation may take.
#
# The work of a clause grows with the number of its values times the size of the attribute: 10,000 texts searched in 10,000
# elements took seconds. So a clause that takes many steps charges them to the scope of its evaluation before it takes them.
#
# Source: ``reliability.md``; LaunchDarkly's SDKs have no limit.


MAX_WORK: Final = 2_000_000
"""The allowance of one evaluation, in steps of about 25 ns: about 50 ms."""
_FREE_STEPS: Final = 400_000
"""What the clauses of a flag together may take without being charged: the evaluation needs no scope of its own then."""
_STEPS: Final = {"before": 40, "after": 40, "semVerEqual": 40, "semVerLessThan": 40, "semVerGreaterThan": 40}
_ANY_STEPS: Final = 8
_OBJECT_STEPS: Final = 30
_SEARCHED: Final = 32
"""How many characters ``in`` searches in one step."""
_MAX_SQUARED: Final = 4096
"""The longest text whose search by a pattern may take longer than a time proportional to its length."""


def free_steps(clauses: int) -> int:
    """How many steps each of the clauses of one flag may take without charging them."""
    return _FREE_STEPS // max(clauses, 1)


def cost_of(op: str, values: Sequence[Any]) -> Cost:
    """What the operator costs with these values. Equal costs are mostly the same object."""
    if op == "contains":
        return _cost_of_contains(len(values))
    if op == "matches":
        return _cost_of_matches(len(values))
    others = sum(value.__class__ not in SCALARS for value in values) if op == "in" else 0
    return _cost_of_comparing(_STEPS.get(op, _ANY_STEPS), others)


@lru_cache(maxsize=256)
def _cost_of_contains(count: int) -> Cost:
    return Cost(lambda length: count * (1 + length // _SEARCHED))


@lru_cache(maxsize=256)
def _cost_of_matches(count: int) -> Cost:
    return Cost(lambda length: count * (4 + length // 4 + min(length, _MAX_SQUARED) ** 2 // 1000))


@lru_cache(maxsize=256)
def _cost_of_comparing(steps: int, others: int) -> Cost:
    if others:
        return Cost(lambda length: steps, other=others * _OBJECT_STEPS)
    return Cost(lambda length: steps, other=steps, each=steps)


@dataclass(frozen=True, slots=True)
class Cost:
    """At most how many steps the test of one value takes; for patterns it is an estimate.

    ``text``: of a text, by its length. ``other``: of an object or array. ``each``: of any value, if all cost the same.
    """

    text: Callable[[int], int]
    other: int = _ANY_STEPS
    each: int | None = None

    def of(self, value: Any) -> int:
        """The steps for this value."""
        if isinstance(value, str):
            return self.text(len(value))
        return _ANY_STEPS if value.__class__ in SCALARS else self.other

    def of_all(self, values: Collection[Any]) -> int:
        """The steps for these values."""
        return sum(map(self.of, values)) if self.each is None else len(values) * self.each

    def max_length(self, steps: int) -> int:
        """A length up to which the test of a text takes at most ``steps`` steps."""
        length = sys.maxsize
        while length and self.text(length) > steps:
            length >>= 1
        return length


# -- Visits: the flags, or the segments, that an evaluation enters. Each is evaluated once, and never within itself.
#
# Without the stored results, the work doubles with each level of a graph in which every flag has two paths to the next one.
#
# Source: ``evaluation.md`` 3.2 and 3.8.


T = TypeVar("T")

_Notes: TypeAlias = tuple[BigSegmentsStatus | None, bool]
"""What was noted in a visit: the worst status of big segments, and whether an override was read."""

MAX_DEPTH: Final = 100
"""The maximal length of a chain of prerequisites, and of a chain of segments; well below the interpreter's recursion limit."""

_WORST_LAST: Final = list(BigSegmentsStatus)


class MalformedError(Exception):
    """Ends an evaluation at any depth with ``MALFORMED_FLAG``. The snapshot catches it."""


def worsen(scope: Scope, status: BigSegmentsStatus) -> None:
    """Notes a status of big segments. The scope keeps the worst one, for the reason of the evaluation."""
    if scope.big_segments_status is None or _WORST_LAST.index(status) > _WORST_LAST.index(scope.big_segments_status):
        scope.big_segments_status = status


@final
class Visits(Generic[T]):
    """The visits of one scope: the active ones, outermost first, and the results of those that have ended.

    A result depends only on the context and the data, so it stays valid while both are the same. The height of a visit (the number
    of levels below it) is kept with its result: a path that exceeds :data:`MAX_DEPTH` fails, even if its lower part was visited
    before from a higher level.

    Args:
        circular: the problem text for a key that is visited within itself; ``{}`` stands for the key.
        too_deep: the problem text for a path that is too long.
    """

    __slots__ = ("_circular", "_failures", "_heights", "_notes", "_path", "_results", "_too_deep")

    def __init__(self, *, circular: str, too_deep: str) -> None:
        self._circular = circular
        self._too_deep = too_deep
        # For each visit that has ended: its result, its height (0 for a leaf), and what was noted in it.
        self._results: dict[str, tuple[T, int, _Notes]] = {}
        # For each visit that failed: its problem, and what was noted in it.
        self._failures: dict[str, tuple[str, _Notes]] = {}
        # For each active visit: the key, the height so far, and what was noted before it.
        self._path: list[str] = []
        self._heights: list[int] = []
        self._notes: list[_Notes] = []

    def recall(self, key: str, scope: Scope) -> T | None:
        """The result of an earlier visit, whose notes are taken again; ``None`` if the key was not visited yet.

        Raises:
            MalformedError: the path from here is too long, or an earlier visit from the top level failed.
        """
        visit = self._results.get(key)
        if visit is None:
            if key in self._failures:
                problem, notes = self._failures[key]
                _note(notes, scope)
                raise MalformedError(problem)
            return None
        result, height, notes = visit
        if len(self._path) + height > MAX_DEPTH:
            raise MalformedError(self._too_deep)
        if self._heights and self._heights[-1] <= height:
            self._heights[-1] = height + 1
        _note(notes, scope)
        return result

    def enter(self, key: str, scope: Scope, *, is_leaf: bool = False) -> None:
        """Starts a visit. ``is_leaf``: it enters no other key, so it can be neither circular nor too deep.

        Raises:
            MalformedError: a visit of the key is active, or too many visits are.
        """
        if not is_leaf:
            if key in self._path:
                raise MalformedError(self._circular.format(repr(key)))
            if len(self._path) >= MAX_DEPTH:
                raise MalformedError(self._too_deep)
        self._path.append(key)
        self._heights.append(0 if is_leaf else 1)
        self._notes.append((scope.big_segments_status, scope.reads_override))
        scope.big_segments_status = None
        scope.reads_override = False

    def leave(self, result: T, scope: Scope) -> T:
        """Ends the innermost visit, and keeps and returns its result."""
        height = self._heights.pop()
        self._results[self._path.pop()] = result, height, (scope.big_segments_status, scope.reads_override)
        if self._heights and self._heights[-1] <= height:
            self._heights[-1] = height + 1
        status, reads_override = self._notes.pop()  # inline, as in _note: many evaluations come here
        if status is not None:
            worsen(scope, status)
        if reads_override:
            scope.reads_override = True
        return result

    def fail(self, key: str, problem: str, scope: Scope) -> None:
        """Keeps the failure of a visit that began at the top level. Visits of the key from lower levels then fail, too."""
        self._failures[key] = problem, (scope.big_segments_status, scope.reads_override)

    def abandon(self, scope: Scope) -> None:
        """Ends the active visits without results after an exception. What was noted before and in them still counts."""
        for notes in self._notes:
            _note(notes, scope)
        self._path.clear()
        self._heights.clear()
        self._notes.clear()


def _note(notes: _Notes, scope: Scope) -> None:
    """Takes these notes in the scope, in addition to those that it has."""
    status, reads_override = notes
    if status is not None:
        worsen(scope, status)
    if reads_override:
        scope.reads_override = True


Evaluate: TypeAlias = "Callable[[Context, Scope], Answer]"
Predicate: TypeAlias = "Callable[[Context, Scope], bool]"
FindMembership: TypeAlias = Callable[[str], Membership | None]
"""Takes a context key of any kind, and returns its big-segment memberships; ``None`` if they are not fetched yet."""


_COUNTED: Final = Tracking()


class SharedScopeError(Exception):
    """An evaluation needs a scope of its own."""


@dataclass(slots=True, eq=False, frozen=True)
class CompiledFlag:
    """A flag that can be evaluated.

    ``prerequisites`` and ``segments``: the keys of its prerequisites, and of the segments that its rules name.
    ``shared_evaluate``: what is called in the shared scope, where nothing is noted, if that is not ``evaluate``.
    """

    key: str
    version: int
    evaluate: Evaluate
    _: KW_ONLY
    prerequisites: tuple[str, ...] = ()
    segments: frozenset[str] = frozenset()
    tracking: Tracking = _COUNTED
    shared_evaluate: Evaluate | None = None


@dataclass(slots=True, eq=False, frozen=True)
class CompiledSegment:
    """A segment that can be evaluated. It contains ``users``, and every other context for which ``holds_also`` is true."""

    users: frozenset[str]
    holds_also: Predicate


def constant(answer: Answer) -> Evaluate:
    """The function of a flag that has the same answer for every context."""
    return lambda context, scope: answer


class EvaluationData(Protocol):
    """The flags and segments that an evaluation can read.

    ``direct_flags``: flags that can be evaluated in the shared scope. ``segments``: those compiled so far. :meth:`flag` and
    :meth:`segment` compile a definition at its first use, and return ``None`` for an unknown key. :meth:`is_removed`: an override
    removes the flag with that key. ``static_context`` has attributes that hide the context's.
    """

    @property
    def static_context(self) -> Mapping[str, Any]: ...

    @property
    def direct_flags(self) -> Mapping[str, Evaluate]: ...
    @property
    def segments(self) -> Mapping[str, CompiledSegment]: ...
    def flag(self, key: str) -> CompiledFlag | None: ...
    def segment(self, key: str) -> CompiledSegment | None: ...
    def is_removed(self, key: str) -> bool: ...


class Scope(msgspec.Struct, eq=False):
    """The data that one evaluation reads, and the notes that it takes.

    Direct flags take no notes: all their evaluations share the scope of the snapshot (:attr:`EvaluationData.direct_flags`), whose
    ``is_shared`` is true. Any other scope can serve several evaluations for the same context, one after the other: each
    prerequisite, and each segment that refers to others, is evaluated once for all of them. Call :meth:`begin` between two.
    """

    data: EvaluationData
    memberships: FindMembership | None = None
    """Looks up big-segment memberships; ``None`` if no store is configured."""
    notes: list[PrerequisiteEvaluation] = []
    """The uses of prerequisites in this evaluation, in order. The prerequisites of a prerequisite come before it."""
    missing: list[str] = []
    """Context keys whose big-segment memberships are needed and not fetched yet."""
    big_segments_status: BigSegmentsStatus | None = None
    reads_override: bool = False
    """An override was read, in this evaluation or in the prerequisite or segment that is evaluated at this moment."""
    is_shared: bool = False
    steps_left: int = MAX_WORK
    """The allowance of this evaluation."""
    _flags: Visits[Answer] | None = None
    _segments: Visits[bool] | None = None

    @property
    def flags(self) -> Visits[Answer]:
        """The flags that were evaluated. Created at first use: most evaluations have no prerequisites."""
        visits = self._flags
        if visits is None:
            visits = self._flags = Visits(
                circular="needs flag {}, which is a prerequisite of itself",
                too_deep=f"needs more than {MAX_DEPTH} flags that are prerequisites of one another",
            )
        return visits

    @property
    def segments(self) -> Visits[bool]:
        """The segments that were evaluated, if their rules name other segments."""
        visits = self._segments
        if visits is None:
            visits = self._segments = Visits(
                circular="needs segment {}, which refers to itself",
                too_deep=f"needs more than {MAX_DEPTH} segments that refer to one another",
            )
        return visits

    def note_override(self) -> None:
        """An override is read.

        Raises:
            SharedScopeError: the scope is shared. Evaluate in a scope of its own.
        """
        if self.is_shared:
            raise SharedScopeError
        self.reads_override = True

    def note_unknown_flag(self, key: str) -> None:
        """A prerequisite is unknown, perhaps because an override removes it: then an override is read.

        Raises:
            SharedScopeError: as in :meth:`note_override`.
        """
        if self.data.is_removed(key):
            self.note_override()

    def charge(self, steps: int) -> None:
        """Takes steps from the allowance of the evaluation.

        Raises:
            MalformedError: the allowance is used up.
            SharedScopeError: the scope is shared. Evaluate in a scope of its own.
        """
        if self.is_shared:
            raise SharedScopeError
        self.steps_left -= steps
        if self.steps_left < 0:
            raise MalformedError(f"with this context is too much work: its clauses take more than {MAX_WORK} steps")

    def begin(self) -> None:
        """Starts the next evaluation: clears the notes of the one before, and keeps its results."""
        self.abandon()
        self.steps_left = MAX_WORK
        self.notes.clear()
        self.missing.clear()
        self.big_segments_status = None
        self.reads_override = False

    def abandon(self) -> None:
        """Leaves all flags and segments after an exception. What was noted in them still counts."""
        for visits in (self._segments, self._flags):
            if visits is not None:
                visits.abandon(self)
