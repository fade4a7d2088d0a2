"""Flags that a server evaluated for one context.

Source: ``flagd.md`` 7.1 and 9.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from aioflags.model.detail import ErrorKind, ReasonKind
from aioflags.model.metadata import NO_METADATA, FlagMetadata
from aioflags.runtime.logs import printable

__all__ = ["ResolvedFlag", "read_reason"]

_UNKNOWN: Final = "UNKNOWN"
_REASONS: Final[Mapping[str, ReasonKind]] = {
    kind.value: kind
    for kind in (
        ReasonKind.STATIC,
        ReasonKind.TARGETING_MATCH,
        ReasonKind.SPLIT,
        ReasonKind.DEFAULT,
        ReasonKind.DISABLED,
        ReasonKind.CACHED,
    )
}
"""OpenFeature's words. LaunchDarkly's mean something else, so a server that sends one of them sends a word without a meaning."""


def read_reason(text: str | None) -> ReasonKind | str:
    """The reason that a server sends: a word of OpenFeature, another word, which is cut, or ``UNKNOWN`` without a word."""
    return _REASONS.get(text or "", printable(text or "") or _UNKNOWN)


class ResolvedFlag(msgspec.Struct, frozen=True, gc=False, kw_only=True, eq=False):
    """A flag that a server evaluated: its value for one context, or the error.

    Args:
        key: the key of the flag.
        value: the value, if ``has_value``.
        has_value: False: callers get their own default, with the server's ``reason``.
        variant: the name of the variant; ``None`` if the server did not name it.
        reason: the server's word for the reason, also one that OpenFeature does not list.
        metadata: what the server sent with the value.
        error: why there is no value. Then ``value`` and ``variant`` do not count.
        error_message: the error in the server's words.
        version: the server numbers no versions.
        deleted: present in the data, so not deleted.
    """

    key: str
    value: Any = None
    has_value: bool = True
    variant: str | None = None
    reason: ReasonKind | str = ReasonKind.STATIC
    metadata: FlagMetadata = NO_METADATA
    error: ErrorKind | None = None
    error_message: str | None = None
    version: int = 0
    deleted: bool = False

    @classmethod
    def failed(cls, key: str, error: ErrorKind, message: str | None, metadata: FlagMetadata = NO_METADATA) -> ResolvedFlag:
        """A flag that the server did not evaluate."""
        return cls(key=key, has_value=False, reason=ReasonKind.ERROR, metadata=metadata, error=error, error_message=message)
