"""Answers: the possible outcomes of a flag, with the prerequisites that were evaluated for them.

An answer is made when the flag is compiled, and returned by every evaluation with that outcome. An evaluation that computes no hash
allocates nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from copy import copy
from dataclasses import replace
from typing import Any, Final

import msgspec

from aioflags.evaluation.value_types import MISMATCH, fit, has_fraction
from aioflags.model.detail import ErrorKind, EvaluationDetail, Reason, ReasonKind


class Answer:
    """One possible outcome of a flag. Never changed after it is made; it keeps its marked copy.

    Attributes:
        detail: the detail that callers get if the answer has a value.
        has_value: ``value`` counts. Otherwise callers get their default, with the reason, metadata and message of ``detail``.
        by_type: the value converted for a default of each type: a string under ``str``, a number under ``int`` and ``float``, for
            example ``{int: 3, float: 3.0}``. Empty for arrays, objects, and an answer without a value. ``int`` is missing if a
            fraction would be cut off, which is logged: the fast path logs nothing.
        is_experiment: events and front ends need the reason.
        satisfies: the variation that counts when another flag has this flag as its prerequisite; ``None`` if this flag is off.
        prerequisites: the prerequisites that were evaluated for this answer, each after its own prerequisites.
        problem: why the flag is malformed, for the log.
        as_affected: the marked copy, once :meth:`affected` has made it.
    """

    __slots__ = (
        "as_affected",
        "by_type",
        "detail",
        "has_value",
        "index",
        "is_experiment",
        "prerequisites",
        "problem",
        "satisfies",
        "value",
    )

    def __init__(
        self,
        value: Any,
        index: int | None,
        reason: Reason,
        *,
        is_experiment: bool = False,
        problem: str | None = None,
        detail: EvaluationDetail[Any] | None = None,
        convert: Callable[[Any, type], Any] = fit,
    ) -> None:
        """``detail``: one that has more than these three. ``convert``: the method ``fit`` of the dialect."""
        self.value: Any = value
        self.index: int | None = index
        self.detail: EvaluationDetail[Any] = EvaluationDetail(value, index, reason) if detail is None else detail
        self.has_value: bool = not self.detail.is_default
        self.is_experiment: bool = is_experiment or reason.in_experiment
        self.by_type: Mapping[type, Any] = _values_by_type(value, convert) if self.has_value else _NO_VALUES
        self.satisfies: int | None = None if reason.kind is ReasonKind.OFF else index
        self.prerequisites: tuple[PrerequisiteEvaluation, ...] = ()
        self.problem: str | None = problem
        self.as_affected: Answer | None = None

    def with_prerequisites(self, notes: Iterable[PrerequisiteEvaluation]) -> Answer:
        """A copy of this answer that lists the evaluations of prerequisites, and of their prerequisites, that led to it.

        A prerequisite is listed each time it is used. Its own prerequisites are listed the first time only. The copy is marked if
        one of them is.
        """
        listed, evaluated, is_affected = list[PrerequisiteEvaluation](), set[str | None](), False
        for note in notes:
            is_affected = is_affected or note.answer.is_marked
            inner = note.answer.prerequisites
            listed += [deeper for deeper in inner if deeper.prerequisite_of not in evaluated]
            listed.append(note)
            evaluated.update(deeper.prerequisite_of for deeper in inner)
        answer = self.noting(listed)
        return answer.marked() if is_affected else answer

    def noting(self, notes: Iterable[PrerequisiteEvaluation]) -> Answer:
        """A copy of this answer that lists exactly these evaluations of prerequisites."""
        answer = self._copied()
        answer.prerequisites = tuple(notes)
        return answer

    @property
    def is_marked(self) -> bool:
        """Whether the reason says that an override led to this answer."""
        return self.detail.reason.override_affected

    def affected(self) -> Answer:
        """The answer itself if it is marked, otherwise a marked copy, the same one each time."""
        if self.is_marked:
            return self
        if self.as_affected is None:
            self.as_affected = self.marked()
        return self.as_affected

    def marked(self, *, is_override: bool = False) -> Answer:
        """A copy of this answer whose reason says that an override led to it. ``is_override``: the flag itself is overridden."""
        answer = self._copied()
        answer.detail = replace(self.detail, reason=self.detail.reason.marked(is_override=is_override))
        return answer

    def _copied(self) -> Answer:
        answer = copy(self)
        answer.as_affected = None
        return answer


_NO_VALUES: Final[Mapping[type, Any]] = {}
_TRUE: Final[Mapping[type, Any]] = {bool: True}
_FALSE: Final[Mapping[type, Any]] = {bool: False}


def _values_by_type(value: object, convert: Callable[[Any, type], Any]) -> Mapping[type, Any]:
    if value is True:
        return _TRUE
    if value is False:
        return _FALSE
    kinds = (str, float) if has_fraction(value) else (str, int, float)
    return {kind: converted for kind in kinds if (converted := convert(value, kind)) is not MISMATCH}


_MALFORMED: Final = Reason(kind=ReasonKind.ERROR, error_kind=ErrorKind.MALFORMED_FLAG)
_MALFORMED_OVERRIDE: Final = _MALFORMED.marked(is_override=True)


def malformed(problem: str, *, is_override: bool = False) -> Answer:
    """The answer of a malformed flag. ``problem``: why it is malformed. ``is_override``: the flag is a local override."""
    return Answer(None, None, _MALFORMED_OVERRIDE if is_override else _MALFORMED, problem=problem)


class Tracking(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Which analytics events a flag's evaluations send.

    Args:
        is_counted: evaluations are counted in summaries.
        is_tracked: each evaluation sends an event, or one in ``sampling_ratio`` of them does.
        debug_until_ms: each evaluation sends a debug event until this time, in Unix milliseconds.
    """

    is_counted: bool = True
    is_tracked: bool = False
    debug_until_ms: float | None = None
    sampling_ratio: int | None = None


class PrerequisiteEvaluation(msgspec.Struct, frozen=True, eq=False):
    """The evaluation of a prerequisite: its answer, and the key of the flag that has the prerequisite.

    ``version`` is ``None`` for a flag that is unknown, and ``prerequisite_of`` on the client side, whose events do not have it.
    Answers keep these objects, so each holds only the fields that events need, not the compiled flag.
    """

    key: str
    version: int | None
    tracking: Tracking
    answer: Answer
    prerequisite_of: str | None


def direct_prerequisites(notes: tuple[PrerequisiteEvaluation, ...], key: str) -> tuple[str, ...]:
    """Keys of the prerequisites of the flag itself, in the order of evaluation. Prerequisites of prerequisites are left out."""
    return tuple(note.key for note in notes if note.prerequisite_of == key)
