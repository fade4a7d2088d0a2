"""The routes of the endpoints for SDKs: paths and methods, with faults and compression around each handler.

Source: ``data-system.md`` 1.1; ``client-side.md`` 1.2 to 1.4.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
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
from aioflags.devserver.flagd.evaluation import OfrepHandlers
from aioflags.devserver.injection import FaultInjection
from aioflags.devserver.responses import SdkResponses
from aioflags.devserver.state import ServerState
from aioflags.model.change import FallbackDirective
from aioflags.protocol.directive import shape_directive
from aioflags.runtime.logs import printable

KEY: Final = "{key:flag_key}"
"""The rest of a path is a key, which may be any text: Starlette's ``path`` has no line breaks."""
_CONTEXT: Final = "/{context:path}"
"""The standard alphabet of base64 has a slash."""
_ID: Final = "/{environment}"
"""The client-side id of JavaScript SDKs."""
_EXPOSED: Final = ("Date", "ETag", "X-LD-EnvID", *shape_directive(FallbackDirective(ttl=0.0, origin="header")))


class _KeyConvertor(StringConvertor):
    regex = r"[\s\S]*"


register_url_convertor("flag_key", _KeyConvertor())

_Handler: TypeAlias = Callable[[Request], Awaitable[Response]]


def sdk_routes(state: ServerState, heartbeat: float) -> list[BaseRoute]:
    """The routes of LaunchDarkly's endpoints and of OFREP.

    ``heartbeat``: seconds without data after which a stream sends a comment.
    """
    sdk, ofrep = SdkResponses(state, heartbeat), OfrepHandlers(state)
    get, post, report = {"GET"}, {"POST"}, {"REPORT"}
    # The endpoint, what follows it in the path, the methods, and the handler.
    table: list[tuple[Endpoint, str, set[str], _Handler]] = [
        (Endpoint.POLL, "", get, sdk.definitions),
        (Endpoint.STREAM, "", get, sdk.definitions),
        (Endpoint.FDV1_POLL, "", get, sdk.definitions),
        (Endpoint.FDV1_STREAM, "", get, sdk.definitions),
        (Endpoint.EVENTS, "", post, sdk.events),
        (Endpoint.DIAGNOSTIC, "", post, sdk.events),
        (Endpoint.DIAGNOSTIC, "/{rest:path}", post, sdk.events),
        # Some SDKs send POST in place of REPORT.
        (Endpoint.CLIENT_POLL, "", report | post, sdk.evaluations),
        (Endpoint.CLIENT_POLL, _CONTEXT, get, sdk.evaluations),
        (Endpoint.CLIENT_STREAM, "", report | post, sdk.evaluations),
        (Endpoint.CLIENT_STREAM, _CONTEXT, get, sdk.evaluations),
        (Endpoint.MOBILE_STREAM, "", report, sdk.evaluations),
        (Endpoint.MOBILE_STREAM, _CONTEXT, get, sdk.evaluations),
        (Endpoint.MOBILE_PING, "", get, sdk.pings),
        (Endpoint.JS_STREAM, _ID, report, sdk.evaluations),
        (Endpoint.JS_STREAM, _ID + _CONTEXT, get, sdk.evaluations),
        (Endpoint.JS_PING, _ID, get, sdk.pings),
        (Endpoint.JS_GOALS, _ID, get, sdk.goals),
        (Endpoint.MOBILE_DIAGNOSTIC, "", post, sdk.events),
        (Endpoint.JS_EVENTS, _ID, post, sdk.events),
        (Endpoint.JS_DIAGNOSTIC, _ID, post, sdk.events),
        # SDKs from before contexts say "user".
        *((Endpoint.MOBILE_POLL, f"/{noun}", report, sdk.evaluations) for noun in ("context", "user")),
        *((Endpoint.MOBILE_POLL, f"/{noun}{_CONTEXT}", get, sdk.evaluations) for noun in ("contexts", "users")),
        *((Endpoint.JS_POLL, f"{_ID}/{noun}", report, sdk.evaluations) for noun in ("context", "user")),
        *((Endpoint.JS_POLL, f"{_ID}/{noun}{_CONTEXT}", get, sdk.evaluations) for noun in ("contexts", "users")),
        *((Endpoint.MOBILE_EVENTS, below, post, sdk.events) for below in ("", "/events", "/events/bulk")),
        (Endpoint.OFREP, "", post, ofrep.all),
        (Endpoint.OFREP, f"/{KEY}", post, ofrep.one),
    ]
    return [route for row in table for route in _routes(state, *row)]


def _routes(state: ServerState, endpoint: Endpoint, below: str, methods: set[str], handler: _Handler) -> Iterator[Route]:
    """The routes of one path. Responses are compressed on request, then faults are applied to the bytes."""
    if state.flagd is not None and endpoint in LAUNCHDARKLY_ENDPOINTS:
        handler = _other_format
    path = endpoint + below
    app: ASGIApp = FaultInjection(GZipMiddleware(request_response(handler), compresslevel=5), state, endpoint)
    if not is_for_browsers(path):
        yield _route(path, app, methods)
        return
    # Web pages use it. Its responses name no origin, because the access check has refused other origins already.
    for inner, accepted in ((app, methods), (Response(status_code=204), {"OPTIONS"})):
        cors = CORSMiddleware(
            inner, allow_origins=["*"], allow_methods=sorted(methods), allow_headers=["*"], expose_headers=_EXPOSED
        )
        yield _route(path, cors, accepted)


def _route(path: str, app: ASGIApp, methods: set[str]) -> Route:
    route = Route(path, app)
    # Starlette would answer HEAD with the handler of GET, which never ends for a stream.
    route.methods = methods
    return route


async def _other_format(request: Request) -> Response:
    """404 for LaunchDarkly's endpoints if the flags have flagd's format."""
    message = f"{printable(request.url.path)} needs flags in LaunchDarkly's format, and this server has flags in flagd's format"
    return Response(msgspec.json.encode({"error": message}), 404, None, "application/json")
