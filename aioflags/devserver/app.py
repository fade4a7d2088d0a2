"""The server as an ASGI application: LaunchDarkly's endpoints for SDKs, OFREP, the control API, and the page.

Requests of SDKs never change the served flags.

Source: ``data-system.md`` 1 to 3 and 6.1; ``flagd.md`` 9.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Final, cast

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route, request_response
from starlette.types import Send

from aioflags.devserver.bodies import TooLargeError, read_body
from aioflags.devserver.clients import ClientRecord
from aioflags.devserver.control.access import AccessCheck
from aioflags.devserver.control.api import Save, control_routes
from aioflags.devserver.control.page import page_routes
from aioflags.devserver.data.overrides import gate_keys
from aioflags.devserver.faults.injection import FaultInjection
from aioflags.devserver.flagd.ofrep import OfrepHandlers
from aioflags.devserver.protocol.encoding import fdv1_all, fdv2_messages, poll_body
from aioflags.devserver.protocol.endpoints import LAUNCHDARKLY_ENDPOINTS, Endpoint
from aioflags.devserver.protocol.streams import RecordSent, fdv1_stream, fdv2_stream
from aioflags.devserver.state import ServerState
from aioflags.model.change import ObjectKind
from aioflags.runtime.logs import printable

__all__ = ["HEARTBEAT_INTERVAL", "LOOPBACK_HOSTS", "create_app"]

HEARTBEAT_INTERVAL: Final = 30.0
LOOPBACK_HOSTS: Final = ("127.0.0.1", "localhost", "[::1]")
"""The ``Host`` names that requests may use. Another name may be DNS rebinding: a web page whose domain resolves to this machine."""


def create_app(
    state: ServerState,
    *,
    token: str | None = None,
    save: Save | None = None,
    allowed_hosts: Sequence[str] = LOOPBACK_HOSTS,
    heartbeat: float = HEARTBEAT_INTERVAL,
) -> Starlette:
    """Make the ASGI application that serves ``state``.

    Args:
        state: the flags, clients and faults.
        token: the bearer token of the control API. Without it there is no control API and no page.
        save: writes the served flags back to their file.
        allowed_hosts: the accepted ``Host`` names; ``["*"]`` accepts any.
        heartbeat: seconds without data after which a stream sends a comment.
    """
    endpoints = _Endpoints(state, heartbeat)
    ofrep = OfrepHandlers(state)
    routes: list[BaseRoute] = [
        _sdk_route(state, Endpoint.POLL, endpoints.poll),
        _sdk_route(state, Endpoint.STREAM, endpoints.stream),
        _sdk_route(state, Endpoint.FDV1_POLL, endpoints.latest_all),
        _sdk_route(state, Endpoint.FDV1_STREAM, endpoints.all),
        _sdk_route(state, Endpoint.EVENTS, endpoints.events, method="POST"),
        _sdk_route(state, Endpoint.DIAGNOSTIC, endpoints.diagnostic, method="POST"),
        _sdk_route(state, Endpoint.DIAGNOSTIC, endpoints.diagnostic, method="POST", below="/{rest:path}"),
        _sdk_route(state, Endpoint.OFREP, ofrep.all, method="POST"),
        _sdk_route(state, Endpoint.OFREP, ofrep.one, method="POST", below="/{key:path}"),
    ]
    if token is not None:
        routes += [*control_routes(state, save), *page_routes()]
    app = Starlette(
        routes=routes,
        middleware=[Middleware(AccessCheck, allowed_hosts, token)],
        exception_handlers={404: _not_found, 405: _method_not_allowed},
    )
    app.router.redirect_slashes = False  # a redirect would copy the Host name of the request
    return app


def _not_found(request: Request, _: Exception) -> Response:
    """404 for an unknown path."""
    return Response(msgspec.json.encode({"error": f"unknown path {printable(request.url.path)}"}), 404, None, "application/json")


def _method_not_allowed(request: Request, refusal: Exception) -> Response:
    """405 for a known path, with the methods that it accepts."""
    headers = cast("HTTPException", refusal).headers or {}
    message = f"{printable(request.url.path)} takes {headers['Allow']}, not {printable(request.method)}"
    return Response(msgspec.json.encode({"error": message}), 405, headers, "application/json")


async def _other_format(request: Request) -> Response:
    """404 for LaunchDarkly's endpoints if the flags have flagd's format."""
    message = f"{printable(request.url.path)} needs flags in LaunchDarkly's format, and this server has flags in flagd's format"
    return Response(msgspec.json.encode({"error": message}), 404, None, "application/json")


def _sdk_route(
    state: ServerState,
    endpoint: Endpoint,
    handler: Callable[[Request], Awaitable[Response]],
    *,
    method: str = "GET",
    below: str = "",
) -> Route:
    """The route of an SDK endpoint. Responses are compressed on request, then faults are applied to the bytes."""
    if state.flagd is not None and endpoint in LAUNCHDARKLY_ENDPOINTS:
        handler = _other_format
    route = Route(endpoint + below, FaultInjection(GZipMiddleware(request_response(handler), compresslevel=5), state, endpoint))
    # Starlette would answer HEAD with the handler of GET, which never ends for a stream.
    route.methods = {method}
    return route


class _Endpoints:
    """The handlers of the SDK endpoints."""

    def __init__(self, state: ServerState, heartbeat: float) -> None:
        self._state = state
        self._heartbeat = heartbeat

    async def poll(self, request: Request) -> Response:
        """FDv2: one transfer."""
        transfer = self._state.transfer(request.query_params.get("basis"))
        return self._json(request, Endpoint.POLL, transfer.kind, lambda: poll_body(fdv2_messages(transfer)))

    async def stream(self, request: Request) -> Response:
        """FDv2: a transfer now, and one after every change."""
        record_sent = self._sent_recorder(request, Endpoint.STREAM)
        frames = fdv2_stream(self._state, request.query_params.get("basis"), self._heartbeat, record_sent)
        return self._stream(request, Endpoint.STREAM, frames)

    async def latest_all(self, request: Request) -> Response:
        """FDv1: all flags and segments."""
        return self._json(request, Endpoint.FDV1_POLL, "all", lambda: msgspec.json.encode(fdv1_all(self._state.transfer().objects)))

    async def all(self, request: Request) -> Response:
        """FDv1: all flags and segments, then every change."""
        frames = fdv1_stream(self._state, self._heartbeat, self._sent_recorder(request, Endpoint.FDV1_STREAM))
        return self._stream(request, Endpoint.FDV1_STREAM, frames)

    async def events(self, request: Request) -> Response:
        """Analytics events: accepted, checked, and shown on the page."""
        return await self._accept(request, is_analytics=True)

    async def diagnostic(self, request: Request) -> Response:
        """Diagnostic events: accepted and checked."""
        return await self._accept(request, is_analytics=False)

    def _sent_recorder(self, request: Request, endpoint: Endpoint) -> RecordSent:
        client: ClientRecord = request.state.client

        def record_sent(what: str, version: int) -> None:
            self._state.clients.record_sent(client, endpoint, what, version)

        return record_sent

    def _headers(self) -> dict[str, str]:
        return {"X-LD-EnvID": self._state.environment_id, "Cache-Control": "no-cache"}

    def _stream(self, request: Request, endpoint: Endpoint, frames: AsyncGenerator[bytes, None]) -> Response:
        return _EventStream(self._state, endpoint, request.state.client, frames, self._headers())

    def _json(self, request: Request, endpoint: Endpoint, what: str, body: Callable[[], bytes]) -> Response:
        """The body, or 304 if the client already has this version."""
        state = self._state
        tag = f'"{state.payload_id}-{state.version}"'
        headers = {**self._headers(), "ETag": tag}
        known_tags = request.headers.get("If-None-Match", "")
        if tag in (candidate.strip().removeprefix("W/") for candidate in known_tags.split(",")):
            self._sent_recorder(request, endpoint)("unchanged", state.version)
            return Response(status_code=304, headers=headers)
        self._sent_recorder(request, endpoint)(what, state.version)
        return Response(body(), headers=headers, media_type="application/json")

    async def _accept(self, request: Request, *, is_analytics: bool) -> Response:
        """202 for any body that arrives completely; 413 for one that is too large."""
        try:
            body = await read_body(request)
        except TooLargeError as error:
            return Response(str(error), status_code=413, headers={"Connection": "close"})
        except ClientDisconnect:
            return Response(status_code=400)
        client: ClientRecord = request.state.client
        # Includes the gates of lifted overrides, because clients still send events about them.
        flags = {key for flag in self._state.live(ObjectKind.FLAG) for key in (flag.key, *gate_keys(flag.key))}
        self._state.events.add_payload(body, request.headers, client=client.number, flags=flags, is_analytics=is_analytics)
        return Response(status_code=202)


class _EventStream(StreamingResponse):
    """A streaming response that is counted while it is open, and that closes its generator at the end."""

    def __init__(
        self,
        state: ServerState,
        endpoint: Endpoint,
        client: ClientRecord,
        frames: AsyncGenerator[bytes, None],
        headers: dict[str, str],
    ) -> None:
        super().__init__(frames, headers=headers, media_type="text/event-stream")
        self._state, self._endpoint, self._client, self._frames = state, endpoint, client, frames

    async def stream_response(self, send: Send) -> None:
        with self._state.count_stream(self._endpoint), self._state.clients.record_stream(self._client, self._endpoint):
            async with aclosing(self._frames):
                await super().stream_response(send)
