"""Reads the body of a request, up to a limit."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request

from aioflags.errors import ConfigError

__all__ = ["MAX_REQUEST_BYTES", "TooLargeError", "read_body"]

MAX_REQUEST_BYTES: Final = 16 * 1024 * 1024
"""The largest accepted body of a request."""


class TooLargeError(ConfigError):
    """The body of a request is too large."""


async def read_body(request: Request, limit: int = MAX_REQUEST_BYTES) -> bytes:
    """The body of a request.

    Raises:
        TooLargeError: as soon as more than ``limit`` bytes have come.
        ClientDisconnect: the body is not complete.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise TooLargeError(f"the body has too many bytes; {limit} are accepted")
    return bytes(body)
