"""Visits: the flags, or the segments, that an evaluation goes into. Each is evaluated once, none within itself.

Without this memory the work doubles with each level of a graph in which every flag has two paths to the next one.

Source: ``evaluation.md`` 3.2 and 3.8.
"""

from __future__ import annotations

from typing import Final, Generic, Protocol, TypeVar, final

from aioflags.model.detail import BigSegmentsStatus

__all__ = ["MAX_DEPTH", "MalformedError", "Noting", "Visits", "worsen"]

T = TypeVar("T")

MAX_DEPTH: Final = 100
"""How many prerequisites, and how many segments, may hang on one another: well inside the interpreter's own limit."""

_WORST_LAST: Final = list(BigSegmentsStatus)


class MalformedError(Exception):
    """Ends an evaluation, however deep, with ``MALFORMED_FLAG``. Never leaves the snapshot."""


class Noting(Protocol):
    """What a visit reads and writes of a scope: the worst status of big segments so far."""

    big_segments_status: BigSegmentsStatus | None


def worsen(scope: Noting, status: BigSegmentsStatus) -> None:
    """Notes a status. The reason of an evaluation has the worst of several."""
    if scope.big_segments_status is None or _WORST_LAST.index(status) > _WORST_LAST.index(scope.big_segments_status):
        scope.big_segments_status = status


@final
class Visits(Generic[T]):
    """The visits of one scope: those under way, outermost first, and the results of those that have ended.

    A result depends on the context and the data alone, so it holds as long as both are the same. The height of a visit, how
    many levels it went down, is kept with its result: a path that would exceed :data:`MAX_DEPTH` fails whether or not the rest of
    it was visited from a higher level before.

    Args:
        circular: the problem with a key that is visited within itself; ``{}`` stands for the key.
        too_deep: the problem with a path that is too long.
    """

    __slots__ = ("_circular", "_failures", "_heights", "_path", "_results", "_statuses", "_too_deep")

    def __init__(self, *, circular: str, too_deep: str) -> None:
        self._circular = circular
        self._too_deep = too_deep
        # Of each visit that has ended: its result, its height (a leaf has 0), and the status that was noted in it.
        self._results: dict[str, tuple[T, int, BigSegmentsStatus | None]] = {}
        self._failures: dict[str, str] = {}
        # Of the visits under way: the key, the height so far, and the status that was noted before.
        self._path: list[str] = []
        self._heights: list[int] = []
        self._statuses: list[BigSegmentsStatus | None] = []

    def recall(self, key: str, scope: Noting) -> T | None:
        """The result of an earlier visit; ``None`` if there was none. What that visit noted is noted again.

        Raises:
            MalformedError: a visit from here would fail, though the earlier one did not, or it failed from the top already.
        """
        visit = self._results.get(key)
        if visit is None:
            if key in self._failures:
                raise MalformedError(self._failures[key])
            return None
        result, height, status = visit
        if len(self._path) + height > MAX_DEPTH:
            raise MalformedError(self._too_deep)
        if self._heights and self._heights[-1] <= height:
            self._heights[-1] = height + 1
        if status is not None:
            worsen(scope, status)
        return result

    def enter(self, key: str, scope: Noting, *, is_leaf: bool = False) -> None:
        """Begins a visit. ``is_leaf``: it goes into no other, so it can neither be circular nor too deep.

        Raises:
            MalformedError: the key is under way, or too many are.
        """
        if not is_leaf:
            if key in self._path:
                raise MalformedError(self._circular.format(repr(key)))
            if len(self._path) >= MAX_DEPTH:
                raise MalformedError(self._too_deep)
        self._path.append(key)
        self._heights.append(0 if is_leaf else 1)
        self._statuses.append(scope.big_segments_status)
        scope.big_segments_status = None

    def leave(self, result: T, scope: Noting) -> T:
        """Ends the innermost visit, and keeps its result."""
        height, before = self._heights.pop(), self._statuses.pop()
        self._results[self._path.pop()] = result, height, scope.big_segments_status
        if self._heights and self._heights[-1] <= height:
            self._heights[-1] = height + 1
        if before is not None:
            worsen(scope, before)
        return result

    def fail(self, key: str, problem: str) -> None:
        """Keeps the failure of a visit that began at the top. From further down it fails, too."""
        self._failures[key] = problem

    def abandon(self, scope: Noting) -> None:
        """Ends the visits under way without results, after an exception. What they noted counts."""
        for status in self._statuses:
            if status is not None:
                worsen(scope, status)
        for under_way in (self._path, self._heights, self._statuses):
            under_way.clear()
