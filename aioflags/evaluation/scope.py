"""Scope: what one evaluation may see, and what it notes; and the functions that flags and segments are compiled to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol, TypeAlias

import msgspec

from aioflags.evaluation.answers import Answer, PrerequisiteEvaluation, Tracking
from aioflags.evaluation.visits import MAX_DEPTH, Visits
from aioflags.model.detail import BigSegmentsStatus
from aioflags.model.membership import Membership

if TYPE_CHECKING:
    from aioflags.model.context import Context

__all__ = ["EvaluableFlag", "EvaluableSegment", "Evaluate", "EvaluationData", "FindMembership", "Predicate", "Scope"]

Evaluate: TypeAlias = "Callable[[Context, Scope], Answer]"
Predicate: TypeAlias = "Callable[[Context, Scope], bool]"
FindMembership: TypeAlias = Callable[[str], Membership | None]
"""Takes a context key, whatever its kind; ``None`` for a key that the store was not asked for yet."""


class EvaluableFlag(Protocol):
    """What an evaluation needs of a flag that is a prerequisite."""

    @property
    def key(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def tracking(self) -> Tracking: ...
    @property
    def prerequisites(self) -> tuple[str, ...]: ...
    @property
    def evaluate(self) -> Evaluate: ...


class EvaluableSegment(Protocol):
    """What an evaluation needs of a segment: the users that are in it, and the predicate for any other context."""

    @property
    def users(self) -> frozenset[str]: ...
    @property
    def holds_also(self) -> Predicate: ...


class EvaluationData(Protocol):
    """The flags and segments that an evaluation may go into.

    ``direct_flags``: flags that can be evaluated in the shared scope. ``segments``: those compiled so far. :meth:`flag` and
    :meth:`segment` compile what is missing, and return ``None`` for a key that does not exist.
    """

    @property
    def direct_flags(self) -> Mapping[str, Evaluate]: ...
    @property
    def segments(self) -> Mapping[str, EvaluableSegment]: ...
    def flag(self, key: str) -> EvaluableFlag | None: ...
    def segment(self, key: str) -> EvaluableSegment | None: ...


class Scope(msgspec.Struct, eq=False):
    """What one evaluation may see, and what it notes. Flags that note nothing share the scope of their snapshot.

    A scope that is not shared may serve several evaluations, one after the other, for the same context: each prerequisite
    and each segment that goes into others is evaluated once for all of them. :meth:`begin` comes between them.

    ``is_shared``: nothing may be noted here, and need not be (:attr:`EvaluationData.direct_flags`).
    """

    data: EvaluationData
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
                too_deep=f"needs more than {MAX_DEPTH} flags that are prerequisites of one another",
            )
        return visits

    @property
    def segments(self) -> Visits[bool]:
        """The segments that were evaluated, of those whose rules name others."""
        visits = self._segments
        if visits is None:
            visits = self._segments = Visits(
                circular="needs segment {}, which refers to itself",
                too_deep=f"needs more than {MAX_DEPTH} segments that refer to one another",
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
