"""Which events an evaluation sends: a feature event if the flag is tracked, a debug event while the flag is debugged.

Source: ``events.md`` 3 and 4.
"""

from __future__ import annotations

from typing import Any

import msgspec

from aioflags.evaluation.answers import PrerequisiteEvaluation
from aioflags.evaluation.items import Evaluation
from aioflags.evaluation.scope import CompiledFlag
from aioflags.events.summary import frozen_value
from aioflags.model.context import Context
from aioflags.model.detail import NO_REASON, EvaluationDetail
from aioflags.model.event import EvaluationEvent


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


def evaluation_events(
    evaluated: EvaluatedFlag,
    context: Context,
    *,
    at_ms: int,
    server_ms: int = 0,
    with_reason: bool = False,
    tracks_experiments: bool = True,
) -> list[EvaluationEvent]:
    """The events of a flag before sampling: the feature event, then the debug event. Most flags have neither, unknown flags never.

    Nor has an evaluation that read an override: its value says nothing about the flag as the service defines it. ``server_ms`` is
    the last known time of the service; debugging of a flag ends by that clock, too. ``with_reason``: the caller asked for it.
    """
    flag, detail = evaluated.flag, evaluated.detail
    tracking = flag.tracking
    is_experiment = evaluated.is_experiment and (detail.reason.error_kind is None or not tracks_experiments)
    is_tracked = tracking.is_tracked or (is_experiment and tracks_experiments)
    until = tracking.debug_until_ms
    is_debugged = until is not None and until > at_ms and until > server_ms
    if flag.version is None or not (is_tracked or is_debugged) or detail.reason.override_affected:
        return []
    event = EvaluationEvent(
        at_ms=at_ms,
        key=flag.key,
        context=context,
        value=frozen_value(detail.value),
        default=frozen_value(evaluated.default),
        version=flag.version,
        variation=detail.variation_index,
        reason=detail.reason if (with_reason or is_experiment) and detail.reason != NO_REASON else None,
        prerequisite_of=evaluated.prerequisite_of,
        sampling_ratio=tracking.sampling_ratio,
    )
    events = [event] if is_tracked else []
    if is_debugged:
        events.append(msgspec.structs.replace(event, is_debug=True))
    return events
