"""EventPolicy: what differs between the events of server-side and client-side SDKs.

Source: ``events.md`` 2 to 7; ``client-side.md`` 1.2 and 6.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from aioflags.protocol.requests import endpoint

__all__ = ["MOBILE_EVENTS", "SERVER_EVENTS", "EventPolicy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventPolicy:
    """The rules for the events of one kind of SDK.

    Args:
        events_path: the path of the endpoint for analytics events, below the base URI.
        diagnostic_path: the path of the endpoint for diagnostic events.
        has_index_events: each new context is described once, by an index event. Otherwise the summary of a context describes it.
        has_context_summaries: each context has a summary of its own. Otherwise one summary counts all contexts.
        tracks_experiments: an evaluation that is part of an experiment has a feature event, even if its flag is not tracked.
            Otherwise the experiment only adds the reason to the events of a tracked flag.
        shows_anonymous_in_custom: custom events have the attributes of anonymous contexts. Feature events never have them.
    """

    events_path: str
    diagnostic_path: str
    has_index_events: bool
    has_context_summaries: bool
    tracks_experiments: bool
    shows_anonymous_in_custom: bool

    def events_url(self, base: str) -> str:
        """The endpoint for analytics events."""
        return endpoint(base, self.events_path, {})

    def diagnostic_url(self, base: str) -> str:
        """The endpoint for diagnostic events."""
        return endpoint(base, self.diagnostic_path, {})


SERVER_EVENTS: Final = EventPolicy(
    events_path="/bulk",
    diagnostic_path="/diagnostic",
    has_index_events=True,
    has_context_summaries=False,
    tracks_experiments=True,
    shows_anonymous_in_custom=False,
)
MOBILE_EVENTS: Final = EventPolicy(
    events_path="/mobile/events/bulk",
    diagnostic_path="/mobile/events/diagnostic",
    has_index_events=False,
    has_context_summaries=True,
    tracks_experiments=False,
    shows_anonymous_in_custom=True,
)
