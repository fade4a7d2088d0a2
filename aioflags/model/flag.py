"""Flag definitions as LaunchDarkly writes them, decoded straight from bytes.

Every property that the service may leave out or send as ``null`` has a default; ``null`` is kept as ``None`` where
telling it from the default would cost a conversion, and counts as the default wherever it is read.
Unknown properties are skipped. A property of another type is a ``msgspec.ValidationError``, and so is a target, a share or a
prerequisite that does not say which variation it means: there is no default that would not be somebody's mistake.

Source: ``evaluation.md`` 2.1.
"""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = [
    "Clause",
    "ClientSideAvailability",
    "FlagDefinition",
    "FlagRule",
    "MigrationSettings",
    "Prerequisite",
    "Rollout",
    "Target",
    "VariationOrRollout",
    "WeightedVariation",
]


class Clause(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """One test of a rule: does the attribute stand in this relation to any of the values?"""

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
    """Shares of the contexts for several variations; an ``experiment`` always buckets by key."""

    variations: tuple[WeightedVariation, ...] | None = ()
    kind: str | None = "rollout"
    context_kind: str | None = None
    bucket_by: str | None = None
    seed: int | None = None


class VariationOrRollout(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """What is served: one variation, or a rollout over several. If both are there the variation wins."""

    variation: int | None = None
    rollout: Rollout | None = None


class FlagRule(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """A rule matches when all its clauses do; without clauses it always does."""

    clauses: tuple[Clause, ...] | None = ()
    id: str | None = None
    variation: int | None = None
    rollout: Rollout | None = None
    track_events: bool | None = False


class Target(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """Context keys that get one variation, whatever the rules say."""

    variation: int
    values: tuple[str, ...] | None = ()
    context_kind: str | None = None


class Prerequisite(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """Another flag, and the variation it has to serve."""

    key: str
    variation: int


class ClientSideAvailability(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """Which client-side SDKs may see the flag."""

    using_mobile_key: bool | None = False
    using_environment_id: bool | None = False


class MigrationSettings(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """How often a migration's consistency is checked: one in ``check_ratio``."""

    check_ratio: int | None = None


class FlagDefinition(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """A flag as it was written."""

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
        """Whether front ends may see it: the newer object decides where it is present."""
        if self.client_side_availability is not None:
            return bool(self.client_side_availability.using_environment_id)
        return bool(self.client_side)
