"""The results of compilation: compiled flags and segments; and the outcome of an evaluation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import Any, Final, TypeAlias

import msgspec

from aioflags.evaluation.answers import PrerequisiteEvaluation, Tracking
from aioflags.evaluation.scope import Evaluate, Predicate
from aioflags.model.detail import EvaluationDetail

ReportProblem: TypeAlias = Callable[[str], None]
"""Reports a problem of a definition to the log. The text has no subject (\"has a pattern …\"): the log adds the definition."""

_COUNTED: Final = Tracking()


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

    @property
    def direct(self) -> Evaluate:
        """What is called in the shared scope."""
        return self.evaluate if self.shared_evaluate is None else self.shared_evaluate


@dataclass(slots=True, eq=False, frozen=True)
class CompiledSegment:
    """A segment that can be evaluated. It contains ``users``, and every other context for which ``holds_also`` is true."""

    users: frozenset[str]
    holds_also: Predicate


class Evaluation(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """The outcome of an evaluation: the detail for the caller, and what events and big segments need.

    Args:
        flag: the flag; ``None`` if the key is unknown or nothing could be evaluated.
        is_experiment: events and front ends need the reason.
        prerequisites: the prerequisites that were evaluated.
        missing: the context keys whose big-segment memberships are needed and not fetched yet.
    """

    detail: EvaluationDetail[Any]
    flag: CompiledFlag | None = None
    is_experiment: bool = False
    prerequisites: tuple[PrerequisiteEvaluation, ...] = ()
    missing: tuple[str, ...] = ()
