"""Scope: the data that one evaluation reads and the notes it takes; and the types of compiled flags and segments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import msgspec

from aioflags.evaluation.answers import Answer, PrerequisiteEvaluation, Tracking
from aioflags.evaluation.visits import MAX_DEPTH, MalformedError, Visits
from aioflags.evaluation.work import MAX_WORK
from aioflags.model.detail import BigSegmentsStatus
from aioflags.model.membership import Membership

if TYPE_CHECKING:
    from aioflags.model.context import Context


Evaluate: TypeAlias = "Callable[[Context, Scope], Answer]"
Predicate: TypeAlias = "Callable[[Context, Scope], bool]"
FindMembership: TypeAlias = Callable[[str], Membership | None]
"""Takes a context key of any kind, and returns its big-segment memberships; ``None`` if they are not fetched yet."""


class SharedScopeError(Exception):
    """An evaluation needs a scope of its own."""


class EvaluableFlag(Protocol):
    """A prerequisite, as an evaluation reads it."""

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
    """A segment, as an evaluation reads it: the users that are in it, and the predicate for any other context."""

    @property
    def users(self) -> frozenset[str]: ...
    @property
    def holds_also(self) -> Predicate: ...


class EvaluationData(Protocol):
    """The flags and segments that an evaluation can read.

    ``direct_flags``: flags that can be evaluated in the shared scope. ``segments``: those compiled so far. :meth:`flag` and
    :meth:`segment` compile a definition at its first use, and return ``None`` for an unknown key. :meth:`is_removed`: an override
    removes the flag with that key. ``static_context`` has attributes that hide those of the context.
    """

    @property
    def static_context(self) -> Mapping[str, Any]: ...

    @property
    def direct_flags(self) -> Mapping[str, Evaluate]: ...
    @property
    def segments(self) -> Mapping[str, EvaluableSegment]: ...
    def flag(self, key: str) -> EvaluableFlag | None: ...
    def segment(self, key: str) -> EvaluableSegment | None: ...
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
