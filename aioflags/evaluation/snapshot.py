"""Snapshot: immutable flag data with its selector, caches that fill, and the evaluation of one flag.

A change set makes a new snapshot. The old one does not change.

Source: ``data-system.md`` 7.2; ``evaluation.md`` 5.
"""

from __future__ import annotations

import dataclasses
import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from aioflags.evaluation.answers import Answer
from aioflags.evaluation.clauses import clean_kind
from aioflags.evaluation.compiled_data import BulkUse, CompiledData, DefinitionLog, Dependents, changed_flags, updated_index
from aioflags.evaluation.dialect import Dialect
from aioflags.evaluation.items import Evaluation, Item, Items, applied
from aioflags.evaluation.launchdarkly import LAUNCHDARKLY
from aioflags.evaluation.overrides import NO_OVERRIDES, Overrides, overlaid, override_changes
from aioflags.evaluation.scope import CompiledFlag, Evaluate, FindMembership, MalformedError, Scope
from aioflags.evaluation.value_types import MISMATCH, Decoder, expected_type, has_fraction
from aioflags.model.change import ChangeKind, ChangeSet, ObjectKind, SegmentDefinition, Selector
from aioflags.model.context import Context
from aioflags.model.detail import NO_METADATA, ErrorKind, EvaluationDetail, FlagMetadata, Reason, ReasonKind
from aioflags.model.flag import FlagDefinition
from aioflags.model.values import same_json
from aioflags.runtime.cooperative import Cooperative, run_at_once, sliced
from aioflags.runtime.logs import logger, printable

_ITEMS_PER_SLICE: Final = 10
"""How many flags or segments are compiled between two pauses: about two milliseconds of work. Evaluation code reads no clock."""
_HIDDEN: Final[Mapping[str, FlagDefinition]] = {}
_ERRORS: Final = {kind: Reason(kind=ReasonKind.ERROR, error_kind=kind) for kind in ErrorKind}

_MESSAGES: Final[Mapping[ErrorKind, str]] = defaultdict(
    lambda: "the evaluation failed",
    {
        ErrorKind.PROVIDER_NOT_READY: "there is no flag data yet",
        ErrorKind.PROVIDER_FATAL: "no attempt with this configuration can succeed",
        ErrorKind.FLAG_NOT_FOUND: "there is no flag with this key",
        ErrorKind.INVALID_CONTEXT: "expected a Context",
    },
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    """What a snapshot has beside its compiled data, as the snapshots that are made of it keep it.

    ``base`` and ``overrides``: see :class:`Snapshot`. ``refusal`` is the error that every evaluation has, with its message.
    ``hides_flags``: the flags belong to another context. They serve only to find out which flags the next change set changes.
    """

    base: Items
    overrides: Overrides = NO_OVERRIDES
    selector: Selector
    has_data: bool
    metadata: FlagMetadata = NO_METADATA
    refusal: ErrorKind | None = None
    refusal_message: str | None = None
    hides_flags: bool = False
    evaluated_for: Context | None = None


class Snapshot:
    """All flags and segments at one moment: immutable data, and caches that fill. Made by :meth:`empty` and :meth:`apply`.

    ``items`` are the definitions that count: ``base``, which the service sent, and on top of it ``overrides``. Without
    overrides ``items`` and ``base`` are the same object.

    ``has_data``: a change set was applied, or the data is empty on purpose. Overrides are evaluated without it.

    ``direct_flags``: the flags that may be called directly, as ``direct_flags[key](context, scope)`` with the shared :attr:`scope`
    and a valid context. A flag is added when it is compiled. If the call raises, and for every other flag, call :meth:`evaluate`.

    ``constant_answers``: the answers of flags that a service evaluated: each is the same for all evaluations. :meth:`evaluate` adds
    it.

    ``dependents``: the index of :mod:`aioflags.evaluation.compiled_data`. :meth:`builder` makes it if it is asked to, and otherwise
    :meth:`changed_since`.

    ``metadata``: the metadata of the flag set.

    ``evaluated_for``: the context that a service evaluated the flags for; ``None`` if they are definitions.
    """

    __slots__ = (
        "_big_segment_kinds",
        "_data",
        "_state",
        "base",
        "constant_answers",
        "dependents",
        "direct_flags",
        "evaluated_for",
        "has_data",
        "items",
        "metadata",
        "overrides",
        "scope",
        "selector",
    )

    def __init__(self, data: CompiledData, state: _State) -> None:
        self.items: Items = data.items
        self.base: Items = state.base
        self.overrides: Overrides = state.overrides
        self.metadata: FlagMetadata = state.metadata
        self.evaluated_for: Context | None = state.evaluated_for
        self.selector: Selector = state.selector
        self.has_data: bool = state.has_data
        self.direct_flags: dict[str, Evaluate] = data.direct_flags if state.refusal is None else {}
        has_answers = state.refusal is None and state.evaluated_for is not None
        self.constant_answers: dict[str, Answer] = data.constant_answers if has_answers else {}
        # The scope refers to the data, not to the snapshot: a reference cycle would leave old snapshots to the garbage collector.
        self.scope: Scope = Scope(data, is_shared=True)
        self.dependents: Dependents | None = None
        self._data = data
        self._state = state
        self._big_segment_kinds: frozenset[str] | None = None

    @classmethod
    def empty(cls, *, has_data: bool = False, dialect: Dialect = LAUNCHDARKLY, log: logging.Logger = logger) -> Snapshot:
        """A snapshot without flags. ``has_data``: it is empty on purpose. ``log`` receives the problems of definitions."""
        data = CompiledData(Items(), dialect, DefinitionLog(log))
        return cls(data, _State(base=data.items, selector=Selector.none(), has_data=has_data))

    @property
    def flags(self) -> Mapping[str, FlagDefinition]:
        """Live flags by key. None until the flags of a new context arrive."""
        return _HIDDEN if self._state.hides_flags else self.items.flags

    @property
    def awaits_flags(self) -> bool:
        """Whether the flags of a new context have not arrived."""
        return self._state.hides_flags

    @property
    def dialect(self) -> Dialect:
        """The rules of the provider that the definitions come from."""
        return self._data.dialect

    @property
    def static_context(self) -> Mapping[str, Any]:
        """The attributes that every evaluation adds to its context, where they hide attributes of the same names."""
        return self._data.static_context

    @property
    def refusal(self) -> ErrorKind | None:
        """Why nothing can be evaluated; ``None`` if flags can be, be it only overridden ones."""
        if self._state.refusal is not None or self.has_data or self.items.overridden:
            return self._state.refusal
        return self._data.dialect.errors.not_ready

    def refused(self, kind: ErrorKind, message: str | None = None) -> Snapshot:
        """A snapshot of the same data in which every evaluation has this error, until a change set is applied.

        ``message`` says more than the message for all errors of this kind.
        """
        snapshot = Snapshot(self._data, dataclasses.replace(self._state, refusal=kind, refusal_message=message))
        snapshot.dependents = self.dependents
        return snapshot

    def switched(self, context: Context, *, keeps_flags: bool) -> Snapshot:
        """The snapshot until a service has evaluated the flags for ``context``. It has no selector.

        ``keeps_flags``: the current flags serve until then. Otherwise no flag is found.
        """
        hides = self.has_data and (self._state.hides_flags or not keeps_flags)
        state = dataclasses.replace(
            self._state,
            selector=Selector.none(),
            refusal=self._data.dialect.errors.not_found if hides else None,
            refusal_message=None,
            hides_flags=hides,
            evaluated_for=context,
        )
        return Snapshot(self._data, state)

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
        dialect, change_set = self._data.dialect, self._complete(change_set)
        base = yield from applied(self.base, change_set, dialect.comparison())
        items = overlaid(base, self.overrides, self.items.overridden)
        changed = None if change_set.kind is ChangeKind.FULL else [(change.kind, change.key) for change in change_set.changes]
        data = self._data.updated(items, changed, static_context=change_set.static_context)
        state = _State(
            base=base,
            overrides=self.overrides,
            selector=change_set.selector,
            has_data=True,
            metadata=self.metadata if change_set.metadata is None else change_set.metadata,
            evaluated_for=self.evaluated_for,
        )
        snapshot = Snapshot(data, state)
        if traced:
            snapshot.dependents = yield from self._updated_index(snapshot, change_set)
        if dialect.reports_problems:
            yield from self._data.log.report_loaded(change_set, dialect.problems)
        return snapshot

    def overriding(self, overrides: Overrides, *, traced: bool = False) -> Cooperative[tuple[Snapshot, ChangeSet]]:
        """The snapshot with these overrides in place of the present ones, and what that changes, for :meth:`changed_since`.

        If nothing changes it is this snapshot. Pauses about every millisecond. ``traced``: as in :meth:`builder`.
        """
        kept, change_set = yield from override_changes(self.base, self.overrides, overrides, self._data.dialect.comparison())
        if change_set.kind is ChangeKind.NONE:
            return self, change_set
        data = self._data.updated(overlaid(self.base, kept), [(change.kind, change.key) for change in change_set.changes])
        snapshot = Snapshot(data, dataclasses.replace(self._state, overrides=kept))
        if traced:
            snapshot.dependents = yield from self._updated_index(snapshot, change_set)
        return snapshot, change_set

    def _complete(self, change_set: ChangeSet) -> ChangeSet:
        """The change set, as a full one if the flags of this snapshot belong to another context."""
        if not self._state.hides_flags or change_set.kind is not ChangeKind.CHANGES:
            return change_set
        return dataclasses.replace(change_set, kind=ChangeKind.FULL)

    def _updated_index(self, new: Snapshot, change_set: ChangeSet) -> Cooperative[Dependents | None]:
        return updated_index(self.dependents, self.items, new.items, change_set, self._data.dialect.dependencies)

    def changed_since(self, old: Snapshot, change_set: ChangeSet) -> frozenset[str]:
        """Keys of the flags that changed, live or deleted, when ``change_set`` made this snapshot out of ``old``.

        After a change of the static context also the keys of all flags that may read it.
        """
        change_set = old._complete(change_set)
        if self.dependents is None:
            self.dependents = run_at_once(old._updated_index(self, change_set))
        keys = changed_flags(self.dependents, old.items, self.items, change_set)
        if self.static_context is old.static_context or same_json(self.static_context, old.static_context):
            return keys
        reads = self._data.dialect.reads_static_context
        return keys | {key for key, definition in self.flags.items() if reads(definition)}

    @property
    def bulk_use(self) -> BulkUse:
        """Whether the program evaluates all flags at once. All snapshots of a client share it."""
        return self._data.bulk_use

    def compile_all(self) -> Cooperative[None]:
        """Compiles every flag and segment that is not compiled yet. Pauses after each slice."""
        flags = self.items.flags.keys() - self._data.flags.keys()
        segments = self.items.segments.keys() - self._data.segments.keys()
        items = [*((ObjectKind.FLAG, key) for key in flags), *((ObjectKind.SEGMENT, key) for key in segments)]
        for number, batch in enumerate(sliced(items, _ITEMS_PER_SLICE)):
            if number:
                yield
            self.compile(batch)

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
        wanted: type | Decoder | None = None,
        memberships: FindMembership | None = None,
        scope: Scope | None = None,
    ) -> Evaluation:
        """The flag's value for the context, or ``default`` with the reason for it. Never raises.

        Args:
            key: the key of the flag.
            context: the context; without one that the dialect can use, the result is the default.
            default: the value if the flag has none.
            wanted: the expected type, one of ``value_types.CONVERSIONS``, or ``object`` for any; by default, the type of
                ``default``. If it is a decoder, the result has the value that it accepts, not decoded.
            memberships: looks up big-segment memberships. A context key for which it returns ``None`` is in ``missing`` of the
                result: fetch the first of these keys and evaluate again, since the others may not be needed then.
            scope: the scope of earlier evaluations for this context. It has its own ``memberships``.
        """
        data = self._data
        dialect = data.dialect
        if (refusal := self._state.refusal) is not None:
            return self._unavailable(default, refusal, message=self._state.refusal_message)
        subject = dialect.subject(context)
        if subject is None:
            return self._unavailable(default, dialect.errors.unusable_context)
        flag = None
        try:
            flag = data.flag(key)
            if flag is None:
                return self._unknown(key, default)
            if scope is None:
                scope = self.new_scope(memberships)
            else:
                scope.begin()
            answer = self._answer(flag, subject, scope)
            if self.evaluated_for is not None and answer.problem is None:
                self.constant_answers[key] = answer
            return Evaluation(
                detail=_detail(data, key, answer, scope, default, expected=expected_type(default) if wanted is None else wanted),
                flag=flag,
                is_experiment=answer.is_experiment,
                prerequisites=tuple(scope.notes),
                missing=tuple(scope.missing),
            )
        except Exception as bug:  # noqa: BLE001  # the caller gets a value whatever fails
            data.log.bugs.report(bug, "evaluating flag %s failed", printable(key))
            failed = self._unavailable(default, dialect.errors.bug, flag)
            if self.items.overridden and scope is not None:
                scope.abandon()
                if scope.reads_override:
                    return _marked(failed, is_override=self._is_overridden(key))
            return failed

    def report_fraction(self, key: str) -> None:
        """Logs, once a flag, that its value has a fraction, which a caller that asks for an ``int`` does not get."""
        self._data.log.report_fraction(key)

    def _answer(self, flag: CompiledFlag, context: Context, scope: Scope) -> Answer:
        """The answer of the flag. The problem of a malformed flag is logged once."""
        try:
            if flag.prerequisites:
                scope.flags.enter(flag.key, scope)
                answer = flag.evaluate(context, scope)
                answer = scope.flags.leave(answer.affected() if scope.reads_override else answer, scope)
            else:
                answer = flag.evaluate(context, scope)
                answer = answer.affected() if scope.reads_override else answer
        except MalformedError as problem:
            answer = self._data.dialect.malformed(str(problem))
            scope.abandon()
            scope.notes.clear()
            scope.flags.fail(flag.key, str(problem), scope)
        except RecursionError:
            answer = self._data.dialect.malformed("depends on too many flags or segments in a row")
            scope.abandon()
            scope.notes.clear()
        if answer.problem is not None:
            self._data.log.note_for(ObjectKind.FLAG, flag)(answer.problem)
            if scope.reads_override:
                answer = answer.marked(is_override=self._is_overridden(flag.key))
        return answer

    def _is_overridden(self, key: str) -> bool:
        return (ObjectKind.FLAG, key) in self.items.overridden

    def _unknown(self, key: str, default: Any) -> Evaluation:
        """The result of a flag that does not exist. Before data it may still come, unless an override removes it."""
        errors, is_removed = self._data.dialect.errors, self._data.is_removed(key)
        unknown = self._unavailable(default, errors.not_found if self.has_data or is_removed else errors.not_ready)
        return _marked(unknown, is_override=True) if is_removed else unknown

    def _unavailable(
        self, default: Any, kind: ErrorKind, flag: CompiledFlag | None = None, *, message: str | None = None
    ) -> Evaluation:
        if message is None and self._data.dialect.explains_errors:
            message = _MESSAGES[kind]
        return Evaluation(detail=EvaluationDetail(default, None, _ERRORS[kind], None, self.metadata, message), flag=flag)


def _marked(evaluation: Evaluation, *, is_override: bool) -> Evaluation:
    reason = evaluation.detail.reason.marked(is_override=is_override)
    return msgspec.structs.replace(evaluation, detail=dataclasses.replace(evaluation.detail, reason=reason))


def _detail(
    data: CompiledData, key: str, answer: Answer, scope: Scope, default: Any, *, expected: type | Decoder
) -> EvaluationDetail[Any]:
    """The caller's detail. It has the default if the answer has no value or a value of another type."""
    dialect, detail = data.dialect, answer.detail
    reason = detail.reason
    if scope.big_segments_status is not None:
        reason = dataclasses.replace(reason, big_segments_status=scope.big_segments_status)
    if not answer.has_value:
        index, is_null = detail.variation_index, detail.is_null
        return EvaluationDetail(default, index, reason, None, detail.metadata, detail.error_message, is_null=is_null)
    value = dialect.fit(answer.value, expected)
    if value is MISMATCH:
        message = f"the value is {dialect.mismatch(answer.value, expected)}" if dialect.explains_errors else None
        error = _ERRORS[dialect.errors.wrong_type]
        if reason.override_affected:
            error = error.marked(is_override=reason.is_override)
        return EvaluationDetail(default, None, error, None, detail.metadata, message)
    if value is answer.value and reason is detail.reason:
        return detail
    if expected is int and has_fraction(answer.value):
        data.log.report_fraction(key)
    if detail.variant is None and not detail.is_unnamed:
        return EvaluationDetail(value, answer.index, reason)
    return EvaluationDetail(value, answer.index, reason, detail.variant, detail.metadata, is_unnamed=detail.is_unnamed)
