"""The headers that a program adds to the requests of OFREP.

Source: ``flagd.md`` 9.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias, cast

from aioflags.errors import ConfigError, ConfigTypeError
from aioflags.protocol.requests import header_text
from aioflags.runtime.logs import class_name
from aioflags.runtime.validation import require

__all__ = ["OfrepHeaders", "sendable_headers"]

OfrepHeaders: TypeAlias = Mapping[str, str] | Callable[[], Mapping[str, str]]
"""The headers by name, or a function that returns them for each request."""

_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OWN: Final = frozenset({"accept", "accept-encoding", "connection", "content-length", "content-type", "host", "transfer-encoding"})
"""Headers that describe the connection or the body, which this package makes."""


def sendable_headers(option: str, headers: object) -> dict[str, str]:
    """The headers, with their names in lower case, without those that describe the connection or the body.

    Raises:
        ConfigError: a header cannot be sent. The message names ``option`` and the header, and not the value, which may be secret.
    """
    require(option, headers, Mapping, expected="a mapping of names to values")
    sendable: dict[str, str] = {}
    for name, value in cast("Mapping[object, object]", headers).items():
        if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
            raise ConfigError(f"{option}: {name!r:.100} is not the name of a header")
        if not isinstance(value, str):
            raise ConfigTypeError(f"{option}: expected a string for {name}, got {class_name(value)}")
        text = header_text(f"{option}: {name}", value)
        if name.lower() not in _OWN:
            sendable[name.lower()] = text
    return sendable
