"""The endpoints for server-side SDKs, which get the definitions of all flags and segments.

Source: ``data-system.md`` 1.1.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from aioflags.devserver.protocol.encoding import SERVER_SIDE
from aioflags.devserver.protocol.endpoints import Endpoint
from aioflags.devserver.protocol.responses import SdkResponses
from aioflags.devserver.routes import sdk_routes
from aioflags.devserver.state import ServerState


def server_side_routes(state: ServerState, responses: SdkResponses) -> list[BaseRoute]:
    """The routes of the endpoints."""

    async def poll(request: Request) -> Response:
        return responses.poll(request, Endpoint.POLL, state, SERVER_SIDE)

    async def stream(request: Request) -> Response:
        return responses.stream(request, Endpoint.STREAM, state, SERVER_SIDE)

    async def fdv1_poll(request: Request) -> Response:
        return responses.fdv1_poll(request, Endpoint.FDV1_POLL, state, SERVER_SIDE)

    async def fdv1_stream(request: Request) -> Response:
        return responses.fdv1_stream(request, Endpoint.FDV1_STREAM, state, SERVER_SIDE)

    async def events(request: Request) -> Response:
        return await responses.accept_events(request, is_analytics=True)

    async def diagnostic(request: Request) -> Response:
        return await responses.accept_events(request, is_analytics=False)

    return [
        *sdk_routes(state, Endpoint.POLL, poll),
        *sdk_routes(state, Endpoint.STREAM, stream),
        *sdk_routes(state, Endpoint.FDV1_POLL, fdv1_poll),
        *sdk_routes(state, Endpoint.FDV1_STREAM, fdv1_stream),
        *sdk_routes(state, Endpoint.EVENTS, events, "POST"),
        *sdk_routes(state, Endpoint.DIAGNOSTIC, diagnostic, "POST"),
        *sdk_routes(state, Endpoint.DIAGNOSTIC, diagnostic, "POST", below="/{rest:path}"),
    ]
