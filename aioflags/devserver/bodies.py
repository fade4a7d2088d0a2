"""Reads the body of a request, up to a limit, and JSON that has half of a surrogate pair."""

from __future__ import annotations

import json
import re
from typing import Any, Final

import msgspec
from starlette.requests import Request

from aioflags.errors import ConfigError

MAX_REQUEST_BYTES: Final = 16 * 1024 * 1024
"""The largest accepted body of a request."""
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")


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


def decode_json(text: bytes) -> Any:
    """Decode JSON text.

    msgspec refuses escaped lone surrogates, which JSON allows and SDKs send. Such text is decoded by Python's decoder.

    Raises:
        ValueError: the text is not JSON.
        RecursionError: the text is nested too deeply.
    """
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        if _SURROGATE.search(text) is None:
            raise
        try:
            return json.loads(text, parse_constant=_refuse_constant)
        except ValueError:
            pass
        raise  # the error of msgspec


def _refuse_constant(name: str) -> None:
    """Refuse ``NaN`` and ``Infinity``, which Python's decoder accepts."""
    raise ValueError(f"JSON has no {name}")
