"""Answers: what answers the questions of a client: its flag data, or a server."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from aioflags.evaluation.scope import FindMembership
from aioflags.evaluation.value_types import MISMATCH, Decoder, expected_type
from aioflags.events.recorder import DISABLED_RECORDER, Recorder
from aioflags.model.context import Context
from aioflags.model.detail import BigSegmentsStatus, ErrorKind, EvaluationDetail, Reason, ReasonKind
from aioflags.model.values import fresh
from aioflags.runtime.logs import Once, describe_error, printable
from aioflags.runtime.suggest import did_you_mean

if TYPE_CHECKING:
    from aioflags.client_core.status import StatusCell
    from aioflags.evaluation.snapshot import Snapshot
    from aioflags.persistence.big_segments import BigSegmentLookup


# -- Question: one call of an evaluation method.


class Question(msgspec.Struct, frozen=True, eq=False, gc=False):
    """One call of an evaluation method. Made by :meth:`Evaluator.question`.

    ``key`` is a plain string. ``context`` is the one of the call, otherwise the ambient one; ``default`` is the call's,
    otherwise the typed flag's. ``expect`` is the type that the value must have, ``None`` for the type of the default; or what
    decodes the values of the typed flag. ``method`` is the name that hooks see. ``with_reason``: the caller gets the reason, so
    events contain it too. The garbage collector need not track an object that lives for one call.
    """

    snapshot: Snapshot
    key: str
    context: Context | None
    default: Any
    expect: type | Decoder | None
    method: str
    with_reason: bool


class Answers(Protocol):
    """Answers a question that no override answers. Hooks run around it."""

    @property
    def may_wait(self) -> bool:
        """Whether :meth:`answer_awaited` may wait for something."""
        ...

    def answer(self, question: Question) -> EvaluationDetail[Any]:
        """The answer without a wait."""
        ...

    async def answer_awaited(self, question: Question) -> EvaluationDetail[Any]:
        """The answer, after a wait if one is needed."""
        ...


# -- EvaluationLog: logs why an evaluation serves a default, each problem of a flag once.
# Source: ``client-surface.md`` 14.


_TEXTS: Final = {
    ErrorKind.CLIENT_NOT_READY: "there is no flag data",
    ErrorKind.PROVIDER_FATAL: "the service refused this client for good",
}
"""What is logged for errors without a message."""


class EvaluationLog:
    """The log lines of one client's evaluations. No line contains a value or a context.

    ``cell``: the client's status. What a warning about the connection says already is logged at ``INFO``.
    """

    def __init__(self, logger: logging.Logger, cell: StatusCell) -> None:
        self._logger = logger
        self._cell = cell
        # One for each kind: many unknown keys must not use up the limit of messages about malformed flags.
        self._once = {kind: Once() for kind in ErrorKind}

    def unusable_context(self, call: str, context: Context | None) -> None:
        """Logs, at each call, that ``context`` is invalid or missing."""
        why = "it is missing: none was given, and none is ambient" if context is None else context.error
        self._logger.warning("%s: the context cannot be used: %s", call, why)

    def is_new_wrong_type(self, key: str) -> bool:
        """Whether to call :meth:`wrong_type`: true once a flag, so that its value is evaluated only for the line in the log."""
        return self._once[ErrorKind.WRONG_TYPE](key)

    def wrong_type(self, key: str, mismatch: str) -> None:
        """Logs the type of a flag's value and the expected one."""
        self._logger.warning("%s: its value is %s; serving the default", printable(key), mismatch)

    def default_refused(self, key: str, mismatch: str) -> None:
        """Logs, once a flag, that its value in the option ``defaults`` cannot be used."""
        if self._once[ErrorKind.WRONG_TYPE]((key, "defaults")):
            self._logger.warning("defaults: the value of %s is %s; serving the default of the call", printable(key), mismatch)

    def server_failed(self, key: str, kind: ErrorKind, message: str | None) -> None:
        """Logs, once a flag and kind of error, why a server gave no value. Its message may contain anything, so it is cut."""
        if self._once[kind]((key, "server")):  # once a flag: a message may have a time in it
            text = f"{kind.value}: {message}" if message else kind.value
            self._logger.warning("%s: the server gave no value (%s); serving the default", printable(key), printable(text))

    def membership_not_cached(self, key: str) -> None:
        """Logs, once a flag, that a call that could not wait needed a big segment of which nothing is cached for the context."""
        if self._once[ErrorKind.GENERAL]((key, "big segment")):
            text = "%s: a big segment counts as unknown: a call that does not wait cannot ask its store; await client.variation(…)"
            self._logger.warning(text, printable(key))

    def bug(self, key: str, bug: Exception) -> None:
        """Logs an unexpected exception: as an error once for each flag and type, and with its traceback at DEBUG each time."""
        if self._once[ErrorKind.EXCEPTION]((key, type(bug))):
            self._logger.error("evaluating %s failed (please report): %s", printable(key), describe_error(bug))
        self._logger.debug("evaluating %s failed", printable(key), exc_info=bug)

    def only_overrides(self) -> None:
        """Logs, once, that all flags were evaluated without flag data, so that only overridden flags were."""
        if self._once[ErrorKind.CLIENT_NOT_READY]("only overrides"):
            self._logger.log(self._not_ready_level, "all flags: there is no flag data; serving the overridden flags alone")

    def flags_awaited(self, key: str) -> None:
        """Logs, once a flag, that the flags of a new context have not arrived."""
        if self._once[ErrorKind.FLAG_NOT_FOUND]((key, "awaited")):
            self._logger.info("%s: the flags of the new context have not arrived; serving the default", printable(key))

    def default_served(
        self, key: str, context: Context | None, kind: ErrorKind, flags: Iterable[str] = (), *, message: str | None = None
    ) -> None:
        """Logs, once a flag and cause, why a default is served. ``message`` comes from the detail.

        A wrong type, a malformed flag and a bug are logged where they are detected.
        """
        is_about_context = kind in {ErrorKind.USER_NOT_SPECIFIED, ErrorKind.INVALID_CONTEXT}
        why = context.error if is_about_context and context is not None else message
        if not self._once[kind]((key, why)):
            return
        shown = printable(key)
        match kind:
            case ErrorKind.USER_NOT_SPECIFIED:
                self.unusable_context(shown, context)
            case ErrorKind.FLAG_NOT_FOUND:
                # A warning only for a key that resembles an existing one: it is probably misspelt. Other keys may be new.
                hint = did_you_mean(key, flags, before="; ")
                self._logger.log(logging.WARNING if hint else logging.INFO, "%s: unknown flag; serving the default%s", shown, hint)
            case (
                ErrorKind.CLIENT_NOT_READY
                | ErrorKind.PROVIDER_NOT_READY
                | ErrorKind.PROVIDER_FATAL
                | ErrorKind.INVALID_CONTEXT
                | ErrorKind.TARGETING_KEY_MISSING
            ):
                text = message or _TEXTS.get(kind, kind.value)
                if kind is ErrorKind.CLIENT_NOT_READY and not self._cell.was_started:
                    text = "the client was not started"
                is_not_ready = kind in {ErrorKind.CLIENT_NOT_READY, ErrorKind.PROVIDER_NOT_READY}
                level = self._not_ready_level if is_not_ready else logging.WARNING
                self._logger.log(level, "%s: %s; serving the default", shown, printable(text))
            case _:
                pass

    @property
    def _not_ready_level(self) -> int:
        return logging.INFO if self._cell.is_outage_logged else logging.WARNING


# -- DataAnswers: answers questions from the flag data, and records the evaluations for analytics.
# Source: ``evaluation.md`` 5; ``client-surface.md`` 14.


OFFLINE: Final = Reason(kind=ReasonKind.ERROR, error_kind=ErrorKind.CLIENT_NOT_READY)
"""Why a client that is offline serves defaults."""
NO_DEFAULTS: Final[Mapping[str, object]] = {}


class DataAnswers:
    """Evaluates the flags of a question's snapshot.

    Args:
        recorder: Where evaluations are recorded.
        log: Where it is logged why a default is served.
        is_offline: The client has no data, by its configuration.
        defaults: Values that replace the defaults of some flags.
        big_segments: Looks up memberships; ``None`` without a store of big segments.
    """

    def __init__(
        self,
        recorder: Recorder,
        log: EvaluationLog,
        *,
        is_offline: bool = False,
        defaults: Mapping[str, object] = NO_DEFAULTS,
        big_segments: BigSegmentLookup | None = None,
    ) -> None:
        self.recorder: Recorder = recorder
        self.is_offline: bool = is_offline
        self.defaults: Mapping[str, object] = defaults
        self.may_wait: bool = big_segments is not None
        """Whether :meth:`answer_awaited` may fetch memberships."""
        self._log = log
        self._big_segments = big_segments
        self._cached_membership = None if big_segments is None else big_segments.cached

    def default(self, question: Question) -> Any:
        """The value that is served if the flag has none."""
        key, expect = question.key, question.expect
        if key not in self.defaults:
            return question.default
        if not isinstance(expect, Decoder):
            return fresh(self.defaults[key])
        decoded = expect.decode(self.defaults[key])
        if decoded is MISMATCH:
            self._log.default_refused(key, question.snapshot.dialect.mismatch(self.defaults[key], expect))
            return question.default
        return decoded

    def answer(self, question: Question, memberships: FindMembership | None = None) -> EvaluationDetail[Any]:
        """The answer of the flag data, which is recorded for analytics. Logs why a default is served.

        A value that the question's decoder accepts is not decoded, and not copied: events have JSON.

        ``memberships`` looks up memberships in big segments; by default in the cache.
        """
        snapshot, key, context = question.snapshot, question.key, question.context
        default = self.default(question)
        if self.is_offline:
            return EvaluationDetail(default, None, OFFLINE)
        expected = expected_type(default) if question.expect is None else question.expect
        memberships = memberships or self._cached_membership
        evaluation = snapshot.evaluate(key, context, default, wanted=expected, memberships=memberships)
        if self.recorder.is_open and context is not None and context.error is None:
            try:
                self.recorder.evaluated(key, context, default, evaluation, with_reason=question.with_reason)
            except Exception as bug:  # noqa: BLE001 -- the caller gets a value whatever fails
                self._log.bug(key, bug)
        detail = evaluation.detail
        is_unknown = detail.reason.big_segments_status is BigSegmentsStatus.STORE_ERROR
        if is_unknown and self._big_segments is not None and not self._big_segments.was_fetched(memberships):
            self._log.membership_not_cached(key)
        error = detail.reason.error_kind
        if error is None:
            return detail
        dialect = snapshot.dialect
        if snapshot.awaits_flags:
            self._log.flags_awaited(key)
        elif error is not dialect.errors.wrong_type:
            self._log.default_served(key, context, error, snapshot.flags, message=detail.error_message)
        elif (is_new := self._log.is_new_wrong_type(key)) or isinstance(expected, Decoder):
            any_value = snapshot.evaluate(key, context, None, wanted=object, memberships=memberships).detail.value
            mismatch = dialect.mismatch(any_value, expected)
            if is_new:
                self._log.wrong_type(key, mismatch)
            if isinstance(expected, Decoder):  # the kind of the error does not say what a type of the program refuses
                return replace(detail, error_message=f"the value is {mismatch}")
        return detail

    async def answer_awaited(self, question: Question) -> EvaluationDetail[Any]:
        """:meth:`answer` after the memberships that the flag needs have been fetched."""
        return self.answer(question, await self._fetch(question))

    async def _fetch(self, question: Question) -> FindMembership | None:
        """Fetches the memberships that the flag needs; ``None`` if it needs none."""
        big_segments, snapshot, key, context = self._big_segments, question.snapshot, question.key, question.context
        if big_segments is None or not snapshot.big_segment_kinds or context is None or context.error is not None:
            return None

        def missing(find: FindMembership) -> tuple[str, ...]:
            return snapshot.evaluate(key, context, None, memberships=find).missing

        return await big_segments.fetch_for(snapshot, context, missing)

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


# -- Decides whether evaluations may take the fast path, and where they report there.


def report_target(
    recorder: Recorder,
    *,
    is_overridden: bool,
    is_offline: bool,
    has_defaults: bool,
    has_hooks: bool,
    reads_store: bool,
    warns_of_fork: bool,
) -> Recorder | None:
    """Decides whether evaluations may take the fast path. It is disabled if anything can change an answer or has to see it.

    Args:
        recorder: the client's. It is open if the client sends analytics events.
        is_overridden: tests override flags or observe evaluations.
        is_offline: the client has no data and returns defaults.
        has_defaults: the configuration replaces the defaults of some flags.
        has_hooks: hooks are called around evaluations.
        reads_store: the flag may have to be read from a persistent store first.
        warns_of_fork: the next evaluation is the first in the child of a fork, and logs a warning.

    Returns:
        The decision as one reference, so that the fast path loads one attribute. ``None``: report nothing. The client's recorder:
        report there. A recorder that is never open: the fast path is disabled.
    """
    if is_overridden or is_offline or has_defaults or has_hooks or reads_store or warns_of_fork:
        return DISABLED_RECORDER
    return recorder if recorder.is_open else None
