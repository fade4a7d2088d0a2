"""The endpoints for SDKs: definitions for server-side ones, evaluated flags for client-side ones.

Source: ``data-system.md`` 1.1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from aioflags.devserver.clients import ClientRecord
from aioflags.devserver.data.client_flags import MAX_CONTEXT_BYTES, ClientFlags, ContextFlags, read_context, read_encoded_context
from aioflags.devserver.data.served_data import Audience
from aioflags.devserver.decode import TooLargeError, read_body
from aioflags.devserver.endpoints import Endpoint
from aioflags.devserver.responses import CLIENT_SIDE, PINGS, SERVER_SIDE, Encoding, SdkResponses
from aioflags.devserver.routes import Handler, sdk_routes
from aioflags.devserver.state import ServerState
from aioflags.errors import ConfigError
from aioflags.model.context import Context


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


# -- The endpoints for client-side SDKs, which get the evaluated flags of one context.
#
# Mobile SDKs have a mobile key in a header, JavaScript SDKs a client-side id in the path or the query.
#
# Any key and id is accepted, and so is any secure mode hash: the server has no secret to check it with.
#
# Source: ``client-side.md`` 1.2 to 1.4.


_Respond: TypeAlias = Callable[[Request, Endpoint, ContextFlags, Encoding], Response]


def client_side_routes(state: ServerState, responses: SdkResponses) -> list[BaseRoute]:
    """The routes of the endpoints."""
    handlers = _Handlers(state, responses)
    poll, stream = handlers.flags(Endpoint.CLIENT_POLL, responses.poll), handlers.flags(Endpoint.CLIENT_STREAM, responses.stream)
    mobile_poll = handlers.flags(Endpoint.MOBILE_POLL, responses.fdv1_poll)
    mobile_stream = handlers.flags(Endpoint.MOBILE_STREAM, responses.fdv1_stream)
    js_poll = handlers.flags(Endpoint.JS_POLL, responses.fdv1_poll)
    js_stream = handlers.flags(Endpoint.JS_STREAM, responses.fdv1_stream)
    js = "/{environment}"
    routes = [
        # Some SDKs send POST in place of REPORT.
        *sdk_routes(state, Endpoint.CLIENT_POLL, poll, "REPORT", "POST"),
        *sdk_routes(state, Endpoint.CLIENT_POLL, poll, below=_CONTEXT),
        *sdk_routes(state, Endpoint.CLIENT_STREAM, stream, "REPORT", "POST"),
        *sdk_routes(state, Endpoint.CLIENT_STREAM, stream, below=_CONTEXT),
        *sdk_routes(state, Endpoint.MOBILE_STREAM, mobile_stream, "REPORT"),
        *sdk_routes(state, Endpoint.MOBILE_STREAM, mobile_stream, below=_CONTEXT),
        *sdk_routes(state, Endpoint.MOBILE_PING, handlers.pings(Endpoint.MOBILE_PING)),
        *sdk_routes(state, Endpoint.JS_STREAM, js_stream, "REPORT", below=js),
        *sdk_routes(state, Endpoint.JS_STREAM, js_stream, below=js + _CONTEXT),
        *sdk_routes(state, Endpoint.JS_PING, handlers.pings(Endpoint.JS_PING), below=js),
        *sdk_routes(state, Endpoint.JS_GOALS, _goals, below=js),
        *sdk_routes(state, Endpoint.MOBILE_DIAGNOSTIC, handlers.diagnostic, "POST"),
        *sdk_routes(state, Endpoint.JS_EVENTS, handlers.events, "POST", below=js),
        *sdk_routes(state, Endpoint.JS_DIAGNOSTIC, handlers.diagnostic, "POST", below=js),
    ]
    for noun in ("context", "user"):  # SDKs from before contexts say "user"
        routes += sdk_routes(state, Endpoint.MOBILE_POLL, mobile_poll, "REPORT", below=f"/{noun}")
        routes += sdk_routes(state, Endpoint.MOBILE_POLL, mobile_poll, below=f"/{noun}s{_CONTEXT}")
        routes += sdk_routes(state, Endpoint.JS_POLL, js_poll, "REPORT", below=f"{js}/{noun}")
        routes += sdk_routes(state, Endpoint.JS_POLL, js_poll, below=f"{js}/{noun}s{_CONTEXT}")
    for below in ("", "/events", "/events/bulk"):
        routes += sdk_routes(state, Endpoint.MOBILE_EVENTS, handlers.events, "POST", below=below)
    return routes


_CONTEXT = "/{context:path}"
"""The standard alphabet of base64 has a slash."""

_JAVASCRIPT = frozenset({Endpoint.JS_POLL, Endpoint.JS_STREAM, Endpoint.JS_PING})


class _Handlers:
    """The handlers of the endpoints."""

    def __init__(self, state: ServerState, responses: SdkResponses) -> None:
        self._state, self._responses = state, responses
        self._flags = ClientFlags(state)

    def flags(self, endpoint: Endpoint, respond: _Respond) -> Handler:
        """A handler that responds with the flags of the request's context; 400 if the context cannot be used."""

        async def handle(request: Request) -> Response:
            try:
                context = await _requested_context(request)
            except ConfigError as error:
                return _error(error)
            except ClientDisconnect:
                return Response(status_code=400)
            audience = _audience(request, endpoint)
            self._record(request, audience, context)
            with_reasons = request.query_params.get("withReasons") == "true"
            flags = self._flags.of(context, audience, with_reasons=with_reasons)
            return respond(request, endpoint, flags, CLIENT_SIDE)

        return handle

    def pings(self, endpoint: Endpoint) -> Handler:
        """A handler that responds with a stream of pings."""

        async def handle(request: Request) -> Response:
            self._record(request, _audience(request, endpoint))
            return self._responses.fdv1_stream(request, endpoint, self._state, PINGS)

        return handle

    async def events(self, request: Request) -> Response:
        """Analytics events."""
        return await self._responses.accept_events(request, is_analytics=True)

    async def diagnostic(self, request: Request) -> Response:
        """Diagnostic events."""
        return await self._responses.accept_events(request, is_analytics=False)

    def _record(self, request: Request, audience: Audience, context: Context | None = None) -> None:
        client: ClientRecord = request.state.client
        self._state.clients.record_context(client, audience, context)


async def _goals(_: Request) -> Response:
    """The goals of a web page: an empty list."""
    return Response(b"[]", media_type="application/json")


async def _requested_context(request: Request) -> Context:
    """The context in the path of a GET, or in the body of another request. Raises :class:`ConfigError`."""
    if request.method == "GET":
        return read_encoded_context(request.path_params["context"])
    return read_context(await read_body(request, MAX_CONTEXT_BYTES))


def _audience(request: Request, endpoint: Endpoint) -> Audience:
    """FDv2 has the same paths for both kinds of SDKs; those with a client-side id send it in the query."""
    is_javascript = endpoint in _JAVASCRIPT or "auth" in request.query_params
    return Audience.JAVASCRIPT if is_javascript else Audience.MOBILE


def _error(error: ConfigError) -> Response:
    # The rest of a body that is too large is not read.
    headers = {"Connection": "close"} if isinstance(error, TooLargeError) else None
    return Response(msgspec.json.encode({"error": str(error)}), 400, headers, "application/json")
