"""Stored items and what they mean: a definition becomes text for a store, and text becomes a definition again.

The text is LaunchDarkly's JSON, without what is ``None``: other SDKs read it, too.

Source: ``data-system.md`` 7.4 and 7.8; ``evaluation.md`` 2.
"""

from __future__ import annotations

import msgspec

from aioflags.protocol.problems import UNREADABLE

__all__ = ["stored_version"]


class _Stored(msgspec.Struct):
    """What every stored object says of itself, a deleted one too."""

    version: int = 0


_STORED = msgspec.json.Decoder(_Stored)


def stored_version(text: bytes) -> int | None:
    """Which version a stored object is of; ``None`` if nobody can tell."""
    try:
        return _STORED.decode(text).version
    except UNREADABLE:
        return None
