"""Every decision about sources, each a pure function. :class:`Rotation` and the supervisor act on the verdicts.

Source: ``data-system.md`` 5.3 to 5.5 and 6.2; ``architecture.md`` 7.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING

from aioflags.model.change import Basis, ChangeKind, FallbackDirective, Result, Update
from aioflags.model.status import ErrorInfo, FailureKind, SourceState
from aioflags.protocol.failures import is_recoverable

if TYPE_CHECKING:
    from aioflags.supervisor.policy import Policy


class Verdict(StrEnum):
    """The decision about the source that runs now."""

    STAY = "STAY"
    """It goes on."""
    DONE = "DONE"
    """Initialization is complete: no other initializer runs."""
    NEXT = "NEXT"
    """The next source takes over. This one may run again."""
    RECOVER = "RECOVER"
    """Back to the first synchronizer; from FDv1, back to FDv2."""
    REMOVE = "REMOVE"
    """It does not run again, unless all sources start again."""
    RETRY = "RETRY"
    """No source was left after refusals: all that were removed start again."""
    FDV1 = "FDV1"
    """The server directs the client off FDv2."""


def judge(result: Result) -> Verdict:
    """The verdict on the source that yielded a result. A directive outranks everything else in the result."""
    match result:
        case object(directive=FallbackDirective()):
            return Verdict.FDV1
        case Basis(change_set=data) if data.kind is not ChangeKind.NONE and data.selector.is_defined:
            return Verdict.DONE
        case Update(state=SourceState.OFF):
            return Verdict.REMOVE
        case _:
            return Verdict.STAY


def state_after(result: Result, verdict: Verdict, *, applied: bool) -> SourceState | None:
    """The state of the data system after a result; ``None`` if the result does not change it.

    ``OFF`` of one source is an interruption, since other sources may be left. Data of an initializer lead to ``VALID`` if they end
    the initializer phase; a directive ends that phase too. ``applied``: the result had data, and they were applied.
    """
    match result:
        case Update(state=SourceState.VALID):
            return SourceState.VALID
        case Basis():
            return SourceState.VALID if applied and verdict in {Verdict.DONE, Verdict.FDV1} else None
        case _:
            return SourceState.INTERRUPTED


def is_refusal(error: ErrorInfo | None) -> bool:
    """Whether the service refused the request itself, as with 401 or 404. The same request may succeed much later."""
    return error is not None and error.kind is FailureKind.ERROR_RESPONSE and not is_recoverable(error.status_code)


def is_rejection(error: ErrorInfo | None) -> bool:
    """Whether a payload arrived and was rejected: it cannot be read, or is larger than the limit."""
    return error is not None and error.kind is FailureKind.INVALID_DATA


def is_ready(state: SourceState | None, *, sources_left: bool) -> bool:
    """Whether tasks that wait for data may go on after a report: there are data, or none will come."""
    return state is SourceState.VALID or not sources_left


def final_verdict(verdict: Verdict, directive: FallbackDirective | None) -> Verdict:
    """The verdict at the end of a run. ``directive``: one that the source received, whether or not a result carried it."""
    return verdict if directive is None else Verdict.FDV1


def judge_expiry(state: SourceState, directive: FallbackDirective | None, *, is_over: bool) -> Verdict:
    """The verdict on a source in ``state`` whose timer expired. ``is_over``: the time for the whole run is over.

    That time is the directive's for the FDv1 fallback, and the policy's for other sources.
    """
    return final_verdict(Verdict.RECOVER if is_over or state is SourceState.VALID else Verdict.NEXT, directive)


def limits(policy: Policy, *, alone: bool, primary: bool) -> Mapping[SourceState, float]:
    """For how many seconds a synchronizer may stay in a state. States that are not listed have no limit.

    If the source is ``alone``, there is no other source to change to. If it is ``primary``, there is no better one to return to.
    """
    if alone:
        return {}
    bounds = {SourceState.INITIALIZING: policy.startup, SourceState.INTERRUPTED: policy.interruption}
    return bounds if primary or policy.recovery_counts_run else bounds | {SourceState.VALID: policy.recovery}


def longest_run(policy: Policy, *, alone: bool, primary: bool) -> float:
    """For how many seconds a synchronizer may run, whatever its state. ``alone`` and ``primary`` as in :func:`limits`."""
    return policy.recovery if policy.recovery_counts_run and not (alone or primary) else math.inf
