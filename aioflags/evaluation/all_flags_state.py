"""Every flag at once, for one context: what a server hands to a front end, so that it need not ask.

Source: ``evaluation.md`` 6.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from aioflags.evaluation.answers import direct_prerequisites
from aioflags.evaluation.bulk import BulkEvaluation
from aioflags.evaluation.scope import FindMembership
from aioflags.model.detail import EvaluationDetail, Reason
from aioflags.model.flag import FlagDefinition
from aioflags.model.values import fresh

if TYPE_CHECKING:
    from aioflags.evaluation.snapshot import Snapshot
    from aioflags.model.context import Context

__all__ = ["FlagState", "flag_values", "flags_state", "given_states", "state_json"]


class _Options(msgspec.Struct, frozen=True, gc=False):
    """What the caller wants to know of each flag."""

    with_reasons: bool
    details_only_for_tracked_flags: bool
    now_ms: float


class FlagState(msgspec.Struct, frozen=True, eq=False, gc=False):
    """One flag's value for the context, and what a front end needs to report its evaluations. What does not apply is ``None``."""

    detail: EvaluationDetail[Any]
    flag: FlagDefinition
    is_experiment: bool
    options: _Options
    prerequisites: tuple[str, ...] = ()
    """Keys of those evaluated on the way, in order."""

    @property
    def value(self) -> Any:
        """The flag's value; ``None`` also where there was none to serve."""
        return self.detail.value

    @property
    def variation(self) -> int | None:
        """Which variation it is."""
        return self.detail.variation_index

    @property
    def has_details(self) -> bool:
        """Whether version and reason are told; otherwise no event will need them."""
        if not self.options.details_only_for_tracked_flags or self.track_events:
            return True
        debug_until = self.debug_events_until_date
        return debug_until is not None and debug_until > self.options.now_ms

    @property
    def version(self) -> int | None:
        """The flag's version."""
        return self.flag.version if self.has_details else None

    @property
    def reason(self) -> Reason | None:
        """Why it is this one."""
        return self.detail.reason if (self.options.with_reasons or self.is_experiment) and self.has_details else None

    @property
    def track_events(self) -> bool:
        """Whether each evaluation is to be reported."""
        return self.is_experiment or bool(self.flag.track_events)

    @property
    def debug_events_until_date(self) -> float | None:
        """Until when evaluations are to be reported for debugging, in Unix milliseconds."""
        return self.flag.debug_events_until_date

    def meta(self) -> dict[str, Any]:
        """All but the value, in LaunchDarkly's JSON form."""
        found: dict[str, Any] = {}
        if self.variation is not None:
            found["variation"] = self.variation
        if self.version is not None:
            found["version"] = self.version
        if self.reason is not None:
            found["reason"] = self.reason.to_dict()
        if self.track_events:
            found["trackEvents"] = True
        if self.is_experiment:
            found["trackReason"] = True
        if self.debug_events_until_date is not None:
            found["debugEventsUntilDate"] = self.debug_events_until_date
        if self.prerequisites:
            found["prerequisites"] = list(self.prerequisites)
        return found


def flags_state(
    snapshot: Snapshot,
    context: Context,
    *,
    client_side_only: bool = False,
    with_reasons: bool = False,
    details_only_for_tracked_flags: bool = False,
    now_ms: float,
    memberships: FindMembership | None = None,
) -> dict[str, FlagState]:
    """The state of each flag for a valid context, by key. A flag that fails has no value, and affects no other.

    ``client_side_only`` leaves out what front ends may not see. ``details_only_for_tracked_flags`` leaves out versions and
    reasons that no event will need, of flags that are neither tracked nor, at ``now_ms``, debugged. ``memberships`` finds what
    is known of big segments.
    """
    found: dict[str, FlagState] = {}
    options = _Options(with_reasons, details_only_for_tracked_flags, now_ms)
    direct_flags, scope, batch = snapshot.direct_flags, snapshot.scope, BulkEvaluation(snapshot, context, memberships)
    for key, flag in snapshot.flags.items():
        if client_side_only and not flag.is_client_visible:
            continue
        try:
            answer = direct_flags[key](context, scope)
        except Exception:  # noqa: BLE001  # what it is, snapshot.evaluate knows
            answer = None
        if answer is None or not answer.by_type:
            evaluation = batch.evaluate(key)
            prerequisites = direct_prerequisites(evaluation.prerequisites, key)
            found[key] = FlagState(evaluation.detail, flag, evaluation.is_experiment, options, prerequisites)
        elif answer.prerequisites:
            found[key] = FlagState(
                answer.detail, flag, answer.is_experiment, options, direct_prerequisites(answer.prerequisites, key)
            )
        else:
            found[key] = FlagState(answer.detail, flag, answer.is_experiment, options)
    return found


def given_states(
    snapshot: Snapshot,
    given: Mapping[str, EvaluationDetail[Any]],
    *,
    client_side_only: bool,
    with_reasons: bool,
    details_only_for_tracked_flags: bool,
    now_ms: float,
) -> dict[str, FlagState]:
    """The states of flags whose details come from elsewhere, whether there are such flags or not. Options as above."""
    options = _Options(with_reasons, details_only_for_tracked_flags, now_ms)
    return {
        key: FlagState(detail, snapshot.flags.get(key) or FlagDefinition(key=key), False, options)  # noqa: FBT003 -- no experiment
        for key, detail in given.items()
        if not client_side_only or key not in snapshot.flags or snapshot.flags[key].is_client_visible
    }


def flag_values(snapshot: Snapshot, context: Context, memberships: FindMembership | None = None) -> dict[str, Any]:
    """The value of each flag for a valid context, by key; ``None`` where there is none to serve."""
    found: dict[str, Any] = {}
    direct_flags, scope, batch = snapshot.direct_flags, snapshot.scope, BulkEvaluation(snapshot, context, memberships)
    for key in snapshot.flags:
        try:
            answer = direct_flags[key](context, scope)
        except Exception:  # noqa: BLE001  # what it is, snapshot.evaluate knows
            answer = None
        if answer is None or not answer.by_type:
            found[key] = batch.evaluate(key).detail.value
        else:
            found[key] = answer.value
    return found


def state_json(states: Mapping[str, FlagState], *, is_valid: bool = True) -> dict[str, Any]:
    """All states in the JSON form that LaunchDarkly's front-end SDKs start from, in containers of its own."""
    values = {key: fresh(state.value) for key, state in states.items()}
    meta = {key: state.meta() for key, state in states.items()}
    return {**values, "$flagsState": meta, "$valid": is_valid}
