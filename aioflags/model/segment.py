"""Segment definitions in LaunchDarkly's JSON format, decoded by the same rules as flags (``flag.py``).

Source: ``evaluation.md`` 2.2.
"""

from __future__ import annotations

import msgspec

from aioflags.model.flag import Clause

__all__ = ["SegmentDefinition", "SegmentRule", "SegmentTarget"]


class SegmentTarget(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """Context keys of one kind, included or excluded."""

    values: tuple[str, ...] | None = ()
    context_kind: str | None = None


class SegmentRule(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """Clauses that must all match. ``weight``: the share of matching contexts to include, in thousandths of a percent."""

    clauses: tuple[Clause, ...] | None = ()
    id: str | None = None
    weight: int | None = None
    bucket_by: str | None = None
    rollout_context_kind: str | None = None


class SegmentDefinition(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """A segment as the service defines it. An unbounded segment is a big segment: a separate store has its keys."""

    key: str = ""
    version: int = 0
    deleted: bool | None = False
    included: tuple[str, ...] | None = ()
    excluded: tuple[str, ...] | None = ()
    included_contexts: tuple[SegmentTarget, ...] | None = ()
    excluded_contexts: tuple[SegmentTarget, ...] | None = ()
    rules: tuple[SegmentRule, ...] | None = ()
    salt: str | None = ""
    unbounded: bool | None = False
    unbounded_context_kind: str | None = None
    generation: int | None = None
