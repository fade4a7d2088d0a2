"""Shaping: decides how an evaluation is reported: as a count in the summary, as events of its own, as both, or not at all.

Pure functions of the evaluation. Sampling, and the room in the buffer, are left to the recorder.

Source: ``events.md`` 4, 5, 8.
"""

from __future__ import annotations

from typing import Any

import msgspec

from aioflags.evaluation.answers import PrerequisiteEvaluation
from aioflags.evaluation.compiled import CompiledFlag, Evaluation
from aioflags.events.encoding import frozen_value
from aioflags.events.summary import SummaryEntry
from aioflags.model.context import Context
from aioflags.model.detail import NO_REASON, EvaluationDetail, Reason
from aioflags.model.event import EvaluationEvent

__all__ = ["EvaluatedFlag", "EvaluationShaper", "evaluated_flags", "kinds_of"]


class EvaluatedFlag(msgspec.Struct, frozen=True, kw_only=True, eq=False, gc=False):
    """One flag of an evaluation: the flag of the call, or one of its prerequisites, which has no default."""

    flag: CompiledFlag | PrerequisiteEvaluation
    detail: EvaluationDetail[Any]
    is_experiment: bool
    default: Any = None
    prerequisite_of: str | None = None


def evaluated_flags(evaluation: Evaluation, default: Any) -> list[EvaluatedFlag]:
    """The flags of an evaluation, prerequisites first. The flag of the call is missing if it is unknown."""
    flags = [
        EvaluatedFlag(
            flag=prerequisite,
            detail=prerequisite.answer.detail,
            is_experiment=prerequisite.answer.is_experiment,
            prerequisite_of=prerequisite.prerequisite_of,
        )
        for prerequisite in evaluation.prerequisites
    ]
    if evaluation.flag is not None:
        flags.append(
            EvaluatedFlag(flag=evaluation.flag, detail=evaluation.detail, is_experiment=evaluation.is_experiment, default=default)
        )
    return flags


def kinds_of(context: Context) -> tuple[str, ...]:
    """The kinds of a valid context."""
    return (context.kind,) if context.members is None else tuple(context.members)


class EvaluationShaper(msgspec.Struct, frozen=True, kw_only=True, eq=False, gc=False):
    """Makes summary entries and events for the flags of one evaluation.

    ``at_ms``: when it happened. ``server_ms``: the last known time of the service; debugging of a flag ends by that clock, too.
    ``with_reason``: whether the caller asked for the reason. ``tracks_experiments``: as in the policy of events.
    """

    context: Context
    at_ms: int
    server_ms: int
    with_reason: bool
    tracks_experiments: bool = True

    def entry(self, evaluated: EvaluatedFlag) -> SummaryEntry | None:
        """The entry for the summary. ``None``: the flag is excluded from summaries."""
        flag, detail = evaluated.flag, evaluated.detail
        if not flag.tracking.is_counted:
            return None
        return SummaryEntry(
            key=flag.key,
            kinds=kinds_of(self.context),
            default=evaluated.default,
            value=detail.value,
            variation=detail.variation_index,
            version=flag.version,
            at_ms=self.at_ms,
            mark=detail.reason.override_mark,
        )

    def unknown_entry(self, key: str, default: Any, reason: Reason) -> SummaryEntry:
        """The entry for the summary of a flag that is unknown, perhaps because an override removes it."""
        return SummaryEntry(
            key=key, kinds=kinds_of(self.context), default=default, value=default, at_ms=self.at_ms, mark=reason.override_mark
        )

    def events(self, evaluated: EvaluatedFlag) -> list[EvaluationEvent]:
        """The events before sampling: the tracked event, then the debug event. Most flags have neither, and unknown flags never.

        Nor has an evaluation that read an override: its value says nothing about the flag as the service defines it.
        """
        flag, detail = evaluated.flag, evaluated.detail
        tracking = flag.tracking
        is_experiment = evaluated.is_experiment and (detail.reason.error_kind is None or not self.tracks_experiments)
        is_tracked = tracking.is_tracked or (is_experiment and self.tracks_experiments)
        until = tracking.debug_until_ms
        is_debugged = until is not None and until > self.at_ms and until > self.server_ms
        if flag.version is None or not (is_tracked or is_debugged) or detail.reason.override_affected:
            return []
        event = EvaluationEvent(
            at_ms=self.at_ms,
            key=flag.key,
            context=self.context,
            value=frozen_value(detail.value),
            default=frozen_value(evaluated.default),
            version=flag.version,
            variation=detail.variation_index,
            reason=detail.reason if (self.with_reason or is_experiment) and detail.reason != NO_REASON else None,
            prerequisite_of=evaluated.prerequisite_of,
            sampling_ratio=tracking.sampling_ratio,
        )
        events = [event] if is_tracked else []
        if is_debugged:
            events.append(msgspec.structs.replace(event, is_debug=True))
        return events
