"""Visits: the flags, or the segments, that an evaluation enters. Each is evaluated once, and never within itself.

Without the stored results, the work doubles with each level of a graph in which every flag has two paths to the next one.

Source: ``evaluation.md`` 3.2 and 3.8.
"""

from __future__ import annotations

from typing import Final, Generic, Protocol, TypeAlias, TypeVar, final

from aioflags.model.detail import BigSegmentsStatus

T = TypeVar("T")

_Notes: TypeAlias = tuple[BigSegmentsStatus | None, bool]
"""What was noted in a visit: the worst status of big segments, and whether an override was read."""

MAX_DEPTH: Final = 100
"""The maximal length of a chain of prerequisites, and of a chain of segments; well below the interpreter's recursion limit."""

_WORST_LAST: Final = list(BigSegmentsStatus)


class MalformedError(Exception):
    """Ends an evaluation at any depth with ``MALFORMED_FLAG``. The snapshot catches it."""


class Noting(Protocol):
    """The part of a scope that visits read and write: the worst status of big segments so far, and whether an override was read."""

    big_segments_status: BigSegmentsStatus | None
    reads_override: bool


def worsen(scope: Noting, status: BigSegmentsStatus) -> None:
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

    def recall(self, key: str, scope: Noting) -> T | None:
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

    def enter(self, key: str, scope: Noting, *, is_leaf: bool = False) -> None:
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

    def leave(self, result: T, scope: Noting) -> T:
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

    def fail(self, key: str, problem: str, scope: Noting) -> None:
        """Keeps the failure of a visit that began at the top level. Visits of the key from lower levels then fail, too."""
        self._failures[key] = problem, (scope.big_segments_status, scope.reads_override)

    def abandon(self, scope: Noting) -> None:
        """Ends the active visits without results after an exception. What was noted before and in them still counts."""
        for notes in self._notes:
            _note(notes, scope)
        self._path.clear()
        self._heights.clear()
        self._notes.clear()


def _note(notes: _Notes, scope: Noting) -> None:
    """Takes these notes in the scope, in addition to those that it has."""
    status, reads_override = notes
    if status is not None:
        worsen(scope, status)
    if reads_override:
        scope.reads_override = True
