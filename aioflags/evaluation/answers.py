"""Answers: the possible outcomes of a flag, and the prerequisites that were evaluated on the way to one.

An answer that can be known beforehand is made when the flag is compiled, and handed out each time; an evaluation that needs no
hash allocates nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import copy
from typing import Any, Final

import msgspec

from aioflags.evaluation.value_types import MISMATCH, fit
from aioflags.model.detail import ErrorKind, EvaluationDetail, Reason, ReasonKind

__all__ = ["Answer", "PrerequisiteEvaluation", "Tracking", "direct_prerequisites", "malformed"]


class Answer:
    """One possible outcome of a flag: the detail that is handed out, and what the callers want to know of it beforehand.

    ``by_type`` has the value as a caller gets it who asks with a default of one of these classes: a string under ``str``, a
    number under ``int`` and ``float``. It is empty for arrays, objects, and no value at all. ``is_experiment`` says that
    events and front ends are to be told the reason. ``satisfies`` is the variation that those get who have the flag as their
    prerequisite; a flag that is off fulfils nothing. ``prerequisites`` are those that were evaluated on the way to this
    answer, with their own before them. ``problem`` says to people why the flag is malformed. Never changed after it was made.
    """

    __slots__ = ("by_type", "detail", "index", "is_experiment", "prerequisites", "problem", "satisfies", "value")

    def __init__(
        self, value: Any, index: int | None, reason: Reason, *, is_experiment: bool = False, problem: str | None = None
    ) -> None:
        self.value: Any = value
        self.index: int | None = index
        self.detail: EvaluationDetail[Any] = EvaluationDetail(value, index, reason)
        self.is_experiment: bool = is_experiment or reason.in_experiment
        self.by_type: Mapping[type, Any] = _fits(value) if index is not None else _NOTHING_FITS
        self.satisfies: int | None = None if reason.kind is ReasonKind.OFF else index
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
    return {kind: found for kind in (str, int, float) if (found := fit(value, kind)) is not MISMATCH}


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


class PrerequisiteEvaluation(msgspec.Struct, frozen=True, eq=False):
    """A prerequisite that was evaluated on the way: what it answered, and which flag asked for it.

    Answers keep these, so that it has what events want to know of the flag, and not what the flag was compiled to.
    """

    key: str
    version: int
    tracking: Tracking
    answer: Answer
    prerequisite_of: str


def direct_prerequisites(notes: tuple[PrerequisiteEvaluation, ...], key: str) -> tuple[str, ...]:
    """Keys of the prerequisites that the flag itself asked for, in the order of evaluation."""
    return tuple(note.key for note in notes if note.prerequisite_of == key)
