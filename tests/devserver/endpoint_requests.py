"""A valid request to each of LaunchDarkly's endpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from aioflags.devserver import Endpoint
from aioflags.model.change import Selector
from aioflags.model.context import Context
from aioflags.protocol.client_side import ClientSide

__all__ = ["ANN", "encoded", "request_to"]

ANN: Final = Context("ann")


def encoded(context: Context) -> str:
    """The context as it is in the paths of requests."""
    return ClientSide(context=context).poll("", Selector.none()).url.rpartition("/")[2]


_BELOW: Final[Mapping[Endpoint, str]] = {
    Endpoint.CLIENT_POLL: f"/{encoded(ANN)}",
    Endpoint.CLIENT_STREAM: f"/{encoded(ANN)}",
    Endpoint.MOBILE_POLL: f"/contexts/{encoded(ANN)}",
    Endpoint.MOBILE_STREAM: f"/{encoded(ANN)}",
    Endpoint.JS_POLL: f"/client-side-id/contexts/{encoded(ANN)}",
    Endpoint.JS_STREAM: f"/client-side-id/{encoded(ANN)}",
    Endpoint.JS_PING: "/client-side-id",
    Endpoint.JS_EVENTS: "/client-side-id",
    Endpoint.JS_DIAGNOSTIC: "/client-side-id",
    Endpoint.JS_GOALS: "/client-side-id",
}


def request_to(endpoint: Endpoint) -> tuple[str, str]:
    """The method and the path of a request to the endpoint, for the context :data:`ANN` on the client side."""
    takes_events = not endpoint.has_data and endpoint is not Endpoint.JS_GOALS
    return "POST" if takes_events else "GET", endpoint + _BELOW.get(endpoint, "")
