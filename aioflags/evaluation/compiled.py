"""What every dialect compiles to: functions that answer, and the scope they may see.

A flag becomes one function ``evaluate(context, scope) -> Answer``. Every answer that can be known beforehand is built when
the flag is compiled and handed out for ever; an evaluation that needs no hash allocates nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from copy import copy
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec

from aioflags.evaluation.fitting import NO_FIT, fit
from aioflags.evaluation.visits import DEEPEST, Visits
from aioflags.model.detail import BigSegmentsStatus, ErrorKind, EvaluationDetail, Reason, ReasonKind
from aioflags.model.membership import Membership

if TYPE_CHECKING:
    from aioflags.evaluation.forms import Forms
    from aioflags.model.context import Context

__all__ = [
    "Answer",
    "CompiledFlag",
    "CompiledSegment",
    "Evaluate",
    "Evaluation",
    "FindMembership",
    "Note",
    "Predicate",
    "PrerequisiteEvaluation",
    "Scope",
    "Tracking",
    "direct",
    "malformed",
]

Evaluate: TypeAlias = "Callable[[Context, Scope], Answer]"
Predicate: TypeAlias = "Callable[[Context, Scope], bool]"
Note: TypeAlias = Callable[[str], None]
"""Takes what a compiler has to say to people: a sentence without a subject, which the caller adds."""
FindMembership: TypeAlias = Callable[[str], Membership | None]
"""Takes a context key, whatever its kind; ``None`` is what nobody has asked the store yet."""


class Answer:
    """One possible outcome of a flag: the detail that is handed out, and what the callers want to know of it beforehand.

    ``fits`` has the value as a caller gets it who asks with a default of one of these classes: a string under ``str``, a
    number under ``int`` and ``float``. It is empty for arrays, objects, and no value at all. ``is_experiment`` says that
    events and front ends are to be told the reason. ``fulfils`` is the variation that those get who have the flag as their
    prerequisite; a flag that is off fulfils nothing. ``prerequisites`` are those that were evaluated on the way to this
    answer, with their own before them. ``problem`` says to people why the flag is malformed. Never changed after it was made.
    """

    __slots__ = ("detail", "fits", "fulfils", "index", "is_experiment", "prerequisites", "problem", "value")

    def __init__(
        self, value: Any, index: int | None, reason: Reason, *, is_experiment: bool = False, problem: str | None = None
    ) -> None:
        self.value: Any = value
        self.index: int | None = index
        self.detail: EvaluationDetail[Any] = EvaluationDetail(value, index, reason)
        self.is_experiment: bool = is_experiment or reason.in_experiment
        self.fits: Mapping[type, Any] = _fits(value) if index is not None else _NOTHING_FITS
        self.fulfils: int | None = None if reason.kind is ReasonKind.OFF else index
        self.prerequisites: tuple[PrerequisiteEvaluation, ...] = ()
        self.problem: str | None = problem

    def after(self, notes: Iterable[PrerequisiteEvaluation]) -> Answer:
        """The same answer with the evaluations of a flag's prerequisites, and of theirs, that led to it.

        A prerequisite is listed each time it is used. Those of the prerequisite itself are listed the first time only.
        """
        answer, listed, evaluated = copy(self), list[PrerequisiteEvaluation](), set[str]()
        for note in notes:
            below = note.answer.prerequisites
            listed += [deeper for deeper in below if deeper.prerequisite_of not in evaluated]
            listed.append(note)
            evaluated.update(deeper.prerequisite_of for deeper in below)
        answer.prerequisites = tuple(listed)
        return answer


_NOTHING_FITS: Final[Mapping[type, Any]] = {}
_TRUE: Final[Mapping[type, Any]] = {bool: True}
_FALSE: Final[Mapping[type, Any]] = {bool: False}


def _fits(value: object) -> Mapping[type, Any]:
    if value is True:
        return _TRUE
    if value is False:
        return _FALSE
    return {kind: found for kind in (str, int, float) if (found := fit(value, kind)) is not NO_FIT}


_MALFORMED: Final = Reason(kind=ReasonKind.ERROR, error_kind=ErrorKind.MALFORMED_FLAG)


def malformed(problem: str) -> Answer:
    """The answer of a flag that makes no sense, and why."""
    return Answer(None, None, _MALFORMED, problem=problem)


class Tracking(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What a flag wants analytics to be told of its evaluations.

    ``is_counted``: in summaries. ``is_tracked``: each in full, or one in ``sampling_ratio`` of them. ``debug_until_ms``: each
    for people who watch, until then.
    """

    is_counted: bool = True
    is_tracked: bool = False
    debug_until_ms: float | None = None
    sampling_ratio: int | None = None


_COUNTED: Final = Tracking()


class CompiledFlag:
    """A flag that is ready to answer.

    ``prerequisites`` and ``segments``: keys of the flags and segments it looks into.
    """

    __slots__ = ("evaluate", "key", "prerequisites", "segments", "tracking", "version")

    def __init__(
        self,
        key: str,
        version: int,
        evaluate: Evaluate,
        *,
        prerequisites: tuple[str, ...] = (),
        segments: frozenset[str] = frozenset(),
        tracking: Tracking = _COUNTED,
    ) -> None:
        self.key: str = key
        self.version: int = version
        self.evaluate: Evaluate = evaluate
        self.prerequisites: tuple[str, ...] = prerequisites
        self.segments: frozenset[str] = segments
        self.tracking: Tracking = tracking


class CompiledSegment:
    """A segment that is ready to say whom it holds: these users, whatever else, and whom ``holds_also`` says yes to."""

    __slots__ = ("holds_also", "users")

    def __init__(self, users: frozenset[str], holds_also: Predicate) -> None:
        self.users: frozenset[str] = users
        self.holds_also: Predicate = holds_also


class Scope(msgspec.Struct, eq=False):
    """What one evaluation may see, and what it notes. Flags that note nothing share the scope of their snapshot.

    A scope that is not shared may serve several evaluations, one after the other, for the same context: each prerequisite
    and each segment that goes into others is evaluated once for all of them. :meth:`begin` comes between them.

    ``is_shared``: nothing may be noted here, and need not be (:attr:`Forms.plain`).
    """

    forms: Forms
    memberships: FindMembership | None = None
    """What is known of big segments; ``None`` where no store is configured."""
    notes: list[PrerequisiteEvaluation] = []
    """The uses of prerequisites in this evaluation, in order; those below a prerequisite come before it."""
    missing: list[str] = []
    """Context keys whose big-segment memberships would have been needed."""
    big_segments_status: BigSegmentsStatus | None = None
    is_shared: bool = False
    _flags: Visits[Answer] | None = None
    _segments: Visits[bool] | None = None

    @property
    def flags(self) -> Visits[Answer]:
        """The flags that were evaluated. Made when it is first needed: most evaluations have no prerequisites."""
        visits = self._flags
        if visits is None:
            visits = self._flags = Visits(
                circular="needs flag {}, which is a prerequisite of itself",
                too_deep=f"needs more than {DEEPEST} flags that are prerequisites of one another",
            )
        return visits

    @property
    def segments(self) -> Visits[bool]:
        """The segments that were evaluated, of those whose rules name others."""
        visits = self._segments
        if visits is None:
            visits = self._segments = Visits(
                circular="needs segment {}, which refers to itself",
                too_deep=f"needs more than {DEEPEST} segments that refer to one another",
            )
        return visits

    def begin(self) -> None:
        """Forgets what the evaluation before has noted, except for results."""
        self.abandon()
        self.notes.clear()
        self.missing.clear()
        self.big_segments_status = None

    def abandon(self) -> None:
        """Leaves all flags and segments, after an exception. The statuses of big segments that were met count."""
        for visits in (self._segments, self._flags):
            if visits is not None:
                visits.abandon(self)


class PrerequisiteEvaluation(msgspec.Struct, frozen=True, eq=False):
    """A prerequisite that was evaluated on the way: what it answered, and which flag asked for it.

    Answers keep these, so that it has what events want to know of the flag, and not what the flag was compiled to.
    """

    key: str
    version: int
    tracking: Tracking
    answer: Answer
    prerequisite_of: str


def direct(notes: tuple[PrerequisiteEvaluation, ...], key: str) -> tuple[str, ...]:
    """Keys of the prerequisites that the flag itself asked for, in the order of evaluation."""
    return tuple(note.key for note in notes if note.prerequisite_of == key)


class Evaluation(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """The whole outcome of an evaluation: the detail for the caller, and what the caller does not see.

    ``flag`` is ``None`` where there was none to evaluate.
    """

    detail: EvaluationDetail[Any]
    flag: CompiledFlag | None = None
    is_experiment: bool = False
    prerequisites: tuple[PrerequisiteEvaluation, ...] = ()
    missing: tuple[str, ...] = ()
