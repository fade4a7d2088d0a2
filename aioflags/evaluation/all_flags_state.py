"""All flags for one context: evaluated together, as the state that a server sends to a front end.

Source: ``evaluation.md`` 6.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from aioflags.evaluation.answers import direct_prerequisites
from aioflags.evaluation.items import Evaluation
from aioflags.evaluation.operators import prerequisites_first
from aioflags.evaluation.scope import FindMembership
from aioflags.model.detail import EvaluationDetail, Reason
from aioflags.model.flag import FlagDefinition
from aioflags.runtime.cooperative import Cooperative, sliced

if TYPE_CHECKING:
    from aioflags.evaluation.snapshot import Snapshot
    from aioflags.model.context import Context


# -- BulkEvaluation: evaluates many flags for one context. Each prerequisite and each segment is evaluated once for all of
# them.


class BulkEvaluation:
    """Evaluates flags of one snapshot for one valid context.

    Prerequisites are evaluated before the flags that have them. So paths stay short, and a chain that is too long is detected after
    one step instead of a hundred.
    """

    __slots__ = ("_context", "_done", "_scope", "_seen", "_snapshot")

    def __init__(self, snapshot: Snapshot, context: Context, memberships: FindMembership | None = None) -> None:
        self._snapshot = snapshot
        self._context = context
        self._scope = snapshot.new_scope(memberships)
        self._seen: set[str] = set()
        self._done: dict[str, Evaluation] = {}

    def evaluate(self, key: str) -> Evaluation:
        """The result of :meth:`Snapshot.evaluate` for the default ``None``. Call it once for each key."""
        snapshot = self._snapshot
        for needed in prerequisites_first(snapshot.flags, (key,), self._seen, snapshot.dialect.prerequisites):
            self._done[needed] = snapshot.evaluate(needed, self._context, None, scope=self._scope)
        return self._done.pop(key)


_FLAGS_PER_SLICE: Final = 200


class _Options(msgspec.Struct, frozen=True, gc=False):
    """The options of the caller."""

    with_reasons: bool
    details_only_for_tracked_flags: bool
    now_ms: float


class FlagState(msgspec.Struct, frozen=True, eq=False, gc=False):
    """One flag's value for the context, and the fields that a front end needs to report evaluations. Unused fields are ``None``.

    After an override front ends send no events, as this client does not, so the state has none of the fields for them.
    """

    detail: EvaluationDetail[Any]
    flag: FlagDefinition
    is_experiment: bool
    options: _Options
    prerequisites: tuple[str, ...] = ()
    """Keys of the flag's own prerequisites that were evaluated, in order."""

    @property
    def value(self) -> Any:
        """The flag's value; ``None`` also if it has no value for the context."""
        return self.detail.value

    @property
    def variation(self) -> int | None:
        """The index of the variation."""
        return self.detail.variation_index

    @property
    def has_details(self) -> bool:
        """Whether version and reason are included. They can be left out if no event needs them."""
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
        """The reason for the value."""
        return self.detail.reason if (self.options.with_reasons or self.tracks_reason) and self.has_details else None

    @property
    def track_events(self) -> bool:
        """Whether each evaluation sends an event."""
        return (self.is_experiment or bool(self.flag.track_events)) and not self.detail.reason.override_affected

    @property
    def tracks_reason(self) -> bool:
        """Whether the events need the reason."""
        return self.is_experiment and not self.detail.reason.override_affected

    @property
    def debug_events_until_date(self) -> float | None:
        """Until when each evaluation sends a debug event, in Unix milliseconds."""
        return None if self.detail.reason.override_affected else self.flag.debug_events_until_date

    def meta(self) -> dict[str, Any]:
        """All fields except the value, as LaunchDarkly's JSON."""
        fields: dict[str, Any] = {}
        if self.variation is not None:
            fields["variation"] = self.variation
        if self.version is not None:
            fields["version"] = self.version
        if self.reason is not None:
            fields["reason"] = self.reason.to_dict()
        if self.track_events:
            fields["trackEvents"] = True
        if self.tracks_reason:
            fields["trackReason"] = True
        if self.debug_events_until_date is not None:
            fields["debugEventsUntilDate"] = self.debug_events_until_date
        if self.prerequisites:
            fields["prerequisites"] = list(self.prerequisites)
        return fields


def flags_state(
    snapshot: Snapshot,
    context: Context,
    *,
    keys: Iterable[str] | None = None,
    client_side_only: bool = False,
    with_reasons: bool = False,
    details_only_for_tracked_flags: bool = False,
    now_ms: float,
    memberships: FindMembership | None = None,
) -> Cooperative[dict[str, FlagState]]:
    """The state of each flag for a valid context, by key, with a pause after every 200 flags.

    A flag that fails has no value and does not affect the others.

    Args:
        snapshot: the flag data.
        context: the context, which must be valid.
        keys: the flags, each once; unknown ones are left out. ``None``: all of them.
        client_side_only: leave out flags that front ends may not see.
        with_reasons: include the reason of each value.
        details_only_for_tracked_flags: leave out version and reason of flags that are neither tracked nor, at ``now_ms``, debugged.
        now_ms: the current time in Unix milliseconds.
        memberships: looks up big-segment memberships.
    """
    states: dict[str, FlagState] = {}
    options = _Options(with_reasons, details_only_for_tracked_flags, now_ms)
    direct_flags, scope, bulk = snapshot.direct_flags, snapshot.scope, BulkEvaluation(snapshot, context, memberships)
    flags = snapshot.flags
    items = flags.items() if keys is None else [(key, flags[key]) for key in keys if key in flags]
    for number, batch in enumerate(sliced(items, _FLAGS_PER_SLICE)):
        if number:
            yield
        for key, flag in batch:
            if client_side_only and not flag.is_client_visible:
                continue
            try:
                answer = direct_flags[key](context, scope)
            except Exception:  # noqa: BLE001  # snapshot.evaluate handles the cause
                answer = None
            if answer is None or not answer.by_type:
                evaluation = bulk.evaluate(key)
                prerequisites = direct_prerequisites(evaluation.prerequisites, key)
                states[key] = FlagState(evaluation.detail, flag, evaluation.is_experiment, options, prerequisites)
            elif answer.prerequisites:
                states[key] = FlagState(
                    answer.detail, flag, answer.is_experiment, options, direct_prerequisites(answer.prerequisites, key)
                )
            else:
                states[key] = FlagState(answer.detail, flag, answer.is_experiment, options)
    return states


def given_states(
    snapshot: Snapshot,
    given: Mapping[str, EvaluationDetail[Any]],
    *,
    client_side_only: bool,
    with_reasons: bool,
    details_only_for_tracked_flags: bool,
    now_ms: float,
) -> dict[str, FlagState]:
    """The states of flags with given details, for example overrides; also of unknown flags. Options as in :func:`flags_state`."""
    options = _Options(with_reasons, details_only_for_tracked_flags, now_ms)
    return {
        key: FlagState(detail, snapshot.flags.get(key) or FlagDefinition(key=key), False, options)  # noqa: FBT003 -- no experiment
        for key, detail in given.items()
        if not client_side_only or key not in snapshot.flags or snapshot.flags[key].is_client_visible
    }


def flag_values(snapshot: Snapshot, context: Context, memberships: FindMembership | None = None) -> dict[str, Any]:
    """The value of each flag for a valid context, by key; ``None`` for a flag without a value."""
    values: dict[str, Any] = {}
    direct_flags, scope, batch = snapshot.direct_flags, snapshot.scope, BulkEvaluation(snapshot, context, memberships)
    for key in snapshot.flags:
        try:
            answer = direct_flags[key](context, scope)
        except Exception:  # noqa: BLE001  # snapshot.evaluate handles the cause
            answer = None
        if answer is None or not answer.by_type:
            values[key] = batch.evaluate(key).detail.value
        else:
            values[key] = answer.value
    return values
