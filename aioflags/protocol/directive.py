"""The FDv1 fallback directive: read from response headers and from a goodbye, and written by the development server.

No other module reads it. It is a field of every result of its connection; the supervisor decides what to do.

Source: ``data-system.md`` 6.1, 6.2 (FB-1 to FB-3, FB-30) and 6.6.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from aioflags.model.change import FallbackDirective
from aioflags.model.values import check_depth
from aioflags.protocol.problems import UNREADABLE

_FALLBACK: Final = "x-ld-fd-fallback"
_TTL: Final = "x-ld-fd-fallback-ttl"
_NUMBER: Final = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")


class _Goodbye(msgspec.Struct, omit_defaults=True):
    reason: Any = None
    ttl: Any = msgspec.field(default=None, name="protocolFallbackTTL")


_GOODBYE: Final = msgspec.json.Decoder(_Goodbye)


def read_directive(headers: Mapping[str, str]) -> FallbackDirective | None:
    """The directive in response headers, or ``None``. Header names are case-insensitive; values may be joined (``true, true``)."""
    if "true" not in (token.lower() for token in _tokens(headers, _FALLBACK)):
        return None
    ttl = next(iter(_tokens(headers, _TTL)), "")
    return FallbackDirective(ttl=_seconds(float(ttl)) if _NUMBER.fullmatch(ttl) else None, origin="header")


def read_goodbye(data: bytes | str) -> tuple[str, FallbackDirective | None]:
    """Read the data of a goodbye: its reason, for the log, and its directive.

    It has a directive if ``protocolFallbackTTL`` is a number; fractions of seconds are cut off. Unreadable data has an empty reason
    and no directive.
    """
    try:
        check_depth(data, 1)
        goodbye = _GOODBYE.decode(data)
    except UNREADABLE:
        return "", None
    reason = goodbye.reason if isinstance(goodbye.reason, str) else ""
    if isinstance(goodbye.ttl, bool) or not isinstance(goodbye.ttl, (int, float)):
        return reason, None
    ttl = _seconds(goodbye.ttl)
    return reason, None if ttl is None else FallbackDirective(ttl=float(math.trunc(ttl)), origin="goodbye")


def shape_directive(directive: FallbackDirective | None) -> dict[str, str]:
    """The response headers for a directive. Empty for ``None``."""
    if directive is None:
        return {}
    return {_FALLBACK: "true"} if directive.ttl is None else {_FALLBACK: "true", _TTL: f"{directive.ttl:.0f}"}


def shape_goodbye(reason: str, directive: FallbackDirective | None) -> bytes:
    """The data of a goodbye. It cannot express a directive without a ``ttl``."""
    goodbye = _Goodbye(reason=reason, ttl=None if directive is None or directive.ttl is None else int(directive.ttl))
    return msgspec.json.encode(goodbye)


def _tokens(headers: Mapping[str, str], header: str) -> list[str]:
    """The values of a header, given in lower case."""
    return [token.strip() for name, value in headers.items() if name.lower() == header for token in value.split(",")]


def _seconds(number: float) -> float | None:
    """``number`` as a finite float, or ``None``."""
    try:
        seconds = float(number)
    except OverflowError:
        return None
    return seconds if math.isfinite(seconds) else None
