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
    FDV1_POLL = "/sdk/latest-all"
    FDV1_STREAM = "/all"
    EVENTS = "/bulk"
    DIAGNOSTIC = "/diagnostic"

    @property
    def is_stream(self) -> bool:
        """Whether its responses are event streams."""
        return self in {Endpoint.STREAM, Endpoint.FDV1_STREAM}
