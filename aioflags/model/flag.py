"""Flag definitions in LaunchDarkly's JSON format, decoded from bytes.

Every property that the service may omit or send as ``null`` has a default. ``null`` becomes ``None``, and readers treat ``None``
as the default; to convert it while decoding would cost time. Unknown properties are skipped. Decoding raises
``msgspec.ValidationError`` for a property of a wrong type, and for a target, a weighted variation or a prerequisite without
``variation``, which has no sensible default.

Source: ``evaluation.md`` 2.1.
"""

from __future__ import annotations

from typing import Any

import msgspec


class Clause(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """One condition of a rule. It matches if the operator holds between the attribute and any of the values."""

    op: str = ""
    attribute: str | None = ""
    values: tuple[Any, ...] | None = ()
    context_kind: str | None = None
    negate: bool | None = False


class WeightedVariation(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """A variation and its share of a rollout, in thousandths of a percent."""

    variation: int
    weight: int
    untracked: bool | None = False


class Rollout(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """A percentage rollout over several variations. The kind ``experiment`` always buckets by key."""

    variations: tuple[WeightedVariation, ...] | None = ()
    kind: str | None = "rollout"
    context_kind: str | None = None
    bucket_by: str | None = None
    seed: int | None = None


class VariationOrRollout(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """The variation to serve, or a rollout over several. If both are present, the variation counts."""

    variation: int | None = None
    rollout: Rollout | None = None


class FlagRule(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """A rule matches if all its clauses match. A rule without clauses always matches."""

    clauses: tuple[Clause, ...] | None = ()
    id: str | None = None
    variation: int | None = None
    rollout: Rollout | None = None
    track_events: bool | None = False


class Target(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """Context keys that get one variation, before any rule is evaluated."""

    variation: int
    values: tuple[str, ...] | None = ()
    context_kind: str | None = None


class Prerequisite(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """Another flag, and the variation that it must serve."""

    key: str
    variation: int


class ClientSideAvailability(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """Which client-side SDKs may see the flag."""

    using_mobile_key: bool | None = False
    using_environment_id: bool | None = False


class MigrationSettings(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """How often the consistency of a migration is checked: one operation in ``check_ratio``."""

    check_ratio: int | None = None


class FlagDefinition(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """A flag as the service defines it."""

    key: str = ""
    version: int = 0
    deleted: bool | None = False
    on: bool | None = False
    variations: tuple[Any, ...] | None = ()
    off_variation: int | None = None
    fallthrough: VariationOrRollout | None = None
    prerequisites: tuple[Prerequisite, ...] | None = ()
    targets: tuple[Target, ...] | None = ()
    context_targets: tuple[Target, ...] | None = ()
    rules: tuple[FlagRule, ...] | None = ()
    salt: str | None = ""
    track_events: bool | None = False
    track_events_fallthrough: bool | None = False
    debug_events_until_date: int | float | None = None
    client_side: bool | None = False
    client_side_availability: ClientSideAvailability | None = None
    migration: MigrationSettings | None = None
    sampling_ratio: int | None = None
    exclude_from_summaries: bool | None = False

    @property
    def is_client_visible(self) -> bool:
        """Whether JavaScript SDKs may see the flag. ``client_side_availability`` counts if present, otherwise ``client_side``."""
        if self.client_side_availability is not None:
            return bool(self.client_side_availability.using_environment_id)
        return bool(self.client_side)

    @property
    def is_mobile_visible(self) -> bool:
        """Whether SDKs with a mobile key may see the flag. Without ``client_side_availability`` they may."""
        return self.client_side_availability is None or bool(self.client_side_availability.using_mobile_key)
