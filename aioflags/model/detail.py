"""Results of evaluations: values, reasons, metadata, memberships in big segments, and flags that a server evaluated."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, ClassVar, Final, Generic, TypeAlias, TypeVar, final

import msgspec

from aioflags.model.values import plain_text
from aioflags.runtime.logs import printable
from aioflags.runtime.value_classes import PydanticSerializer, pydantic_schema, repr_of_set_fields

# -- Metadata of flags: what the maintainers of flags attach to a flag or to a set of flags, for example the team that owns
# it.


MetadataValue: TypeAlias = str | bool | int | float


@final
class FlagMetadata(Mapping[str, MetadataValue]):
    """Metadata by name. It cannot be changed, and it can be hashed, copied and pickled.

    Args:
        values: the values of its own. They hide values of ``base`` with the same name.
        base: the metadata of the flag set. It is shared and not copied, since a set may have thousands of flags.
    """

    __slots__ = ("base", "values_of_its_own")

    def __init__(self, values: Mapping[str, MetadataValue], base: FlagMetadata | None = None) -> None:
        self.values_of_its_own: dict[str, MetadataValue] = dict(values)
        self.base: FlagMetadata | None = base

    @classmethod
    def usable(cls, values: Mapping[str, object], base: FlagMetadata | None = None) -> FlagMetadata:
        """Those of ``values`` that are strings, booleans or numbers, which are all that metadata can have."""
        usable = {name: value for name, value in values.items() if isinstance(value, (str, bool, int, float))}
        if base is None or not base:
            return cls(usable)
        return cls(usable, base) if usable else base

    def __getitem__(self, name: str) -> MetadataValue:
        if self.base is None or name in self.values_of_its_own:
            return self.values_of_its_own[name]
        return self.base[name]

    def __iter__(self) -> Iterator[str]:
        if self.base is not None:
            yield from (name for name in self.base if name not in self.values_of_its_own)
        yield from self.values_of_its_own

    def __len__(self) -> int:
        return len(self.values_of_its_own) if self.base is None else sum(1 for _ in self)

    def __hash__(self) -> int:
        return hash(frozenset(self.items()))

    def __repr__(self) -> str:
        return repr(dict(self))

    __pydantic_serializer__: ClassVar[PydanticSerializer] = PydanticSerializer()

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: object, handler: Callable[[Any], Any]) -> dict[str, Any]:
        return pydantic_schema(cls, handler(dict[str, MetadataValue]), read=cls, write=dict)


NO_METADATA: Final = FlagMetadata({})


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


# -- Membership: which big segments contain a context, and how reliable that is.


@dataclass(frozen=True, slots=True)
class Membership:
    """The big-segment memberships of one context key.

    ``segments`` maps a segment with its generation (``beta-users.g2``) to true if it includes the key, false if it excludes it.
    Segments that do neither are missing.
    """

    segments: Mapping[str, bool]
    status: BigSegmentsStatus


# -- A flag that LaunchDarkly's service evaluated for one context: what client-side SDKs get in place of definitions.
# Source: ``client-side.md`` 2.1.


class FlagEvaluation(msgspec.Struct, frozen=True, gc=False, kw_only=True, eq=False, rename="camel", omit_defaults=True):
    """The result of a flag for one context. Properties that may be missing may also be ``null``.

    Args:
        value: the value; ``null`` serves the caller's default.
        key: the key of the flag. Payloads have it elsewhere.
        variation: the index of the variation; ``None`` if the service served a default.
        reason: the reason in LaunchDarkly's JSON, if the client asked for reasons.
        version: the version of the data.
        flag_version: the version of the flag, for events.
        track_events: each evaluation sends an event.
        track_reason: its events have the reason.
        debug_events_until_date: each evaluation sends a debug event until this time, in Unix milliseconds.
        prerequisites: the keys of the prerequisites that the service evaluated, in order.
        deleted: a mark that only a local copy has.
    """

    value: Any
    key: str = ""
    variation: int | None = None
    reason: dict[str, Any] | None = None
    version: int = 0
    flag_version: int | None = None
    track_events: bool | None = False
    track_reason: bool | None = False
    debug_events_until_date: int | float | None = None
    prerequisites: tuple[str, ...] | None = ()
    deleted: bool | None = False


# -- Flags that a server evaluated for one context.
# Source: ``flagd.md`` 7.1 and 9.


_UNKNOWN: Final = "UNKNOWN"
_REASONS: Final[Mapping[str, ReasonKind]] = {
    kind.value: kind
    for kind in (
        ReasonKind.STATIC,
        ReasonKind.TARGETING_MATCH,
        ReasonKind.SPLIT,
        ReasonKind.DEFAULT,
        ReasonKind.DISABLED,
        ReasonKind.CACHED,
    )
}
"""OpenFeature's words. LaunchDarkly's mean something else, so a server that sends one of them sends a word without a meaning."""


def read_reason(text: str | None) -> ReasonKind | str:
    """The reason that a server sends: a word of OpenFeature, another word, which is cut, or ``UNKNOWN`` without a word."""
    return _REASONS.get(text or "", printable(text or "") or _UNKNOWN)


class ResolvedFlag(msgspec.Struct, frozen=True, gc=False, kw_only=True, eq=False):
    """A flag that a server evaluated: its value for one context, or the error.

    Args:
        key: the key of the flag.
        value: the value, if ``has_value``.
        has_value: False: callers get their own default, with the server's ``reason``.
        variant: the name of the variant; ``None`` if the server did not name it.
        reason: the server's word for the reason, also one that OpenFeature does not list.
        metadata: what the server sent with the value.
        error: why there is no value. Then ``value`` and ``variant`` do not count.
        error_message: the error in the server's words.
        version: the server numbers no versions.
        deleted: present in the data, so not deleted.
    """

    key: str
    value: Any = None
    has_value: bool = True
    variant: str | None = None
    reason: ReasonKind | str = ReasonKind.STATIC
    metadata: FlagMetadata = NO_METADATA
    error: ErrorKind | None = None
    error_message: str | None = None
    version: int = 0
    deleted: bool = False

    @classmethod
    def failed(cls, key: str, error: ErrorKind, message: str | None, metadata: FlagMetadata = NO_METADATA) -> ResolvedFlag:
        """A flag that the server did not evaluate."""
        return cls(key=key, has_value=False, reason=ReasonKind.ERROR, metadata=metadata, error=error, error_message=message)
