"""Snapshot: immutable flag data with its selector, caches that fill, and the evaluation of one flag on it.

A change makes a new snapshot; whoever holds the older one still sees what it saw.

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
from aioflags.runtime.cooperative import Cooperative, run_at_once
from aioflags.runtime.logs import logger

__all__ = ["Snapshot"]

_COMPILED_A_SLICE: Final = 10
"""How many flags are compiled before others get a turn: some two milliseconds' work. Counted, since there is no clock here."""
_ERRORS: Final = {kind: Reason(kind=ReasonKind.ERROR, error_kind=kind) for kind in ErrorKind}


class Snapshot:
    """All flags and segments as of one moment: immutable data, caches that fill. Made by :meth:`empty` and :meth:`apply`.

    ``has_data``: something was applied, or the data is empty on purpose.

    ``direct_flags``: the flags that may be called directly, as ``direct_flags[key](context, scope)`` with the shared :attr:`scope`
    and a valid context. A flag is added when it is compiled. If the call raises, and for every other flag, call :meth:`evaluate`.

    ``dependents`` is the index of :mod:`aioflags.evaluation.dependents`: made by :meth:`builder` if changes are followed, and
    otherwise by :meth:`changed_since`.
    """

    __slots__ = ("_big_segment_kinds", "_data", "dependents", "direct_flags", "has_data", "items", "scope", "selector")

    def __init__(self, forms: CompiledData, *, selector: Selector, has_data: bool) -> None:
        self.items: Items = forms.items
        self.selector: Selector = selector
        self.has_data: bool = has_data
        self.direct_flags: dict[str, Evaluate] = forms.direct_flags
        # The scope sees the forms, not the snapshot: in a circle, every old snapshot would wait for the garbage collector.
        self.scope: Scope = Scope(forms, is_shared=True)
        self.dependents: Dependents | None = None
        self._data = forms
        self._big_segment_kinds: frozenset[str] | None = None

    @classmethod
    def empty(cls, *, has_data: bool = False, dialect: Dialect = LAUNCHDARKLY, log: logging.Logger = logger) -> Snapshot:
        """No flags; with ``has_data`` that is the truth, not a lack of news. ``log`` is told what is wrong with flags."""
        forms = CompiledData(Items(), dialect, DefinitionLog(log))
        return cls(forms, selector=Selector.none(), has_data=has_data)

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
        """The kinds of contexts that big segments can be asked about. Found out when it is first asked for."""
        found = self._big_segment_kinds
        if found is None:
            big = (segment for segment in self.segments.values() if segment.unbounded and segment.generation is not None)
            found = self._big_segment_kinds = frozenset(clean_kind(segment.unbounded_context_kind) for segment in big)
        return found

    def apply(self, change_set: ChangeSet) -> Snapshot:
        """The snapshot after the change set; itself, if that confirms what there is."""
        return run_at_once(self.builder(change_set))

    def builder(self, change_set: ChangeSet, *, traced: bool = False) -> Cooperative[Snapshot]:
        """What :meth:`apply` does, with a pause every millisecond or so. ``traced``: :meth:`changed_since` will be called."""
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
        """Compiles every flag that was not asked for yet, and pauses now and then on its way."""
        for count, key in enumerate(self.items.flags.keys() - self._data.flags.keys(), 1):
            if count % _COMPILED_A_SLICE == 0:
                yield
            self._data.flag(key)

    def compile(self, items: Iterable[Item]) -> None:
        """Compile these definitions now, in any thread, and not at their first evaluation."""
        for kind, key in items:
            if kind is ObjectKind.FLAG:
                self._data.flag(key)
            else:
                self._data.segment(key)

    def compiled(self, key: str) -> CompiledFlag | None:
        """The flag of that key, compiled if this is the first time it is asked for; ``None`` if there is none."""
        return self._data.flag(key)

    def new_scope(self, memberships: FindMembership | None = None) -> Scope:
        """A scope for evaluations that take notes, one after the other and all for the same context."""
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
        """The flag's answer for the context, or ``default`` with the reason why there is none. Never raises.

        ``wanted`` is the type asked for, as :func:`~aioflags.evaluation.value_types.fit` knows it; without one it is the type
        of the default. ``memberships`` finds what is known of big segments. What it does not find is ``missing`` in the
        evaluation, which then has to be repeated with it: with the first of it, since the others may not be needed then.
        ``scope`` is that of earlier evaluations for this context, whose memberships count.
        """
        if not isinstance(context, Context) or context.error is not None:
            return _refused(default, ErrorKind.USER_NOT_SPECIFIED)
        if not self.has_data:
            return _refused(default, ErrorKind.CLIENT_NOT_READY)
        flag = None
        try:
            flag = self._data.flag(key)
            if flag is None:
                return _refused(default, ErrorKind.FLAG_NOT_FOUND)
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
        except Exception as bug:  # noqa: BLE001  # whatever it is: the caller gets a value
            self._data.log.report_bug(key, bug)
            return Evaluation(detail=EvaluationDetail(default, None, _ERRORS[ErrorKind.EXCEPTION]), flag=flag)

    def _answer(self, flag: CompiledFlag, context: Context, scope: Scope) -> Answer:
        """The answer of the flag. A malformed flag is logged once."""
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


def _refused(default: Any, kind: ErrorKind) -> Evaluation:
    return Evaluation(detail=EvaluationDetail(default, None, _ERRORS[kind]))


def _detail(answer: Answer, scope: Scope, default: Any, wanted: type) -> EvaluationDetail[Any]:
    """The caller's detail: the default where there is no variation or its value does not fit, the status where there is one."""
    reason = answer.detail.reason
    if scope.big_segments_status is not None:
        reason = dataclasses.replace(reason, big_segments_status=scope.big_segments_status)
    if answer.index is None:
        return EvaluationDetail(default, None, reason)
    value = fit(answer.value, wanted)
    if value is MISMATCH:
        return EvaluationDetail(default, None, _ERRORS[ErrorKind.WRONG_TYPE])
    if value is answer.value and reason is answer.detail.reason:
        return answer.detail
    return EvaluationDetail(value, answer.index, reason)
