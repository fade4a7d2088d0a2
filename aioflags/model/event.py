"""What happened, as analytics are told of it: one value for each thing, made when it happens and shaped when it is sent.

Times are milliseconds of the wall clock. A context is kept as it was given; what of it may not leave the process is removed
when the event is shaped (:mod:`aioflags.protocol.redaction`).

Source: ``events.md`` 4 and 5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from aioflags.model.context import Context
from aioflags.model.detail import Reason

__all__ = [
    "AnalyticsEvent",
    "Count",
    "CustomEvent",
    "EvaluationEvent",
    "FlagCounts",
    "IdentifyEvent",
    "IndexEvent",
    "MigrationEvent",
    "StreamAttempt",
]


class IndexEvent(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """A context that was not seen before, with its attributes."""

    at_ms: int
    context: Context


class IdentifyEvent(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """A context that the program told about itself."""

    at_ms: int
    context: Context


class EvaluationEvent(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """One evaluation in full. ``is_debug``: for people who watch, with the whole context; else for experiments and exports.

    ``value`` is what the caller got, ``default`` what the call came with. What does not apply is ``None``, and so is the
    default of a prerequisite.
    """

    at_ms: int
    key: str
    context: Context
    value: Any
    default: Any
    version: int
    variation: int | None
    reason: Reason | None = None
    prerequisite_of: str | None = None
    sampling_ratio: int | None = None
    is_debug: bool = False


class CustomEvent(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """What a program tracks. ``data`` and ``metric_value`` are JSON already: the caller may change what they were made from."""

    at_ms: int
    key: str
    context: Context
    data: msgspec.Raw | None = None
    metric_value: msgspec.Raw | None = None


class MigrationEvent(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """One read or write of a migration: which stage the flag said, and what was measured.

    ``operation`` is ``read`` or ``write``; ``invoked`` and ``failed`` name origins, ``old`` and ``new``, ``latency_ms`` has
    milliseconds by origin. ``is_consistent`` is ``None`` where nothing was compared, ``version`` where there is no such flag.
    """

    at_ms: int
    operation: str
    key: str
    context: Context
    value: str
    default: str
    reason: Reason
    variation: int | None = None
    version: int | None = None
    sampling_ratio: int | None = None
    invoked: Sequence[str] = ()
    is_consistent: bool | None = None
    check_ratio: int | None = None
    latency_ms: Mapping[str, float] = {}
    failed: Sequence[str] = ()


AnalyticsEvent: TypeAlias = IndexEvent | IdentifyEvent | EvaluationEvent | CustomEvent | MigrationEvent
"""Whatever stands in a payload before its summary."""


class StreamAttempt(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt to establish a stream, for diagnostics: how long it took until the first data were complete, or it failed."""

    at_ms: int
    took_ms: int
    is_failed: bool


class Count(msgspec.Struct, frozen=True, eq=False):
    """How often one version of a flag served one variation. ``version`` is ``None`` for a flag that does not exist."""

    count: int
    value: Any
    variation: int | None
    version: int | None


class FlagCounts(msgspec.Struct, frozen=True, eq=False):
    """The counts of one flag since they were last sent.

    ``default`` is that of the first evaluation, ``context_kinds`` are those of all contexts.
    """

    key: str
    default: Any
    context_kinds: Sequence[str]
    counts: Sequence[Count]
