"""The endpoints for SDKs: the paths of LaunchDarkly's services, of OFREP, and the methods of flagd's gRPC services.

Source: ``data-system.md`` 1.1; ``flagd.md`` 2 and 9.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

__all__ = ["FLAGD_ENDPOINTS", "GRPC_ENDPOINTS", "LAUNCHDARKLY_ENDPOINTS", "Endpoint"]


class Endpoint(StrEnum):
    """An endpoint: its path, or the name of its gRPC method. ``Resolve`` is each method that evaluates one flag."""

    POLL = "/sdk/poll"
    STREAM = "/sdk/stream"
    FDV1_POLL = "/sdk/latest-all"
    FDV1_STREAM = "/all"
    EVENTS = "/bulk"
    DIAGNOSTIC = "/diagnostic"
    OFREP = "/ofrep/v1/evaluate/flags"
    SYNC_FLAGS = "SyncFlags"
    FETCH_ALL_FLAGS = "FetchAllFlags"
    GET_METADATA = "GetMetadata"
    EVENT_STREAM = "EventStream"
    RESOLVE = "Resolve"
    RESOLVE_ALL = "ResolveAll"

    @property
    def is_stream(self) -> bool:
        """Whether its responses are streams."""
        return self in {Endpoint.STREAM, Endpoint.FDV1_STREAM, Endpoint.SYNC_FLAGS, Endpoint.EVENT_STREAM}


GRPC_ENDPOINTS: Final = frozenset(
    {
        Endpoint.SYNC_FLAGS,
        Endpoint.FETCH_ALL_FLAGS,
        Endpoint.GET_METADATA,
        Endpoint.EVENT_STREAM,
        Endpoint.RESOLVE,
        Endpoint.RESOLVE_ALL,
    }
)
FLAGD_ENDPOINTS: Final = GRPC_ENDPOINTS | {Endpoint.OFREP}
LAUNCHDARKLY_ENDPOINTS: Final = frozenset(Endpoint) - FLAGD_ENDPOINTS
