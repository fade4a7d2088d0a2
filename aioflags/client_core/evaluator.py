"""Evaluator: the slow path of an evaluation, which every entry point of a client shares and which handles every case.

``Client.variation``, ``Client.variation_nowait`` and ``Flags.variation`` try :mod:`aioflags.client_core.fast_path` first.

Source: ``evaluation.md`` 5; ``client-surface.md`` 2, 6.3 and 14.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final, Protocol, TypeAlias, TypedDict

from aioflags.client_core.answers import OFFLINE, Answers, DataAnswers, EvaluationLog, Question, report_target
from aioflags.client_core.fast_path import current_context
from aioflags.client_core.hook_runner import HookRunner
from aioflags.client_core.overrides import OVERRIDES, Observation
from aioflags.client_core.status import StatusCell
from aioflags.client_core.typed import actual_context, decoder_of, own_default, plain_key
from aioflags.errors import ConfigTypeError
from aioflags.evaluation.all_flags_state import FlagState, flag_values, flags_state, given_states
from aioflags.evaluation.explain.flags import explain
from aioflags.evaluation.scope import FindMembership
from aioflags.evaluation.snapshot import Snapshot
from aioflags.evaluation.value_types import MISMATCH, Decoder, expected_type, has_fraction
from aioflags.events.recorder import DISABLED_RECORDER, Recorder
from aioflags.hooks import EvaluationCall
from aioflags.model.context import Context
from aioflags.model.detail import EvaluationDetail, Reason, ReasonKind
from aioflags.model.explanation import DataOrigin, Explanation, ExplanationStep, StepKind
from aioflags.model.values import fresh
from aioflags.runtime.checkpoints import run_cooperatively
from aioflags.runtime.clock import now_ms
from aioflags.runtime.logs import class_name

Convert: TypeAlias = "Callable[[EvaluationDetail[Any]], EvaluationDetail[Any]]"

_OVERRIDE: Final = Reason(kind=ReasonKind.OVERRIDE)
_NO_OVERRIDES: Final[Mapping[str, Any]] = {}


class _HasSnapshot(Protocol):
    @property
    def snapshot(self) -> Snapshot: ...


class _StateOptions(TypedDict):
    client_side_only: bool
    with_reasons: bool
    details_only_for_tracked_flags: bool
    now_ms: float


class Evaluator:
    """Evaluates flags for one client. Raises only for wrong arguments.

    ``report_to``: where the fast path of :class:`Flags` reports an evaluation: see
    :func:`aioflags.client_core.answers.report_target`.
    ``is_hooked``: there are hooks. ``may_wait``: hooks may be coroutine functions, or big segments may have to be fetched, so
    that awaited methods call :meth:`detail_awaited`. :meth:`update_fast_path` sets all three. ``cell`` and ``data`` are as given.

    Args:
        cell: The status of the client.
        hooks: Run around evaluations.
        data: Evaluates pinned flags, and all flags unless ``answers`` is given.
        log: Where it is logged why a default is served.
        answers: Answers the questions of the client's own methods; by default ``data``.
        update: Makes the client call :meth:`update_fast_path`.
    """

    def __init__(
        self,
        cell: StatusCell,
        hooks: HookRunner,
        data: DataAnswers,
        log: EvaluationLog,
        answers: Answers | None = None,
        *,
        update: Callable[[], object] = lambda: None,
    ) -> None:
        self.report_to: Recorder | None = DISABLED_RECORDER
        self.is_hooked: bool = False
        self.may_wait: bool = False
        self._is_overridden = False
        self._awaits_fork_warning = False
        self.cell: StatusCell = cell
        self._hooks = hooks
        self.data: DataAnswers = data
        self._answers: Answers = answers or data
        self._log = log
        self._update = update

    def update_fast_path(self, *, overridden: bool | None = None, reads_store: bool = False) -> Recorder | None:
        """Decides again whether evaluations may take the fast path. The caller prevents concurrent calls.

        Args:
            overridden: tests override flags or observe evaluations; ``None``: unchanged.
            reads_store: evaluations of the client may have to read a persistent store. Those on pinned data never do.

        Returns:
            Where evaluations of the client report: see :func:`report_target`. Those on pinned data report to :attr:`report_to`.
        """
        if overridden is not None:
            self._is_overridden = overridden
        self.is_hooked = bool(self._hooks)
        self.may_wait = self.is_hooked or self._answers.may_wait
        data, cell = self.data, self.cell
        self._awaits_fork_warning = cell.is_forked and not cell.is_fork_logged
        target = partial(
            report_target,
            data.recorder,
            is_overridden=self._is_overridden,
            is_offline=data.is_offline,
            has_defaults=bool(data.defaults),
            has_hooks=self.is_hooked,
            warns_of_fork=self._awaits_fork_warning,
        )
        self.report_to = target(reads_store=False)
        return target(reads_store=reads_store)

    def context(self, context: Context | None) -> Context | None:
        """The context of a call, by default the ambient one.

        Raises:
            ConfigTypeError: ``context`` is not a :class:`Context`.
        """
        if context is None:
            return current_context()
        usable = context if type(context) is Context else actual_context(context)
        if usable is None:
            raise ConfigTypeError(f"context: expected a Context, got {class_name(context)} ({_advice(context)})")
        return usable

    def usable_context(self, call: str, context: Context | None, *, needs_key: bool = True) -> Context | None:
        """The context of a call, by default the ambient one; ``None``, with a warning, if it is invalid or missing.

        Without ``needs_key`` a context that flagd can use is enough, and one without anything in it replaces a missing one.
        """
        context = self.context(context)
        if context is None and not needs_key:
            return Context.keyless()
        if context is None or not (context.is_valid if needs_key else context.is_valid_for_flagd):
            self._log.unusable_context(call, context)
            return None
        return context

    def question(
        self,
        snapshot: Snapshot,
        key: str,
        context: Context | None,
        default: Any,
        expect: type | None = None,
        *,
        method: str,
        with_reason: bool = False,
    ) -> Question:
        """Checks the key and the context of a call, and completes its arguments.

        ``expect`` is the type of the value for a caller whose default has another one; ``object`` is any type.

        Raises:
            ConfigError: ``key`` is not a string, ``context`` is not a :class:`Context`, or the default is one.
        """
        if self._awaits_fork_warning:
            self._warn_of_fork()
        decoder = None
        if type(key) is not str:
            plain = plain_key(key)
            default = own_default(key) if default is None else default
            decoder, key = decoder_of(key), plain
        if type(context) is not Context:
            context = self.context(context)
        if type(default) is Context:
            advice = "pinned flags and MobileClient have their own context: variation(key, default)"
            raise ConfigTypeError(f"default: expected a JSON value, got Context ({advice})")
        return Question(snapshot, key, context, default, decoder if expect is None else expect, method, with_reason)

    def _warn_of_fork(self) -> None:
        """The first evaluation in the child of a fork. Later ones may take the fast path."""
        self.cell.warn_of_fork()
        self._update()

    # For integrations, whose own interfaces name the type of a value: the default, which may have another type, does not decide it.

    def typed_detail(self, holder: _HasSnapshot, key: str, context: Context, default: Any, expect: type) -> EvaluationDetail[Any]:
        """The value of a flag of type ``expect``, or ``default`` of whatever type, with the reason. ``object`` is any type."""
        if self.report_to is None and key.__class__ is str:
            # The lines of `fast_detail`: its call would add an eighth to the time, and OpenFeature's evaluations all come here.
            try:
                answer = holder.snapshot.direct_flags[key](context, holder.snapshot.scope)
                if answer.by_type[expect] is answer.value and context.error is None:
                    return answer.detail
            except Exception:  # noqa: BLE001, S110 -- the slow path meets the cause again, and handles it
                pass
        question = self.question(holder.snapshot, key, context, default, expect, method="variation_detail", with_reason=True)
        return self.detail(question)

    async def typed_detail_awaited(
        self, snapshot: Snapshot, key: str, context: Context, default: Any, expect: type
    ) -> EvaluationDetail[Any]:
        """:meth:`typed_detail` for a caller that can wait."""
        question = self.question(snapshot, key, context, default, expect, method="variation_detail", with_reason=True)
        return await self.detail_awaited(question)

    # An evaluation passes three functions in turn: hooks, then overrides, then answers.

    def detail(self, question: Question) -> EvaluationDetail[Any]:
        """Value, variation and reason. Arrays and objects are copies. Hook stages that are coroutine functions are skipped."""
        if self.is_hooked:
            return self._hooks.around(self._call(question), partial(self._answer, question, self._answers.answer))
        return self._answer(question, self._answers.answer)

    async def detail_awaited(self, question: Question, convert: Convert | None = None) -> EvaluationDetail[Any]:
        """:meth:`detail` for a caller that can wait: runs all stages of hooks, and fetches what the answer needs.

        ``convert`` changes the result before hooks get it.
        """

        async def answer() -> EvaluationDetail[Any]:
            detail = await self._answer_awaited(question)
            return detail if convert is None else convert(detail)

        if self.is_hooked:
            return await self._hooks.around_awaited(self._call(question), answer)
        return await answer()

    def pinned_detail(self, question: Question, memberships: FindMembership | None) -> EvaluationDetail[Any]:
        """:meth:`detail` from the snapshot of the question, also if other questions are answered by a server.

        ``memberships`` looks up memberships in big segments; by default in the cache.
        """
        answer = self.data.answer if memberships is None else partial(self.data.answer, memberships=memberships)
        if self.is_hooked:
            return self._hooks.around(self._call(question), partial(self._answer, question, answer))
        return self._answer(question, answer)

    def value(self, snapshot: Snapshot, key: str, context: Context) -> Any:
        """The value in the data, of any type, for iterators over changes. Hooks run; test overrides do not apply.

        The value of a typed flag is decoded; ``None`` if it cannot be.
        """
        question = Question(snapshot, plain_key(key), context, None, decoder_of(key) or object, "variation", with_reason=False)

        def answer() -> EvaluationDetail[Any]:
            return self._decoded(question, self.data.answer(question))

        return (self._hooks.around(self._call(question), answer) if self.is_hooked else answer()).value

    def _call(self, question: Question) -> EvaluationCall:
        """The description of an evaluation that hooks get."""
        dialect = question.snapshot.dialect
        flag = question.snapshot.flags.get(question.key) if dialect.has_versions else None
        return EvaluationCall(
            key=question.key,
            context=question.context,
            default_value=question.default,
            method=question.method,
            environment_id=self.cell.environment_id,
            flag_version=None if flag is None else flag.version,
            provider_name=dialect.provider_name,
        )

    def _answer(self, question: Question, answer: Callable[[Question], EvaluationDetail[Any]]) -> EvaluationDetail[Any]:
        """The test override, if there is one, otherwise ``answer(question)``."""
        if not self._is_overridden:
            detail = answer(question)
            return detail if question.expect is None else self._decoded(question, detail)
        overrides = OVERRIDES.overrides()
        detail = self._from_override(question, overrides[question.key]) if question.key in overrides else answer(question)
        return _observed(question, self._decoded(question, detail), overrides)

    async def _answer_awaited(self, question: Question) -> EvaluationDetail[Any]:
        """:meth:`_answer`, where the answer may wait."""
        if not self._is_overridden:
            detail = await self._answers.answer_awaited(question)
            return detail if question.expect is None else self._decoded(question, detail)
        overrides = OVERRIDES.overrides()
        if question.key in overrides:
            detail = self._from_override(question, overrides[question.key])
        else:
            detail = await self._answers.answer_awaited(question)
        return _observed(question, self._decoded(question, detail), overrides)

    def _from_override(self, question: Question, override: object) -> EvaluationDetail[Any]:
        """The override if it has the expected type, otherwise the default."""
        default = self.data.default(question)
        expected = expected_type(default) if question.expect is None else question.expect
        value = question.snapshot.dialect.fit(override, expected)
        if value is not MISMATCH:
            if expected is int and has_fraction(override):
                question.snapshot.report_fraction(question.key)
            return EvaluationDetail(value, None, _OVERRIDE)
        return self._wrong_type(question, EvaluationDetail(override, None, _OVERRIDE), default, expected)

    def _decoded(self, question: Question, detail: EvaluationDetail[Any]) -> EvaluationDetail[Any]:
        """The detail with the value that the decoder of a typed flag makes of it. A default is as the program gave it."""
        decoder = question.expect
        if not isinstance(decoder, Decoder) or detail.is_default:
            return detail
        value = decoder.decode(detail.value)
        if value is MISMATCH:  # from a server: data and overrides were checked
            return self._wrong_type(question, detail, question.default, decoder)
        return replace(detail, value=value)

    def _wrong_type(
        self, question: Question, detail: EvaluationDetail[Any], default: object, expected: type | Decoder
    ) -> EvaluationDetail[Any]:
        """The default in place of a value that cannot be used. One line in the log for each flag says why."""
        dialect = question.snapshot.dialect
        mismatch = dialect.mismatch(detail.value, expected)
        if self._log.is_new_wrong_type(question.key):
            self._log.wrong_type(question.key, mismatch)
        reason = Reason(kind=ReasonKind.ERROR, error_kind=dialect.errors.wrong_type)
        message = f"the value is {mismatch}" if dialect.explains_errors or isinstance(expected, Decoder) else None
        return EvaluationDetail(default, None, reason, None, detail.metadata, message)

    async def compile_all(self, snapshot: Snapshot) -> None:
        """Compiles the flags that were never evaluated, in slices that let other tasks run.

        From now on new data is compiled before it is published, as after :meth:`values`.
        """
        snapshot.bulk_use.has_begun = True
        await run_cooperatively(snapshot.compile_all())

    async def states(
        self,
        snapshot: Snapshot,
        context: Context | None,
        *,
        client_side_only: bool,
        with_reasons: bool,
        details_only_for_tracked_flags: bool,
        memberships: FindMembership | None,
    ) -> dict[str, FlagState] | None:
        """The state of every flag, made in slices.

        ``None`` offline, without data, or for an invalid context, unless tests override flags.
        """
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
        states: dict[str, FlagState] = {}
        if usable is not None:
            states = await run_cooperatively(flags_state(snapshot, usable, memberships=memberships, **options))
        if overridden:
            states.update(given_states(snapshot, overridden, **options))
        return states

    def values(self, snapshot: Snapshot, context: Context | None, memberships: FindMembership | None) -> dict[str, Any]:
        """The value of every flag. Offline, without data, or for an invalid context: only those that tests override.

        From now on new data is compiled before it is published, so that only the first call may compile all flags.
        """
        snapshot.bulk_use.has_begun = True
        usable = self._usable(snapshot, context)
        values = {} if usable is None else flag_values(snapshot, usable, memberships)
        values.update(fresh(self._overrides()))
        return values

    def _overrides(self) -> Mapping[str, Any]:
        return OVERRIDES.overrides() if self._is_overridden else _NO_OVERRIDES

    def explain(self, snapshot: Snapshot, key: str, context: Context | None, memberships: FindMembership | None) -> Explanation:
        """Why :meth:`detail` returns its value if any type is expected, and where the data came from."""
        key, context = plain_key(key), self.context(context)
        overrides, cell = self._overrides(), self.cell
        if key in overrides:
            step = ExplanationStep(kind=StepKind.OVERRIDE, text="a test overrides the flag, so nothing was evaluated")
            explanation = Explanation(key=key, detail=EvaluationDetail(fresh(overrides[key]), None, _OVERRIDE), steps=(step,))
        elif self.data.is_offline:
            step = ExplanationStep(kind=StepKind.PROBLEM, text="the client is offline, so it has no flag data")
            explanation = Explanation(key=key, detail=EvaluationDetail(None, None, OFFLINE), steps=(step,))
        else:
            explanation = explain(snapshot, key, context, memberships=memberships)
        origin = DataOrigin(
            has_data=snapshot.has_data and not self.data.is_offline,
            source=cell.source,
            age=cell.data_age,
            report=cell.newest,
            environment_id=cell.environment_id,
        )
        return replace(explanation, origin=origin)

    def _usable(self, snapshot: Snapshot, context: Context | None) -> Context | None:
        """The context to evaluate every flag for; ``None``, with a line in the log, if that is not possible."""
        if self._awaits_fork_warning:
            self._warn_of_fork()
        context = self.context(context)
        if self.data.is_offline:
            return None
        subject = snapshot.dialect.subject(context)
        refusal = snapshot.dialect.errors.unusable_context if subject is None else snapshot.refusal
        if refusal is not None:
            message = snapshot.evaluate("", context, None).detail.error_message
            self._log.default_served("all flags", context, refusal, message=message)
            return None
        if not snapshot.has_data:
            self._log.only_overrides()
        return subject


def _advice(context: object) -> str:
    """The way out for a caller that passes this object as the context."""
    kind = type(context)
    if issubclass(kind, str):
        return 'Context("anna") is the user anna; if it is the default, the context is missing before it'
    if issubclass(kind, dict):
        return "Context.from_dict reads one from a mapping; if it is the default or the data, the context is missing before it"
    return "the context is missing: it comes before the default; with an ambient context, write default=…"


def _observed(question: Question, detail: EvaluationDetail[Any], overrides: Mapping[str, Any]) -> EvaluationDetail[Any]:
    """Tells the observers of tests about an evaluation, and returns its result."""
    observation = Observation(question.key, question.context, question.default, detail, question.snapshot.flags, overrides)
    for observer in OVERRIDES.observers:
        observer(observation)
    return detail
