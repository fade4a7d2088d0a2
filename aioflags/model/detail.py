"""The result of an evaluation: a value, the index of its variation, and the reason."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, Generic, TypeVar, final

from aioflags.model.metadata import NO_METADATA, FlagMetadata
from aioflags.model.values import plain_text
from aioflags.runtime.reprs import repr_of_set_fields

__all__ = ["NO_REASON", "BigSegmentsStatus", "ErrorKind", "EvaluationDetail", "OverrideMark", "Reason", "ReasonKind"]

T_co = TypeVar("T_co", covariant=True)


class ReasonKind(StrEnum):
    """The step of the evaluation that decided. LaunchDarkly's names come first, then those that OpenFeature adds for flagd."""

    OFF = "OFF"
    FALLTHROUGH = "FALLTHROUGH"
    TARGET_MATCH = "TARGET_MATCH"
    RULE_MATCH = "RULE_MATCH"
    PREREQUISITE_FAILED = "PREREQUISITE_FAILED"
    ERROR = "ERROR"
    OVERRIDE = "OVERRIDE"
    """A test set the value; the flag was not evaluated."""
    STATIC = "STATIC"
    """The flag has no targeting rule."""
    TARGETING_MATCH = "TARGETING_MATCH"
    SPLIT = "SPLIT"
    DEFAULT = "DEFAULT"
    """The targeting rule chose no variant, or the flag has no default variant."""
    DISABLED = "DISABLED"
    CACHED = "CACHED"
    """A server evaluated the flag before, and its answer was kept."""


class ErrorKind(StrEnum):
    """Why an evaluation failed and the default was served. LaunchDarkly's names come first, then OpenFeature's.

    ``FLAG_NOT_FOUND`` belongs to both.
    """

    CLIENT_NOT_READY = "CLIENT_NOT_READY"
    FLAG_NOT_FOUND = "FLAG_NOT_FOUND"
    USER_NOT_SPECIFIED = "USER_NOT_SPECIFIED"
    MALFORMED_FLAG = "MALFORMED_FLAG"
    WRONG_TYPE = "WRONG_TYPE"
    EXCEPTION = "EXCEPTION"
    PROVIDER_NOT_READY = "PROVIDER_NOT_READY"
    PROVIDER_FATAL = "PROVIDER_FATAL"
    TYPE_MISMATCH = "TYPE_MISMATCH"
    PARSE_ERROR = "PARSE_ERROR"
    INVALID_CONTEXT = "INVALID_CONTEXT"
    TARGETING_KEY_MISSING = "TARGETING_KEY_MISSING"
    GENERAL = "GENERAL"


class BigSegmentsStatus(StrEnum):
    """How reliable big-segment memberships were in an evaluation, best first."""

    HEALTHY = "HEALTHY"
    STALE = "STALE"
    STORE_ERROR = "STORE_ERROR"
    NOT_CONFIGURED = "NOT_CONFIGURED"


@final  # as ErrorInfo: for type checkers, `reason and reason.kind` is a kind or None
@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why a flag had its value. Fields that do not apply are ``None``.

    ``kind`` is a plain string if a flagd server sent a word that is not in :class:`ReasonKind`.

    ``is_override``: the definition of the flag is a local override. ``override_affected``: the flag, one of its prerequisites, or a
    segment that was read is overridden.
    """

    kind: ReasonKind | str
    rule_index: int | None = None
    rule_id: str | None = None
    prerequisite_key: str | None = None
    in_experiment: bool = False
    error_kind: ErrorKind | None = None
    big_segments_status: BigSegmentsStatus | None = None
    is_override: bool = False
    override_affected: bool = False

    @property
    def override_mark(self) -> OverrideMark | None:
        """The part of overrides in the evaluation; ``None`` if it read none."""
        if not self.override_affected:
            return None
        return OverrideMark.OVERRIDE if self.is_override else OverrideMark.AFFECTED

    def marked(self, *, is_override: bool) -> Reason:
        """The reason with the marks of an override that was read. ``is_override``: the flag itself is overridden."""
        return replace(self, is_override=is_override or self.is_override, override_affected=True)

    def to_dict(self) -> dict[str, object]:
        """The reason in LaunchDarkly's JSON format, without the fields that do not apply."""
        fields: dict[str, object] = {
            "kind": plain_text(self.kind),
            "ruleIndex": self.rule_index,
            "ruleId": self.rule_id,
            "prerequisiteKey": self.prerequisite_key,
            "inExperiment": self.in_experiment or None,
            "errorKind": self.error_kind and self.error_kind.value,
            "bigSegmentsStatus": self.big_segments_status and self.big_segments_status.value,
            "isOverride": self.is_override or None,
            "overrideAffected": self.override_affected or None,
        }
        return {name: value for name, value in fields.items() if value is not None}

    def __getitem__(self, name: str) -> object:
        """A field of :meth:`to_dict`. In LaunchDarkly's SDK a reason is this dictionary."""
        return self.to_dict()[name]

    def __iter__(self) -> Iterator[str]:
        """The names of the fields of :meth:`to_dict`, as in LaunchDarkly's SDK. ``in`` uses it."""
        return iter(self.to_dict())

    def get(self, name: str, default: object = None) -> object:
        """A field of :meth:`to_dict`, as in LaunchDarkly's SDK; ``default`` if it does not apply."""
        return self.to_dict().get(name, default)

    def __repr__(self) -> str:
        return repr_of_set_fields(self)


class OverrideMark(StrEnum):
    """The part of overrides in an evaluation, in the words of summary events."""

    OVERRIDE = "override"
    """The flag is overridden."""
    AFFECTED = "overrideAffected"
    """A prerequisite is overridden, or a segment that was read."""


NO_REASON: Final = Reason(kind="UNKNOWN")
"""The reason of a flag that a service evaluated and sent without its reason. Events do not have it."""


@dataclass(frozen=True, slots=True)
class EvaluationDetail(Generic[T_co]):
    """The result of an evaluation.

    ``variation_index`` is ``None`` when the default was served because of an error, or because the flag has no variation for the
    context; for an override; and for flags of flagd, whose variations have names instead: ``variant``.

    Args:
        variant: the name of the variant.
        metadata: what the maintainers of the flag and of its flag set attached to them.
        error_message: the error in words; ``None`` without an error, or if its kind says everything.
        is_unnamed: a server sent the value and did not name its variant.
        is_null: a server sent null for this variation, so that the default was served.
    """

    value: T_co
    variation_index: int | None
    reason: Reason
    variant: str | None = None
    metadata: FlagMetadata = NO_METADATA
    error_message: str | None = None
    is_unnamed: bool = False
    is_null: bool = False

    @property
    def is_default(self) -> bool:
        """Whether ``value`` is the default that the caller passed."""
        if self.is_null:
            return True
        if self.variation_index is not None or self.variant is not None or self.is_unnamed:
            return False
        return self.reason.kind is not ReasonKind.OVERRIDE

    def is_default_value(self) -> bool:
        """The property :attr:`is_default` under its name in LaunchDarkly's SDK, where it is a method."""
        return self.is_default

    def __repr__(self) -> str:
        return repr_of_set_fields(self)
