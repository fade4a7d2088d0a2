"""What an evaluation answers: a value, which variation it is, and why."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar, final

from aioflags.runtime.reprs import repr_of_set_fields

__all__ = ["BigSegmentsStatus", "ErrorKind", "EvaluationDetail", "Reason", "ReasonKind"]

T_co = TypeVar("T_co", covariant=True)


class ReasonKind(StrEnum):
    """Which step of the evaluation decided. The words are LaunchDarkly's, but for the last: no data lead to ``OVERRIDE``."""

    OFF = "OFF"
    FALLTHROUGH = "FALLTHROUGH"
    TARGET_MATCH = "TARGET_MATCH"
    RULE_MATCH = "RULE_MATCH"
    PREREQUISITE_FAILED = "PREREQUISITE_FAILED"
    ERROR = "ERROR"
    OVERRIDE = "OVERRIDE"
    """Nothing was evaluated: a test said what the value is."""


class ErrorKind(StrEnum):
    """Why an evaluation could not be made, and the default was served."""

    CLIENT_NOT_READY = "CLIENT_NOT_READY"
    FLAG_NOT_FOUND = "FLAG_NOT_FOUND"
    USER_NOT_SPECIFIED = "USER_NOT_SPECIFIED"
    MALFORMED_FLAG = "MALFORMED_FLAG"
    WRONG_TYPE = "WRONG_TYPE"
    EXCEPTION = "EXCEPTION"


class BigSegmentsStatus(StrEnum):
    """How far big-segment memberships could be trusted in an evaluation, best first."""

    HEALTHY = "HEALTHY"
    STALE = "STALE"
    STORE_ERROR = "STORE_ERROR"
    NOT_CONFIGURED = "NOT_CONFIGURED"


@final  # as ErrorInfo is: a value that may be None is tested by `reason and reason.kind`
@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why a flag had its value. What does not apply is ``None``."""

    kind: ReasonKind
    rule_index: int | None = None
    rule_id: str | None = None
    prerequisite_key: str | None = None
    in_experiment: bool = False
    error_kind: ErrorKind | None = None
    big_segments_status: BigSegmentsStatus | None = None

    def to_dict(self) -> dict[str, object]:
        """The reason as LaunchDarkly's JSON writes it, without what does not apply."""
        found: dict[str, object] = {
            "kind": self.kind.value,
            "ruleIndex": self.rule_index,
            "ruleId": self.rule_id,
            "prerequisiteKey": self.prerequisite_key,
            "inExperiment": self.in_experiment or None,
            "errorKind": self.error_kind and self.error_kind.value,
            "bigSegmentsStatus": self.big_segments_status and self.big_segments_status.value,
        }
        return {name: value for name, value in found.items() if value is not None}

    def __repr__(self) -> str:
        return repr_of_set_fields(self)


@dataclass(frozen=True, slots=True)
class EvaluationDetail(Generic[T_co]):
    """The answer of an evaluation.

    ``variation_index`` is ``None`` when the default was served, whatever the reason; an override has none either.
    """

    value: T_co
    variation_index: int | None
    reason: Reason

    @property
    def is_default(self) -> bool:
        """Whether ``value`` is the default that was asked with."""
        return self.variation_index is None and self.reason.kind is not ReasonKind.OVERRIDE

    def __repr__(self) -> str:
        return repr_of_set_fields(self)
