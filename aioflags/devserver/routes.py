"""The route of an SDK endpoint: faults and compression around a handler.

Source: ``data-system.md`` 1.1; ``client-side.md`` 1.2.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import msgspec
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, request_response
from starlette.types import ASGIApp

from aioflags.devserver.endpoints import LAUNCHDARKLY_ENDPOINTS, Endpoint, is_for_browsers
from aioflags.devserver.injection import FaultInjection
from aioflags.devserver.state import ServerState
from aioflags.model.change import FallbackDirective
from aioflags.protocol.directive import shape_directive
from aioflags.runtime.logs import printable

KEY: Final = "{key:flag_key}"
"""The rest of a path is a key, which may be any text: Starlette's ``path`` has no line breaks."""


class _KeyConvertor(StringConvertor):
    regex = r"[\s\S]*"


register_url_convertor("flag_key", _KeyConvertor())

Handler: TypeAlias = Callable[[Request], Awaitable[Response]]


def sdk_routes(state: ServerState, endpoint: Endpoint, handler: Handler, *methods: str, below: str = "") -> list[BaseRoute]:
    """The routes of an SDK endpoint. Responses are compressed on request, then faults are applied to the bytes.

    Args:
        state: the state of the server.
        endpoint: the endpoint.
        handler: makes the responses.
        methods: the accepted methods; without them GET.
        below: what follows the endpoint in the path.
    """
    if state.flagd is not None and endpoint in LAUNCHDARKLY_ENDPOINTS:
        handler = _other_format
    path, accepted = endpoint + below, set(methods) or {"GET"}
    app: ASGIApp = FaultInjection(GZipMiddleware(request_response(handler), compresslevel=5), state, endpoint)
    if not is_for_browsers(path):
        return [_route(path, app, accepted)]

    # Web pages use it. Its responses name no origin, because the access check has refused other origins already.
    def for_pages(inner: ASGIApp) -> ASGIApp:
        return CORSMiddleware(
            inner, allow_origins=["*"], allow_methods=sorted(accepted), allow_headers=["*"], expose_headers=_EXPOSED
        )

    return [_route(path, for_pages(app), accepted), _route(path, for_pages(Response(status_code=204)), {"OPTIONS"})]


_EXPOSED = ("Date", "ETag", "X-LD-EnvID", *shape_directive(FallbackDirective(ttl=0.0, origin="header")))


def _route(path: str, app: ASGIApp, methods: set[str]) -> Route:
    route = Route(path, app)
    # Starlette would answer HEAD with the handler of GET, which never ends for a stream.
    route.methods = methods
    return route


async def _other_format(request: Request) -> Response:
    """404 for LaunchDarkly's endpoints if the flags have flagd's format."""
    message = f"{printable(request.url.path)} needs flags in LaunchDarkly's format, and this server has flags in flagd's format"
    return Response(msgspec.json.encode({"error": message}), 404, None, "application/json")
