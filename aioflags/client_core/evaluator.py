"""Evaluator: the slow path of an evaluation, which every entry point of a client shares and which handles every case.

``Client.variation``, ``Client.variation_nowait`` and ``Flags.variation`` try :mod:`aioflags.client_core.fast_path` first.

Source: ``evaluation.md`` 5; ``client-surface.md`` 2, 6.3 and 14.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypedDict

import msgspec

from aioflags.client_core.ambient import current_context
from aioflags.client_core.evaluation_log import EvaluationLog
from aioflags.client_core.overrides import OVERRIDES, Observation
from aioflags.client_core.report_target import fast_path, report_target
from aioflags.client_core.status import StatusCell
from aioflags.client_core.typed import own_default, plain_key
from aioflags.errors import ConfigError, ConfigTypeError
from aioflags.evaluation.all_flags_state import FlagState, flag_values, flags_state, given_states
from aioflags.evaluation.explain.flags import explain
from aioflags.evaluation.scope import FindMembership
from aioflags.evaluation.snapshot import Snapshot
from aioflags.evaluation.value_types import EXPECTABLE, MISMATCH, expected_type, fit
from aioflags.events.recorder import DISABLED_RECORDER, Recorder
from aioflags.hooks.hook import EvaluationCall
from aioflags.hooks.runner import HookRunner
from aioflags.migration.stages import Stage, as_stage
from aioflags.model.context import Context
from aioflags.model.detail import ErrorKind, EvaluationDetail, Reason, ReasonKind
from aioflags.model.explanation import DataOrigin, Explanation, ExplanationStep, StepKind
from aioflags.model.status import Status
from aioflags.model.values import fresh
from aioflags.runtime.checkpoints import run_cooperatively
from aioflags.runtime.clock import now_ms

if TYPE_CHECKING:
    from aioflags.big_segments.lookup import BigSegmentLookup

__all__ = ["Evaluator", "Question"]

_OFFLINE: Final = Reason(kind=ReasonKind.ERROR, error_kind=ErrorKind.CLIENT_NOT_READY)
_OVERRIDE: Final = Reason(kind=ReasonKind.OVERRIDE)
_NO_OVERRIDES: Final[Mapping[str, Any]] = {}
_WRONG_TYPE: Final = Reason(kind=ReasonKind.ERROR, error_kind=ErrorKind.WRONG_TYPE)


class Question(msgspec.Struct, frozen=True, eq=False, gc=False):
    """One call of an evaluation method. Made by :meth:`Evaluator.question`.

    ``key`` is a plain string. ``context`` is that of the call, otherwise the ambient one; ``default`` is that of the call,
    otherwise the typed flag's. ``expect`` is the type that the value must have, ``None`` for that of the default. ``method`` is the
    name that hooks see. ``with_reason``: the caller gets the reason, so events contain it too. The garbage collector need not track
    an object that lives for one call.
    """

    snapshot: Snapshot
    key: str
    context: Context | None
    default: Any
    expect: type | None
    method: str
    with_reason: bool


class _StateOptions(TypedDict):
    client_side_only: bool
    with_reasons: bool
    details_only_for_tracked_flags: bool
    now_ms: float


class Evaluator:
    """Evaluates flags for one client. Raises only for wrong arguments.

    ``report_to``: where the fast path of :class:`Flags` reports an evaluation: see
    :func:`aioflags.client_core.report_target.report_target`.
    ``is_hooked``: there are hooks. ``may_wait``: hooks may be coroutine functions, or big segments may have to be fetched, so
    that awaited methods call :meth:`detail_awaited`. :meth:`update_fast_path` sets all three.
    """

    def __init__(
        self,
        cell: StatusCell,
        hooks: HookRunner,
        recorder: Recorder,
        *,
        offline: bool,
        defaults: Mapping[str, object],
        big_segments: BigSegmentLookup | None,
        logger: logging.Logger,
    ) -> None:
        self.recorder: Recorder = recorder
        self.report_to: Recorder | None = DISABLED_RECORDER
        self.is_hooked: bool = False
        self.may_wait: bool = False
        self._is_overridden = False
        self._cell = cell
        self._hooks = hooks
        self._big_segments = big_segments
        self._cached_membership = None if big_segments is None else big_segments.cached
        self._offline = offline
        self._defaults = defaults
        self._log = EvaluationLog(logger)

    def update_fast_path(self, *, overridden: bool | None = None, reads_store: bool = False) -> Recorder | None:
        """Decides anew whether evaluations may take the fast path. The caller prevents concurrent calls.

        Args:
            overridden: tests override flags or observe evaluations; ``None``: unchanged.
            reads_store: evaluations of the client may have to read a persistent store. Those on pinned data never do.

        Returns:
            Where evaluations of the client report: see :func:`report_target`. Those on pinned data report to :attr:`report_to`.
        """
        if overridden is not None:
            self._is_overridden = overridden
        self.is_hooked = bool(self._hooks)
        self.may_wait = self.is_hooked or self._big_segments is not None
        decide = partial(
            fast_path,
            is_overridden=self._is_overridden,
            is_offline=self._offline,
            has_defaults=bool(self._defaults),
            has_hooks=self.is_hooked,
            records_events=self.recorder.is_open,
        )
        self.report_to = report_target(decide(reads_store=False), self.recorder)
        return report_target(decide(reads_store=reads_store), self.recorder)

    def context(self, context: Context | None) -> Context | None:
        """The context of a call, by default the ambient one.

        Raises:
            ConfigTypeError: ``context`` is not a :class:`Context`.
        """
        if context is None:
            return current_context()
        if not isinstance(context, Context):
            hint = 'Context("anna") is the user anna' if isinstance(context, str) else "Context.from_dict reads one from a mapping"
            raise ConfigTypeError(f"context: expected a Context, got {type(context).__name__} ({hint})")
        return context

    def usable_context(self, call: str, context: Context | None) -> Context | None:
        """The context of a call, by default the ambient one; ``None``, with a warning, if it is invalid or missing."""
        context = self.context(context)
        if context is None or context.error is not None:
            self._log.unusable_context(call, context)
            return None
        return context

    @property
    def status(self) -> Status:
        """The status of the client."""
        return self._cell.newest.status

    def question(
        self,
        snapshot: Snapshot,
        key: str,
        context: Context | None,
        default: Any,
        expect: type | None,
        *,
        method: str,
        with_reason: bool = False,
    ) -> Question:
        """Checks the key and the context of a call, and completes its arguments.

        Raises:
            ConfigError: ``key`` is not a string, ``context`` is not a :class:`Context`, or the default is one.
        """
        if key.__class__ is not str:
            plain = plain_key(key)
            default = own_default(key) if default is None else default
            key = plain
        if context.__class__ is not Context:
            context = self.context(context)
        if default.__class__ is Context:
            raise ConfigTypeError("default: expected a JSON value, got Context (pinned flags have theirs: variation(key, default))")
        return Question(snapshot, key, context, default, expect, method, with_reason)

    # An evaluation passes three functions in turn: hooks, then overrides, then data.

    def detail(self, question: Question, memberships: FindMembership | None = None) -> EvaluationDetail[Any]:
        """Value, variation and reason. Arrays and objects are copies. Hook stages that are coroutine functions are skipped.

        ``memberships`` looks up memberships in big segments; by default in the cache.

        Raises:
            ConfigError: flags cannot have the expected type.
        """
        if self.is_hooked:
            return self._hooks.around(self._call(question), partial(self._answer, question, memberships))
        return self._answer(question, memberships)

    async def detail_awaited(self, question: Question) -> EvaluationDetail[Any]:
        """:meth:`detail` for a caller that can wait: runs all stages of hooks, and fetches the memberships that the flag needs."""
        if self.is_hooked:
            return await self._hooks.around_awaited(self._call(question), partial(self._answer_awaited, question))
        return await self._answer_awaited(question)

    async def stage(self, snapshot: Snapshot, key: str, context: Context | None, default: Stage) -> EvaluationDetail[Stage]:
        """The stage of a migration: the flag's value, or ``default`` if that is not a stage. Hooks get the stage."""
        question = self.question(snapshot, key, context, default.value, object, method="migration_variation")

        async def answer() -> EvaluationDetail[Stage]:
            detail = as_stage(await self._answer_awaited(question), default)
            if detail.reason.error_kind is ErrorKind.WRONG_TYPE:
                self._log.not_a_stage(question.key)
            return detail

        if self.is_hooked:
            return await self._hooks.around_awaited(self._call(question), answer)
        return await answer()

    def value(self, snapshot: Snapshot, key: str, context: Context) -> Any:
        """The value in the data, of any type, for iterators over changes. Hooks run; test overrides do not apply."""
        question = self.question(snapshot, key, context, None, object, method="variation")
        if self.is_hooked:
            return self._hooks.around(self._call(question), partial(self._from_data, question, None)).value
        return self._from_data(question, None).value

    def _call(self, question: Question) -> EvaluationCall:
        """The description of an evaluation that hooks get."""
        flag = question.snapshot.flags.get(question.key)
        return EvaluationCall(
            key=question.key,
            context=question.context,
            default_value=question.default,
            method=question.method,
            environment_id=self._cell.environment_id,
            flag_version=None if flag is None else flag.version,
        )

    async def _answer_awaited(self, question: Question) -> EvaluationDetail[Any]:
        return self._answer(question, await self._fetch(question))

    async def _fetch(self, question: Question) -> FindMembership | None:
        """Fetches the memberships that the flag needs; ``None`` if it needs none."""
        big_segments, snapshot, key, context = self._big_segments, question.snapshot, question.key, question.context
        if big_segments is None or not snapshot.big_segment_kinds or key in self._overrides():
            return None
        if context is None or context.error is not None:
            return None

        def missing(find: FindMembership) -> tuple[str, ...]:
            return snapshot.evaluate(key, context, None, memberships=find).missing

        return await big_segments.fetch_for(snapshot, context, missing)

    def _answer(self, question: Question, memberships: FindMembership | None) -> EvaluationDetail[Any]:
        """The test override, if there is one, otherwise the answer of the data. Notifies the observers of tests."""
        expect = question.expect
        if expect is not None and expect not in EXPECTABLE:
            raise ConfigError(f"expect: flags cannot be of type {getattr(expect, '__name__', expect)}; object stands for any value")
        if not self._is_overridden:
            return self._from_data(question, memberships)
        overrides = OVERRIDES.overrides()
        if question.key in overrides:
            detail = self._from_override(question, overrides[question.key])
        else:
            detail = self._from_data(question, memberships)
        observation = Observation(question.key, question.context, question.default, detail, question.snapshot.flags, overrides)
        for observer in OVERRIDES.observers:
            observer(observation)
        return detail

    def _from_override(self, question: Question, override: object) -> EvaluationDetail[Any]:
        """The override if it has the expected type, otherwise the default."""
        key = question.key
        default = fresh(self._defaults[key]) if key in self._defaults else question.default
        expected = expected_type(default) if question.expect is None else question.expect
        value = fit(override, expected)
        if value is not MISMATCH:
            return EvaluationDetail(value, None, _OVERRIDE)
        if self._log.is_new_wrong_type(key):
            self._log.wrong_type(key, override, expected)
        return EvaluationDetail(default, None, _WRONG_TYPE)

    def _from_data(self, question: Question, memberships: FindMembership | None) -> EvaluationDetail[Any]:
        """The answer of the flag data, which is recorded for analytics. Logs why a default is served."""
        snapshot, key, context = question.snapshot, question.key, question.context
        default = fresh(self._defaults[key]) if key in self._defaults else question.default
        if self._offline:
            return EvaluationDetail(default, None, _OFFLINE)
        expected = expected_type(default) if question.expect is None else question.expect
        memberships = memberships or self._cached_membership
        evaluation = snapshot.evaluate(key, context, default, wanted=expected, memberships=memberships)
        if self.recorder.is_open and context is not None and context.error is None:
            self.recorder.evaluated(key, context, default, evaluation, with_reason=question.with_reason)
        detail = evaluation.detail
        error = detail.reason.error_kind
        if error is ErrorKind.WRONG_TYPE:
            if self._log.is_new_wrong_type(key):
                any_value = snapshot.evaluate(key, context, None, wanted=object, memberships=memberships).detail.value
                self._log.wrong_type(key, any_value, expected)
        elif error is not None:
            self._log.default_served(key, context, error, snapshot.flags)
        return detail

    async def prefetch(self, snapshot: Snapshot, context: Context | None) -> FindMembership | None:
        """Fetches the memberships that any flag may need."""
        if self._big_segments is None or context is None or context.error is not None:
            return None
        return await self._big_segments.prefetch(snapshot, context)

    def cached(self, snapshot: Snapshot, context: Context | None) -> FindMembership | None:
        """The memberships that are in the cache now, for any flag."""
        if self._big_segments is None or context is None or context.error is not None:
            return None
        return self._big_segments.frozen(snapshot, context)

    async def compile_all(self, snapshot: Snapshot) -> None:
        """Compiles the flags that were never evaluated, in slices that let other tasks run."""
        await run_cooperatively(snapshot.compile_all())

    def states(
        self,
        snapshot: Snapshot,
        context: Context | None,
        *,
        client_side_only: bool,
        with_reasons: bool,
        details_only_for_tracked_flags: bool,
        memberships: FindMembership | None,
    ) -> dict[str, FlagState] | None:
        """The state of every flag; ``None`` offline, without data, or for an invalid context, unless tests override flags."""
        usable = self._usable(snapshot, context)
        overridden = {key: EvaluationDetail(value, None, _OVERRIDE) for key, value in self._overrides().items()}
        if usable is None and not overridden:
            return None
        options: _StateOptions = {
            "client_side_only": client_side_only,
            "with_reasons": with_reasons,
            "details_only_for_tracked_flags": details_only_for_tracked_flags,
            "now_ms": now_ms(),
        }
        states = {} if usable is None else flags_state(snapshot, usable, memberships=memberships, **options)
        if overridden:
            states.update(given_states(snapshot, overridden, **options))
        return states

    def values(self, snapshot: Snapshot, context: Context | None, memberships: FindMembership | None) -> dict[str, Any]:
        """The value of every flag. Offline, without data, or for an invalid context: only those that tests override."""
        usable = self._usable(snapshot, context)
        values = {} if usable is None else flag_values(snapshot, usable, memberships)
        values.update(fresh(self._overrides()))
        return values

    def _overrides(self) -> Mapping[str, Any]:
        return OVERRIDES.overrides() if self._is_overridden else _NO_OVERRIDES

    def explain(self, snapshot: Snapshot, key: str, context: Context | None, memberships: FindMembership | None) -> Explanation:
        """Why :meth:`detail` returns its value if any type is expected, and where the data came from."""
        key, context = plain_key(key), self.context(context)
        overrides, cell = self._overrides(), self._cell
        if key in overrides:
            step = ExplanationStep(kind=StepKind.OVERRIDE, text="a test overrides the flag, so nothing was evaluated")
            explanation = Explanation(key=key, detail=EvaluationDetail(fresh(overrides[key]), None, _OVERRIDE), steps=(step,))
        elif self._offline:
            step = ExplanationStep(kind=StepKind.PROBLEM, text="the client is offline, so it has no flag data")
            explanation = Explanation(key=key, detail=EvaluationDetail(None, None, _OFFLINE), steps=(step,))
        else:
            explanation = explain(snapshot, key, context, memberships=memberships)
        origin = DataOrigin(source=cell.source, age=cell.data_age, status=cell.newest, environment_id=cell.environment_id)
        return replace(explanation, origin=origin)

    def _usable(self, snapshot: Snapshot, context: Context | None) -> Context | None:
        """The context to evaluate every flag for; ``None``, with a line in the log, if that is not possible."""
        context = self.context(context)
        if self._offline:
            return None
        if context is None or context.error is not None:
            self._log.default_served("all flags", context, ErrorKind.USER_NOT_SPECIFIED)
            return None
        if not snapshot.has_data:
            self._log.default_served("all flags", context, ErrorKind.CLIENT_NOT_READY)
            return None
        return context
