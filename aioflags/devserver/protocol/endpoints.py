"""The endpoints for SDKs: the paths of LaunchDarkly's services.

Source: ``data-system.md`` 1.1.
"""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Endpoint"]


class Endpoint(StrEnum):
    """An endpoint, by its path."""

    POLL = "/sdk/poll"
    STREAM = "/sdk/stream"
    LATEST_ALL = "/sdk/latest-all"
    ALL = "/all"
    EVENTS = "/bulk"
    DIAGNOSTIC = "/diagnostic"

    @property
    def is_stream(self) -> bool:
        """Whether its responses are event streams."""
        return self in {Endpoint.STREAM, Endpoint.ALL}
