"""The endpoints for SDKs: the paths of LaunchDarkly's services, of OFREP, and the methods of flagd's gRPC services.

Source: ``data-system.md`` 1.1; ``client-side.md`` 1.2; ``flagd.md`` 2 and 9.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Endpoint(StrEnum):
    """An endpoint: its path, or the name of its gRPC method. ``Resolve`` is each method that evaluates one flag.

    The endpoints from ``CLIENT_POLL`` to ``JS_GOALS`` are for client-side SDKs. What follows their path is a context, or the name
    of what is asked for.
    """

    POLL = "/sdk/poll"
    STREAM = "/sdk/stream"
    FDV1_POLL = "/sdk/latest-all"
    FDV1_STREAM = "/all"
    EVENTS = "/bulk"
    DIAGNOSTIC = "/diagnostic"
    CLIENT_POLL = "/sdk/poll/eval"
    CLIENT_STREAM = "/sdk/stream/eval"
    MOBILE_POLL = "/msdk/evalx"
    MOBILE_STREAM = "/meval"
    MOBILE_PING = "/mping"
    MOBILE_EVENTS = "/mobile"
    MOBILE_DIAGNOSTIC = "/mobile/events/diagnostic"
    JS_POLL = "/sdk/evalx"
    JS_STREAM = "/eval"
    JS_PING = "/ping"
    JS_EVENTS = "/events/bulk"
    JS_DIAGNOSTIC = "/events/diagnostic"
    JS_GOALS = "/sdk/goals"
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
        return self in _STREAMS

    @property
    def is_fdv2(self) -> bool:
        """Whether it has the messages of FDv2."""
        return self in {Endpoint.POLL, Endpoint.STREAM, Endpoint.CLIENT_POLL, Endpoint.CLIENT_STREAM}

    @property
    def is_ping(self) -> bool:
        """Whether it is a stream that only says that there are new data."""
        return self in {Endpoint.MOBILE_PING, Endpoint.JS_PING}

    @property
    def has_data(self) -> bool:
        """Whether it sends flags, or says that there are new ones."""
        return self not in _WITHOUT_DATA


_STREAMS: Final = frozenset(
    {
        Endpoint.STREAM,
        Endpoint.FDV1_STREAM,
        Endpoint.CLIENT_STREAM,
        Endpoint.MOBILE_STREAM,
        Endpoint.MOBILE_PING,
        Endpoint.JS_STREAM,
        Endpoint.JS_PING,
        Endpoint.SYNC_FLAGS,
        Endpoint.EVENT_STREAM,
    }
)
_WITHOUT_DATA: Final = frozenset(
    {
        Endpoint.EVENTS,
        Endpoint.DIAGNOSTIC,
        Endpoint.MOBILE_EVENTS,
        Endpoint.MOBILE_DIAGNOSTIC,
        Endpoint.JS_EVENTS,
        Endpoint.JS_DIAGNOSTIC,
        Endpoint.JS_GOALS,
    }
)
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
_FOR_BROWSERS: Final = (
    Endpoint.CLIENT_POLL,
    Endpoint.CLIENT_STREAM,
    Endpoint.JS_POLL,
    Endpoint.JS_STREAM,
    Endpoint.JS_PING,
    Endpoint.JS_EVENTS,
    Endpoint.JS_DIAGNOSTIC,
    Endpoint.JS_GOALS,
)


def is_for_browsers(path: str) -> bool:
    """Whether the path of a request belongs to an endpoint that JavaScript in web pages uses."""
    return any(path == endpoint or path.startswith(f"{endpoint}/") for endpoint in _FOR_BROWSERS)
