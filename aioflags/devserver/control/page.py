"""The page at ``/``: three static files of the package. They need no build and load nothing from other servers.

The token is in the fragment of the page's URL, which browsers do not send to servers.
"""

from __future__ import annotations

from importlib import resources
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

_TYPES: Final = {"page.html": "text/html", "page.css": "text/css", "page.js": "text/javascript"}
_FILES: Final = {name: resources.files("aioflags.devserver.control").joinpath("page_files", name).read_bytes() for name in _TYPES}
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
