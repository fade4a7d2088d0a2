"""Who may ask for what: the judge of every request, before anything is done for it.

The server has no accounts. Web pages that a person visits can reach it, though, since they run on the same machine. So a
request has to call the machine by one of its own names, must not come from a page of another origin, and needs a token for
whatever shows or changes more than an SDK gets.
"""

from __future__ import annotations

import ipaddress
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["CONTROL", "AccessCheck", "Refusal", "host_name", "is_this_machine", "judge"]

CONTROL: Final = "/control"
"""The beginning of all paths of the control API."""

_PAGE: Final = frozenset({"/", "/page.js", "/page.css"})
_HOST: Final = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?")
_LAST_PORT: Final = 65535
_OTHER_SITES: Final = frozenset({"cross-site", "same-site"})


@dataclass(frozen=True, slots=True)
class Refusal:
    """The status with which a request is refused, and why."""

    status: int
    why: str


def judge(path: str, headers: Mapping[str, str], *, is_local: bool, hosts: Sequence[str], token: str | None) -> Refusal | None:
    """What speaks against a request; ``None`` for nothing.

    ``is_local``: it comes from this machine. ``hosts`` are the names by which it may call this machine, ``["*"]`` for any.
    ``token`` opens the control API; without one nothing does.
    """
    host = headers.get("host", "").lower()
    if "*" not in hosts and host_name(host) not in hosts:
        return Refusal(400, f"this server is not called that: expected one of {', '.join(hosts)} in the header Host")
    origin = headers.get("origin")
    if origin is not None and origin.lower() not in {f"http://{host}", f"https://{host}"}:
        return Refusal(403, "a page of another origin may not ask here")
    if headers.get("sec-fetch-site") in _OTHER_SITES and path != "/":
        return Refusal(403, "a page of another site may not ask here")
    is_control = path == CONTROL or path.startswith(f"{CONTROL}/")
    if (is_control or path in _PAGE) and not is_local:
        return Refusal(403, "the control API and its page are for this machine alone")
    if is_control and not _opens(headers.get("authorization", ""), token):
        return Refusal(401, 'this needs the token that was printed at the start, as the header "Authorization: Bearer TOKEN"')
    return None


def host_name(host: str) -> str | None:
    """The name in a ``Host`` header in lower case, without the port; ``None`` if the header is not a name, or a name and a port."""
    match = _HOST.fullmatch(host)
    return match["name"] if match and int(match["port"] or 0) <= _LAST_PORT else None


def is_this_machine(peer: str | None, server: str | None) -> bool:
    """Whether who asks has a loopback address, or the very address that the server was reached by."""
    try:
        address = ipaddress.ip_address(peer or "")
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback) or peer == server


def _opens(authorization: str, token: str | None) -> bool:
    scheme, _, given = authorization.partition(" ")
    return token is not None and scheme.lower() == "bearer" and secrets.compare_digest(given.strip().encode(), token.encode())


class AccessCheck:
    """The application behind it, for those against whom nothing speaks."""

    def __init__(self, app: ASGIApp, hosts: Sequence[str], token: str | None) -> None:
        self._app = app
        self._hosts = tuple(host.lower() for host in hosts)
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            peer, server = ((scope.get(end) or (None,))[0] for end in ("client", "server"))
            is_local = is_this_machine(peer, server)
            refusal = judge(scope["path"], Headers(scope=scope), is_local=is_local, hosts=self._hosts, token=self._token)
            if refusal is not None:
                body = msgspec.json.encode({"error": refusal.why})
                challenge = {"WWW-Authenticate": "Bearer"} if refusal.status == 401 else None
                await Response(body, refusal.status, challenge, "application/json")(scope, receive, send)
                return
        await self._app(scope, receive, send)
