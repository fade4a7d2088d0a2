"""Every decision about sources, each a pure function. Acting on a verdict is left to the roster and the supervisor.

Source: ``data-system.md`` 5.3 to 5.5 and 6.2; ``architecture.md`` 7.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING

from aioflags.model.change import ChangeKind
from aioflags.model.result import Basis, ErrorInfo, FailureKind, FallbackDirective, Result, SourceState, Update
from aioflags.protocol.failures import is_recoverable

if TYPE_CHECKING:
    from aioflags.supervisor.policy import Policy

__all__ = ["Verdict", "concluded", "expired", "is_ready", "is_refusal", "judge", "limits", "reported"]


class Verdict(StrEnum):
    """The supervisor's word on a source."""

    STAY = "STAY"
    """It goes on."""
    DONE = "DONE"
    """Initialization is complete: no other initializer runs."""
    NEXT = "NEXT"
    """The source after this one takes over; this one may have another turn."""
    RECOVER = "RECOVER"
    """Back to the first synchronizer; from FDv1, back to FDv2."""
    REMOVE = "REMOVE"
    """It does not run again, unless all of them start anew."""
    RETRY = "RETRY"
    """No source was left after refusals: all that were removed start again."""
    FDV1 = "FDV1"
    """The server orders us off FDv2."""


def judge(result: Result) -> Verdict:
    """What a result means for the source that yielded it. A directive outranks every other finding."""
    match result:
        case object(directive=FallbackDirective()):
            return Verdict.FDV1
        case Basis(change_set=data) if data.kind is not ChangeKind.NONE and data.selector.is_defined:
            return Verdict.DONE
        case Update(state=SourceState.OFF):
            return Verdict.REMOVE
        case _:
            return Verdict.STAY


def reported(result: Result, verdict: Verdict, *, applied: bool) -> SourceState | None:
    """The state of the data system that follows from a result; ``None`` if it changes none.

    One source's ``OFF`` is an interruption, since others may be left. An initializer's data make us ``VALID`` when they end
    the initializer phase: a directive ends it, too. ``applied``: the result brought data, and they were applied.
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


def is_ready(state: SourceState | None, *, sources_left: bool) -> bool:
    """Whether those who wait for data may go on, asked after each report: the data are there, or none are to come."""
    return state is SourceState.VALID or not sources_left


def concluded(verdict: Verdict, latched: FallbackDirective | None) -> Verdict:
    """What a tenure ends with. A directive that no result carried any more counts all the same."""
    return verdict if latched is None else Verdict.FDV1


def expired(state: SourceState, latched: FallbackDirective | None, *, fdv1: bool) -> Verdict:
    """What it means that a lease ran out: of a source in ``state``, or of the FDv1 fallback, whose lease is the directive's."""
    return Verdict.RECOVER if fdv1 else concluded(Verdict.RECOVER if state is SourceState.VALID else Verdict.NEXT, latched)


def limits(policy: Policy, *, alone: bool, primary: bool) -> Mapping[SourceState, float]:
    """For how many seconds a synchronizer may be in a state; for ever in those that are not named.

    One that is ``alone`` has nowhere to go. The ``primary`` has nothing better to go back to.
    """
    if alone:
        return {}
    bounds = {SourceState.INITIALIZING: policy.startup, SourceState.INTERRUPTED: policy.interruption}
    return bounds if primary else bounds | {SourceState.VALID: policy.recovery}
