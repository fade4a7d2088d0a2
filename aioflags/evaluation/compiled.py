"""What every dialect compiles to: flags and segments that are ready to answer, and the outcome of an evaluation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import Any, Final, TypeAlias

import msgspec

from aioflags.evaluation.answers import PrerequisiteEvaluation, Tracking
from aioflags.evaluation.scope import Evaluate, Predicate
from aioflags.model.detail import EvaluationDetail

__all__ = ["CompiledFlag", "CompiledSegment", "Evaluation", "Note"]

Note: TypeAlias = Callable[[str], None]
"""Takes what a compiler has to say to people: a sentence without a subject, which the caller adds."""

_COUNTED: Final = Tracking()


@dataclass(slots=True, eq=False, frozen=True)
class CompiledFlag:
    """A flag that is ready to answer.

    ``prerequisites`` and ``segments``: keys of the flags and segments it looks into.
    """

    key: str
    version: int
    evaluate: Evaluate
    _: KW_ONLY
    prerequisites: tuple[str, ...] = ()
    segments: frozenset[str] = frozenset()
    tracking: Tracking = _COUNTED


@dataclass(slots=True, eq=False, frozen=True)
class CompiledSegment:
    """A segment that is ready to be asked: these users are in it, and any other context for which ``holds_also`` is true."""

    users: frozenset[str]
    holds_also: Predicate


class Evaluation(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """The whole outcome of an evaluation: the detail for the caller, and what the caller does not see.

    ``flag`` is ``None`` where there was none to evaluate.
    """

    detail: EvaluationDetail[Any]
    flag: CompiledFlag | None = None
    is_experiment: bool = False
    prerequisites: tuple[PrerequisiteEvaluation, ...] = ()
    missing: tuple[str, ...] = ()
