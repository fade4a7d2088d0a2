"""A flag that LaunchDarkly's service evaluated for one context: what client-side SDKs get in place of definitions.

Source: ``client-side.md`` 2.1.
"""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = ["FlagEvaluation"]


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
