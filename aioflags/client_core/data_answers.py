"""DataAnswers: answers questions from the flag data, and records the evaluations for analytics.

Source: ``evaluation.md`` 5; ``client-surface.md`` 14.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from aioflags.client_core.evaluation_log import EvaluationLog
from aioflags.client_core.question import Question
from aioflags.evaluation.decoding import MISMATCH, Decoder
from aioflags.evaluation.scope import FindMembership
from aioflags.evaluation.value_types import expected_type
from aioflags.events.recorder import Recorder
from aioflags.model.context import Context
from aioflags.model.detail import BigSegmentsStatus, ErrorKind, EvaluationDetail, Reason, ReasonKind
from aioflags.model.values import fresh

if TYPE_CHECKING:
    from aioflags.big_segments.lookup import BigSegmentLookup
    from aioflags.evaluation.snapshot import Snapshot

__all__ = ["OFFLINE", "DataAnswers"]

OFFLINE: Final = Reason(kind=ReasonKind.ERROR, error_kind=ErrorKind.CLIENT_NOT_READY)
"""Why a client that is offline serves defaults."""
_NO_DEFAULTS: Final[Mapping[str, object]] = {}


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
        defaults: Mapping[str, object] = _NO_DEFAULTS,
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
