"""The server's endpoints as an ASGI application: LaunchDarkly's services for SDKs, and beside them the control API and its page.

What SDKs ask for never changes what is served.

Source: ``data-system.md`` 1 to 3 and 6.1.
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

from aioflags.devserver.clients import SeenClient
from aioflags.devserver.control.access import AccessCheck
from aioflags.devserver.control.control import Save, control_routes
from aioflags.devserver.control.overrides import gates_of
from aioflags.devserver.control.page import page_routes
from aioflags.devserver.faults.injection import MOST_BYTES, FaultInjection
from aioflags.devserver.protocol.encoding import fdv1_all, fdv2_messages, poll_body
from aioflags.devserver.protocol.endpoints import Endpoint
from aioflags.devserver.protocol.streams import Note, fdv1_stream, fdv2_stream
from aioflags.devserver.state import ServerState
from aioflags.model.change import ObjectKind
from aioflags.runtime.logs import printable

__all__ = ["HEARTBEAT_INTERVAL", "LOOPBACK_HOSTS", "create_app"]

HEARTBEAT_INTERVAL: Final = 30.0
LOOPBACK_HOSTS: Final = ("127.0.0.1", "localhost", "[::1]")
"""What a request may call this machine. A foreign name is a web page that had its own name resolve to us."""


def create_app(
    state: ServerState,
    *,
    token: str | None = None,
    save: Save | None = None,
    allowed_hosts: Sequence[str] = LOOPBACK_HOSTS,
    heartbeat: float = HEARTBEAT_INTERVAL,
) -> Starlette:
    """The application that serves ``state``.

    ``token`` opens the control API to this machine, and adds the page that uses it; without one there is neither.
    ``save`` writes what is served back to where it came from. ``allowed_hosts``: the ``Host`` names it answers to,
    ``["*"]`` for any. ``heartbeat``: after how many silent seconds a stream sends a comment.
    """
    endpoints = _Endpoints(state, heartbeat)
    routes: list[BaseRoute] = [
        _door(state, Endpoint.POLL, endpoints.poll),
        _door(state, Endpoint.STREAM, endpoints.stream),
        _door(state, Endpoint.LATEST_ALL, endpoints.latest_all),
        _door(state, Endpoint.ALL, endpoints.all),
        _door(state, Endpoint.EVENTS, endpoints.events, method="POST"),
        _door(state, Endpoint.DIAGNOSTIC, endpoints.diagnostic, method="POST"),
        _door(state, Endpoint.DIAGNOSTIC, endpoints.diagnostic, method="POST", below="/{rest:path}"),
    ]
    if token is not None:
        routes += [*control_routes(state, save), *page_routes()]
    app = Starlette(
        routes=routes,
        middleware=[Middleware(AccessCheck, allowed_hosts, token)],
        exception_handlers={404: _no_such_call, 405: _no_such_method},
    )
    app.router.redirect_slashes = False  # a redirect would repeat whatever name the request gave this machine
    return app


def _no_such_call(request: Request, _: Exception) -> Response:
    """404 for a path that nothing is at."""
    return Response(
        msgspec.json.encode({"error": f"there is no call {printable(request.url.path)}"}), 404, None, "application/json"
    )


def _no_such_method(request: Request, refusal: Exception) -> Response:
    """405 for a path that takes other methods, and which these are."""
    headers = cast("HTTPException", refusal).headers or {}
    why = f"{printable(request.url.path)} takes {headers['Allow']}, not {printable(request.method)}"
    return Response(msgspec.json.encode({"error": why}), 405, headers, "application/json")


def _door(
    state: ServerState,
    endpoint: Endpoint,
    answer: Callable[[Request], Awaitable[Response]],
    *,
    method: str = "GET",
    below: str = "",
) -> Route:
    """The route of an endpoint: compressed where that is asked for, and spoiled by faults after that."""
    route = Route(endpoint + below, FaultInjection(GZipMiddleware(request_response(answer), compresslevel=5), state, endpoint))
    # Starlette would answer HEAD by GET's function, which for a stream never ends.
    route.methods = {method}
    return route


class _Endpoints:
    """What each path answers."""

    def __init__(self, state: ServerState, heartbeat: float) -> None:
        self._state = state
        self._heartbeat = heartbeat

    async def poll(self, request: Request) -> Response:
        """FDv2: one transfer."""
        transfer = self._state.transfer(request.query_params.get("basis"))
        return self._json(request, Endpoint.POLL, transfer.kind, lambda: poll_body(fdv2_messages(transfer)))

    async def stream(self, request: Request) -> Response:
        """FDv2: a transfer now, and one after every change."""
        note = self._note(request, Endpoint.STREAM)
        frames = fdv2_stream(self._state, request.query_params.get("basis"), self._heartbeat, note)
        return self._stream(request, Endpoint.STREAM, frames)

    async def latest_all(self, request: Request) -> Response:
        """FDv1: all there is."""
        return self._json(
            request, Endpoint.LATEST_ALL, "all", lambda: msgspec.json.encode(fdv1_all(self._state.transfer().objects))
        )

    async def all(self, request: Request) -> Response:
        """FDv1: all there is, and then every change."""
        frames = fdv1_stream(self._state, self._heartbeat, self._note(request, Endpoint.ALL))
        return self._stream(request, Endpoint.ALL, frames)

    async def events(self, request: Request) -> Response:
        """Analytics events: taken, and shown on the page."""
        return await self._accept(request, is_analytics=True)

    async def diagnostic(self, request: Request) -> Response:
        """Diagnostic events: taken and looked at."""
        return await self._accept(request, is_analytics=False)

    def _note(self, request: Request, endpoint: Endpoint) -> Note:
        client: SeenClient = request.state.client

        def note(what: str, version: int) -> None:
            self._state.clients.sent(client, endpoint, what, version)

        return note

    def _headers(self) -> dict[str, str]:
        return {"X-LD-EnvID": self._state.environment_id, "Cache-Control": "no-cache"}

    def _stream(self, request: Request, endpoint: Endpoint, frames: AsyncGenerator[bytes, None]) -> Response:
        return _EventStream(self._state, endpoint, request.state.client, frames, self._headers())

    def _json(self, request: Request, endpoint: Endpoint, what: str, body: Callable[[], bytes]) -> Response:
        """The body, or 304 to a client that has the body of this state of the data."""
        state = self._state
        tag = f'"{state.payload_id}-{state.version}"'
        headers = {**self._headers(), "ETag": tag}
        known = request.headers.get("If-None-Match", "")
        if tag in (candidate.strip().removeprefix("W/") for candidate in known.split(",")):
            self._note(request, endpoint)("unchanged", state.version)
            return Response(status_code=304, headers=headers)
        self._note(request, endpoint)(what, state.version)
        return Response(body(), headers=headers, media_type="application/json")

    async def _accept(self, request: Request, *, is_analytics: bool) -> Response:
        """202 once the whole body has arrived, whatever is in it."""
        body = bytearray()
        try:
            async for chunk in request.stream():
                body += chunk
                if len(body) > MOST_BYTES:
                    return Response("too many events at once", status_code=413, headers={"Connection": "close"})
        except ClientDisconnect:
            return Response(status_code=400)
        client: SeenClient = request.state.client
        # The gates of overrides that were lifted, too: clients still tell of them.
        flags = {key for found in self._state.live(ObjectKind.FLAG) for key in (found.key, *gates_of(found.key))}
        self._state.events.accept(bytes(body), request.headers, client=client.number, flags=flags, is_analytics=is_analytics)
        return Response(status_code=202)


class _EventStream(StreamingResponse):
    """A stream that is counted while it is open, and whose generator is closed when it ends."""

    def __init__(
        self,
        state: ServerState,
        endpoint: Endpoint,
        client: SeenClient,
        frames: AsyncGenerator[bytes, None],
        headers: dict[str, str],
    ) -> None:
        super().__init__(frames, headers=headers, media_type="text/event-stream")
        self._state, self._endpoint, self._client, self._frames = state, endpoint, client, frames

    async def stream_response(self, send: Send) -> None:
        with self._state.streaming(self._endpoint), self._state.clients.streaming(self._client, self._endpoint):
            async with aclosing(self._frames):
                await super().stream_response(send)
