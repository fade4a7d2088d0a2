"""BulkEvaluation: evaluates many flags for one context. Each prerequisite and each segment is evaluated once for all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aioflags.evaluation.compiled import Evaluation
from aioflags.evaluation.ordering import prerequisites_first
from aioflags.evaluation.scope import FindMembership

if TYPE_CHECKING:
    from aioflags.evaluation.snapshot import Snapshot
    from aioflags.model.context import Context


class BulkEvaluation:
    """Evaluates flags of one snapshot for one valid context.

    Prerequisites are evaluated before the flags that have them. So paths stay short, and a chain that is too long is detected after
    one step instead of a hundred.
    """

    __slots__ = ("_context", "_done", "_scope", "_seen", "_snapshot")

    def __init__(self, snapshot: Snapshot, context: Context, memberships: FindMembership | None = None) -> None:
        self._snapshot = snapshot
        self._context = context
        self._scope = snapshot.new_scope(memberships)
        self._seen: set[str] = set()
        self._done: dict[str, Evaluation] = {}

    def evaluate(self, key: str) -> Evaluation:
        """The result of :meth:`Snapshot.evaluate` for the default ``None``. Call it once for each key."""
        snapshot = self._snapshot
        for needed in prerequisites_first(snapshot.flags, (key,), self._seen, snapshot.dialect.prerequisites):
            self._done[needed] = self._evaluated(needed)
        return self._done.pop(key)

    def _evaluated(self, key: str) -> Evaluation:
        return self._snapshot.evaluate(key, self._context, None, scope=self._scope)
