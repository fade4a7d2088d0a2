"""Access control, which decides about each request before anything else handles it; and the page at ``/``.

The server has no accounts, and any web page in a browser on this machine can send requests to it. So the ``Host`` of a request must
be an allowed name, the control API and its page can be used on this machine only, and the control API needs a token. A request must
not come from a page of another origin, except that the endpoints for JavaScript SDKs serve the pages of allowed hosts: web
applications that are developed on this machine.
"""

from __future__ import annotations

import ipaddress
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Final

import msgspec
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from aioflags.devserver.endpoints import is_for_browsers

CONTROL: Final = "/control"
"""The path prefix of the control API."""

_PAGE_PATHS: Final = frozenset({"/", "/page.js", "/page.css"})
_HOST: Final = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?")
_MAX_PORT: Final = 65535
_OTHER_SITES: Final = frozenset({"cross-site", "same-site"})


@dataclass(frozen=True, slots=True)
class Refusal:
    """The status and the error message of a refused request."""

    status: int
    message: str


def check_access(
    path: str, headers: Mapping[str, str], *, is_local: bool, hosts: Sequence[str], token: str | None
) -> Refusal | None:
    """Decide whether to refuse a request; ``None`` allows it.

    Args:
        path: the path of the request.
        headers: the headers of the request, with names in lower case.
        is_local: whether the request comes from this machine.
        hosts: the allowed ``Host`` names; ``["*"]`` allows any.
        token: the bearer token of the control API; ``None`` refuses all its requests.
    """
    host = headers.get("host", "").lower()
    if "*" not in hosts and host_name(host) not in hosts:
        return Refusal(400, f"unknown host: expected one of {', '.join(hosts)} in the header Host")
    if not (is_for_browsers(path) and _is_origin_of(headers.get("origin", ""), hosts)):
        origin = headers.get("origin")
        if origin is not None and origin.lower() not in {f"http://{host}", f"https://{host}"}:
            return Refusal(403, "requests from pages of another origin are refused")
        if headers.get("sec-fetch-site") in _OTHER_SITES and path != "/":
            return Refusal(403, "requests from pages of another site are refused")
    is_control = path == CONTROL or path.startswith(f"{CONTROL}/")
    if (is_control or path in _PAGE_PATHS) and not is_local:
        return Refusal(403, "the control API and its page can only be used on this machine")
    if is_control and not _has_token(headers.get("authorization", ""), token):
        return Refusal(
            401,
            'expected the header "Authorization: Bearer TOKEN" with the token that the server printed',
        )
    return None


def host_name(host: str) -> str | None:
    """The name in a ``Host`` header without its port; ``None`` if the header is not valid. The header must be in lower case."""
    match = _HOST.fullmatch(host)
    return match["name"] if match and int(match["port"] or 0) <= _MAX_PORT else None


def _is_origin_of(origin: str, hosts: Sequence[str]) -> bool:
    """Whether an ``Origin`` header names one of the hosts, with any port."""
    scheme, separator, host = origin.lower().partition("://")
    name = host_name(host) if separator and scheme in {"http", "https"} else None
    return name is not None and ("*" in hosts or name in hosts)


def is_this_machine(peer: str | None, server: str | None) -> bool:
    """Whether the peer has a loopback address, or the same address as the server."""
    try:
        address = ipaddress.ip_address(peer or "")
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback) or peer == server


def _has_token(authorization: str, token: str | None) -> bool:
    scheme, _, credentials = authorization.partition(" ")
    return token is not None and scheme.lower() == "bearer" and secrets.compare_digest(credentials.strip().encode(), token.encode())


class AccessCheck:
    """ASGI middleware that passes allowed requests on and answers the others with an error."""

    def __init__(self, app: ASGIApp, hosts: Sequence[str], token: str | None) -> None:
        self._app = app
        self._hosts = tuple(host.lower() for host in hosts)
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            peer, server = ((scope.get(end) or (None,))[0] for end in ("client", "server"))
            is_local = is_this_machine(peer, server)
            refusal = check_access(scope["path"], Headers(scope=scope), is_local=is_local, hosts=self._hosts, token=self._token)
            if refusal is not None:
                body = msgspec.json.encode({"error": refusal.message})
                challenge = {"WWW-Authenticate": "Bearer"} if refusal.status == 401 else None
                await Response(body, refusal.status, challenge, "application/json")(scope, receive, send)
                return
        await self._app(scope, receive, send)


# -- The page at ``/``: three static files of the package. They need no build and load nothing from other servers.
#
# The token is in the fragment of the page's URL, which browsers do not send to servers.


_TYPES: Final = {"page.html": "text/html", "page.css": "text/css", "page.js": "text/javascript"}
_FILES: Final = {name: resources.files("aioflags.devserver").joinpath("page_files", name).read_bytes() for name in _TYPES}
_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def page_routes() -> list[BaseRoute]:
    """The routes of the page, its style sheet and its script."""
    return [_file("/", "page.html"), _file("/page.css", "page.css"), _file("/page.js", "page.js")]


def _file(path: str, name: str) -> Route:
    async def answer(_: Request) -> Response:
        return Response(_FILES[name], headers=_HEADERS, media_type=_TYPES[name])

    return Route(path, answer, methods=["GET"])
