"""The server as an ASGI application: LaunchDarkly's endpoints for SDKs, OFREP, the control API, and the page.

Requests of SDKs never change the served flags.

Source: ``data-system.md`` 1 to 3 and 6.1; ``flagd.md`` 9.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response

from aioflags.devserver.control.access import AccessCheck
from aioflags.devserver.control.api import Save, control_routes
from aioflags.devserver.control.page import page_routes
from aioflags.devserver.flagd.ofrep import OfrepHandlers
from aioflags.devserver.protocol.client_side import client_side_routes
from aioflags.devserver.protocol.endpoints import Endpoint
from aioflags.devserver.protocol.responses import SdkResponses
from aioflags.devserver.protocol.server_side import server_side_routes
from aioflags.devserver.routes import KEY, sdk_routes
from aioflags.devserver.state import ServerState
from aioflags.runtime.logs import printable

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
        allowed_hosts: the accepted ``Host`` names; ``["*"]`` accepts any. Web pages from these hosts may use the endpoints for
            JavaScript SDKs.
        heartbeat: seconds without data after which a stream sends a comment.
    """
    responses = SdkResponses(state, heartbeat)
    ofrep = OfrepHandlers(state)
    routes = [
        *server_side_routes(state, responses),
        *client_side_routes(state, responses),
        *sdk_routes(state, Endpoint.OFREP, ofrep.all, "POST"),
        *sdk_routes(state, Endpoint.OFREP, ofrep.one, "POST", below=f"/{KEY}"),
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
