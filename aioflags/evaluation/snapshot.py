"""Snapshot: immutable flag data with its selector, caches that fill, and the evaluation of one flag.

A change set makes a new snapshot. The old one does not change.

Source: ``data-system.md`` 7.2; ``evaluation.md`` 5.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Mapping
from typing import Any, Final

from aioflags.evaluation.answers import Answer, malformed
from aioflags.evaluation.attributes import clean_kind
from aioflags.evaluation.compiled import CompiledFlag, Evaluation
from aioflags.evaluation.compiled_data import CompiledData, DefinitionLog
from aioflags.evaluation.dependents import Dependents, changed_flags, updated_index
from aioflags.evaluation.dialect import LAUNCHDARKLY, Dialect
from aioflags.evaluation.items import Item, Items, applied
from aioflags.evaluation.scope import Evaluate, FindMembership, Scope
from aioflags.evaluation.value_types import MISMATCH, expected_type, fit
from aioflags.evaluation.visits import MalformedError
from aioflags.model.change import ChangeKind, ChangeSet, ObjectKind, Selector
from aioflags.model.context import Context
from aioflags.model.detail import ErrorKind, EvaluationDetail, Reason, ReasonKind
from aioflags.model.flag import FlagDefinition
from aioflags.model.segment import SegmentDefinition
from aioflags.runtime.cooperative import Cooperative, run_at_once, sliced
from aioflags.runtime.logs import logger

__all__ = ["Snapshot"]

_FLAGS_PER_SLICE: Final = 10
"""How many flags are compiled between two pauses: about two milliseconds of work. Evaluation code reads no clock, so it counts."""
_ERRORS: Final = {kind: Reason(kind=ReasonKind.ERROR, error_kind=kind) for kind in ErrorKind}


class Snapshot:
    """All flags and segments at one moment: immutable data, and caches that fill. Made by :meth:`empty` and :meth:`apply`.

    ``has_data``: a change set was applied, or the data is empty on purpose.

    ``direct_flags``: the flags that may be called directly, as ``direct_flags[key](context, scope)`` with the shared :attr:`scope`
    and a valid context. A flag is added when it is compiled. If the call raises, and for every other flag, call :meth:`evaluate`.

    ``dependents``: the index of :mod:`aioflags.evaluation.dependents`. :meth:`builder` makes it if it is asked to, and otherwise
    :meth:`changed_since`.
    """

    __slots__ = ("_big_segment_kinds", "_data", "dependents", "direct_flags", "has_data", "items", "scope", "selector")

    def __init__(self, data: CompiledData, *, selector: Selector, has_data: bool) -> None:
        self.items: Items = data.items
        self.selector: Selector = selector
        self.has_data: bool = has_data
        self.direct_flags: dict[str, Evaluate] = data.direct_flags
        # The scope refers to the data, not to the snapshot: a reference cycle would leave old snapshots to the garbage collector.
        self.scope: Scope = Scope(data, is_shared=True)
        self.dependents: Dependents | None = None
        self._data = data
        self._big_segment_kinds: frozenset[str] | None = None

    @classmethod
    def empty(cls, *, has_data: bool = False, dialect: Dialect = LAUNCHDARKLY, log: logging.Logger = logger) -> Snapshot:
        """A snapshot without flags. ``has_data``: it is empty on purpose. ``log`` receives the problems of definitions."""
        data = CompiledData(Items(), dialect, DefinitionLog(log))
        return cls(data, selector=Selector.none(), has_data=has_data)

    @property
    def flags(self) -> Mapping[str, FlagDefinition]:
        """Live flags by key."""
        return self.items.flags

    @property
    def segments(self) -> Mapping[str, SegmentDefinition]:
        """Live segments by key."""
        return self.items.segments

    @property
    def big_segment_kinds(self) -> frozenset[str]:
        """The context kinds of the big segments that have a generation. Computed at first use."""
        kinds = self._big_segment_kinds
        if kinds is None:
            big = (segment for segment in self.segments.values() if segment.unbounded and segment.generation is not None)
            kinds = self._big_segment_kinds = frozenset(clean_kind(segment.unbounded_context_kind) for segment in big)
        return kinds

    def apply(self, change_set: ChangeSet) -> Snapshot:
        """The snapshot after the change set. Returns this snapshot if the change set changes nothing."""
        return run_at_once(self.builder(change_set))

    def builder(self, change_set: ChangeSet, *, traced: bool = False) -> Cooperative[Snapshot]:
        """Does the work of :meth:`apply`, and pauses about every millisecond. ``traced``: :meth:`changed_since` will be called."""
        if change_set.kind is ChangeKind.NONE:
            return self
        items = yield from applied(self.items, change_set)
        changed = None if change_set.kind is ChangeKind.FULL else [(change.kind, change.key) for change in change_set.changes]
        snapshot = Snapshot(self._data.updated(items, changed), selector=change_set.selector, has_data=True)
        if traced:
            snapshot.dependents = yield from updated_index(self.dependents, self.items, snapshot.items, change_set)
        return snapshot

    def changed_since(self, old: Snapshot, change_set: ChangeSet) -> frozenset[str]:
        """Keys of the flags that changed, live or deleted, when ``change_set`` made this snapshot out of ``old``."""
        if self.dependents is None:
            self.dependents = run_at_once(updated_index(old.dependents, old.items, self.items, change_set))
        return changed_flags(self.dependents, old.items, self.items, change_set)

    def compile_all(self) -> Cooperative[None]:
        """Compiles every flag that is not compiled yet. Pauses after each slice."""
        for number, keys in enumerate(sliced(self.items.flags.keys() - self._data.flags.keys(), _FLAGS_PER_SLICE)):
            if number:
                yield
            for key in keys:
                self._data.flag(key)

    def compile(self, items: Iterable[Item]) -> None:
        """Compiles these definitions now instead of at their first evaluation. Can be called from any thread."""
        for kind, key in items:
            if kind is ObjectKind.FLAG:
                self._data.flag(key)
            else:
                self._data.segment(key)

    def compiled(self, key: str) -> CompiledFlag | None:
        """The flag with that key, compiled if necessary; ``None`` for an unknown key."""
        return self._data.flag(key)

    def new_scope(self, memberships: FindMembership | None = None) -> Scope:
        """A scope that takes notes. It serves evaluations for one context, one after the other."""
        return Scope(self._data, memberships)

    def evaluate(
        self,
        key: str,
        context: Context | None,
        default: Any,
        *,
        wanted: type | None = None,
        memberships: FindMembership | None = None,
        scope: Scope | None = None,
    ) -> Evaluation:
        """The flag's value for the context, or ``default`` with the reason for it. Never raises.

        Args:
            key: the key of the flag.
            context: the context; without a valid one, the result is the default.
            default: the value if the flag has none.
            wanted: the expected type, as in :func:`~aioflags.evaluation.value_types.fit`; by default, the type of ``default``.
            memberships: looks up big-segment memberships. A context key for which it returns ``None`` is in ``missing`` of the
                result: fetch the first of these keys and evaluate again, since the others may not be needed then.
            scope: the scope of earlier evaluations for this context. It has its own ``memberships``.
        """
        if not isinstance(context, Context) or context.error is not None:
            return _unavailable(default, ErrorKind.USER_NOT_SPECIFIED)
        if not self.has_data:
            return _unavailable(default, ErrorKind.CLIENT_NOT_READY)
        flag = None
        try:
            flag = self._data.flag(key)
            if flag is None:
                return _unavailable(default, ErrorKind.FLAG_NOT_FOUND)
            if scope is None:
                scope = self.new_scope(memberships)
            else:
                scope.begin()
            answer = self._answer(flag, context, scope)
            return Evaluation(
                detail=_detail(answer, scope, default, expected_type(default) if wanted is None else wanted),
                flag=flag,
                is_experiment=answer.is_experiment,
                prerequisites=tuple(scope.notes),
                missing=tuple(scope.missing),
            )
        except Exception as bug:  # noqa: BLE001  # the caller gets a value whatever fails
            self._data.log.report_bug(key, bug)
            return Evaluation(detail=EvaluationDetail(default, None, _ERRORS[ErrorKind.EXCEPTION]), flag=flag)

    def _answer(self, flag: CompiledFlag, context: Context, scope: Scope) -> Answer:
        """The answer of the flag. The problem of a malformed flag is logged once."""
        try:
            if flag.prerequisites:
                scope.flags.enter(flag.key, scope)
                answer = scope.flags.leave(flag.evaluate(context, scope), scope)
            else:
                answer = flag.evaluate(context, scope)
        except MalformedError as problem:
            answer = malformed(str(problem))
            scope.abandon()
            scope.notes.clear()
            scope.flags.fail(flag.key, str(problem))
        except RecursionError:
            answer = malformed("depends on too many flags or segments in a row")
            scope.abandon()
            scope.notes.clear()
        if answer.problem is not None:
            self._data.log.note_for(ObjectKind.FLAG, flag)(answer.problem)
        return answer


def _unavailable(default: Any, kind: ErrorKind) -> Evaluation:
    return Evaluation(detail=EvaluationDetail(default, None, _ERRORS[kind]))


def _detail(answer: Answer, scope: Scope, default: Any, expected: type) -> EvaluationDetail[Any]:
    """The caller's detail. It has the default if the answer has no variation or a value of another type."""
    reason = answer.detail.reason
    if scope.big_segments_status is not None:
        reason = dataclasses.replace(reason, big_segments_status=scope.big_segments_status)
    if answer.index is None:
        return EvaluationDetail(default, None, reason)
    value = fit(answer.value, expected)
    if value is MISMATCH:
        return EvaluationDetail(default, None, _ERRORS[ErrorKind.WRONG_TYPE])
    if value is answer.value and reason is answer.detail.reason:
        return answer.detail
    return EvaluationDetail(value, answer.index, reason)
