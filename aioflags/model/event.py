"""Analytics events as values, and how they are sampled.

Analytics events as values: made when something happens, written as JSON when they are sent.

Times are milliseconds of the wall clock. An event keeps the context of the program, with its private attributes. They are removed
when the event becomes JSON (:mod:`aioflags.protocol.redaction`).

Source: ``events.md`` 4 and 5.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from aioflags.model.context import Context
from aioflags.model.detail import OverrideMark, Reason

# -- Sampling of events by ratio.
# Source: ``events.md`` 9.


def is_drawn(ratio: int | None, chance: Callable[[], float]) -> bool:
    """Whether to keep this event: one in ``ratio`` is kept, all if ``ratio`` is ``None``, none if it is 0 or less.

    ``chance`` returns random numbers in [0, 1).
    """
    return ratio is None or ratio == 1 or (ratio > 1 and chance() * ratio < 1)


class IndexEvent(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """A context that is new in this period, with its attributes."""

    at_ms: int
    context: Context


class IdentifyEvent(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """A context that the program passed to ``identify``."""

    at_ms: int
    context: Context


class EvaluationEvent(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """One evaluation with all details.

    ``is_debug``: a debug event, shown live, with the whole context. Otherwise a feature event, for experiments and exports.
    ``value`` is the value that the caller got, ``default`` the default that it passed. Fields that do not apply are ``None``, and
    so is the default of a prerequisite.
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
    """An event that the program tracks. ``data`` and ``metric_value`` are JSON text: the program may change its objects later."""

    at_ms: int
    key: str
    context: Context
    data: msgspec.Raw | None = None
    metric_value: msgspec.Raw | None = None


class MigrationEvent(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """One read or write of a migration: the stage that the flag gave, and the measurements.

    ``operation`` is ``read`` or ``write``. ``invoked`` and ``failed`` list origins (``old``, ``new``); ``latency_ms`` has
    milliseconds by origin. ``is_consistent`` is ``None`` if the results were not compared, ``version`` if the flag is unknown.
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
"""All events that a payload lists before its summary."""


class StreamAttempt(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt to connect a stream, for diagnostics. ``took_ms``: until the first data was complete, or the attempt failed."""

    at_ms: int
    took_ms: int
    is_failed: bool


class Count(msgspec.Struct, frozen=True, eq=False):
    """How often one version of a flag served one variation. ``version`` is ``None`` for an unknown flag.

    ``mark``: the part of overrides; evaluations without it are counted separately.
    """

    count: int
    value: Any
    variation: int | None
    version: int | None
    mark: OverrideMark | None = None


class FlagCounts(msgspec.Struct, frozen=True, eq=False):
    """The counts of one flag since the last summary.

    ``default`` is the default of the first evaluation; ``context_kinds`` are the kinds of all contexts.
    """

    key: str
    default: Any
    context_kinds: Sequence[str]
    counts: Sequence[Count]
